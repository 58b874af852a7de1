"""From events of annotators to labels: out-of-order and repeated webhooks, ties, skipped and mixed clips."""

import json
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.jobs import (
    QUEUED,
    RUNNING,
    BusyError,
    Store,
    apply_webhook,
    checked_parameters,
    open_store,
    project_overrides,
)
from ml_backend.jobs import store as jobs_store
from ml_backend.jobs.answers import given_answers
from ml_backend.labels import Answer, Classes, Threshold, participant_labels
from ml_backend.labelstudio import Given, TaskAnswer, parse_label_config
from ml_backend.settings import Settings

CLASSES = Classes(("null", "walking", "jogging"), frozenset({"mixed"}))
KEY = "r|0.000|4.000"
CONFIG = (
    "<View><HyperText name='clip' value='$html'/><Choices name='activity' toName='clip'><Choice value='walking'/>"
    "<Choice value='jogging'/><Choice value='null'/></Choices></View>"
)


def clustering() -> Clustering:
    """Clips 0-9 every second in cluster 0, 10-11 in cluster 2; cluster 1 is empty."""
    return Clustering(
        participant="p",
        recordings=("r",),
        durations=np.array([15.0]),
        recording_of_clip=np.zeros(12, np.int64),
        starts=np.arange(12.0),
        clusters=np.array([0] * 10 + [2] * 2),
        distances=np.abs(np.arange(12.0) - 4),
        log_density=-np.abs(np.arange(12.0) - 4),
        centroids=np.array([4, -1, 10]),
        clip_seconds=4.0,
        stride_seconds=1.0,
    )


def answer(clip: int, choice: str | None, length: float = 4.0, **fields: object) -> Answer:
    start = float(clustering().starts[clip])
    return Answer("p", "r", start, start + length, choice, **fields)  # type: ignore[arg-type]


def labels_for(**answers: list[str | None]) -> tuple[list[int], list[tuple[int, int]], list[str]]:
    given = [answer(int(clip[4:]), choice) for clip, choices in answers.items() for choice in choices]
    result = participant_labels(clustering(), given, CLASSES)
    return list(result.cluster_labels), result.wanted, result.ties


def test_unanswered_clusters_ask_for_their_centroid_and_an_empty_cluster_for_nothing() -> None:
    assert labels_for() == ([-1, -1, -1], [(0, 4), (2, 10)], [])


def test_an_answer_labels_its_cluster_and_the_threshold_omits_far_clips() -> None:
    own = clustering()
    labels = participant_labels(own, [answer(4, "walking")], CLASSES)
    assert list(labels.clip_labels(Threshold(distance=2))) == [-1] * 3 + [1] * 3 + [-1] * 6
    assert list(np.flatnonzero(labels.annotated)) == [4]


def test_a_discriminant_corrects_what_clusters_spread_but_not_an_answer() -> None:
    answers = [answer(4, "walking"), answer(10, "jogging")]
    components = np.array([[0.0, 0.1 * clip] for clip in range(8)] + [[9.0, 0.1 * clip] for clip in range(4)])
    components[4] = [9.0, 0.0]  # looks like the others, but a person said what it is
    own = replace(clustering(), principal_components=components)
    labels = participant_labels(own, answers, CLASSES, propagation="discriminant")
    assert list(labels.propagated) == [1] * 8 + [2] * 4
    assert list(labels.clip_labels(Threshold(distance=2))) == [-1] * 3 + [1] * 3 + [-1] * 6
    unanswered = participant_labels(own, [answer(4, "walking")], CLASSES, propagation="discriminant")
    assert list(unanswered.propagated) == [1] * 10 + [-1] * 2


@pytest.mark.parametrize("rejection", [[None], ["mixed"], [None, None]])
def test_a_rejected_centroid_is_followed_by_the_best_clip_that_does_not_overlap_it(
    rejection: list[str | None],
) -> None:
    assert labels_for(clip4=rejection)[1] == [(0, 4), (0, 0), (2, 10)]
    assert labels_for(clip4=rejection, clip0=["jogging"])[0] == [2, -1, -1]


def test_a_cluster_whose_clips_are_all_rejected_stays_unlabelled() -> None:
    assert labels_for(clip10=["mixed"]) == ([-1, -1, -1], [(0, 4), (2, 10)], [])


def test_the_majority_wins_and_a_tie_is_reported() -> None:
    assert labels_for(clip4=["walking", "walking", "null"])[0][0] == 1
    assert labels_for(clip4=["walking", None])[0][0] == 1
    labels, wanted, ties = labels_for(clip4=["walking", "null"])
    assert (labels[0], wanted, ties) == (-1, [(0, 4), (2, 10)], ["r|4.000|8.000"])


def annotation(choice: str, updated: str = "2024-05-01T12:00:00.000000Z", number: int = 1) -> dict[str, object]:
    result = [{"type": "choices", "value": {"choices": [choice]}}]
    return {"id": number, "task": 7, "result": result, "was_cancelled": False, "updated_at": updated}


def chosen(name: str) -> Given:
    return (("activity", ((name,),)),)


def created(store: Store, choice: str, updated: str) -> None:
    apply_webhook(store, 1, {"action": "ANNOTATION_UPDATED", "annotation": annotation(choice, updated)})


def choices(store: Store) -> list[str | None]:
    """What was chosen in each annotation, as Label Studio wrote it."""
    return [json.loads(given.given)[0][1][0][0] for _, given in store.annotations(1)]


def test_webhooks_out_of_order_leave_the_newest_state(store: Store) -> None:
    store.add_tasks(1, [(7, "p", KEY)])
    created(store, "jogging", "2024-05-01T12:00:02.000000Z")
    created(store, "walking", "2024-05-01T12:00:01.000000Z")
    assert choices(store) == ["jogging"]


def test_a_repeated_webhook_changes_nothing(store: Store) -> None:
    store.add_tasks(1, [(7, "p", KEY)])
    for _ in range(3):
        created(store, "walking", "2024-05-01T12:00:01.000000Z")
    assert choices(store) == ["walking"]


def test_a_deletion_that_overtakes_its_creation_wins(store: Store) -> None:
    store.add_tasks(1, [(7, "p", KEY)])
    apply_webhook(store, 1, {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}]})
    created(store, "walking", "2024-05-01T12:00:01.000000Z")
    assert choices(store) == []


def test_webhooks_of_many_threads_at_once_are_all_kept(store: Store) -> None:
    store.add_tasks(1, [(7, "p", KEY)])
    payloads = [{"action": "ANNOTATION_CREATED", "annotation": annotation("null", number=i % 20)} for i in range(80)]
    threads = [threading.Thread(target=apply_webhook, args=(store, 1, payload)) for payload in payloads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(choices(store)) == 20


def test_reconciliation_is_exact_but_keeps_what_came_after_the_snapshot(store: Store) -> None:
    store.save_project(1)
    created(store, "walking", "2024-05-01T12:00:01.000000Z")
    asked_at = time.time()
    store.upsert_annotation(1, TaskAnswer(2, 7, chosen("jogging"), False, 1.0))
    store.reconcile(1, asked_at, [(7, "p", KEY)], [TaskAnswer(3, 7, chosen("null"), False, 1.0)])
    assert choices(store) == ["jogging", "null"]


def test_a_lease_keeps_others_out_and_lapses_with_its_holder(store: Store) -> None:
    with store.lease(1), pytest.raises(BusyError), store.lease(1):
        pass
    with store.lease(1):
        assert store.leased(1)
    assert not store.leased(1)


def test_a_second_press_does_not_start_another_job(store: Store) -> None:
    store.save_project(1)
    assert store.request_job(1)
    assert not store.request_job(1)
    store.set_job(1, RUNNING)
    with store.lease(1):
        assert not store.request_job(1)
        assert store.interrupted_jobs() == []
    assert store.interrupted_jobs() == [1]
    assert store.request_job(1)
    assert store.job(1).state == QUEUED


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("", "empty"),
        ("<View>", "not valid XML"),
        ('<View><Text name="t" value="$t"/></View>', "shows no clip"),
        ('<View><Video name="v" value="$video"/></View>', "has no <Choices>"),
        (
            '<View><Video name="v" value="$video"/><Choices name="c" toName="v"><Choice value="a"/></Choices></View>',
            "two",
        ),
    ],
)
def test_a_labelling_config_that_cannot_work_is_explained(xml: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse_label_config(xml)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object"),
        ('{"clip": 4}', '"clip" is not known'),
        ('{"clip_seconds": "long"}', '"clip_seconds"'),
        ('{"components": 0}', '"components"'),
        ('{"components": "150%"}', '"components"'),
        ('{"threshold": "far"}', "threshold"),
        ('{"frames_per_second": 0}', "frames_per_second"),
        ('{"backbone": "resnet"}', "'resnet' is not known"),
    ],
)
def test_extra_params_are_checked_field_by_field(settings: Settings, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        checked_parameters(settings, text)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_answer_of_another_clip_length_answers_the_clips_that_it_covers_mostly() -> None:
    long = participant_labels(clustering(), [answer(3, "walking", length=6.0)], CLASSES)
    assert np.flatnonzero(long.annotated).tolist() == [3, 4, 5]
    assert list(long.cluster_labels) == [1, -1, -1]
    short = participant_labels(clustering(), [answer(4, "walking", length=2.0)], CLASSES)
    assert not short.annotated.any()
    neighbour = participant_labels(clustering(), [answer(3, "walking")], CLASSES)
    assert np.flatnonzero(neighbour.annotated).tolist() == [3]


def test_an_answer_of_another_participant_or_recording_is_not_used() -> None:
    stranger = replace(answer(4, "walking"), participant="q")
    elsewhere = replace(answer(4, "walking"), recording="s")
    assert not participant_labels(clustering(), [stranger, elsewhere], CLASSES).annotated.any()


def test_who_answered_and_how_long_it_took_is_kept(store: Store) -> None:
    store.add_tasks(1, [(7, "p", KEY)])
    given = {**annotation("walking"), "completed_by": 5, "lead_time": 3.25}
    apply_webhook(store, 1, {"action": "ANNOTATION_CREATED", "annotation": given})
    store.save_project(1, label_config=CONFIG)
    (answer_,) = given_answers(store, Path("nowhere"), store.project(1)).answers
    assert (answer_.recording, answer_.start_seconds, answer_.end_seconds) == ("r", 0.0, 4.0)
    assert (answer_.annotator, answer_.seconds, answer_.source) == (5, 3.25, "clip")


def test_a_project_that_exists_keeps_its_propagation_and_the_rate_that_was_assumed(settings: Settings) -> None:
    url = f"sqlite:///{settings.model_dir / 'old.db'}"
    settings.model_dir.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", str(Path(jobs_store.__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url)
    command.upgrade(config, "0001")
    columns = "id, title, label_config, parameters, dataset, hostname, access_token, backend_url"
    with sqlite3.connect(settings.model_dir / "old.db") as old:
        for number, parameters in enumerate(("{}", '{"components": 9}', '{"propagation": "discriminant"}'), start=1):
            old.execute(f"INSERT INTO projects ({columns}) VALUES ({number}, '', '', '{parameters}', '', '', '', '')")
    found = open_store(url, settings.model_dir).projects()
    kept = [checked_parameters(settings, project_overrides(project)) for project in found]
    assert [parameters.propagation for parameters in kept] == ["cluster", "cluster", "discriminant"]
    assert kept[1].components == 9
    assert checked_parameters(settings).propagation == "temporal"
    assert [parameters.sampling_rate for parameters in kept] == [50.0, 50.0, 50.0]
    assert checked_parameters(settings).sampling_rate is None


def test_paper_exact_has_one_meaning_and_refuses_what_contradicts_it(settings: Settings) -> None:
    assert checked_parameters(settings, {"paper_exact": True}).propagation == "cluster"
    for name, value in (("propagation", "temporal"), ("clustering", "ward"), ("scale_blocks", True)):
        with pytest.raises(ConfigError, match=f"paper_exact means {name} = "):
            checked_parameters(settings, {"paper_exact": True, name: value})
