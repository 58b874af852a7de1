"""The model of time: what it must do with any answers, and that its fast passes are the plain ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.clusters import Clustering
from ml_backend.labels import UNLABELLED, Answer, Classes, clip_posterior, participant_labels
from ml_backend.labels.temporal import STAY, _smoothed


def plain(likelihood: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Forward-backward clip by clip, as textbooks have it."""
    count, classes = likelihood.shape
    change = np.full((classes, classes), (1 - STAY) / max(1, classes - 1))
    np.fill_diagonal(change, STAY if classes > 1 else 1)
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    for clip in range(count):
        before = np.full(classes, 1 / classes) if begins[clip] else forward[clip - 1] @ change
        forward[clip] = before * likelihood[clip] / (before * likelihood[clip]).sum()
    for clip in range(count - 2, -1, -1):
        if not begins[clip + 1]:
            after = change @ (likelihood[clip + 1] * backward[clip + 1])
            backward[clip] = after / after.sum()
    joint = forward * backward
    return joint / joint.sum(axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 900), st.integers(1, 6), st.integers(0, 2**31))
def test_passing_in_chunks_is_forward_backward(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    log_likelihood = 2 * random.normal(size=(count, classes)) * (random.random((count, 1)) < 0.5)
    begins = random.random(count) < 0.02
    begins[0] = True
    expected = plain(np.exp(log_likelihood), begins)
    np.testing.assert_allclose(_smoothed(log_likelihood[:, None], begins)[:, 0], expected, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31))
def test_any_answers_give_probabilities_and_answered_clips_keep_what_was_said(
    count: int, classes: int, answers: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, min(count, 8))).astype(np.float32)
    clusters = random.integers(0, max(1, count // 4), count)
    answered = np.sort(random.choice(count, min(answers, count), replace=False))
    said = random.integers(0, classes, len(answered))
    begins = random.random(count) < 0.1
    found = clip_posterior(features, clusters, begins, answered, said, classes)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(found[answered, said], 1, atol=1e-9)
    never = np.setdiff1d(np.arange(classes), said)
    assert not found[:, never].any()


def test_identical_clips_and_no_answer_are_no_error() -> None:
    same = np.zeros((6, 3), np.float32)
    none = clip_posterior(same, np.zeros(6, int), np.zeros(6, bool), np.array([], int), np.array([], int), 2)
    assert not none.any()
    found = clip_posterior(same, np.zeros(6, int), np.zeros(6, bool), np.array([0, 5]), np.array([0, 1]), 2)
    assert found[1, 0] > 0.5 > found[1, 1]


def clustering(begins_again: int | None = None) -> Clustering:
    """Twelve clips whose look tells two activities apart, but clip 4 looks like the other one."""
    looks = np.repeat([0.0, 6.0], 6) + 0.1 * np.sin(np.arange(12))
    looks[4] = 3.4
    recording = np.zeros(12, np.int64)
    if begins_again is not None:
        recording[begins_again:] = 1
    clusters = np.array([0] * 6 + [1] * 6)
    return Clustering(
        participant="p",
        recordings=("r", "s"),
        durations=np.array([15.0, 15.0]),
        recording_of_clip=recording,
        starts=np.arange(12.0),
        clusters=clusters,
        distances=np.zeros(12),
        log_density=np.zeros(12),
        centroids=np.array([2, 9]),
        clip_seconds=4.0,
        stride_seconds=1.0,
        principal_components=np.stack([looks, np.cos(np.arange(12.0))], axis=1),
    )


ANSWERS = [Answer("p", "r", 2.0, 6.0, "walking"), Answer("p", "r", 9.0, 13.0, "jogging")]
CLASSES = Classes(("walking", "jogging"))


def test_time_puts_a_clip_right_that_looks_like_another_activity() -> None:
    found = participant_labels(clustering(), ANSWERS, CLASSES, propagation="temporal")
    assert found.propagated.tolist() == [0] * 6 + [1] * 6
    assert found.confidence[[2, 9]] == pytest.approx([1, 1])
    assert (found.confidence > 0.5).all()


def test_clips_of_a_cluster_without_an_answer_wait_for_one() -> None:
    found = participant_labels(clustering(), ANSWERS[:1], CLASSES, propagation="temporal")
    assert found.propagated.tolist() == [0] * 6 + [UNLABELLED] * 6
    assert np.isnan(found.confidence[6:]).all()
    nothing = participant_labels(clustering(), [], CLASSES, propagation="temporal")
    assert (nothing.propagated == UNLABELLED).all()


def test_recordings_are_no_neighbours_in_time() -> None:
    assert clustering().begins.tolist() == [True] + [False] * 11
    assert np.flatnonzero(clustering(begins_again=5).begins).tolist() == [0, 5]
