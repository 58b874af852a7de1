"""Labelling accuracy (section 4 of the paper) on the sample recordings against the number of clusters.

No Label Studio is needed.

Four simulated participants of 4 minutes, three seeds, efficientnet_lite0; the annotator knows the ground truth.
`build/benchmarks` keeps recordings and vectors for the next time.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.harness import Rows
from ml_backend.clusters import cluster, reduced
from ml_backend.embeddings import embedders
from ml_backend.jobs import usable_recordings
from ml_backend.labels import clip_posterior, discriminant_labels, macro_recall
from ml_backend.paper import Track, annotate
from ml_backend.recordings import CheckedRecording, mostly_in_clips, nearest_clip_of_samples, recording_clips
from ml_backend.sample import CLASSES, write_sample
from ml_backend.settings import Parameters, Settings

FOLDER = Path("build/benchmarks")
COMPONENTS = (5, 9, 20, 40, 60)
SEEDS = (1, 2, 3)
MINUTES = 4
SHOWN = {"paper": "the paper's way", "cluster": "labels at the centre", "temporal": "and the model of time"}


def sample_recordings(parameters: Parameters) -> list[CheckedRecording]:
    root = FOLDER / "recordings"
    if not root.is_dir():
        for _ in write_sample(root, participants=4, minutes=MINUTES):
            pass
    return usable_recordings(root, parameters)[0]


def track_of(result: CheckedRecording, parameters: Parameters) -> Track:
    """A recording as its own participant."""
    video, imu = result.video, result.imu
    assert video is not None
    assert imu is not None
    assert imu.labels is not None
    truth = np.array([CLASSES.index(label) for label in imu.labels])
    starts = recording_clips(video, imu, parameters)
    return Track(imu.times, truth, starts, parameters.clip_seconds, parameters.stride_seconds)


def accuracy(track: Track, vectors: np.ndarray, components: int) -> float:
    """Labelling accuracy, mean over seeds; vectors: `(n_clips, dim)`."""
    return float(np.mean([annotate(track, cluster(vectors, components, seed)).accuracy(track) for seed in SEEDS]))


def labelled(track: Track, vectors: np.ndarray, features: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
    """Class of every sample by each way."""
    found = cluster(vectors, count, seed)
    asked = np.sort(found.centroids_[found.centroids_ >= 0])
    shown = mostly_in_clips(track.times, track.truth, track.starts, track.clip_seconds)
    spread = shown[found.centroids_][found.labels_]
    begins = np.zeros(len(spread), dtype=bool)
    begins[0] = True
    classes = int(track.truth.max()) + 1
    posterior = clip_posterior(features, found.labels_, begins, asked, shown[asked], classes)
    centre = nearest_clip_of_samples(track.times, track.starts, track.clip_seconds, np.inf)
    return {
        "paper": track.answers[found.centroids_][found.labels_][track.clip_of_sample],
        "cluster": spread[centre],
        "discriminant": discriminant_labels(features, spread)[centre],
        "temporal": posterior.argmax(axis=1)[centre],
        "every clip": shown[centre],
    }


def measure() -> Rows:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    participants = []
    for result in sample_recordings(parameters):
        track = track_of(result, parameters)
        vectors = np.asarray(embedder.of_clips(result.recording.video, track.starts))
        participants.append((track, vectors, reduced(vectors)))
    rows = []
    for components in COMPONENTS:
        found: dict[str, list[float]] = defaultdict(list)
        for track, vectors, features in participants:
            runs = [labelled(track, vectors, features, components, seed) for seed in SEEDS]
            for way in SHOWN:
                found[way].append(float(np.mean([macro_recall(track.truth, run[way]) for run in runs])))
        watched = components * parameters.clip_seconds / (MINUTES * 60)
        row = {"clusters a participant": str(components), "share of the video watched": f"{watched:.0%}"}
        for way, title in SHOWN.items():
            row[title] = f"{np.mean(found[way]):.3f} ± {np.std(found[way]):.3f}"
        rows.append(row)
    return rows
