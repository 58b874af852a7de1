"""Labelling accuracy (section 4 of the paper) on the sample recordings against the number of clusters.

No Label Studio is needed.

Four simulated participants of 4 minutes, three seeds, efficientnet_lite0; the annotator knows the ground truth.
`build/benchmarks` keeps recordings and vectors for the next time.
"""

from pathlib import Path

import numpy as np

from benchmarks.harness import Rows
from ml_backend.clusters import cluster
from ml_backend.embeddings import embedders
from ml_backend.jobs import usable_recordings
from ml_backend.paper import Track, annotate
from ml_backend.recordings import CheckedRecording, recording_clips
from ml_backend.sample import CLASSES, write_sample
from ml_backend.settings import Parameters, Settings

FOLDER = Path("build/benchmarks")
COMPONENTS = (5, 9, 20, 40, 60)
SEEDS = (1, 2, 3)
MINUTES = 4


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


def measure() -> Rows:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    participants = []
    for result in sample_recordings(parameters):
        track = track_of(result, parameters)
        participants.append((track, embedder.of_clips(result.recording.video, track.starts)))
    rows = []
    for components in COMPONENTS:
        scores = [accuracy(track, own, components) for track, own in participants]
        watched = components * parameters.clip_seconds / (MINUTES * 60)
        rows.append(
            {
                "clusters a participant": components,
                "share of the video watched": f"{watched:.0%}",
                "labelling accuracy": f"{np.mean(scores):.3f} ± {np.std(scores):.3f}",
            }
        )
    return rows
