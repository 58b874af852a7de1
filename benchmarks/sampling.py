"""How clip vectors move with the frames a second that are embedded, against the paper's 12; the default is chosen
from this.

efficientnet_lite0 (real weights) on real videos (`../shared/data`; clips of 1 s every 0.5 s, as they are short) and
on the sample recordings (clips of 4 s), whose labelling accuracy (20 clusters) is in the last column.
`centred` cosines are between vectors less the recording's mean vector: what clustering sees.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.harness import SHARED_DATA, Rows
from benchmarks.labelling_accuracy import FOLDER, accuracy, sample_recordings, track_of
from ml_backend.embeddings import clip_vectors, embedders
from ml_backend.recordings.clips import clip_starts
from ml_backend.recordings.video import probe
from ml_backend.settings import Parameters, Settings

RATES = (12, 6, 4, 2, 1)
COMPONENTS = 20
REAL = ("video/arm_wrestling.mp4", "video/low_res_mpeg4.avi", "video/skeleton.mp4", "gopro/karma.mp4")


def sampled(times: np.ndarray, per_second: int) -> np.ndarray:
    """Which of the frames at `times` are the first at or after a multiple of 1/per_second."""
    slots = np.arange(int(times[-1] * per_second) + 1) / per_second
    return np.unique(np.searchsorted(times, slots - 1e-4))


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Row by row, `(n_clips,)`."""
    return np.einsum("ij,ij->i", one, other) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def measure() -> Rows:
    parameters = Parameters(frames_per_second=RATES[0])
    (embedder,) = embedders(Settings(model_dir=FOLDER), parameters)
    plain, centred, scores = defaultdict(list), defaultdict(list), defaultdict(list)

    def compare(kind: str, video: Path, starts: np.ndarray, clip_seconds: float) -> dict[int, np.ndarray]:
        _, times, vectors = embedder.stored(video)
        by_rate = {}
        for rate in RATES:
            kept = sampled(times, rate)
            by_rate[rate] = clip_vectors(times[kept], vectors[kept], starts, clip_seconds)
            plain[kind, rate].extend(cosines(by_rate[rate], by_rate[RATES[0]]))
            mean = by_rate[RATES[0]].mean(axis=0)
            centred[kind, rate].extend(cosines(by_rate[rate] - mean, by_rate[RATES[0]] - mean))
        return by_rate

    for name in REAL:
        video = SHARED_DATA / name
        compare("real", video, clip_starts(0.0, probe(video).duration, 1.0, 0.5), 1.0)
    for result in sample_recordings(parameters):
        track = track_of(result, parameters)
        by_rate = compare("sample", result.recording.video, track.starts, parameters.clip_seconds)
        for rate, vectors in by_rate.items():
            scores[rate].append(accuracy(track, vectors, COMPONENTS))

    def cell(rate: int, kind: str) -> str:
        lowest, typical = np.min(plain[kind, rate]), np.mean(plain[kind, rate])
        return f"{typical:.4f} (least {lowest:.4f}, centred {np.mean(centred[kind, rate]):.3f})"

    return [
        {
            "frames a second": rate,
            "cosine to 12, real videos": cell(rate, "real"),
            "cosine to 12, sample recordings": cell(rate, "sample"),
            "labelling accuracy": f"{np.mean(scores[rate]):.3f} ± {np.std(scores[rate]):.3f}",
        }
        for rate in RATES
    ]
