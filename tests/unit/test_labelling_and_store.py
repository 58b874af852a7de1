"""From events of annotators to labels: out-of-order and repeated webhooks, ties, skipped and mixed clips."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from ml_backend.clusters import Clustering
from ml_backend.errors import ConfigError
from ml_backend.jobs import QUEUED, RUNNING, BusyError, Store, apply_webhook, checked_parameters
from ml_backend.labels import Answer, Classes, Threshold, participant_labels
from ml_backend.labelstudio import parse_label_config
from ml_backend.settings import Settings

CLASSES = Classes(("null", "walking", "jogging"), frozenset({"mixed"}))
KEY = "r|0.000|4.000"


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


def labels_for(**answers: list[str | None]) -> tuple[list[int], list[tuple[int, int]], list[str]]:
    own = clustering()
    by_clip = {own.key(int(clip[4:])): given for clip, given in answers.items()}
    result = participant_labels(own, by_clip, CLASSES)
    return list(result.cluster_labels), result.wanted, result.ties


def test_unanswered_clusters_ask_for_their_centroid_and_an_empty_cluster_for_nothing() -> None:
    assert labels_for() == ([-1, -1, -1], [(0, 4), (2, 10)], [])


def test_an_answer_labels_its_cluster_and_the_threshold_omits_far_clips() -> None:
    own = clustering()
    labels = participant_labels(own, {own.key(4): ["walking"]}, CLASSES)
    assert list(labels.clip_labels(Threshold(distance=2))) == [-1] * 3 + [1] * 3 + [-1] * 6
    assert list(np.flatnonzero(labels.annotated)) == [4]


def test_a_discriminant_corrects_what_clusters_spread_but_not_an_answer() -> None:
    answers = {clustering().key(4): ["walking"], clustering().key(10): ["jogging"]}
    components = np.array([[0.0, 0.1 * clip] for clip in range(8)] + [[9.0, 0.1 * clip] for clip in range(4)])
    components[4] = [9.0, 0.0]  # looks like the others, but a person said what it is
    own = replace(clustering(), principal_components=components)
    labels = participant_labels(own, answers, CLASSES, propagation="discriminant")
    assert list(labels.propagated) == [1] * 8 + [2] * 4
    assert list(labels.clip_labels(Threshold(distance=2))) == [-1] * 3 + [1] * 3 + [-1] * 6
    unanswered = participant_labels(own, {own.key(4): ["walking"]}, CLASSES, propagation="discriminant")
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


def created(store: Store, choice: str, updated: str) -> None:
    apply_webhook(store, 1, {"action": "ANNOTATION_UPDATED", "annotation": annotation(choice, updated)})


def choices(store: Store) -> list[str | None]:
    return [choice for _, _, choice, _ in store.answers(1)]


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
    store.upsert_annotation(1, Answer(2, 7, "jogging", False, 1.0))
    store.reconcile(1, asked_at, [(7, "p", KEY)], [Answer(3, 7, "null", False, 1.0)])
    assert choices(store) == ["jogging", "null"]


def test_a_lease_keeps_others_out_and_lapses_with_its_holder(store: Store) -> None:
    with store.lease(1), pytest.raises(BusyError), store.lease(1):
        pass
    with store.lease(1):
        assert store.leased(1)
    assert not store.leased(1)


def test_a_second_press_does_not_start_another_job(store: Store) -> None:
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
