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
from benchmarks.labelling_accuracy import sample_people
from benchmarks.people import Person, answers_to, classes_of, clustering_of, labelled, measured_in_clips, shown_in
from ml_backend.embeddings import clip_vectors, embedders
from ml_backend.embeddings.frames import NetworkOnFrames
from ml_backend.embeddings.torchvision_ops import declare_missing_operators
from ml_backend.labels import UNLABELLED, macro_recall, others_of
from ml_backend.paper import Track
from ml_backend.paper.rehearsal import changes, to_nearest
from ml_backend.recordings import check_dataset, recording_clips
from ml_backend.settings import Parameters, Settings

SEEDS = (1, 2)
UTD_MHAD = SHARED_DATA / "utd_mhad"


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
        track = Track(result.imu.times, truth, starts, 4.0, 1.0)
        found.append(Person(track, vectors, times, np.asarray(frames), measured_in_clips(result.imu, track)))
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
    "sample": (sample_people, (5, 9, 20, 40)),
    "composed real": (composed_real, (4, 8, 16, 32)),
    "UTD-MHAD": (utd_mhad, (10, 27, 54, 100)),
    "UTD-MHAD, 7 s": (lambda: [halved(person, number) for number, person in enumerate(utd_mhad())], (27, 54, 100)),
    "UTD-MHAD, random weights": (lambda: utd_mhad(random_weights=True), (27, 54, 100)),
    **{kind: (partial(synthetic_people, kind), (classes, 50, 100)) for kind, (classes, *_) in SYNTHETIC.items()},
}


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
    classes = classes_of(people)
    for seed in SEEDS:
        clusterings = [clustering_of(str(number), person, count, seed) for number, person in enumerate(people)]
        given = {c.participant: answers_to(c, p.track, classes) for c, p in zip(clusterings, people, strict=True)}
        others = others_of(lambda own=clusterings: own, given, classes)  # type: ignore[misc]
        for number, (person, clustering) in enumerate(zip(people, clusterings, strict=True)):
            track = person.track
            labels, found = labelled(person, clustering, given[clustering.participant], classes, others)
            for way, own in found.items():
                place.accuracy[way][number].append(100 * macro_recall(track.truth, own))
            true = changes(track.times, track.truth)
            for way in ("paper", "temporal"):
                place.changes[way] += to_nearest(true, changes(track.times, found[way])).tolist()
            place.changes_per_true.append(len(changes(track.times, found["temporal"])) / len(true))
            temporal = labels["temporal"]
            asked_nobody = ~temporal.annotated & (temporal.propagated != UNLABELLED)
            if temporal.temperature is not None:
                place.confidence.append(temporal.confidence[asked_nobody])
                place.right.append((temporal.propagated == shown_in(track))[asked_nobody])
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
