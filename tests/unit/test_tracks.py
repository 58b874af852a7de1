"""Two things said of each clip, an activity and a posture: asked in one go, propagated each by itself, exported side
by side, and either can be trained on."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet
import pytest
from test_export import CLASSES, labelled, recording_of

from ml_backend.errors import ConfigError
from ml_backend.export import Track, write_export
from ml_backend.jobs import Store
from ml_backend.jobs.answers import given_answers
from ml_backend.labels import Answer, Classes, parse_threshold, participant_labels
from ml_backend.labelstudio import labelling_config, parse_label_config
from ml_backend.labelstudio.answers import answer_of
from ml_backend.recordings import Stretch, clip_key
from training.contract import COLUMNS
from training.dataset import read_dataset
from training.errors import TrainingError

POSTURES = ("sitting", "standing")
CONFIG = labelling_config(["walking", "jogging", "null"], {"posture": POSTURES})


def test_a_config_with_two_tracks_asks_both_in_one_go_each_key_once() -> None:
    root = ElementTree.fromstring(CONFIG)
    first, second = root.iter("Choices")
    assert (first.get("name"), second.get("name")) == ("activity", "posture")
    assert first.get("toName") == second.get("toName") == "clip"
    assert first.get("required") == second.get("required") == "true"
    keys = [choice.get("hotkey") for choice in root.iter("Choice") if choice.get("hotkey")]
    assert keys == ["1", "2", "3", "0", "4", "5"]
    config = parse_label_config(CONFIG)
    assert (config.classes.names, config.tracks) == (("walking", "jogging", "null"), ("posture",))
    posture = parse_label_config(CONFIG, track="posture")
    assert (posture.classes.names, posture.from_name) == (POSTURES, "posture")
    assert parse_label_config(labelling_config(["walking", "jogging"])).tracks == ()
    with pytest.raises(ConfigError, match="has no track 'place'; it has posture"):
        parse_label_config(CONFIG, track="place")


@pytest.mark.parametrize(
    ("tracks", "said"),
    [
        ({"my posture": POSTURES}, "track: 'my posture' is no name"),
        ({"activity": POSTURES}, "and not activity"),
        ({"posture": ["sitting"]}, "name two or more"),
        ({"posture": [f"p{number}" for number in range(40)]}, "are more than there are keys for"),
    ],
)
def test_what_cannot_be_a_track_is_refused(tracks: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        labelling_config(["walking", "jogging"], tracks)


def chosen(**by_control: str) -> list[dict[str, object]]:
    return [
        {"from_name": name, "to_name": "clip", "type": "choices", "value": {"choices": [choice]}}
        for name, choice in by_control.items()
    ]


def test_each_track_hears_what_was_chosen_in_its_control(store: Store, tmp_path: Path) -> None:
    store.save_project(1, label_config=CONFIG)
    results = (
        chosen(activity="walking", posture="standing"),
        chosen(activity="jogging"),
        chosen(activity="mixed / can't tell", posture="sitting"),
        chosen(activity="null", posture="mixed / can't tell"),
    )
    for number, result in enumerate(results):
        store.add_tasks(1, [(number, "p01", clip_key(Stretch("session", 4.0 * number, 4.0 * number + 4)))])
        store.upsert_annotation(1, answer_of({"id": number, "task": number, "result": result, "completed_by": 5}))
    project = store.project(1)
    activity, posture = (given_answers(store, tmp_path, project, track) for track in ("", "posture"))
    assert [one.choice for one in activity.answers] == ["walking", "jogging", "mixed / can't tell", "null"]
    assert activity.not_understood == []
    assert [(one.start_seconds, one.choice) for one in posture.answers] == [
        (0.0, "standing"),
        (8.0, "sitting"),
        (12.0, "mixed / can't tell"),
    ]


def test_tracks_are_exported_side_by_side_and_either_can_be_trained_on(sample_root: Path, tmp_path: Path) -> None:
    labels = labelled("temporal")
    said = {0: "sitting", 12: "standing", 25: "sitting"}
    answers = [Answer("p01", "session", float(clip), clip + 4.0, name, at=1.0) for clip, name in said.items()]
    postures = Classes(POSTURES, frozenset())
    posture = participant_labels(labels.clustering, answers, postures, "temporal", None)
    parameters = {"clip_seconds": 4.0, "stride_seconds": 1.0, "paper_exact": False}
    recordings = {"p01/session": recording_of(sample_root, "p01")}
    tracks = [Track("posture", POSTURES, [posture])]
    found = {}
    for name, own in (("one", []), ("both", tracks)):
        args = ([labels], recordings, CLASSES.names, parameters, parse_threshold("none"), tmp_path / name)
        write_export(*args, tracks=own)
        found[name] = pyarrow.parquet.read_table(tmp_path / name / "samples" / "p01.parquet")
    both = found["both"]
    assert both.select(found["one"].column_names).equals(found["one"])  # the first track is as it would be alone
    assert [name for name in both.column_names if name in COLUMNS] == [c for c in COLUMNS if c in both.column_names]
    table = both.to_pandas()
    watched = table[(table.time >= 12.5) & (table.time < 15.5)]
    assert set(watched.label_posture) == {"standing"}
    assert set(watched.source_posture) == {"annotated"}
    clips = pyarrow.parquet.read_table(tmp_path / "both" / "clips.parquet").to_pandas()
    assert clips.answer_posture.dropna().to_dict() == said
    assert "`label_posture`" in (tmp_path / "both" / "README.md").read_text()

    activity, other = read_dataset(tmp_path / "both"), read_dataset(tmp_path / "both", track="posture")
    assert set(activity.labels) >= set(CLASSES.names)
    assert other.labels == POSTURES
    (p01,) = other.participants
    assert p01.weak is not None
    np.testing.assert_array_equal(
        [POSTURES[number] if number >= 0 else None for number in p01.weak], table.label_posture.to_numpy(object)
    )
    assert p01.truth is None
    with pytest.raises(TrainingError, match=r"dataset\.json: has no track 'place'; it has posture"):
        read_dataset(tmp_path / "both", track="place")
    with pytest.raises(TrainingError, match="it has none"):
        read_dataset(tmp_path / "one", track="posture")
