"""Labels that were given elsewhere: read from what tools write, taken over as answers, and taken back."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from test_export import ANSWERS, CLASSES, labelled, recording_of

from ml_backend.errors import WeakHARError
from ml_backend.export import write_export
from ml_backend.export.intervals import write_elan, write_intervals
from ml_backend.jobs import Store, drop_imported, import_labels
from ml_backend.jobs.answers import GivenAnswers, given_answers
from ml_backend.jobs.imports import forget_imported
from ml_backend.labels import IMPORTED, REVIEW, Answer, LabelledStretch, labelled_stretches, parse_threshold
from ml_backend.labelstudio import NO_CLASS, labelling_config
from ml_backend.recordings import GivenLabel, read_given_labels
from training.dataset import read_dataset

NAMES = ("null", "walking", "sit ups, fast")
stretches = st.lists(
    st.tuples(st.floats(0, 900), st.floats(0.01, 900), st.integers(0, 2)).map(
        lambda one: LabelledStretch("session", round(one[0], 3), round(one[0] + one[1] + 0.01, 3), one[2], 0.5)
    ),
    min_size=1,
    max_size=8,
)


@given(stretches)
@effort(max_examples=25, deadline=None)
def test_what_an_export_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, own: list[LabelledStretch]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    write_intervals({"p01": own}, NAMES, folder / "intervals.csv")
    expected = [GivenLabel(one.start_seconds, one.end_seconds, NAMES[one.label], "p01", "session") for one in own]
    assert read_given_labels(folder / "intervals.csv") == expected
    recording = recording_of(folder, "p01")
    write_elan("p01", recording, own, NAMES, folder / "one.eaf", folder)
    found = read_given_labels(folder / "one.eaf")
    assert [(one.start_seconds, one.end_seconds, one.name) for one in found] == [
        (one.start_seconds, one.end_seconds, one.name) for one in expected
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("start,end,label\n1,2.5,walking\n2.5,4,\n", [(1, 2.5, "walking"), (2.5, 4, "null")]),
        ("Beginn;Ende;Aktivität\n0,5;3,25;gehen\n", [(0.5, 3.25, "gehen")]),
        ("onset\toffset\tclass\n0:00:01.5\t1:02:03\twalking\n", [(1.5, 3723, "walking")]),
        ("start,end,label\n1,2,7\n", [(1, 2, "7")]),
    ],
)
def test_tables_of_intervals_are_read_as_labs_write_them(
    tmp_path: Path, text: str, expected: list[tuple[float, float, str]]
) -> None:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    found = read_given_labels(tmp_path / "labels.csv")
    assert [(one.start_seconds, one.end_seconds, one.name) for one in found] == expected


ELAN = """<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="500"/>
<TIME_SLOT TIME_SLOT_ID="b"{}/></TIME_ORDER>{}</ANNOTATION_DOCUMENT>"""
TIER = """<TIER TIER_ID="{}"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="a"
TIME_SLOT_REF2="b"><ANNOTATION_VALUE>walking</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"""


@pytest.mark.parametrize(
    ("name", "text", "tier", "said"),
    [
        ("a.csv", "begin,label\n1,walking\n", "", "no column for the end; call it end_seconds"),
        ("a.csv", "start,end,label\n3,2,walking\n", "", "from 3 to 2 s"),
        ("a.csv", "start,end,label\n-1,2,walking\n", "", "from -1 to 2 s"),
        ("a.csv", "start,end,label\n1,2,walking\n2,later,jogging\n", "", "later"),
        ("a.csv", "start,end,label\n", "", "a.csv"),
        ("a.eaf", "no document", "", "is no document of ELAN"),
        ("a.eaf", ELAN.format(' TIME_VALUE="900"', TIER.format("x") + TIER.format("y")), "", "--tier: x, y"),
        ("a.eaf", ELAN.format(' TIME_VALUE="900"', TIER.format("x")), "z", "--tier: x"),
        ("a.eaf", ELAN.format("", TIER.format("x")), "", "annotation 'a1' has no time"),
        ("a.eaf", ELAN.format("", ""), "", "it has none"),
        ("missing.eaf", None, "", "missing.eaf"),
    ],
)
def test_what_is_wrong_with_a_file_of_labels_is_said(
    tmp_path: Path, name: str, text: str | None, tier: str, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(WeakHARError, match=said) as error:
        read_given_labels(tmp_path / name, tier)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def clustered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder in which the videos of p01/session and p02/session are clustered."""
    videos = {"p01": {"session": "1" * 32}, "p02": {"session": "2" * 32}}
    places = {"1" * 32: [("p01", "session")], "2" * 32: [("p02", "session")]}
    monkeypatch.setattr("ml_backend.jobs.imports.participants_of", lambda _folder: list(videos))
    monkeypatch.setattr("ml_backend.jobs.imports.videos_clustered", lambda _folder, who: videos[who])
    monkeypatch.setattr("ml_backend.jobs.answers.places_of_videos", lambda _folder: places)
    folder = tmp_path / "models" / "clusters" / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def used(store: Store, clustered: Path) -> Callable[..., GivenAnswers]:
    """What of the answers is used where the project has such classes."""

    def look(*classes: str) -> GivenAnswers:
        store.save_project(1, label_config=labelling_config(list(classes or CLASSES.names)))
        return given_answers(store, clustered, store.project(1))

    return look


def test_labels_are_taken_over_replaced_forgotten_and_taken_back(
    clustered: Path, used: Callable[..., GivenAnswers], tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(
        "start,end,label,participant,recording\n1,5,gehen,p01,session\n5,9,jogging,p02,session\n6,7,x,p01,session\n"
    )
    with pytest.raises(WeakHARError, match=r"'gehen' \(1 times\), 'x' \(1 times\) is no class .* --map"):
        import_labels(clustered, file, CLASSES)
    assert used().answers == []
    for _ in range(2):
        found = import_labels(clustered, file, CLASSES, meant={"gehen": "walking", "x": ""})
        assert (found.intervals, found.seconds, found.left_out) == (2, 8.0, 1)
    answers = used().answers
    assert [(one.participant, one.start_seconds, one.choice, one.source) for one in answers] == [
        ("p01", 1.0, "walking", IMPORTED),
        ("p02", 5.0, "jogging", IMPORTED),
    ]
    (tmp_path / "of p01.csv").write_text("start,end,label,participant,recording\n1,5,walking,p01,session\n")
    import_labels(clustered, tmp_path / "of p01.csv", CLASSES)
    forget_imported(clustered, "p01")
    assert len(list((clustered / "imported").iterdir())) == 1
    assert [one.participant for one in used().answers] == ["p02"]
    with pytest.raises(WeakHARError, match=r"other\.csv: .* imported are: labels\.csv"):
        drop_imported(clustered, Path("other.csv"))
    drop_imported(clustered, Path("labels.csv"))
    assert used().answers == []


def task(number: int, data: dict[str, object], *results: tuple[str, str, dict[str, object]]) -> dict[str, object]:
    """As Label Studio exports it, with an earlier annotation and a cancelled one that do not count."""
    own = [{"from_name": name, "type": kind, "value": value} for name, kind, value in results]
    other = [{"from_name": "activity", "type": "choices", "value": {"choices": ["null"]}}]
    return {
        "id": number,
        "data": data,
        "annotations": [
            {"updated_at": "2026-01-01T00:00:00Z", "result": other},
            {"updated_at": "2026-02-01T00:00:00Z", "result": own},
            {"updated_at": "2026-03-01T00:00:00Z", "result": other, "was_cancelled": True},
        ],
    }


CLIP = {"participant": "p01", "recording": "session", "start_seconds": 12.0, "end_seconds": 16.0, "html": "<video/>"}


@pytest.mark.parametrize(
    ("data", "result", "expected"),
    [
        (CLIP, ("activity", "choices", {"choices": ["walking"]}), (12.0, 16.0, "p01", "session")),
        (
            {"imu": "/data/upload/3/0a1b2c3d-p02-session.csv"},
            ("t", "timeserieslabels", {"start": 3, "end": 9.5, "timeserieslabels": ["walking"]}),
            (3.0, 9.5, "", "p02-session"),
        ),
        (
            {**CLIP, "video": "x.mp4"},
            ("t", "timelinelabels", {"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["walking"]}),
            (12.0, 14.0, "p01", "session"),
        ),
        (
            {"audio": "https://host/a/session.wav?x=1"},
            ("t", "labels", {"start": 0.5, "end": 1, "labels": ["walking"]}),
            (0.5, 1.0, "", "session"),
        ),
    ],
)
def test_an_earlier_project_of_label_studio_is_read(
    tmp_path: Path,
    data: dict[str, object],
    result: tuple[str, str, dict[str, object]],
    expected: tuple[float, float, str, str],
) -> None:
    (tmp_path / "project.json").write_text(json.dumps([task(1, data, result), {**task(2, data), "annotations": []}]))
    (found,) = read_given_labels(tmp_path / "project.json", frame_rate=25)
    start, end, *where = expected
    assert found == GivenLabel(start, end, "walking", *where)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ('[{"id": 1, "clip": "x", "activity": "walking"}]', "export it as JSON, not JSON-MIN"),
        (
            [task(7, {"video": "a.mp4"}, ("a", "choices", {"choices": ["walking"]}))],
            "task 7 has a choice but no start",
        ),
        (
            [task(7, CLIP, ("t", "timelinelabels", {"ranges": [{"start": 1, "end": 9}], "timelinelabels": ["x"]}))],
            "task 7 counts frames; say by --frame-rate",
        ),
        (
            [task(7, CLIP, ("a", "choices", {"choices": ["x"]}), ("b", "choices", {"choices": ["y"]}))],
            "several controls were labelled; name one with --tier: a, b",
        ),
        (
            [task(7, {}, ("t", "timeserieslabels", {"start": "2020", "end": None, "timeserieslabels": ["x"]}))],
            "'None' is no time",
        ),
        ([task(7, CLIP)], "holds no interval with a label"),
        (
            [
                task(
                    7,
                    {},
                    (
                        "t",
                        "timeserieslabels",
                        {"start": 1592250751951, "end": 1592250761951, "timeserieslabels": ["x"]},
                    ),
                )
            ],
            "write seconds since the video's start",
        ),
        ([{"id": 1, "data": {}, "annotations": None}], "holds no interval with a label"),
    ],
)
def test_a_project_that_cannot_be_understood_says_why(tmp_path: Path, content: object, said: str) -> None:
    file = tmp_path / "project.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(WeakHARError, match=re.escape(said)) as error:
        read_given_labels(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_only_the_control_that_is_asked_for_is_understood(tmp_path: Path) -> None:
    region = {"start": 3, "end": 9.5}
    results = (
        ("label", "timeserieslabels", {**region, "timeserieslabels": ["walking"]}),
        ("quality", "choices", {**region, "choices": ["good"]}),
        ("timeline", "timelinelabels", {"ranges": [{"start": 1, "end": 2}], "timelinelabels": ["walking"]}),
    )
    (tmp_path / "project.json").write_text(json.dumps([task(1, {"imu": "a.csv"}, *results)]))
    (found,) = read_given_labels(tmp_path / "project.json", "label")
    assert (found.start_seconds, found.end_seconds) == (3.0, 9.5)


def test_a_projects_tasks_find_their_recordings(clustered: Path, tmp_path: Path) -> None:
    file = tmp_path / "project.json"
    shown = {"imu": "/data/upload/3/0a1b2c3d-p02-session.csv"}
    region = ("t", "timeserieslabels", {"start": 3, "end": 9.5, "timeserieslabels": ["walking"]})
    file.write_text(json.dumps([task(1, shown, region)]))
    assert import_labels(clustered, file, CLASSES).seconds == 6.5
    file.write_text(json.dumps([task(1, {"imu": "/data/session.csv"}, region)]))
    with pytest.raises(WeakHARError, match="does not say of which recording it is; name one with --recording"):
        import_labels(clustered, file, CLASSES)


def test_what_was_imported_and_cannot_be_used_is_named(
    clustered: Path, used: Callable[..., GivenAnswers], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "labels.csv"
    rows = ("1,5,walking,p01,session", "5,9,jogging,p02,session", "9,12,null,p02,session")
    file.write_text("\n".join(["start,end,label,participant,recording", *rows]))
    import_labels(clustered, file, CLASSES)
    assert (used().not_understood, used().gone) == ([], [])
    fewer = used("walking", "null")
    assert [one.choice for one in fewer.answers] == ["walking", "null"]
    (unknown,) = fewer.not_understood
    assert unknown.choice == "jogging"
    assert str(unknown).startswith("labels.csv (p02/session, 5.0 to 9.0 s): 'jogging' is no class")
    store.set_meaning(1, "jogging", "walking")
    assert [one.choice for one in used("walking", "null").answers] == ["walking", "walking", "null"]
    store.set_meaning(1, "jogging", NO_CLASS)
    nothing = used("walking", "null")
    assert ([one.choice for one in nothing.answers], nothing.not_understood) == (["walking", "null"], [])
    monkeypatch.setattr("ml_backend.jobs.answers.places_of_videos", lambda _folder: {"1" * 32: [("p03", "other")]})
    moved = used()
    assert [(one.participant, one.recording) for one in moved.answers] == [("p03", "other")]
    assert [str(one).split(":")[0] for one in moved.gone] == [
        "labels.csv (p02/session, 5.0 to 9.0 s)",
        "labels.csv (p02/session, 9.0 to 12.0 s)",
    ]


def test_the_recordings_own_labels_are_taken_over_on_request(
    clustered: Path, used: Callable[..., GivenAnswers], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"session": [(0.0, 5.0, "walking"), (5.0, 5.0, "null"), (5.0, 9.0, "null")]}
    monkeypatch.setattr("ml_backend.jobs.imports.truth_of", lambda folder: own if folder.name == "p01" else {})
    assert import_labels(clustered, None, CLASSES).intervals == 2
    assert [one.choice for one in used().answers] == ["walking", "null"]
    drop_imported(clustered, None)
    assert used().answers == []
    monkeypatch.setattr("ml_backend.jobs.imports.truth_of", lambda _folder: {})
    with pytest.raises(WeakHARError, match="bring no labels"):
        import_labels(clustered, None, CLASSES)


def test_a_file_that_does_not_say_its_recording_is_asked_for_it(clustered: Path, tmp_path: Path) -> None:
    (tmp_path / "session.csv").write_text("start,end,label\n1,5,walking\n")
    with pytest.raises(
        WeakHARError, match="does not say of which recording it is; name one with --recording: p01/ses"
    ):
        import_labels(clustered, tmp_path / "session.csv", CLASSES)
    with pytest.raises(WeakHARError, match="'p03/session' is no recording of the project"):
        import_labels(clustered, tmp_path / "session.csv", CLASSES, "p03/session")
    assert import_labels(clustered, tmp_path / "session.csv", CLASSES, "p02/session").intervals == 1
    (tmp_path / "p02-session.csv").write_text("start,end,label,video\n1,5,walking,GX010001.mp4\n")
    assert import_labels(clustered, tmp_path / "p02-session.csv", CLASSES).intervals == 1
    (tmp_path / "p01-session.csv").write_text("start,end,label\n1,5,walking\n")
    assert import_labels(clustered, tmp_path / "p01-session.csv", CLASSES).intervals == 1


def test_imported_labels_are_exact_below_reviews_and_count_where_nobody_was_asked(
    sample_root: Path, tmp_path: Path
) -> None:
    def given_elsewhere(start: float, end: float, name: str) -> Answer:
        return Answer("p01", "session", start, end, name, source=IMPORTED, at=5.0)

    own = [given_elsewhere(0.0, 3.3, "null"), given_elsewhere(20.0, 33.3, "null")]
    review = Answer("p01", "session", 30.0, 33.0, "walking", source=REVIEW, at=1.0)
    labels = labelled("temporal", answers=[*ANSWERS, *own, review])
    assert CLASSES.names[labels.said[25]] == "jogging"  # who was asked about the clip looked at it
    assert CLASSES.names[labels.said[21]] == "null"
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    write_export([labels], recordings, CLASSES.names, parameters, parse_threshold("5%"), tmp_path / "out")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "samples" / "p01.parquet").to_pandas()
    for start, end, name, source in (
        (0.0, 3.3, "null", "imported"),
        (20.0, 30.0, "null", "imported"),
        (30.0, 33.0, "walking", "reviewed"),
        (33.0, 33.3, "null", "imported"),
    ):
        part = table[(table.time >= start) & (table.time < end)]
        assert set(part.label) == {name}
        assert set(part.source) == {source}
        assert (part.confidence == 1).all()
    assert "imported" not in set(table[(table.time >= 3.3) & (table.time < 20)].source)
    (p01,) = read_dataset(tmp_path / "out").participants
    assert p01.annotated is not None
    np.testing.assert_array_equal(p01.annotated, np.isin(table.source, ["annotated", "reviewed", "imported"]))
    found = [one for one in labelled_stretches(labels, labels.propagated) if one.start_seconds == 30.0]
    assert [(one.end_seconds, CLASSES.names[one.label]) for one in found] == [(33.0, "walking")]
