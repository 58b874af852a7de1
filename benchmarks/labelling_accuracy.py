"""Labelling accuracy (SPEC 4) on the sample recordings against the number of clusters; no Label Studio needed.

Four simulated participants of 4 minutes, three seeds, efficientnet_lite0; the annotator knows the ground truth.
`build/benchmarks` keeps recordings and vectors for the next time.
"""

from pathlib import Path

import numpy as np

from benchmarks.harness import Rows
from ml_backend.clips import clip_of_samples, last_sample_of_clips
from ml_backend.mixture import GaussianMixture
from ml_backend.pipeline import embedders
from ml_backend.propagation import macro_recall
from ml_backend.recordings import CheckedRecording, recording_clips, usable_recordings
from ml_backend.settings import Parameters, Settings
from ml_backend.simulate import CLASSES, write_sample

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


def accuracy(result: CheckedRecording, vectors: np.ndarray, components: int, parameters: Parameters) -> float:
    """Labelling accuracy of one recording as its own participant, mean over seeds; vectors: `(n_clips, dim)`."""
    video, imu = result.video, result.imu
    assert video is not None
    assert imu is not None
    assert imu.labels is not None
    starts = recording_clips(video, imu, parameters)
    truth = np.array([CLASSES.index(label) for label in imu.labels])
    last = last_sample_of_clips(imu.times, starts, parameters.clip_seconds)
    clip = clip_of_samples(imu.times, starts, parameters.stride_seconds, video.duration)
    scores = []
    for seed in SEEDS:
        mixture = GaussianMixture(components, random_state=seed).fit(vectors)
        answers = truth[last[mixture.centroids_]]
        scores.append(macro_recall(truth, answers[mixture.labels_[clip]]))
    return float(np.mean(scores))


def measure() -> Rows:
    parameters = Parameters()
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    participants = []
    for result in sample_recordings(parameters):
        starts = recording_clips(result.video, result.imu, parameters)  # type: ignore[arg-type]
        participants.append((result, embedder.of_clips(result.recording.video, starts)))
    rows = []
    for components in COMPONENTS:
        scores = [accuracy(result, own, components, parameters) for result, own in participants]
        watched = components * parameters.clip_seconds / (MINUTES * 60)
        rows.append(
            {
                "clusters a participant": components,
                "share of the video watched": f"{watched:.0%}",
                "labelling accuracy": f"{np.mean(scores):.3f} ± {np.std(scores):.3f}",
            }
        )
    return rows
