"""Asking in rounds until labels are right enough: which clips, when the next round comes, and when one may stop."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ml_backend.clusters import (
    Clustering,
    ParticipantWork,
    cluster_participant,
    list_participants,
    participant_folder,
    write_features,
)
from ml_backend.errors import ConfigError
from ml_backend.jobs import (
    Jobs,
    Store,
    clusters_folder,
    project_answers,
    project_audit,
    project_labels,
    project_standing,
    round_is_due,
)
from ml_backend.jobs.audits import load_audit
from ml_backend.jobs.projects import project_parameters
from ml_backend.jobs.rounds import Standing, follow_target, in_rounds
from ml_backend.labels import Classes, in_order_of_cover, participant_labels
from ml_backend.labelstudio import Offer, TaskAnswer, labelling_config, offers_of
from ml_backend.recordings import CheckedRecording, ImuFile, ImuFormat, Recording, VideoInfo, stretch_of_key
from ml_backend.settings import Parameters, Settings
from ml_backend.web import create_app

CLASSES = ("walking", "jogging", "squats", "null")
CLIPS, CLUSTERS, ROUND = 400, 40, 8


@pytest.fixture
def truth(store: Store, settings: Settings) -> dict[str, np.ndarray]:
    """Two participants with 40 clusters each, and a target; what each clip shows."""
    parameters = f'{{"target": 0.8, "round_clips": {ROUND}, "across_participants": false}}'
    store.save_project(1, title="study", label_config=labelling_config(CLASSES), parameters=parameters)
    folder, looks = clusters_folder(settings, 1), 3.0 * np.random.default_rng(0).normal(size=(len(CLASSES), 16))
    found = {}
    for number, name in enumerate(("p1", "p2")):
        random = np.random.default_rng(number)
        shown = np.repeat(random.permutation(np.arange(20) % len(CLASSES)), CLIPS // 20)
        vectors = (looks[shown] + random.normal(size=(CLIPS, 16))).astype(np.float32)
        recording = Recording(name, "r", Path("r.mp4"), (ImuFile(Path("r.csv"), ImuFormat()),))
        checked = CheckedRecording(recording, VideoInfo(CLIPS + 3.0, 640, 480, 25.0, "h264"), None, CLIPS, 0.0)
        work = ParticipantWork(participant_folder(folder, name), [checked], [np.arange(float(CLIPS))], {})
        cluster_participant(Parameters(components=CLUSTERS), work, vectors)
        write_features(work, None, None)
        found[name] = shown
    list_participants(folder, list(found))
    return found


def due(store: Store, settings: Settings) -> list[Offer]:
    """The clips that should have tasks now."""
    everything = project_labels(store, settings, 1)
    videos = {f"{labels.clustering.participant}/r": Path("r.mp4") for labels in everything}
    offers = [offer for labels in everything for offer in offers_of(labels, videos)]
    return in_rounds(store, settings, 1, offers, everything)


class Annotator:
    """Makes tasks of clips and answers them by the truth, as Label Studio would tell."""

    def __init__(self, store: Store, truth: dict[str, np.ndarray]) -> None:
        self.store, self.truth, self.tasks, self.at = store, truth, 0, 1_700_000_000.0

    def ask(self, pairs: list[tuple[str, str]]) -> list[int]:
        known = {(task.participant, task.clip) for task in self.store.tasks(1)}
        new = [(self.tasks + number, *pair) for number, pair in enumerate(p for p in pairs if p not in known)]
        self.tasks += len(new)
        self.store.add_tasks(1, new)
        return [number for number, _, _ in new]

    def answer(self, tasks: list[int]) -> None:
        places = {task.id: task for task in self.store.tasks(1)}
        for number in tasks:
            shown = self.truth[places[number].participant][int(stretch_of_key(places[number].clip).start_seconds)]
            self.at += 5_000_000.0  # later than any audit was closed
            given = (("activity", ((CLASSES[shown],),)),)
            self.store.upsert_annotation(1, TaskAnswer(number, number, given, False, self.at))


def test_rounds_come_in_time_and_end_when_the_target_is_shown_to_be_reached(
    store: Store, settings: Settings, truth: dict[str, np.ndarray]
) -> None:
    person, project = Annotator(store, truth), store.project(1)
    first = person.ask([(one.participant, one.key) for one in due(store, settings)])
    assert len(first) == ROUND
    parameters = project_parameters(settings, project)
    assert len(due(store, settings)) == ROUND  # nobody has answered yet: no more
    person.answer(first[: ROUND // 2 - 1])
    assert not round_is_due(store, parameters, 1)
    person.answer(first[: ROUND // 2])
    assert round_is_due(store, parameters, 1)
    assert len(due(store, settings)) == 2 * ROUND  # ready before the present one is done
    person.answer(first)
    for _ in range(40):
        follow_target(store, settings, 1)
        audit = load_audit(clusters_folder(settings, 1))
        if audit is not None and audit.closed is None:
            person.answer(person.ask(list(audit.drawn)))
            assert {one.place for one in due(store, settings)} <= {task.place for task in store.tasks(1)}  # no round
        else:
            person.answer(person.ask([(one.participant, one.key) for one in due(store, settings)]))
        given = project_answers(store, settings, 1)
        standing = project_standing(store, settings, project, project_audit(store, settings, 1, given))
        assert standing is not None
        if standing.reached:
            break
    assert standing.reached
    labels = project_labels(store, settings, 1)
    right = np.mean([(one.propagated == truth[one.clustering.participant]).mean() for one in labels])
    assert right >= 0.8
    assert sum(one.source == "clip" for one in given.answers) < CLUSTERS  # of twice as many
    assert {one.place for one in due(store, settings)} <= {task.place for task in store.tasks(1)}  # no more
    follow_target(store, settings, 1)
    assert load_audit(clusters_folder(settings, 1)) is not None
    web = create_app(settings, store, Jobs(settings, store)).test_client()
    assert "You can stop: at least" in web.get("/").text
    told = web.get("/status/1").get_json()["target"]
    assert (told["target"], told["reached"]) == (0.8, True)


def test_without_a_target_all_clips_are_asked_for(
    store: Store, settings: Settings, truth: dict[str, np.ndarray]
) -> None:
    store.save_project(1, parameters="{}")
    assert len(due(store, settings)) == CLUSTERS * len(truth)
    assert project_standing(store, settings, store.project(1), None) is None
    follow_target(store, settings, 1)
    assert load_audit(clusters_folder(settings, 1)) is None
    assert "Target" not in create_app(settings, store, Jobs(settings, store)).test_client().get("/").text


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 1.0},
        {"target": "90%"},
        {"target": 0.9, "propagation": "cluster"},
        {"target": 0.9, "paper_exact": True},
        {"round_clips": 0},
        {"round_clips": 5000},
    ],
)
def test_a_target_that_is_none_is_refused(settings: Settings, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        settings.parameters(wrong)


def test_one_stops_only_where_the_lower_end_is_at_the_target() -> None:
    assert Standing(0.9, 20, 0.95, True, 0.9, 0.01).reached
    assert not Standing(0.9, 20, 0.99, True, 0.89, 0.01).reached
    assert not Standing(0.9, 20, 0.99, True, None, 0.01).reached
    assert "20 more answers would bring 1.0% at most" in str(Standing(0.9, 20, 0.95, True, 0.9, 0.01))


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
@effort(max_examples=30, deadline=None)
def test_every_group_is_covered_before_one_is_asked_twice(groups: int, each: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = 1000.0 * np.eye(groups)
    group = random.permutation(np.repeat(np.arange(groups), each))
    values = centres[group] + random.normal(size=(len(group), groups))
    count = len(group)
    clustering = Clustering(
        participant="p",
        recordings=("r",),
        durations=np.array([count + 3.0]),
        recording_of_clip=np.zeros(count, np.int64),
        starts=np.arange(float(count)),
        clusters=np.arange(count),
        distances=np.zeros(count),
        log_density=np.zeros(count),
        centroids=np.arange(count),
        clip_seconds=4.0,
        stride_seconds=1.0,
        principal_components=values,
    )
    labels = participant_labels(clustering, [], Classes(("a", "b")), "temporal")
    asked = [int(random.integers(count))]
    order = in_order_of_cover(labels, asked, [clip for clip in range(count) if clip not in asked])
    assert sorted([*asked, *(clip for clip, _ in order)]) == list(range(count))
    covered = [covers for _, covers in order]
    assert all(a >= b - 1e-6 * abs(a) for a, b in pairwise(covered))
    first = [group[asked[0]], *(group[clip] for clip, _ in order[: groups - 1])]
    assert sorted(first) == list(range(groups))
