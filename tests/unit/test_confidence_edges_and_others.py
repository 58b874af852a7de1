"""What stands beside the model of time: how sure it may be, where changes are, what other participants say."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.clusters import Clustering, Frames, cluster, frames_in_directions_of_clips, principal
from ml_backend.labels import UNLABELLED, Answer, Classes, likely_classes, others_of, participant_labels
from ml_backend.labels.calibration import enough, temperature, tempered
from ml_backend.labels.discriminant import Moments
from ml_backend.labels.edges import borders_by_frames, halfway_borders
from ml_backend.recordings import clip_of_samples_by_borders, nearest_clip_of_samples

CLASSES = Classes(("walking", "jogging", "squats", "lunges", "sit_ups", "null"))
DIM, FRAMES_A_SECOND = 24, 2.0


def person(
    name: str, looks: np.ndarray, seconds: int = 400, noise: float = 1.0, components: int = 24, seed: int = 0
) -> tuple[Clustering, np.ndarray, np.ndarray]:
    """A participant whose activities of 8 to 30 s look as `looks (n_classes, dim)`, with an offset of its own; the
    true class of each frame, and the times of the frames."""
    random = np.random.default_rng([seed, *name.encode()])
    truth: list[int] = []
    while len(truth) < seconds * FRAMES_A_SECOND:
        truth += [int(random.integers(len(looks)))] * int(FRAMES_A_SECOND * random.uniform(8, 30))
    shown = np.array(truth[: int(seconds * FRAMES_A_SECOND)])
    times = np.arange(len(shown)) / FRAMES_A_SECOND
    frames = (looks[shown] + random.normal(size=DIM) + noise * random.normal(size=(len(shown), DIM))).astype(
        np.float32
    )
    starts = np.arange(seconds - 3, dtype=float)
    first = (starts * FRAMES_A_SECOND).astype(int)
    vectors = np.stack([frames[begin : begin + 8].mean(axis=0) for begin in first])
    values, directions = principal(vectors)
    return (
        replace(
            Clustering.of(name, {"r": (float(seconds), starts)}, cluster(vectors, components, seed=1)),
            principal_components=values,
            principal_directions=directions,
            frames=frames_in_directions_of_clips([(times, [frames])], vectors),
        ),
        shown,
        times,
    )


def truth_of_clips(clustering: Clustering, shown: np.ndarray) -> np.ndarray:
    first = (clustering.starts * FRAMES_A_SECOND).astype(int)
    return np.array([np.bincount(shown[begin : begin + 8]).argmax() for begin in first])


def answers_to(clustering: Clustering, shown: np.ndarray, most: int | None = None) -> list[Answer]:
    """What an attentive annotator says of the centroid clips, largest clusters first."""
    truth = truth_of_clips(clustering, shown)
    order = np.argsort(-clustering.sizes, kind="stable")
    asked = [int(clip) for clip in clustering.centroids[order] if clip >= 0][:most]
    return [
        Answer(
            clustering.participant,
            "r",
            clustering.starts[clip],
            clustering.starts[clip] + 4,
            CLASSES.names[truth[clip]],
        )
        for clip in asked
    ]


def looks(seed: int = 7, apart: float = 1.2) -> np.ndarray:
    return apart * np.random.default_rng(seed).normal(size=(len(CLASSES.names), DIM))


# --- confidence


def test_few_answers_are_not_enough_to_calibrate() -> None:
    assert not enough(np.array([], dtype=np.int64))
    assert not enough(np.arange(30))  # every class named once: leaving one out leaves nothing to compare with
    assert not enough(np.repeat(np.arange(4), 2))
    assert enough(np.repeat(np.arange(4), 4))


def test_the_model_is_not_surer_than_right_and_right_where_it_is_sure() -> None:
    """Over people who are not tuned on. (Reliability within five points is tested on real recordings.)"""
    confidence, right = [], []
    for number in range(12):
        clustering, shown, _ = person(f"p{number}", looks(number), noise=6.0, seconds=600, components=40)
        labels = participant_labels(clustering, answers_to(clustering, shown), CLASSES, "temporal")
        assert labels.temperature is not None
        others = ~labels.annotated & (labels.propagated != UNLABELLED)
        confidence.append(labels.confidence[others])
        right.append((labels.propagated == truth_of_clips(clustering, shown))[others])
    sure, hits = np.concatenate(confidence), np.concatenate(right)
    assert hits.mean() - 0.1 < sure.mean() < hits.mean() + 0.03
    thirds = np.array_split(np.argsort(sure), 3)
    accuracies = [hits[own].mean() for own in thirds]
    assert accuracies == sorted(accuracies)
    for own in thirds:
        assert sure[own].mean() < hits[own].mean() + 0.05


def test_a_temperature_is_found_by_answers_alone_and_changes_no_label() -> None:
    clustering, shown, _ = person("p", looks(), noise=6.0)
    labels = participant_labels(clustering, answers_to(clustering, shown), CLASSES, "temporal")
    assert labels.posterior is not None
    np.testing.assert_allclose(labels.posterior.sum(axis=1), 1)
    reached = labels.propagated != UNLABELLED
    np.testing.assert_array_equal(labels.posterior.argmax(axis=1)[reached], labels.propagated[reached])
    np.testing.assert_allclose(labels.confidence[labels.annotated], 1)


def test_an_annotator_who_errs_makes_the_model_less_sure() -> None:
    clustering, shown, _ = person("p", looks(), noise=4.0, seconds=900, components=60)
    answers = answers_to(clustering, shown)
    random = np.random.default_rng(0)
    wrong = [
        replace(answer, choice=CLASSES.names[random.integers(6)]) if random.random() < 0.3 else answer
        for answer in answers
    ]
    attentive = participant_labels(clustering, answers, CLASSES, "temporal")
    careless = participant_labels(clustering, wrong, CLASSES, "temporal")
    assert careless.temperature is not None
    assert attentive.temperature is not None
    assert careless.temperature > attentive.temperature


def test_tempering_leaves_rows_without_knowledge_alone() -> None:
    found = tempered(np.array([[0.8, 0.2], [0.0, 0.0]]), 2.0)
    assert found[0] == pytest.approx([2 / 3, 1 / 3])
    assert not found[1].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 2**31))
def test_any_answers_have_a_temperature_or_none(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 5)).astype(np.float32)
    answered = np.sort(random.choice(count, int(random.integers(1, count + 1)), replace=False))
    said = random.integers(0, classes, len(answered))
    begins = random.random(count) < 0.1
    found = temperature(features, random.integers(0, 5, count), begins, answered, said, classes)
    assert found is None or 0.3 < found < 30


# --- edges


def change_errors(times: np.ndarray, shown: np.ndarray, found: np.ndarray) -> np.ndarray:
    true, own = (times[1:][values[1:] != values[:-1]] for values in (shown, found))
    return np.abs(true[:, None] - own[None, :]).min(axis=1)


def test_frames_place_a_change_better_than_clips() -> None:
    errors: dict[str, list[float]] = {"halfway": [], "frames": []}
    for number in range(5):
        clustering, shown, times = person(f"p{number}", looks(), noise=2.0)
        labels = participant_labels(clustering, answers_to(clustering, shown), CLASSES, "temporal")
        for name, borders in (("halfway", halfway_borders(clustering)), ("frames", labels.borders)):
            clip = clip_of_samples_by_borders(times, borders, 400.0)
            errors[name] += change_errors(times, shown, labels.propagated[clip]).tolist()
    assert np.mean(errors["frames"]) < 0.7 * np.mean(errors["halfway"])
    assert np.median(errors["frames"]) <= 0.5


def test_without_frames_a_label_reaches_half_way_to_the_next_centre() -> None:
    clustering, shown, times = person("p", looks())
    labels = participant_labels(replace(clustering, frames=None), answers_to(clustering, shown), CLASSES, "temporal")
    np.testing.assert_array_equal(labels.borders, halfway_borders(clustering))
    by_borders = clip_of_samples_by_borders(times, labels.borders, 400.0)
    np.testing.assert_array_equal(by_borders, nearest_clip_of_samples(times, clustering.starts, 4.0, 400.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_borders_rise_within_a_recording_and_move_half_a_clip_at_most(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.choice([1.0, 1.0, 1.0, 7.0], count))
    split = int(random.integers(1, count + 1))
    recording = (np.arange(count) >= split).astype(np.int64)
    starts[split:] -= starts[split] if split < count else 0
    frame_times = np.arange(0, starts.max() + 4, 0.5)
    looked = np.concatenate([np.zeros(len(frame_times), np.int64), np.ones(len(frame_times), np.int64)])
    frames = Frames(
        looked,
        np.tile(frame_times, 2),
        *(random.normal(size=(n, 3)).astype(np.float32) for n in (len(looked), count)),
    )
    clustering = Clustering(
        "p", ("r", "s"), np.full(2, starts.max() + 4), recording, starts, np.zeros(count, np.int64), np.zeros(count),
        np.zeros(count), np.zeros(1, np.int64), 4.0, 1.0, frames=frames,
    )  # fmt: skip
    labels = random.integers(-1, classes, count)
    posterior = random.random((count, classes)) * (labels >= 0)[:, None]
    borders = borders_by_frames(clustering, labels, posterior)
    for number in (0, 1):
        own = recording == number
        assert (np.diff(borders[own]) >= 0).all()
    assert (np.abs(borders - halfway_borders(clustering)) <= 2.0 + 1e-9).all()


# --- other participants


def test_others_who_move_alike_name_a_newcomers_clips_before_the_first_answer() -> None:
    same = looks()
    people = {name: person(name, same) for name in ("a", "b", "c")}
    newcomer, shown, _ = people["c"]
    answers = {name: answers_to(*people[name][:2]) for name in ("a", "b")}

    def clusterings() -> Iterator[Clustering]:
        return (clustering for clustering, _, _ in people.values())

    others = others_of(clusterings, answers, CLASSES)
    labels = participant_labels(newcomer, [], CLASSES, "temporal", others)
    assert (labels.propagated == UNLABELLED).all()  # nobody has looked yet: named, but not labelled
    best = np.array([likely_classes(labels, clip, 1)[0] for clip in range(len(newcomer.clusters))])
    assert (best == truth_of_clips(newcomer, shown)).mean() > 0.9
    assert len(likely_classes(labels, 0)) == 3
    assert likely_classes(participant_labels(newcomer, [], CLASSES, "temporal"), 0) == []


def test_with_few_answers_others_help_and_with_many_they_fade() -> None:
    same = looks(apart=0.6)
    people = {name: person(name, same, noise=3.0, components=60, seconds=700) for name in ("a", "b", "c", "d")}
    newcomer, shown, _ = people["d"]
    answers = {name: answers_to(*people[name][:2]) for name in ("a", "b", "c")}
    others = others_of(lambda: (c for c, _, _ in people.values()), answers, CLASSES)
    truth = truth_of_clips(newcomer, shown)

    def right(most: int, **arguments: object) -> float:
        labels = participant_labels(newcomer, answers_to(newcomer, shown, most), CLASSES, "temporal", **arguments)  # type: ignore[arg-type]
        assert labels.posterior is not None
        return float((labels.posterior.argmax(axis=1) == truth).mean())

    assert right(6, others=others) > right(6) + 0.1
    assert right(60, others=others) > right(60) - 0.02
    few, many = (
        participant_labels(newcomer, answers_to(newcomer, shown, n), CLASSES, "temporal", others) for n in (6, 60)
    )
    assert few.from_others > many.from_others > 0


def test_others_who_move_otherwise_are_not_heeded() -> None:
    people = {name: person(name, looks(seed)) for seed, name in enumerate(("a", "b", "c"))}
    newcomer, shown, _ = people["c"]
    answers = {name: answers_to(*people[name][:2]) for name in ("a", "b")}
    others = others_of(lambda: (c for c, _, _ in people.values()), answers, CLASSES)
    for most in (6, 24):
        own = answers_to(newcomer, shown, most)
        alone = participant_labels(newcomer, own, CLASSES, "temporal")
        beside = participant_labels(newcomer, own, CLASSES, "temporal", others)
        assert beside.from_others == 0
        np.testing.assert_array_equal(beside.propagated, alone.propagated)


def test_a_participants_own_answers_are_not_among_the_others() -> None:
    clustering, shown, _ = person("a", looks())
    answers = {"a": answers_to(clustering, shown)}
    others = others_of(lambda: iter([clustering]), answers, CLASSES)
    labels = participant_labels(clustering, answers["a"], CLASSES, "temporal", others)
    assert labels.from_others == 0


def test_other_backbones_vectors_are_left_out() -> None:
    one, shown, _ = person("a", looks())
    wider, _, _ = person("b", looks())
    assert wider.principal_directions is not None
    wider = replace(wider, principal_directions=np.pad(wider.principal_directions, ((0, 0), (0, 3))))
    assert others_of(lambda: iter([one, wider]), {"a": answers_to(one, shown)}, CLASSES) is None
    older = replace(wider, principal_directions=None)
    others = others_of(lambda: iter([one, older]), {"a": answers_to(one, shown)}, CLASSES)
    assert participant_labels(older, [], CLASSES, "temporal", others).from_others == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_moments_add_up(one: int, other: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.normal(size=(one + other, 4)), random.random((one + other, 3)).round()
    whole = Moments.of(values, weights)
    parts = [Moments.of(values[rows], weights[rows]) for rows in (slice(one), slice(one, None))]
    for name in ("counts", "sums", "scatter"):
        np.testing.assert_allclose(getattr(parts[0] + parts[1], name), getattr(whole, name), atol=1e-9)
        np.testing.assert_allclose(getattr(whole - parts[1], name), getattr(parts[0], name), atol=1e-9)
    quick = Moments.of(values, weights, values.T @ values)
    np.testing.assert_allclose(quick.scatter, whole.scatter, atol=1e-9)
