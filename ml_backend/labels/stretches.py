"""Clips' labels as stretches of time: what is to be drawn, read by people, or opened in a tool for intervals."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml_backend.labels.answers import UNLABELLED
from ml_backend.labels.labelling import Ints, ParticipantLabels


@dataclass(frozen=True)
class LabelledStretch:
    """From `start_seconds` to `end_seconds` of a recording's video all clips have the class `label` (its index);
    confidence: their mean probability of being right, NaN where that is not known."""

    recording: str
    start_seconds: float
    end_seconds: float
    label: int
    confidence: float


def labelled_stretches(
    labels: ParticipantLabels, clip_classes: Ints, paper_exact: bool = False
) -> Iterator[LabelledStretch]:
    """The stretches of all of a participant's recordings, in their order; none where clips have no label.

    clip_classes: `(n_clips,)` class indices or -1, as with a threshold. With `paper_exact` a clip labels its first
    stride, else the time within its borders.
    """
    clustering = labels.clustering
    borders = clustering.starts if paper_exact else labels.borders
    for number, recording in enumerate(clustering.recordings):
        own = np.flatnonzero(clustering.recording_of_clip == number)
        if len(own) == 0:
            continue
        values = clip_classes[own]
        begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
        edges = np.r_[borders[own][begins], float(clustering.durations[number])]
        ends = np.r_[begins[1:], len(own)]
        for first, last, start, end in zip(begins, ends, edges[:-1], edges[1:], strict=True):
            if values[first] != UNLABELLED:
                sure = float(np.mean(labels.confidence[own[first:last]]))
                yield LabelledStretch(recording, float(start), float(end), int(values[first]), sure)
