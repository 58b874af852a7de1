"""Other ways than the paper's from the same number of human answers to labels: labelling accuracy against answers.

Data: the sample recordings (4 participants, simulated person, EfficientNet-Lite0); recordings composed of the real
videos in `../shared/data`, whose halves count as classes of their own (3 participants); and synthetic embeddings, 4
participants each, whose statistics (activities that last, an offset a segment shares, slow drift, camera movement
that all dimensions share, a null class with a centre a segment, windows that overlap) are such that the paper's
method reaches about the accuracies that the paper reports for its three datasets with CLIP+RAFT. In `many views`
each class has five centres, which a linear discriminant is not made for.

The annotator answers with a clip's last sample. Means over participants, and seeds where a method has one;
differences are to the paper's method on the same participant, with their standard error. Writes docs/clustering.png.
Run: python -m benchmarks.clustering_methods; a quarter of an hour on two cores.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import matplotlib
import numpy as np
from joblib import Parallel, delayed
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.cluster import KMeans

from benchmarks.harness import SHARED_DATA
from benchmarks.labelling_accuracy import FOLDER, sample_recordings, track_of
from ml_backend.clusters import cluster, reduced
from ml_backend.embeddings import embedders
from ml_backend.labels import discriminant_labels, macro_recall
from ml_backend.paper import Track
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.sampling import sample_frames
from ml_backend.recordings.video import VideoWriter, probe
from ml_backend.settings import Parameters, Settings

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SEEDS = (1, 2, 3)
PLOTTED = ("gmm", "gmm, discriminant", "ward, discriminant", "segments, discriminant")
VIDEOS = ("video/arm_wrestling.mp4", "video/low_res_mpeg4.avi", "video/skeleton.mp4", "gopro/karma.mp4")
COMPOSED_SECONDS = 300
SYNTHETIC = {
    "like WEAR": (19, 3750, 45, 0.3, 0.6, 1),
    "like Wetlab": (9, 2530, 14, 0.4, 2.0, 1),
    "like ActionSense": (20, 3010, 14, 0.35, 2.0, 1),
    "many views": (20, 3010, 14, 0.35, 1.0, 5),
}
"""Classes, seconds, seconds an activity lasts (median), share of null, noise a second, centres a class."""

Participant = tuple[Track, np.ndarray]
Answered = tuple[np.ndarray, np.ndarray]
"""Cluster of each clip `(n_clips,)`, and the clip that is answered for each cluster `(C,)`."""


def synthetic(kind: str, number: int, dim: int = 64) -> Participant:
    classes, seconds, lasts, null, noise, centres = SYNTHETIC[kind]
    random = np.random.default_rng(number)
    means = random.normal(0, 1, (classes, centres, dim))
    for alike in range(2, classes, 3):  # pairs that look alike
        means[alike] = means[alike - 1] + random.normal(0, 0.5, (centres, dim))
    camera_directions = random.normal(0, 1, (6, dim))
    camera, drift, own = np.zeros(6), np.zeros(dim), np.zeros(dim)
    features, truth = [], []
    while len(truth) < seconds:
        resting = random.random() < null and (not truth or truth[-1] != 0)
        activity = 0 if resting else int(random.integers(1, classes))
        centre = means[activity, random.integers(centres)] * (0.2 if resting else 1)
        offset = random.normal(0, 0.48 if resting else 0.3, dim)
        for _ in range(max(4, int(random.lognormal(np.log(lasts), 0.6)))):
            camera = 0.93 * camera + random.normal(0, 0.185, 6)
            own = 0.6 * own + random.normal(0, 0.8 * noise, dim)
            drift = 0.998 * drift + random.normal(0, 0.02, dim)
            features.append(centre + offset + drift + camera @ camera_directions + own)
            truth.append(activity)
    vectors = sliding_window_view(np.array(features[:seconds]), 4, axis=0).mean(axis=-1)
    times = np.arange(seconds * 10) / 10
    return Track(times, np.repeat(truth[:seconds], 10), np.arange(len(vectors), dtype=float), 4.0, 1.0), vectors


def composed(number: int) -> Participant:
    """Halves of the real videos in random order, each 5 to 40 s, shown to and fro."""
    random = np.random.default_rng(number)
    path = FOLDER / "composed" / f"{number}.mp4"
    rate, truth = 12.5, []
    while len(truth) < COMPOSED_SECONDS:
        truth += [int(random.integers(2 * len(VIDEOS)))] * int(random.integers(5, 40))
    truth = truth[:COMPOSED_SECONDS]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [[picture(image) for _, image in sample_frames(SHARED_DATA / name, rate)] for name in VIDEOS]
        with VideoWriter(path, 320, 240, rate) as writer:
            for shown in range(int(COMPOSED_SECONDS * rate)):
                video, half = divmod(truth[int(shown / rate)], 2)
                middle = len(frames[video]) // 2
                own = frames[video][middle * half : middle * (half + 1)]
                image = own[abs((shown + len(own) - 1) % (2 * len(own) - 2) - (len(own) - 1))]
                writer.write(image, shown / rate)
    (embedder,) = embedders(Settings(model_dir=FOLDER), Parameters())
    starts = clip_starts(0.0, probe(path).duration, 4.0, 1.0)
    track = Track(np.arange(COMPOSED_SECONDS * 10) / 10, np.repeat(truth, 10), starts, 4.0, 1.0)
    return track, embedder.of_clips(path, starts)


def picture(image: np.ndarray) -> np.ndarray:
    return av.VideoFrame.from_ndarray(image, format="rgb24").to_ndarray(width=320, height=240, format="rgb24")


def nearest_to_means(vectors: np.ndarray, labels: np.ndarray) -> Answered:
    """The answered clip of each cluster is the one nearest to its mean."""
    answered = []
    for number in range(labels.max() + 1):
        own = np.flatnonzero(labels == number)
        answered.append(own[np.linalg.norm(vectors[own] - vectors[own].mean(axis=0), axis=1).argmin()])
    return labels, np.array(answered)


def product(method: str) -> Callable[[np.ndarray, int, int], Answered]:
    def fit(vectors: np.ndarray, count: int, seed: int) -> Answered:
        found = cluster(vectors, count, seed, method)  # type: ignore[arg-type]
        return found.labels_, found.centroids_

    return fit


def kmeans_with_time(vectors: np.ndarray, count: int, seed: int) -> Answered:
    """Time as one more dimension, of half the spread of all others together."""
    spread = np.sqrt(vectors.var(axis=0).sum())
    time = np.arange(len(vectors))[:, None] / len(vectors) * np.sqrt(12) / 2
    kmeans = KMeans(count, n_init=1, random_state=seed).fit(np.hstack([vectors / spread, time]))
    return nearest_to_means(vectors, kmeans.labels_)


def segments_then_groups(vectors: np.ndarray, count: int, seed: int) -> Answered:
    """Twice as many segments as answers, then k-means on their means: activities that come again."""
    segment = cluster(vectors, min(2 * count, len(vectors) // 3), seed, "segments").labels_
    sizes = np.bincount(segment)
    means = np.stack([vectors[segment == number].mean(axis=0) for number in range(len(sizes))])
    group = KMeans(count, n_init=10, random_state=seed).fit(means, sample_weight=sizes).labels_
    return nearest_to_means(vectors, group[segment])


def tw_finch(vectors: np.ndarray, count: int, seed: int) -> Answered:  # noqa: ARG001 - has none
    """Each cluster joins its first neighbour in cosine times time, in rounds, then pairs until `count` are left."""
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.arange(len(vectors))
    while (left := labels.max() + 1) > count:
        sums = np.zeros((left, vectors.shape[1]))
        np.add.at(sums, labels, directions)
        sums /= np.linalg.norm(sums, axis=1, keepdims=True)
        times = np.bincount(labels, np.arange(len(labels))) / np.bincount(labels) / len(labels)
        distance = (1 - sums @ sums.T) * np.abs(times[:, None] - times)
        np.fill_diagonal(distance, np.inf)
        joined = connected(distance.argmin(axis=1))
        if joined.max() + 1 < count:
            one, other = np.unravel_index(distance.argmin(), distance.shape)
            joined = np.arange(left)
            joined[max(one, other)] = min(one, other)
            joined = np.unique(joined, return_inverse=True)[1]
        labels = joined[labels]
    return nearest_to_means(vectors, labels)


def connected(neighbour: np.ndarray) -> np.ndarray:
    """Numbers of the groups that `neighbour` links."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(neighbour))
    shape = (len(neighbour), len(neighbour))
    groups: np.ndarray = connected_components(coo_matrix((ones, (np.arange(len(neighbour)), neighbour)), shape))[1]
    return groups


def facility_location(vectors: np.ndarray, count: int, seed: int) -> Answered:  # noqa: ARG001 - has none
    """Clips chosen one by one that bring all others nearest to a chosen one; a clip belongs to its nearest."""
    squares = (vectors**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0))
    best, chosen = np.full(len(vectors), distance.max()), []
    for _ in range(count):
        chosen.append(int(np.maximum(best[:, None] - distance, 0).sum(axis=0).argmax()))
        best = np.minimum(best, distance[:, chosen[-1]])
    return distance[:, chosen].argmin(axis=1), np.array(chosen)


def smoothed(labels: np.ndarray, width: int = 5) -> np.ndarray:
    """The majority of `width` clips in time; a tie changes nothing."""
    around = sliding_window_view(np.pad(labels, width // 2, mode="edge"), width)
    votes = (around[:, :, None] == around[:, None, :]).sum(axis=2)
    most = around[np.arange(len(labels)), votes.argmax(axis=1)]
    return np.where(votes.max(axis=1) > width // 2, most, labels)


CLUSTERINGS: dict[str, Callable[[np.ndarray, int, int], Answered]] = {
    "gmm": product("gmm"),
    "ward": product("ward"),
    "segments": product("segments"),
    "segments, then groups": segments_then_groups,
    "k-means with time": kmeans_with_time,
    "TW-FINCH": tw_finch,
    "facility location": facility_location,
}
SEEDLESS = ("ward", "segments", "TW-FINCH", "facility location")
CORRECTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "": lambda _, labels: labels.copy(),
    ", smoothed": lambda _, labels: smoothed(labels),
    ", discriminant": lambda components, labels: discriminant_labels(components, labels).copy(),
}


def scores(data: str, number: int, participant: Participant, count: int) -> list[tuple[str, str, int, int, float]]:
    """(data, method, count, participant, accuracy) of every method."""
    track, vectors = participant
    vectors = np.asarray(vectors, dtype=np.float64)
    components, clip = reduced(vectors), track.clip_of_sample
    rows = []
    for name, fit in CLUSTERINGS.items():
        found: dict[str, list[float]] = defaultdict(list)
        for seed in SEEDS if name not in SEEDLESS else SEEDS[:1]:
            labels, answered = fit(vectors, count, seed)
            of_clips = track.answers[answered][labels]
            for suffix, correct in CORRECTIONS.items():
                corrected = correct(components, of_clips)
                corrected[answered] = track.answers[answered]
                found[name + suffix].append(macro_recall(track.truth, corrected[clip]))
        rows += [(data, method, count, number, 100 * float(np.mean(values))) for method, values in found.items()]
    return rows


def tasks() -> Iterator[tuple[str, int, Participant, int]]:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    for number, result in enumerate(sample_recordings(parameters)):
        track = track_of(result, parameters)
        for count in (9, 20, 40, 60):
            yield "sample", number, (track, embedder.of_clips(result.recording.video, track.starts)), count
    for number in range(3):
        for count in (8, 16, 32, 64):
            yield "composed real", number, composed(number), count
    for kind, (classes, *_) in SYNTHETIC.items():
        for number in range(4):
            for count in (classes, 50, 100):
                yield kind, number, synthetic(kind, number), count


def main() -> None:
    rows = [row for rows in Parallel(-1)(delayed(scores)(*task) for task in tasks()) for row in rows]
    accuracy: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for data, method, count, _, value in sorted(rows, key=lambda row: row[3]):
        accuracy[data, method, count].append(value)
    methods = list(dict.fromkeys(method for _, method, _, _, _ in rows))
    places = list(dict.fromkeys((data, count) for data, _, count, _, _ in rows))
    for data in dict.fromkeys(data for data, _ in places):
        counts = [count for other, count in places if other == data]
        print(f"\n{data}\n| | " + " | ".join(f"{count} answers" for count in counts) + " |")
        print("|---|" + "---|" * len(counts))
        for method in methods:
            cells = [cell(accuracy[data, "gmm", count], accuracy[data, method, count]) for count in counts]
            print(f"| {method} | " + " | ".join(cells) + " |", flush=True)
    plot(accuracy, places)


def cell(of_paper: list[float], own: list[float]) -> str:
    """Mean, and the difference to the paper's method with its standard error over participants."""
    difference = np.array(own) - np.array(of_paper)
    if not difference.any():
        return f"{np.mean(own):.1f}"
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return f"{np.mean(own):.1f} ({difference.mean():+.1f} ± {error:.1f})"


def plot(accuracy: dict[tuple[str, str, int], list[float]], places: list[tuple[str, int]]) -> None:
    names = list(dict.fromkeys(data for data, _ in places))
    figure, grid = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharey=True)
    for axes, data in zip(grid.flat, names, strict=True):
        counts = [count for other, count in places if other == data]
        for method in PLOTTED:
            values = [accuracy[data, method, count] for count in counts]
            means, errors = [np.mean(v) for v in values], [np.std(v, ddof=1) / np.sqrt(len(v)) for v in values]
            axes.errorbar(counts, means, errors, marker="o", capsize=3, label=method)
        axes.set(title=data, xlabel="answers a participant")
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("labelling accuracy, percent")
    grid[0, 0].legend()
    figure.savefig(Path("docs") / "clustering.png", dpi=100)


if __name__ == "__main__":
    main()
