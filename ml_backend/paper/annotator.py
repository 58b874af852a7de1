"""An annotator who knows the ground truth, in a person's place, as the paper simulates one (section 4): for
experiments on labelled recordings."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_backend.labels import UNLABELLED, Threshold, discriminant_labels, macro_recall, thresholded
from ml_backend.recordings import clip_of_samples, last_sample_of_clips

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Clusters(Protocol):
    """What a fitted clustering knows: `labels_ (n_clips,)`, `centroids_ (C,)`, `distances_ (n_clips,)`."""

    labels_: Ints
    centroids_: Ints
    distances_: Floats


@dataclass(frozen=True)
class Track:
    """One participant: times `(n_samples,)` in seconds, the true class of each, starts `(n_clips,)` of the clips."""

    times: Floats
    truth: Ints
    starts: Floats
    clip_seconds: float
    stride_seconds: float

    @property
    def clip_of_sample(self) -> Ints:
        """The clip that labels each sample; the last one's label fills up to the end."""
        return clip_of_samples(self.times, self.starts, self.stride_seconds, float(self.times[-1]) + 1)

    @property
    def answers(self) -> Ints:
        """What the annotator says of each clip: the class of its last sample, `(n_clips,)`."""
        return self.truth[last_sample_of_clips(self.times, self.starts, self.clip_seconds)]


@dataclass(frozen=True)
class WeakLabels:
    """The label of every sample, UNLABELLED where the threshold omits it, and before that; and the clips answered."""

    samples: Ints
    propagated: Ints
    answered: Ints

    def accuracy(self, track: Track) -> float:
        """Labelling accuracy: mean over classes of their recall on the labelled samples."""
        return macro_recall(track.truth, self.samples)

    @property
    def coverage(self) -> float:
        """Share of the samples that are labelled."""
        return float((self.samples != UNLABELLED).mean())


def annotate(
    track: Track,
    clusters: Clusters,
    answers_per_cluster: int = 1,
    threshold: Threshold = Threshold(),
    components: npt.NDArray[np.floating] | None = None,
) -> WeakLabels:
    """Answer for each cluster's centroid clip, or for more of its clips, nearest first, by majority.

    On a tie the class that comes first among the dataset's wins, as in the published code. With `components
    (n_clips, m)` a discriminant corrects the labels.
    """
    answers = track.answers
    labels = np.full(len(clusters.centroids_), UNLABELLED, dtype=np.int64)
    answered = []
    for cluster in np.unique(clusters.labels_):
        own = np.flatnonzero(clusters.labels_ == cluster)
        nearest = own[np.argsort(clusters.distances_[own], kind="stable")][:answers_per_cluster]
        labels[cluster] = np.bincount(answers[nearest]).argmax()
        answered.append(nearest)
    clips, asked = labels[clusters.labels_], np.concatenate(answered)
    if components is not None:
        clips = discriminant_labels(components, clips)
        clips[asked] = answers[asked]
    clip = track.clip_of_sample
    kept = thresholded(clips, clusters.distances_, threshold)
    samples, propagated = (
        np.where(clip >= 0, of_clips[np.maximum(clip, 0)], UNLABELLED) for of_clips in (kept, clips)
    )
    return WeakLabels(samples, propagated, asked)
