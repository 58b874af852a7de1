"""Windows in time, and labels as a pure function of clusters, annotations and threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend import labels as propagation
from ml_backend.embeddings import backbone
from ml_backend.errors import ConfigError
from ml_backend.labels import Threshold, parse_threshold
from ml_backend.recordings import clips


@given(st.integers(1, 5000))
def test_the_number_of_clips_is_the_papers(frames: int) -> None:
    expected = max(0, (frames - 36) // (48 - 36))
    assert len(clips.clip_starts(0, frames / 12, 4, 1)) == expected


def test_a_clip_that_ends_at_the_very_end_is_kept_and_labels_up_to_it() -> None:
    starts = clips.clip_starts(0.5, 10.5, 4, 1)
    assert starts[-1] == 6.5
    times = np.arange(0, 12, 0.02)
    owner = clips.clip_of_samples(times, starts, 1, 10.5)
    assert (owner[times < 0.49] == -1).all()
    assert (owner[(times > 6.5) & (times <= 10.5)] == 6).all()
    assert (owner[times > 10.51] == -1).all()


@given(st.floats(0, 1), st.integers(20, 400))
def test_clip_k_labels_the_samples_of_its_first_stride(phase: float, n: int) -> None:
    times = phase + np.arange(n) / 50
    starts = clips.clip_starts(times[0], times[-1], 0.2, 0.1)
    owner = clips.clip_of_samples(times, starts, 0.1, times[-1])
    assert (np.diff(owner) >= 0).all()
    assert (owner >= 0).all()
    inner = owner < len(starts) - 1
    assert (np.abs(times - starts[owner])[inner] <= 0.1 + 1e-6).all()


def test_a_clips_truth_is_its_last_sample() -> None:
    times = np.arange(500) / 50
    last = clips.last_sample_of_clips(times, np.array([0.0, 1.0, 20.0]), 4)
    assert last.tolist() == [199, 249, -1]


def test_clip_vectors_are_means_of_their_frames() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    times = np.arange(40) / 4
    starts = clips.clip_starts(0, 10, 4, 1)
    first, last = clips.frames_of_clips(times, starts, 4)
    means = backbone.mean_of_frames(vectors, first, last)
    np.testing.assert_allclose(means[2], vectors[8:24].mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["-1", "0", "101%", "abc", "nan", "6,5"])
def test_a_wrong_threshold_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        parse_threshold(text)


def test_thresholds_read_and_print_alike() -> None:
    assert parse_threshold("6") == Threshold(distance=6)
    assert parse_threshold(" 90% ") == Threshold(share=0.9)
    assert [str(parse_threshold(t)) for t in (None, "6.5", "90%")] == ["none", "6.5", "90%"]


def test_the_distance_threshold_is_strict_and_the_share_keeps_the_nearest() -> None:
    distances = np.array([0.0, 1.0, 2.0, 3.0])
    assert Threshold(distance=2).keeps(distances).tolist() == [True, True, False, False]
    assert Threshold(share=0.5).keeps(distances).tolist() == [True, True, False, False]
    assert Threshold().keeps(distances).all()


def test_unlabelled_clusters_stay_unlabelled_and_the_best_clips_answer_wins() -> None:
    labels = propagation.cluster_labels(3, [(0, 4), (2, 1), (0, 2)])
    assert labels.tolist() == [4, -1, 1]
    got = propagation.thresholded(labels[np.array([0, 1, 2, 0])], np.array([0.0, 0, 0, 9]), Threshold(distance=6))
    assert got.tolist() == [4, -1, 1, -1]


def test_annotators_vote_and_a_tie_is_no_label() -> None:
    assert propagation.majority(["walk", "run", "walk"]) == "walk"
    assert propagation.majority(["walk", "run"]) is None
    assert propagation.majority([]) is None


def test_macro_recall_counts_classes_alike_on_labelled_samples() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    assert propagation.macro_recall(truth, np.array([0, 0, 1, 1, -1, -1])) == pytest.approx((2 / 3 + 1) / 2)


def test_a_sample_takes_the_clip_whose_centre_is_nearest_up_to_the_edges() -> None:
    starts = clips.clip_starts(0.5, 10.5, 4, 1)
    times = np.arange(0, 12, 0.02)
    owner = clips.nearest_clip_of_samples(times, starts, 4, 10.5)
    assert (owner[times < 0.49] == -1).all()
    assert (owner[(times > 0.51) & (times < 2.99)] == 0).all()
    assert (owner[(times > 3.01) & (times < 3.99)] == 1).all()
    assert (owner[(times > 8.01) & (times <= 10.5)] == 6).all()
    assert (owner[times > 10.51] == -1).all()


def test_what_a_clip_mostly_shows() -> None:
    times = np.arange(0, 10, 0.5)
    classes = np.where(times < 5, 1, 2)
    shown = clips.mostly_in_clips(times, classes, np.array([0.0, 2.5, 4.0, 20.0]), 4)
    assert shown.tolist() == [1, 1, 2, -1]


def test_confidence_is_a_threshold_where_it_is_known() -> None:
    assert str(parse_threshold("p0.9")) == "p0.9"
    kept = parse_threshold("p0.9").keeps(np.zeros(3), np.array([0.89, 0.9, np.nan]))
    assert kept.tolist() == [False, True, False]
    with pytest.raises(ConfigError, match=r"p0\.9 needs confidences"):
        propagation.thresholded(np.array([1]), np.zeros(1), parse_threshold("p0.9"), np.array([np.nan]))
    for text in ("p0", "p1.5", "p", "p90%"):
        with pytest.raises(ConfigError, match="threshold"):
            parse_threshold(text)
