"""Which pictures an answer is about, and what it says: used, not understood, or about pictures that are gone."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import pytest

from ml_backend.clusters import load_clustering, participant_folder, truth_of
from ml_backend.embeddings import embedders
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.files import content_key
from ml_backend.jobs import (
    Export,
    Jobs,
    Store,
    checked_parameters,
    clusters_folder,
    embed_and_cluster,
    export_project,
    exports,
    extra_params,
    news_of_classes,
    parameters_in_force,
    project_answers,
    project_labels,
    projects,
    usable_recordings,
)
from ml_backend.jobs.pipeline import adopt_tasks
from ml_backend.jobs.reconciliation import note_classes
from ml_backend.labelstudio import (
    CONFIGS,
    NO_CLASS,
    Offer,
    clip_of_task,
    labelling_config,
    parse_label_config,
    refresh,
)
from ml_backend.labelstudio.answers import answer_of
from ml_backend.labelstudio.tasks import rename_clip, task_data, task_meta
from ml_backend.recordings import ImuFormat, Stretch, clip_key, read_imu, stretch_of_key
from ml_backend.settings import Settings
from ml_backend.web import create_app
from ml_backend.web.report import project_report

CLASSES = ("standing", "walking", "jogging")


def config(*choices: str, more: str = "") -> str:
    body = "".join(choice if choice.startswith("<") else f'<Choice value="{choice}"/>' for choice in choices)
    control = f'<Choices name="activity" toName="clip">{body}</Choices>'
    return f'<View><HyperText name="clip" value="$html"/>{control}{more}</View>'


def said(*results: tuple[str, list[Any]]) -> Any:
    """What an annotation with these controls holds, as the store keeps it."""
    annotation = {
        "id": 1,
        "task": 1,
        "result": [{"type": "choices", "from_name": name, "value": {"choices": paths}} for name, paths in results],
    }
    return answer_of(annotation).given


POSTURE = '<Choices name="posture" toName="clip"><Choice value="upright"/><Choice value="lying"/></Choices>'
NESTED = (
    '<Choice value="sport"><Choice value="jogging"/><Choice value="other"/></Choice>',
    '<Choice value="home"><Choice value="cooking"/><Choice value="other"/></Choice>',
)


@pytest.mark.parametrize(
    ("choices", "given", "expected"),
    [
        (("walking", "jogging"), [("activity", ["walking"])], "walking"),
        (("walking", "jogging"), [("posture", ["upright"]), ("activity", ["walking"])], "walking"),
        (("walking", "jogging"), [("posture", ["upright"])], "answers 'posture', not 'activity'"),
        (("walking", "jogging"), [("activity", [])], "nothing is chosen"),
        (("walking", "jogging"), [], "nothing is chosen"),
        (("walking ", " jogging"), [("activity", ["walking "])], "walking"),
        (("caf\u00e9", "jogging"), [("activity", ["cafe\u0301"])], "caf\u00e9"),
        (("walking", "jogging"), [("activity", ["walking", "jogging"])], "names several choices: walking, jogging"),
        (("walking", "jogging"), [("activity", ["walking"]), ("activity", ["walking"])], "walking"),
        (
            ("walking", "jogging"),
            [("activity", ["squats"])],
            "'squats' is no class of the labelling config (any more)",
        ),
        (NESTED, [("activity", [["sport", "jogging"]])], "jogging"),
        (NESTED, [("activity", [["home", "other"]])], "home / other"),
        (NESTED, [("activity", ["jogging"])], "jogging"),
        (NESTED, [("activity", [["sport"]])], "'sport' is a group of choices and no class"),
        (NESTED, [("activity", ["other"])], "'other' is no class of the labelling config (any more)"),
        (("a", "b", "mixed martial arts"), [("activity", ["mixed martial arts"])], "mixed martial arts"),
        (("a", "b", "mixed / can't tell"), [("activity", ["mixed / can't tell"])], "mixed / can't tell"),
        (("a", "b", "Can\u2019t tell"), [("activity", ["Can\u2019t tell"])], "Can't tell"),
        (
            ("a", "b", '<Choice value="several things" alias="mixed"/>'),
            [("activity", ["mixed"])],
            "mixed",
        ),
    ],
)
def test_an_answer_names_a_class_or_none_or_is_not_understood(
    choices: tuple[str, ...], given: list[tuple[str, list[Any]]], expected: str
) -> None:
    own = parse_label_config(config(*choices, more=POSTURE))
    choice, problem = own.understood(said(*given))
    assert (choice or problem) == expected
    assert choice is None or choice in own.classes.names or choice in own.classes.mixed


def test_choices_may_mean_something_else_or_be_undecided() -> None:
    xml = config("walking", "running", "mixed activities")
    undecided = parse_label_config(xml, {"mixed activities": None, "jogging": "running"})
    assert undecided.classes.names == ("walking", "running")
    assert undecided.understood(said(("activity", ["jogging"]))) == ("running", "")
    assert "may be a class" in undecided.understood(said(("activity", ["mixed activities"])))[1]
    none = parse_label_config(xml, {"mixed activities": NO_CLASS})
    assert none.understood(said(("activity", ["mixed activities"])))[0] in none.classes.mixed
    own = parse_label_config(xml, {"mixed activities": "mixed activities"})
    assert own.understood(said(("activity", ["mixed activities"]))) == ("mixed activities", "")
    assert own.classes.names == ("walking", "running", "mixed activities")


def test_results_of_any_shape_are_read() -> None:
    for result in (None, [], [7], [{"type": "choices"}], [{"type": "rating", "value": {"rating": 3}}]):
        assert answer_of({"id": 1, "task": {"id": 3}, "result": result}).given == ()


def test_a_key_names_a_stretch_of_a_videos_content() -> None:
    for name in ("walk", "a|b", "x|1.000|2.000"):
        for video in ("", "0" * 31 + "a"):
            stretch = Stretch(name, 1.0, 5.0, video)
            assert stretch_of_key(clip_key(stretch)) == stretch
    assert stretch_of_key("r|0.000|4.000") == ("r", 0.0, 4.0, "")


class Tasks:
    """Label Studio's side of tasks, as far as keys are written into them."""

    def __init__(self) -> None:
        self.written: dict[int, str] = {}

    def update_task(self, task: int, _data: object, meta: dict[str, Any]) -> None:
        self.written[task] = meta["weakhar"]["clip"]


@pytest.fixture
def study(store: Store, settings: Settings, dataset: Path, embedded: Path) -> Path:
    """The sample recordings as a project's, embedded already, whose jobs `job` runs."""
    shutil.copytree(embedded, settings.model_dir, dirs_exist_ok=True)
    overrides = {"dataset": "study", "components": 4, "propagation": "cluster"}
    store.save_project(1, label_config=config(*CLASSES), parameters=json.dumps(overrides), dataset=str(dataset))
    return dataset


def job(store: Store, settings: Settings, client: Tasks, study: Path, known: bool = True) -> tuple[str, ...]:
    """What a job does beside tasks: cluster, and write into tasks which video they are about."""
    folder = clusters_folder(settings, 1)
    parameters = checked_parameters(settings, {"components": 4})
    checked, _ = usable_recordings(study, parameters)
    embed_and_cluster(settings, folder, parameters, checked, lambda *_: None)
    tasks = [
        {"id": task.id, "data": {}, "meta": {"weakhar": {"participant": task.participant, "clip": task.clip}}}
        for task in store.tasks(1)
    ]
    said = adopt_tasks(store, settings, client, 1, parameters, checked, tasks)  # type: ignore[arg-type]
    assert all(clip_of_task(task) for task in tasks)
    return said if known else ()


def answer_first(
    store: Store, settings: Settings, participant: str, choice: str, number: int, video: bool = True
) -> None:
    """An answer to the participant's first centroid clip; without `video` as an older version wrote it."""
    clustering = load_clustering(clusters_folder(settings, 1), participant)
    stretch = clustering.stretch(int(clustering.centroids[0]))
    assert stretch.video
    store.add_tasks(1, [(number, participant, clip_key(stretch if video else stretch._replace(video="")))])
    annotation = {
        "id": number,
        "task": number,
        "result": [{"type": "choices", "from_name": "activity", "value": {"choices": [choice]}}],
    }
    store.upsert_annotation(1, answer_of({**annotation, "updated_at": "2024-05-01T12:00:00Z"}))


@pytest.fixture
def answered(store: Store, settings: Settings, study: Path) -> Path:
    """The first participant's folder; a job ran, and their first centroid clip shows walking."""
    job(store, settings, Tasks(), study)
    first = people(study)[0]
    answer_first(store, settings, first.name, "walking", 1)
    return first


def given(store: Store, settings: Settings) -> tuple[set[tuple[str, str | None]], int]:
    found = project_answers(store, settings, 1)
    return {(answer.participant, answer.choice) for answer in found.answers}, len(found.gone)


def people(study: Path) -> list[Path]:
    return sorted(path for path in study.iterdir() if path.is_dir())


@pytest.mark.parametrize("video", [True, False])
def test_answers_follow_their_pictures_when_folders_are_swapped(
    store: Store, settings: Settings, study: Path, video: bool
) -> None:
    client = Tasks()
    job(store, settings, client, study)
    first, second = people(study)
    if not video:
        (clusters_folder(settings, 1) / "videos_of_old_tasks.json").unlink(missing_ok=True)
    answer_first(store, settings, first.name, "walking", 1, video)
    answer_first(store, settings, second.name, "jogging", 2, video)
    assert given(store, settings) == ({(first.name, "walking"), (second.name, "jogging")}, 0)
    first.rename(study / "aside")
    second.rename(first)
    (study / "aside").rename(second)
    job(store, settings, client, study)
    assert given(store, settings) == ({(second.name, "walking"), (first.name, "jogging")}, 0)
    assert all(stretch_of_key(key).video for key in client.written.values())
    assert bool(client.written) != video  # tasks of older versions now say which video they are about


def remuxed(video: Path, seconds: float | None = None) -> None:
    """The same packets in another file, up to `seconds`."""
    target = video.with_suffix(".mkv")
    with av.open(str(video)) as source, av.open(str(target), "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or (seconds is not None and float(packet.pts * packet.time_base) >= seconds):
                continue
            packet.stream = stream
            output.mux(packet)
    target.replace(video)


def reencoded(video: Path, later: float) -> None:
    """The video trimmed at its start: other pictures at the same times."""
    from ml_backend.recordings import VideoWriter, sample_frames

    frames = [(time, image) for time, image in sample_frames(video, None) if time >= later]
    target = video.with_suffix(".new.mp4")
    with VideoWriter(target, frames[0][1].shape[1], frames[0][1].shape[0], 25) as writer:
        for time, image in frames:
            writer.write(image, time - frames[0][0])
    target.replace(video)


def test_a_file_that_was_only_remuxed_keeps_its_answers_and_that_is_said(
    store: Store, settings: Settings, study: Path, answered: Path
) -> None:
    client, first = Tasks(), answered
    video = next(first.glob("*.mp4"))
    old = content_key(video)
    remuxed(video)
    assert content_key(video) != old
    news = job(store, settings, client, study)
    assert [line.partition(":")[2] for line in news] == [
        " another file with the same pictures; 1 clips and their answers go on counting"
    ]
    assert stretch_of_key(client.written[1]).video == content_key(video)
    assert given(store, settings) == ({(first.name, "walking")}, 0)


def test_answers_to_pictures_that_are_gone_are_kept_counted_and_never_used(
    store: Store, settings: Settings, study: Path, answered: Path, tmp_path: Path
) -> None:
    client, first = Tasks(), answered
    video = next(first.glob("*.mp4"))
    kept = shutil.copy(video, tmp_path / "kept.mp4")
    reencoded(video, 3.0)
    with pytest.raises(RecordingError, match="is another video than the one that was clustered; run the job"):
        export_project(store, settings, 1, tmp_path / "out")
    assert job(store, settings, client, study) == ()
    assert given(store, settings) == (set(), 1)
    assert not any(labels.annotated.any() for labels in project_labels(store, settings, 1))
    description = export_project(store, settings, 1, tmp_path / "out")
    assert "its pictures are gone" in description["answers_to_pictures_that_are_gone"][0]
    shutil.copy(kept, video)  # the first video is back, and so is its answer
    job(store, settings, client, study)
    assert given(store, settings) == ({(first.name, "walking")}, 0)


def test_a_renamed_participant_takes_its_answers_along(
    store: Store, settings: Settings, study: Path, answered: Path
) -> None:
    client, first = Tasks(), answered
    first.rename(study / "somebody")
    job(store, settings, client, study)
    assert given(store, settings) == ({("somebody", "walking")}, 0)


def test_what_is_not_understood_is_listed_in_the_export_and_labels_nothing(
    store: Store, settings: Settings, study: Path, tmp_path: Path
) -> None:
    job(store, settings, Tasks(), study)
    first, second = people(study)
    answer_first(store, settings, first.name, "squats", 1)
    answer_first(store, settings, second.name, "walking", 2)
    description = export_project(store, settings, 1, tmp_path / "out")
    assert len(description["answers_not_understood"]) == 1
    assert "task 1" in description["answers_not_understood"][0]
    wanted = project_labels(store, settings, 1)[0].wanted
    assert len(wanted) == len({cluster for cluster, _ in wanted})  # no further clip is asked for
    store.save_project(1, meanings=json.dumps({"squats": "jogging"}))
    assert given(store, settings)[0] == {(first.name, "jogging"), (second.name, "walking")}


def test_an_export_states_the_parameters_that_made_the_clusters(
    store: Store, settings: Settings, study: Path, tmp_path: Path
) -> None:
    job(store, settings, Tasks(), study)
    store.save_project(1, parameters=json.dumps({"dataset": "study", "components": 9}))
    description = export_project(store, settings, 1, tmp_path / "out")
    assert description["components"] == 4
    assert any("components is 9 now, clusters were made with 4" in warning for warning in description["warnings"])


def test_extra_params_and_run_each_own_what_they_set(store: Store, settings: Settings) -> None:
    store.set_extra_params(1, extra_params(settings, {"components": 5}))
    store.save_project(1, set_parameters=json.dumps({"seed": 7, "components": 6}))
    store.set_extra_params(1, extra_params(settings, '{"components": 5}'))  # the Model page was opened

    def force() -> dict[str, tuple[Any, str]]:
        found = parameters_in_force(settings, store.project(1))
        return {name: (value, origin) for name, value, origin in found if origin != "default"}

    assert force() == {"components": (6, "weakhar run --set"), "seed": (7, "weakhar run --set")}
    store.set_extra_params(1, extra_params(settings, {"components": 8}))  # the admin changed it
    assert force() == {"components": (8, "Extra params"), "seed": (7, "weakhar run --set")}
    with pytest.raises(ConfigError, match="extra params"):
        extra_params(settings, {"seed": "x"})


def test_vectors_tell_whether_a_stretch_shows_the_same(settings: Settings, study: Path) -> None:
    parameters = checked_parameters(settings, {"components": 4})
    (part,) = embedders(settings, parameters)
    videos = [next(person.glob("*.mp4")) for person in people(study)]
    keys = [content_key(video) for video in videos]
    for video in videos:
        part.stored(video)
    assert part.shows_the_same(keys[0], videos[0], 4.0, 8.0)
    assert not part.shows_the_same(keys[1], videos[0], 4.0, 8.0)
    assert not part.shows_the_same("0" * 32, videos[0], 4.0, 8.0)
    remuxed(videos[0], seconds=20.0)
    part.stored(videos[0])
    assert part.shows_the_same(keys[0], videos[0], 4.0, 8.0)
    assert not part.shows_the_same(keys[0], videos[0], 30.0, 34.0)
    assert np.isfinite(part.stored(videos[0])[2]).all()


def test_a_class_that_comes_later_is_announced_with_the_answers_worth_giving_again(
    store: Store, settings: Settings, study: Path
) -> None:
    job(store, settings, Tasks(), study)
    note_classes(store, 1)
    store.save_project(1, label_config=config("standing", "walking", "rowing", "jogging"))
    note_classes(store, 1)
    assert json.loads(store.project(1).classes_seen)["added"] == []  # nobody has answered yet
    answer_first(store, settings, people(study)[0].name, "walking", 7)
    store.save_project(1, label_config=config("standing", "walking", "rowing", "squats", "jogging"))
    note_classes(store, 1)
    (news,) = news_of_classes(store, store.project(1), project_labels(store, settings, 1))
    assert "'squats' was added when people had begun to answer" in news
    assert "tasks 7" in news
    store.upsert_annotation(1, answer_of({"id": 8, "task": 7, "was_cancelled": True, "updated_at": "2025-05-01"}))
    store.delete_annotations(1, [7])  # skipped: it showed none of the former classes
    (news,) = news_of_classes(store, store.project(1), project_labels(store, settings, 1))
    assert "tasks 7" in news
    store.classes_are_known(1)
    assert news_of_classes(store, store.project(1), []) == ()


def test_the_page_shows_what_the_files_themselves_say_beneath_the_labels(
    store: Store, settings: Settings, answered: Path
) -> None:
    truth = truth_of(participant_folder(clusters_folder(settings, 1), answered.name))
    imu = read_imu(answered / "session.csv", ImuFormat())
    for time, label in zip(imu.times[::37], imu.labels[::37], strict=True):  # type: ignore[index]
        assert label in [name for start, end, name in truth["session"] if start <= time <= end]
    (page,) = project_report(store, settings, store.project(1)).participants[:1]
    assert [(start, end, name) for _, _, name, start, end in page.strips[0].truth] == truth["session"]
    assert 'class="strip truth"' in create_app(settings, store, Jobs(settings, store)).test_client().get("/").text


def test_an_export_that_takes_long_is_made_beside_requests(
    store: Store, settings: Settings, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(store, settings, Tasks(), study)
    on_ray = settings.model_copy(update={"ray_address": "127.0.0.1:9"})
    assert export_project(store, on_ray, 1, tmp_path / "out")["participants"]  # a cluster is reached later than that
    monkeypatch.setattr(projects, "AT_ONCE", 1.0)
    with pytest.raises(ConfigError, match=r"WEAKHAR_RAY_ADDRESS 127\.0\.0\.1:9: nothing answers there"):
        export_project(store, on_ray, 1, tmp_path / "out")
    web = create_app(settings, store, Jobs(settings, store)).test_client()
    answer = web.get("/export/1?threshold=50%25")
    assert (answer.status_code, answer.get_json()["state"]) == (202, "not started")
    answer = web.post("/export/1?threshold=50%25")
    assert (answer.status_code, answer.get_json()["state"]) == (202, "running")
    assert answer.get_json()["location"] == "/export/1?threshold=50%25&format=parquet"
    wanted = Export.of(settings, store.project(1), "50%")
    wanted.write(store, settings, noting=True)
    assert wanted.state()["total"] == 2
    wanted.note("done", 1, 1)
    answer = web.get("/export/1?threshold=50%25")
    assert answer.status_code == 200
    assert answer.mimetype == "application/zip"
    wanted.note("running")
    monkeypatch.setattr(exports, "STALE", -1.0)
    assert web.get("/export/1?threshold=50%25").get_json()["state"] == "failed"  # its worker was killed
    assert web.get("/export/1?format=csv").status_code == 400


def test_a_config_for_classes_of_any_name_is_read_back_with_a_key_for_each() -> None:
    names = ["null", '<walking> & "running"', "treppauf; schnell", *(f"class {number}" for number in range(20))]
    xml = labelling_config(names)
    assert parse_label_config(xml).classes.names == tuple(names)
    keys = re.findall(r'hotkey="(.)"', xml)
    assert len(set(keys)) == len(keys) == len(names) + 1
    assert "$participant" in xml
    styles = re.findall(r'style="(background[^"]*)"', xml)
    assert len(set(styles)) == len(styles) == len(names)  # a class is known by its colour


@pytest.mark.parametrize("name", ["looping_clip.xml", "video_player.xml"])
def test_the_preview_of_a_config_shows_no_field_undefined(name: str) -> None:
    xml = (CONFIGS / name).read_text(encoding="utf-8")
    sample = json.loads(xml[xml.index("<!-- {") + 5 : xml.index("} -->") + 1])["data"]
    fields = set(re.findall(r"\$(\w+)", xml)) - {"video"}  # for which Label Studio has a sample of its own
    assert fields == set(sample)
    assert all(sample.values())


def test_the_preview_is_the_same_whatever_the_classes() -> None:
    template = (CONFIGS / "looping_clip.xml").read_text(encoding="utf-8")
    assert labelling_config(["a", "b"]).split("<View>")[0] == template.split("<View>")[0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["walking"], "two or more"),
        (["walking", " walking"], "twice"),
        (["walking", ""], "is no name"),
        (["walking", "Mixed"], "always there"),
        ([str(number) for number in range(60)], "more than there are keys"),
    ],
)
def test_classes_that_cannot_be_are_refused_in_one_line(names: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        labelling_config(names)


@pytest.mark.parametrize("before", ["", "/ls", "https://lab.example/ls"])
def test_an_address_that_cloud_storage_shows_in_place_of_an_uploads_is_never_written_back(before: str) -> None:
    key = clip_key(Stretch("s", 4.0, 8.0, "0123456789abcdef0123456789abcdef"))
    offer = Offer("p", "s", Path("s.mp4"), 4.0, 8.0, 1, 7, 7.0, key)
    address = f"{urlsplit(before).path}/data/upload/1/x.mp4"
    stored = task_data(offer, address)
    shown = {**stored, "video": f"{before}/storage-data/uploaded/?filepath=upload/1/x.mp4"}
    task = {"id": 5, "data": shown, "meta": task_meta(*offer.shown_as)}
    written: list[dict[str, Any]] = []

    class Recorder:
        def update_task(self, _task: int, data: dict[str, Any], _meta: object) -> None:
            written.append(data)

    refresh(Recorder(), {offer.place: task}, {offer.place: offer})  # type: ignore[arg-type]
    assert written == []
    of_an_earlier_version = task_data(offer, shown["video"])
    refresh(Recorder(), {offer.place: {**task, "data": of_an_earlier_version}}, {offer.place: offer})  # type: ignore[arg-type]
    rename_clip(Recorder(), task, "p", key)  # type: ignore[arg-type]
    assert written == [stored, stored]
