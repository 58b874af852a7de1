"""Labelling accuracy by the paper's way, by clusters with labels at the clips' centres, and by the model of time.

The same clusters and clips are answered in each column. `paper`: an answer says what the clip's last sample shows,
and goes to its first second. `cluster`, `discriminant`, `temporal`: an answer says what the clip mostly shows, and a
sample takes the label of the clip whose centre is nearest. `every clip`: as `cluster`, with every clip answered.
Macro recall of samples, mean over participants and two seeds; differences are to `cluster`, with their standard error
over participants. `change`: median distance of a true change of activity to the nearest labelled one. Data sets as in
clustering_methods, and the composed sessions of UTD-MHAD where they lie in ../shared/data.

Run: python -m benchmarks temporal; a quarter of an hour on two cores.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from benchmarks.clustering_methods import FOLDER, SYNTHETIC, Participant, composed, synthetic
from benchmarks.harness import SHARED_DATA, Rows
from benchmarks.labelling_accuracy import labelled, sample_recordings, track_of
from ml_backend.clusters import reduced
from ml_backend.embeddings import embedders
from ml_backend.labels import macro_recall
from ml_backend.paper import Track
from ml_backend.recordings import check_dataset, recording_clips
from ml_backend.settings import Parameters, Settings

SEEDS = (1, 2)
WAYS = ("paper", "cluster", "discriminant", "temporal", "every clip")


def utd_mhad() -> list[Participant]:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    checked, _ = check_dataset(SHARED_DATA / "utd_mhad", parameters)
    found = []
    for result in checked:
        assert result.imu is not None
        assert result.imu.labels is not None
        assert result.video is not None
        truth = np.unique(result.imu.labels.astype(str), return_inverse=True)[1]
        starts = recording_clips(result.video, result.imu, parameters)
        vectors = embedder.of_clips(result.recording.video, starts)
        found.append((Track(result.imu.times, truth, starts, 4.0, 1.0), vectors))
    return found


def sample() -> list[Participant]:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    tracks = [(result, track_of(result, parameters)) for result in sample_recordings(parameters)]
    return [(track, embedder.of_clips(result.recording.video, track.starts)) for result, track in tracks]


DATA: dict[str, tuple[Callable[[], list[Participant]], tuple[int, ...]]] = {
    "sample": (sample, (9, 20, 40)),
    "composed real": (lambda: [composed(number) for number in range(3)], (8, 16, 32)),
    "UTD-MHAD": (utd_mhad, (27, 54, 100)),
    **{
        kind: (lambda kind=kind: [synthetic(kind, number) for number in range(4)], (classes, 50, 100))  # type: ignore[misc]
        for kind, (classes, *_) in SYNTHETIC.items()
    },
}


def change_errors(track: Track, labels: np.ndarray) -> np.ndarray:
    """Seconds from each true change to the nearest labelled one; `(n_changes,)`."""
    true, own = (track.times[1:][classes[1:] != classes[:-1]] for classes in (track.truth, labels))
    if len(own) == 0:
        return np.full(len(true), np.inf)
    return np.abs(true[:, None] - own[None, :]).min(axis=1)


def measure() -> Rows:
    rows = []
    for data, (load, counts) in DATA.items():
        if data == "UTD-MHAD" and not (SHARED_DATA / "utd_mhad").is_dir():
            continue
        participants = [(track, np.asarray(vectors), reduced(np.asarray(vectors))) for track, vectors in load()]
        for count in counts:
            accuracy: dict[str, list[float]] = defaultdict(list)
            changes: dict[str, list[float]] = defaultdict(list)
            for track, vectors, features in participants:
                runs = [labelled(track, vectors, features, count, seed) for seed in SEEDS]
                for way in WAYS:
                    accuracy[way].append(float(np.mean([100 * macro_recall(track.truth, run[way]) for run in runs])))
                    changes[way] += [error for run in runs for error in change_errors(track, run[way])]
            rows.append({"data": data, "answers": count, **_cells(accuracy), **_change_cells(changes)})
    return rows


def _cells(accuracy: dict[str, list[float]]) -> dict[str, str]:
    base = np.array(accuracy["cluster"])
    cells = {}
    for way in WAYS:
        own = np.array(accuracy[way])
        cells[way] = f"{own.mean():.1f}"
        if way in ("discriminant", "temporal"):
            error = (own - base).std(ddof=1) / np.sqrt(len(own))
            cells[way] += f" ({(own - base).mean():+.1f} ± {error:.1f})"
    return cells


def _change_cells(changes: dict[str, list[float]]) -> dict[str, str]:
    return {f"change, {way}": f"{np.median(changes[way]):.2f} s" for way in ("paper", "temporal")}
