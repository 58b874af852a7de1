"""Clips' labels as stretches of time: what is to be drawn, read by people, or opened in a tool for intervals."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ml_backend.labels.answers import UNLABELLED
from ml_backend.labels.labelling import Ints, ParticipantLabels
from ml_backend.labels.review import Painted, painted


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
    stride, else the time within its borders. What was imported lies above that, and what was
    reviewed on top, with confidence 1.
    """
    for recording in labels.clustering.recordings:
        below = [
            Painted(one.start_seconds, one.end_seconds, one)
            for one in _clip_stretches(labels, clip_classes, recording, paper_exact)
        ]
        above = [
            Painted(one.start_seconds, one.end_seconds, LabelledStretch(recording, 0.0, 0.0, one.holds, 1.0))
            for own in (labels.imported, labels.reviewed)
            for one in own.get(recording, ())
        ]
        for one in painted([*below, *above]) if above else below:
            if one.holds.label != UNLABELLED:
                yield replace(one.holds, start_seconds=one.start_seconds, end_seconds=one.end_seconds)


def _clip_stretches(
    labels: ParticipantLabels, clip_classes: Ints, recording: str, paper_exact: bool
) -> Iterator[LabelledStretch]:
    """The stretches of one recording that its clips' labels make."""
    clustering = labels.clustering
    borders = clustering.starts if paper_exact else labels.borders
    number = clustering.recordings.index(recording)
    own = np.flatnonzero(clustering.recording_of_clip == number)
    if len(own) == 0:
        return
    values = clip_classes[own]
    begins = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    edges = np.r_[borders[own][begins], float(clustering.durations[number])]
    ends = np.r_[begins[1:], len(own)]
    for first, last, start, end in zip(begins, ends, edges[:-1], edges[1:], strict=True):
        if values[first] != UNLABELLED:
            sure = float(np.mean(labels.confidence[own[first:last]]))
            yield LabelledStretch(recording, float(start), float(end), int(values[first]), sure)
