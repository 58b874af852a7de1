"""A project's labels as pages and exports ask for them: remembered, and made anew when anything of them changes."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_backend.clusters import (
    ParticipantWork,
    cluster_participant,
    list_participants,
    load_clustering,
    participant_folder,
    write_features,
)
from ml_backend.errors import ConfigError
from ml_backend.jobs import Jobs, Store, clusters_folder, labelled, project_labels
from ml_backend.labelstudio import Given, TaskAnswer, task_meta
from ml_backend.recordings import CheckedRecording, ImuFile, ImuFormat, Recording, VideoInfo
from ml_backend.settings import Parameters, Settings
from ml_backend.web import report
from ml_backend.web.app import create_app
from ml_backend.web.protocol import predictions
from ml_backend.web.report import Part, project_report

CLASSES = ("walking", "jogging", "squats")
CLIPS = 120


def chosen(name: str) -> Given:
    return (("a", ((name,),)),)


@pytest.fixture
def project(store: Store, settings: Settings) -> list[TaskAnswer]:
    """Two participants alike, whose clusters are all answered; returns the answers."""
    choices = "".join(f"<Choice value='{name}'/>" for name in CLASSES)
    config = f"<View><HyperText name='clip' value='$html'/><Choices name='a' toName='clip'>{choices}</Choices></View>"
    store.save_project(1, label_config=config, parameters="{}")
    folder, looks = clusters_folder(settings, 1), 0.7 * np.random.default_rng(0).normal(size=(3, 16))
    answers = []
    for number, name in enumerate(("p1", "p2")):
        random = np.random.default_rng(number)
        truth = np.repeat(random.permutation(np.arange(12) % 3), CLIPS // 12)
        vectors = (looks[truth] + random.normal(size=(CLIPS, 16))).astype(np.float32)
        recording = Recording(name, "r", Path("r.mp4"), (ImuFile(Path("r.csv"), ImuFormat()),))
        checked = CheckedRecording(recording, VideoInfo(CLIPS + 3.0, 640, 480, 25.0, "h264"), None, CLIPS, 0.0)
        work = ParticipantWork(participant_folder(folder, name), [checked], [np.arange(float(CLIPS))], {})
        cluster_participant(Parameters(components=15), work, vectors)
        write_features(work, None, None)
        clustering = load_clustering(folder, name)
        asked = [int(clip) for clip in clustering.centroids if clip >= 0]
        tasks = [(1000 * number + clip, name, clustering.key(clip)) for clip in asked]
        store.add_tasks(1, tasks)
        answers += [
            TaskAnswer(task, task, chosen(CLASSES[truth[clip]]), skipped=False, updated_at=1.0)
            for (task, _, _), clip in zip(tasks, asked, strict=True)
        ]
    for one in answers:
        store.upsert_annotation(1, one)
    list_participants(folder, ("p1", "p2"))
    return answers


def propagated(store: Store, settings: Settings) -> list[list[int]]:
    return [labels.propagated.tolist() for labels in project_labels(store, settings, 1)]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The participants whose labels are made, one after another."""
    made: list[str] = []
    really = labelled.participant_labels
    monkeypatch.setattr(
        labelled, "participant_labels", lambda *given: made.append(given[0].participant) or really(*given)
    )
    return made


def test_labels_are_remembered_until_an_answer_changes(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = counted(monkeypatch)
    before = propagated(store, settings)
    assert propagated(store, settings) == before
    assert made == ["p1", "p2"]  # once a participant, not once a call
    other = CLASSES[1] if project[0].given == chosen(CLASSES[0]) else CLASSES[0]
    store.upsert_annotation(1, replace(project[0], given=chosen(other), updated_at=2.0))
    assert propagated(store, settings) != before
    assert made == ["p1", "p2"] * 2  # they inform each other


def test_where_nobody_informs_others_an_answer_makes_the_labels_of_its_participant_alone(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_project(1, parameters=json.dumps({"across_participants": False}))
    made = counted(monkeypatch)
    before = list(project_labels(store, settings, 1))
    last = project[-1]
    other = CLASSES[1] if last.given == chosen(CLASSES[0]) else CLASSES[0]
    store.upsert_annotation(1, replace(last, given=chosen(other), updated_at=2.0))
    after = list(project_labels(store, settings, 1))
    assert made == ["p1", "p2", "p2"]
    assert after[0] is before[0]
    assert after[1].said.tolist() != before[1].said.tolist()


def test_to_suggest_a_class_labels_are_made_of_who_is_asked_about(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    store.save_project(1, parameters=json.dumps({"suggest": True}))
    (ours, *_) = [task for task in store.tasks(1) if task.participant == "p2"]
    made = counted(monkeypatch)
    asked = [{"id": 1, "meta": task_meta(name, ours.clip)} for name in ("p2", "p3")]
    (one,), nothing = predictions(store, settings, 1, asked)
    assert one["result"][0]["value"]["choices"][0] in CLASSES
    assert nothing == []
    assert made == ["p2"]


def test_other_projects_looked_at_meanwhile_make_nothing_anew(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    really, asked = labelled.others_of, []
    monkeypatch.setattr(labelled, "others_of", lambda *given: asked.append(1) or really(*given))
    labels = project_labels(store, settings, 1)
    first = labels[0]
    for other in range(labelled.PROJECTS_HELD):
        labelled._others[settings.model_dir, str(other), ""] = (), None
    labelled._others.popitem(last=False)
    assert labels[0] is first
    assert labels[1].from_others > 0
    assert len(asked) == 1


def test_nothing_is_held_of_who_is_forgotten_and_no_mistake_ends_the_list_early(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    folder = clusters_folder(settings, 1)
    project_report(store, settings, store.project(1))
    assert {place[3] for place in labelled._held if place[0] == folder} == {"p1", "p2"}
    late = project_labels(store, settings, 1)
    shutil.rmtree(participant_folder(folder, "p2"))
    list_participants(folder, ["p1"])
    project_report(store, settings, store.project(1))
    assert {place[3] for place in labelled._held if place[0] == folder} == {"p1"}
    assert {name for where, name in report._stretches if where == folder} == {"p1"}
    with pytest.raises(ConfigError, match="p2: its clusters were made anew, or forgotten, meanwhile; try again"):
        list(late)
    assert not participant_folder(folder, "p2").exists()

    def mistaken(*_: object) -> None:
        raise IndexError

    labelled._held.clear()
    monkeypatch.setattr(labelled, "participant_labels", mistaken)
    with pytest.raises(IndexError):
        list(project_labels(store, settings, 1))


def test_more_labels_than_there_is_room_for_are_made_when_they_are_looked_at(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project
    all_held = list(project_labels(store, settings, 1))
    monkeypatch.setattr(labelled, "HELD_CLIPS", CLIPS)
    labelled._held.clear()
    labelled._others.clear()
    made = counted(monkeypatch)
    labels = project_labels(store, settings, 1)
    assert made == []
    assert labels.participants == ("p1", "p2")
    for _ in range(2):
        for own, held in zip(labels, all_held, strict=True):
            assert len(labelled._held) == 1
            assert own.propagated.tolist() == held.propagated.tolist()
            assert own.confidence.tolist() == held.confidence.tolist()
    assert made == ["p1", "p2"] * 2
    assert labels[1] is labels[-1]
    assert [one.clustering.participant for one in labels[:2]] == ["p1", "p2"]


@pytest.mark.usefixtures("project")
def test_a_class_a_parameter_or_new_clusters_make_labels_anew(store: Store, settings: Settings) -> None:
    first = project_labels(store, settings, 1)
    assert first[0].from_others > 0
    store.save_project(1, parameters=json.dumps({"across_participants": False}))
    alone = project_labels(store, settings, 1)[0]
    assert alone.from_others == 0
    config = store.project(1).label_config
    store.save_project(1, label_config=config.replace("'walking'", "'strolling'"))
    renamed = project_labels(store, settings, 1)
    assert renamed[0].answered < alone.answered
    store.save_project(1, label_config=config)
    features = participant_folder(clusters_folder(settings, 1), "p1") / "features.npz"
    os.utime(features, ns=(1, 1))
    held = project_labels(store, settings, 1)[0]
    assert held is not alone
    assert project_labels(store, settings, 1)[0] is held


def test_a_temperature_is_found_once_for_the_same_answers(
    store: Store, settings: Settings, project: list[TaskAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(project_labels(store, settings, 1))
    kept = participant_folder(clusters_folder(settings, 1), "p1") / "temperature.json"
    assert json.loads(kept.read_text())["temperature"] == found[0].temperature
    assert found[0].temperature is not None
    labelled._held.clear()  # as in another process

    def never(*_: object) -> float:
        raise AssertionError("the temperature is known")

    monkeypatch.setattr("ml_backend.labels.labelling.temperature", never)
    assert [labels.temperature for labels in project_labels(store, settings, 1)] == [one.temperature for one in found]
    store.upsert_annotation(1, replace(project[0], given=(), skipped=True, updated_at=2.0))
    with pytest.raises(AssertionError, match="the temperature is known"):
        list(project_labels(store, settings, 1))


def test_the_page_says_how_many_labels_should_be_right(
    store: Store, settings: Settings, project: list[TaskAnswer]
) -> None:
    page = project_report(store, settings, store.project(1)).participants[0]
    labels = project_labels(store, settings, 1)[0]
    assert page.calibrated
    assert page.expected == pytest.approx(labels.confidence.mean())
    assert page.mark is not None
    curve = np.array([point.split(",") for point in page.curve.split()], dtype=float)
    assert curve[-1] == pytest.approx(page.mark, abs=0.1)  # without a threshold all clips are kept
    assert (np.diff(curve[:, 1]) >= -0.11).all()  # further down, the more are kept
    store.save_project(1, parameters=json.dumps({"threshold": "p0.999"}))
    strict = project_report(store, settings, store.project(1)).participants[0]
    assert strict.coverage < page.coverage
    assert strict.expected is not None
    assert strict.expected >= 0.999
    for one in project[:12]:  # three answers are too few to calibrate by
        store.upsert_annotation(1, replace(one, given=(), skipped=True, updated_at=2.0))
    assert not project_report(store, settings, store.project(1)).participants[0].calibrated


def test_the_page_says_minutes_by_class_and_how_long_the_rest_will_take(
    store: Store, settings: Settings, project: list[TaskAnswer]
) -> None:
    report = project_report(store, settings, store.project(1))
    strips = [strip for participant in report.participants for strip in participant.strips]
    drawn = sum(width * strip.seconds / 100 for strip in strips for _, width, *_ in strip.stretches)
    assert sum(report.minutes.values()) == pytest.approx(drawn / 60)
    assert report.left == ""  # nobody's pace is known
    for number, one in enumerate(project):
        store.upsert_annotation(1, replace(one, seconds=6.0 if number else 3600.0, updated_at=2.0))
    missing = report.counts["tasks"] - report.counts["tasks_annotated"]
    store.add_tasks(1, [(10_000 + number, "p1", f"s|{number}.000|{number}.500") for number in range(30 - missing)])
    assert project_report(store, settings, store.project(1)).left == "about 3 min left, at 6.0 s an answer"


def many(store: Store, settings: Settings, names: list[str]) -> None:
    """Participants of the project who look like its first one."""
    folder = clusters_folder(settings, 1)
    for name in names:
        shutil.copytree(participant_folder(folder, "p1"), participant_folder(folder, name))
        with np.load(participant_folder(folder, name) / "clustering.npz") as arrays:
            saved = {**{key: arrays[key] for key in arrays.files}, "participant": np.array(name)}
        np.savez(participant_folder(folder, name) / "clustering.npz", **saved)
    list_participants(folder, ["p1", "p2", *names])
    store.save_project(1, parameters=json.dumps({"across_participants": False}))


@pytest.mark.usefixtures("project")
def test_a_page_shows_twenty_participants_and_finds_others_by_name(store: Store, settings: Settings) -> None:
    many(store, settings, [f"q{number:02}" for number in range(43)])
    project = store.project(1)
    whole = project_report(store, settings, project)
    assert len(whole.participants) == 45
    first, third, beyond = (project_report(store, settings, project, Part(number)) for number in (1, 3, 99))
    assert [one.name for one in first.participants] == [one.name for one in whole.participants][:20]
    assert [one.name for one in third.participants] == [f"q{number}" for number in range(38, 43)]
    assert beyond == third
    assert first.minutes == third.minutes == whole.minutes
    assert first.complete == 2
    web = create_app(settings, store, Jobs(settings, store)).test_client()
    text = web.get("/?project=1&page=2").text
    assert text.count("<article>") == 20
    assert "45 participants, all clusters labelled of 2" in text
    assert 'page 2 of 3 <a href="?project=1&amp;page=3&amp;find=">on</a>' in text
    found = web.get("/?project=1&find=Q4").text
    assert found.count("<article>") == 3
    assert "3 of 45 participants" in found
    nobody = web.get("/?project=1&find=%3Cb%3E").text
    assert 'nobody\'s name holds "&lt;b&gt;"' in nobody
    assert "<button>Export</button>" in nobody
    assert web.get("/?project=1&page=x").get_json() == {"error": "/: page: 'x' is no number of one"}


@pytest.mark.usefixtures("project")
def test_few_participants_are_one_page_without_its_number(store: Store, settings: Settings) -> None:
    text = create_app(settings, store, Jobs(settings, store)).test_client().get("/").text
    assert text.count("<article>") == 2
    assert 'name="find"' not in text
