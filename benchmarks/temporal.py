"""Labelling accuracy by the paper's way, by clusters with labels at the clips' centres, and by the model of time.

The same clusters and clips are answered in each column. `paper`: an answer says what the clip's last sample shows,
and goes to its first second. `cluster`, `discriminant`, `temporal`: an answer says what the clip mostly shows, and
labels its centre; `temporal` is what the product does for one participant alone: the model of time, with changes
placed by frames where vectors of frames are there. `others`: the same, informed by all other participants, each with
as many answers. `every clip`: as `cluster`, with every clip answered.

Macro recall of samples, mean over participants and two seeds; in brackets the difference to `cluster` (of `others`:
to `temporal`) with its standard error over participants. `changes`: seconds from a true change of activity to the
nearest labelled one, half and 90 % of them nearer, the paper's way and ours, and how many labelled changes there are
for each true one. `expected`: accuracy that the calibrated confidence promises for the clips that nobody answered,
less the true one, and in brackets the worst tenth of confidence that holds 200 clips or more; nothing where answers
are too few.

Data sets as in clustering_methods, and where they lie in ../shared/data the composed sessions of UTD-MHAD, once more
with activities of half the length in random order (`7 s`), and by a network of random weights (`random weights`):
what that one reaches, no backbone can claim. Run: python -m benchmarks temporal; half an hour on two cores."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from benchmarks.clustering_methods import FOLDER, SYNTHETIC, composed, synthetic
from benchmarks.harness import SHARED_DATA, Rows
from benchmarks.labelling_accuracy import sample_recordings, track_of
from ml_backend.clusters import Clustering, cluster, frames_in_directions_of_clips, principal
from ml_backend.embeddings import embedders
from ml_backend.embeddings.backbone import clip_vectors
from ml_backend.embeddings.frames import NetworkOnFrames
from ml_backend.embeddings.torchvision_ops import declare_missing_operators
from ml_backend.labels import (
    UNLABELLED,
    Answer,
    Classes,
    ParticipantLabels,
    macro_recall,
    others_of,
    participant_labels,
)
from ml_backend.paper import Track
from ml_backend.paper.rehearsal import changes, to_nearest
from ml_backend.recordings import (
    check_dataset,
    clip_of_samples_by_borders,
    mostly_in_clips,
    nearest_clip_of_samples,
    recording_clips,
)
from ml_backend.settings import Parameters, Settings

SEEDS = (1, 2)
WAYS = ("cluster", "discriminant", "temporal", "others")
UTD_MHAD = SHARED_DATA / "utd_mhad"


@dataclass(frozen=True)
class Person:
    """One participant: truth, clip vectors `(n_clips, dim)`, and times and vectors of single frames where there are
    any."""

    track: Track
    vectors: np.ndarray
    frame_times: np.ndarray | None = None
    frames: np.ndarray | None = None


def utd_mhad(random_weights: bool = False) -> list[Person]:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    if random_weights:
        embedder = replace(embedder, backbone="random weights", load=untrained)
    checked, _ = check_dataset(UTD_MHAD, parameters)
    found = []
    for result in checked:
        assert result.imu is not None
        assert result.imu.labels is not None
        assert result.video is not None
        truth = np.unique(result.imu.labels.astype(str), return_inverse=True)[1]
        starts = recording_clips(result.video, result.imu, parameters)
        _, times, frames = embedder.stored(result.recording.video)
        vectors = embedder.of_clips(result.recording.video, starts)
        found.append(Person(Track(result.imu.times, truth, starts, 4.0, 1.0), vectors, times, np.asarray(frames)))
    return found


def untrained() -> NetworkOnFrames:
    """EfficientNet-Lite0 as it is before training."""
    declare_missing_operators()
    import timm

    from ml_backend.embeddings.timm_models import preprocessing_of

    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    return NetworkOnFrames("random weights", model, preprocessing_of(model), "float32")


def halved(person: Person, seed: int) -> Person:
    """The same recording with each activity cut into halves, all in random order: frames and samples go together."""
    track, random = person.track, np.random.default_rng(seed)
    assert person.frame_times is not None
    assert person.frames is not None
    changed = np.flatnonzero(np.diff(track.truth)) + 1
    edges = np.r_[0, changed, len(track.truth)]
    pieces = [piece for a, b in pairwise(edges) for piece in ((a, (a + b) // 2), ((a + b) // 2, b))]
    step = float(np.median(np.diff(track.times)))
    times, frames, samples, shift = [], [], [], 0.0
    for a, b in (pieces[number] for number in random.permutation(len(pieces))):
        begin, end = track.times[a], track.times[b - 1] + step
        own = (person.frame_times >= begin) & (person.frame_times < end)
        times.append(person.frame_times[own] - begin + shift)
        frames.append(person.frames[own])
        samples.append(track.truth[a:b])
        shift += end - begin
    truth, frame_times, vectors = np.concatenate(samples), np.concatenate(times), np.concatenate(frames)
    starts = np.arange(np.floor(shift - 4) + 1)
    moved = Track(step * np.arange(len(truth)), truth, starts, 4.0, 1.0)
    return Person(moved, clip_vectors(frame_times, vectors, starts, 4.0), frame_times, vectors)


def sample() -> list[Person]:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    found = []
    for result in sample_recordings(parameters):
        track, video = track_of(result, parameters), result.recording.video
        _, times, frames = embedder.stored(video)
        found.append(Person(track, embedder.of_clips(video, track.starts), times, np.asarray(frames)))
    return found


def composed_real() -> list[Person]:
    (embedder,) = embedders(Settings(model_dir=FOLDER), Parameters())
    found = []
    for number in range(3):
        track, vectors = composed(number)
        _, times, frames = embedder.stored(FOLDER / "composed" / f"{number}.mp4")
        found.append(Person(track, vectors, times, np.asarray(frames)))
    return found


def synthetic_people(kind: str) -> list[Person]:
    return [Person(*synthetic(kind, number)) for number in range(4)]


DATA: dict[str, tuple[Callable[[], list[Person]], tuple[int, ...]]] = {
    "sample": (sample, (5, 9, 20, 40)),
    "composed real": (composed_real, (4, 8, 16, 32)),
    "UTD-MHAD": (utd_mhad, (10, 27, 54, 100)),
    "UTD-MHAD, 7 s": (lambda: [halved(person, number) for number, person in enumerate(utd_mhad())], (27, 54, 100)),
    "UTD-MHAD, random weights": (lambda: utd_mhad(random_weights=True), (27, 54, 100)),
    **{kind: (partial(synthetic_people, kind), (classes, 50, 100)) for kind, (classes, *_) in SYNTHETIC.items()},
}


def clustering_of(number: int, person: Person, count: int, seed: int) -> Clustering:
    """A participant's clusters as the job makes them."""
    track, vectors = person.track, np.asarray(person.vectors, dtype=np.float32)
    found = cluster(vectors, count, seed)
    components, directions = principal(vectors)
    frames = None
    if person.frame_times is not None and person.frames is not None:
        frames = frames_in_directions_of_clips([(person.frame_times, [person.frames])], vectors)
    return Clustering(
        participant=str(number),
        recordings=("r",),
        durations=np.array([track.times[-1] + 1]),
        recording_of_clip=np.zeros(len(vectors), np.int64),
        starts=track.starts,
        clusters=found.labels_,
        distances=found.distances_,
        log_density=found.log_density_,
        centroids=found.centroids_,
        clip_seconds=track.clip_seconds,
        stride_seconds=track.stride_seconds,
        principal_components=components,
        principal_directions=directions,
        frames=frames,
    )


def shown_in(track: Track) -> np.ndarray:
    """What each clip mostly shows."""
    return mostly_in_clips(track.times, track.truth, track.starts, track.clip_seconds)


def answers_to(clustering: Clustering, shown: np.ndarray, classes: Classes) -> list[Answer]:
    return [
        Answer(
            clustering.participant,
            "r",
            clustering.starts[clip],
            clustering.starts[clip] + 4,
            classes.names[shown[clip]],
        )
        for clip in clustering.centroids
        if clip >= 0
    ]


def of_samples(track: Track, labels: ParticipantLabels) -> np.ndarray:
    clip = clip_of_samples_by_borders(track.times, labels.borders, np.inf)
    found: np.ndarray = labels.propagated[np.maximum(clip, 0)]
    return found


@dataclass
class Place:
    """What was measured at one number of answers on one data set; lists go over participants, and seeds inside."""

    accuracy: dict[str, list[list[float]]]
    changes: dict[str, list[float]]
    changes_per_true: list[float]
    confidence: list[np.ndarray]
    right: list[np.ndarray]


def measure_place(people: Sequence[Person], count: int) -> Place:
    place = Place(defaultdict(lambda: [[] for _ in people]), defaultdict(list), [], [], [])
    classes = Classes(tuple(map(str, range(max(int(person.track.truth.max()) for person in people) + 1))))
    for seed in SEEDS:
        clusterings = [clustering_of(number, person, count, seed) for number, person in enumerate(people)]
        shown = [shown_in(person.track) for person in people]
        given = {c.participant: answers_to(c, of, classes) for c, of in zip(clusterings, shown, strict=True)}
        others = others_of(lambda own=clusterings: own, given, classes)  # type: ignore[misc]
        for number, (person, clustering) in enumerate(zip(people, clusterings, strict=True)):
            track, answers = person.track, given[clustering.participant]
            labels = {way: participant_labels(clustering, answers, classes, way) for way in WAYS[:3]}
            labels["others"] = participant_labels(clustering, answers, classes, "temporal", others)
            found = {way: of_samples(track, own) for way, own in labels.items()}
            found["paper"] = track.answers[clustering.centroids][clustering.clusters][track.clip_of_sample]
            centre = nearest_clip_of_samples(track.times, track.starts, track.clip_seconds, np.inf)
            found["every clip"] = shown[number][centre]
            for way, own in found.items():
                place.accuracy[way][number].append(100 * macro_recall(track.truth, own))
            true = changes(track.times, track.truth)
            for way in ("paper", "temporal"):
                place.changes[way] += to_nearest(true, changes(track.times, found[way])).tolist()
            place.changes_per_true.append(len(changes(track.times, found["temporal"])) / len(true))
            asked_nobody = ~labels["temporal"].annotated & (labels["temporal"].propagated != UNLABELLED)
            if labels["temporal"].temperature is not None:
                place.confidence.append(labels["temporal"].confidence[asked_nobody])
                place.right.append((labels["temporal"].propagated == shown[number])[asked_nobody])
    return place


def measure() -> Rows:
    rows = []
    for data, (load, counts) in DATA.items():
        if data.startswith("UTD-MHAD") and not UTD_MHAD.is_dir():
            continue
        people = load()
        rows += [{"data": data, "answers": count, **_cells(measure_place(people, count))} for count in counts]
    return rows


def _cells(place: Place) -> dict[str, str]:
    mean = {way: np.array(own).mean(axis=1) for way, own in place.accuracy.items()}
    cells = {"paper": f"{mean['paper'].mean():.1f}", "cluster": f"{mean['cluster'].mean():.1f}"}
    for way, base in (("discriminant", "cluster"), ("temporal", "cluster"), ("others", "temporal")):
        difference = mean[way] - mean[base]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        cells[way] = f"{mean[way].mean():.1f} ({difference.mean():+.1f} ± {error:.1f})"
    cells["every clip"] = f"{mean['every clip'].mean():.1f}"
    for way in ("paper", "temporal"):
        half, most = np.quantile(place.changes[way], [0.5, 0.9], method="higher")
        cells[f"changes, {way}"] = f"{half:.2f} / {most:.2f} s"
    cells["for each true one"] = f"{np.mean(place.changes_per_true):.2f}"
    cells["expected"] = _reliability(place)
    return cells


def _reliability(place: Place) -> str:
    if len(place.confidence) < len(SEEDS):
        return ""
    sure, right = 100 * np.concatenate(place.confidence), 100 * np.concatenate(place.right)
    tenth = np.minimum(sure // 10, 9)
    off = [sure[tenth == n].mean() - right[tenth == n].mean() for n in range(10) if (tenth == n).sum() >= 200]
    return f"{sure.mean() - right.mean():+.1f} ({max(off, key=abs, default=np.nan):+.1f})"
