"""Labelling accuracy (SPEC 4) on the sample recordings against the number of clusters; no Label Studio needed.

Four simulated participants of 4 minutes, three seeds, efficientnet_lite0; the annotator knows the ground truth.
Run: python benchmarks/labelling_accuracy.py [FOLDER]; the folder keeps recordings and vectors for the next time.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np

from ml_backend.clips import clip_of_samples, last_sample_of_clips
from ml_backend.embeddings import load_backbone
from ml_backend.embeddings.vectors import clip_vectors, frame_vectors
from ml_backend.mixture import GaussianMixture
from ml_backend.propagation import macro_recall
from ml_backend.recordings import recording_clips, usable_recordings
from ml_backend.settings import Parameters
from ml_backend.simulate import CLASSES, write_sample

COMPONENTS = (5, 9, 20, 40, 60)
SEEDS = (1, 2, 3)


def main(folder: Path) -> None:
    if not (folder / "recordings").is_dir():
        for _ in write_sample(folder / "recordings", participants=4, minutes=4):
            pass
    parameters = Parameters()
    checked, _ = usable_recordings(folder / "recordings", parameters)
    load = cache(lambda: load_backbone(parameters.backbone))
    index = {name: number for number, name in enumerate(CLASSES)}
    print("| clusters a participant | share of the video watched | labelling accuracy |\n|---|---|---|")
    for components in COMPONENTS:
        by_participant = []
        for result in checked:
            video, imu = result.video, result.imu
            assert video is not None
            assert imu is not None
            assert imu.labels is not None
            starts = recording_clips(video, imu, parameters)
            vectors = clip_vectors(
                *frame_vectors(
                    folder / "vectors", result.recording.video, parameters.backbone, 4.0, load, lambda _: None
                ),
                starts,
                parameters.clip_seconds,
            )
            truth = np.array([index[label] for label in imu.labels])
            last = last_sample_of_clips(imu.times, starts, parameters.clip_seconds)
            clip = clip_of_samples(imu.times, starts, parameters.stride_seconds, video.duration)
            scores = []
            for seed in SEEDS:
                mixture = GaussianMixture(components, random_state=seed).fit(vectors)
                answers = truth[last[mixture.centroids_]]
                scores.append(macro_recall(truth, answers[mixture.labels_[clip]]))
            by_participant.append(np.mean(scores))
        watched = components * parameters.clip_seconds / 240
        print(f"| {components} | {watched:.0%} | {np.mean(by_participant):.3f} ± {np.std(by_participant):.3f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/labelling_accuracy"))
