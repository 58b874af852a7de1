"""The contract between an export and what reads it: columns, sources, thresholds and `dataset.json`, stated once.

It stands before every other module: the backend's export writes by it, `training` reads by it, and a channel of an
IMU must not bear the name of one of its columns. An export is a folder with `dataset.json`, a file of
samples for each participant, and `clips.parquet`, a row a clip.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 2
"""2: samples in a folder of their own, with `clip` and `confidence`, and always with `propagated_label`."""
NULL_CLASS = "null"
"""What a sample without any activity is called; empty cells of a label column mean it too."""
ANNOTATED, REVIEWED, IMPORTED = "annotated", "reviewed", "imported"
PROPAGATED, OMITTED = "propagated", "omitted"
"""Where a sample's label comes from: a person watched its clip, or went through its recording, or had labelled it
elsewhere; its cluster spread it; or a threshold, or who went through, left it without."""
SOURCES = (ANNOTATED, REVIEWED, IMPORTED, PROPAGATED, OMITTED)
PROPAGATED_LABEL = "propagated_label"
"""Column with the label that a sample would have without any threshold."""
COLUMNS = {
    "participant": "whose samples they are",
    "recording": "name of the recording, a video with its IMU",
    "time": "seconds on the video's clock",
    "label": "the class; empty where a threshold, a missing answer, or a person who went through, leaves the sample "
    "without",
    "source": "annotated (it lies in a clip that a person watched and has that clip's label), reviewed (a person "
    "went through the recording and left this label, or none, there), imported (it was labelled elsewhere), "
    "propagated or omitted",
    "confidence": "probability that the label is right, by the model of time, calibrated where dataset.json has a "
    "temperature; empty without it",
    "clip": "number of the clip that labels the sample, among the participant's (a row of clips.parquet)",
    "cluster": "number of that clip's cluster, among the participant's",
    "distance": "Euclidean distance of that clip's vector to that of its cluster's centroid clip",
    PROPAGATED_LABEL: "the label that the sample has without any threshold",
    "ground_truth": "the true class, where the recording brings it",
}
"""What an export holds besides the channels, and what each column means."""
GAP_STEPS = 3.0
"""A step between two samples of more than so many sampling periods is a gap."""
OFF_GRID, SHARE_OFF_GRID, UNEVEN = 0.25, 0.02, 2.0
"""Samples lie on a grid if hardly any step is further, in periods, from a multiple of the period; some were lost if
those there are lie further, in periods, from an even spread."""
RATES_ALIKE = 0.05
"""Sampling rates that differ by no larger share are the same."""
FEWEST_PACKETS = 5
"""Of fewer packets of samples nobody can say that they come regularly."""
LONGEST_IN_PACKET = 0.002
"""Seconds between the samples of a packet that arrived late and as one."""
CLIP_COLUMNS = {
    "participant": "whose clip it is",
    "clip": "its number, among the participant's",
    "recording": "name of the recording",
    "start_seconds": "where it begins, on the video's clock",
    "end_seconds": "where it ends",
    "cluster": "number of its cluster, among the participant's",
    "centroid_clip": "whether it is the clip that people are asked for in place of its cluster",
    "distance": "Euclidean distance of its vector to that of its cluster's centroid clip",
    "answer": "the class that people gave the clip itself",
    "answered_by": "who did, as numbers of Label Studio's users",
    "label": "the class; empty where a threshold, or a missing answer, leaves the clip without",
    PROPAGATED_LABEL: "the label that the clip has without any threshold",
    "confidence": "probability that the label is right, as that of samples",
}
"""The columns of `clips.parquet`."""
SAMPLES_FOLDER, CLIPS_FILE, README_FILE = "samples", "clips.parquet", "README.md"
INTERVALS_FILE, ELAN_FOLDER, BIDS_FOLDER = "intervals.csv", "elan", "bids"
PARTICIPANT_COLUMNS = ("sbj_id", "subject", "participant")
"""Columns that name the participant, as in WEAR's files: they are no channels."""
DESCRIPTION_FIELDS = ("labels", "channels", "sampling_rate", "clip_seconds", "stride_seconds", "participants")
"""Fields that every `dataset.json` has."""


@dataclass(frozen=True)
class Threshold:
    """Which clips keep their label: all, those nearer than `distance` to their centroid clip (strictly, section 3 of
    the paper), the `share` of a participant's clips that is nearest, or those with at least that `confidence`."""

    distance: float | None = None
    share: float | None = None
    confidence: float | None = None

    def __str__(self) -> str:
        if self.confidence is not None:
            return f"p{self.confidence:g}"
        if self.share is not None:
            return f"{100 * self.share:g}%"
        return "none" if self.distance is None else f"{self.distance:g}"

    def keeps(
        self, distances: npt.NDArray[np.floating], confidence: npt.NDArray[np.floating] | None = None
    ) -> npt.NDArray[np.bool_]:
        """True for every clip that keeps its label; distances, confidence: `(n_clips,)` of one participant.

        ValueError if confidence is asked for and not known.
        """
        if self.confidence is not None:
            if confidence is None or (len(confidence) and np.isnan(confidence).all()):
                raise ValueError(f"threshold {self} needs confidences; export with propagation temporal")
            return np.asarray(confidence >= self.confidence)
        if self.distance is not None:
            return np.asarray(distances < self.distance)
        kept = np.ones(len(distances), dtype=bool)
        if self.share is not None:
            kept[np.argsort(distances, kind="stable")[int(np.ceil(self.share * len(distances))) :]] = False
        return kept


def sampling_rate_of(steps: npt.NDArray[np.floating]) -> float:
    """Samples a second of a clock with these steps between its samples, `(n,)` seconds: samples by duration, without
    the gaps. Rounded stamps, bursts and packets change single steps and their median, not how many samples there
    are: where steps are long as a rule, they are no gaps. Single samples that were lost do not count either."""
    steps = _without_losses(steps)
    kept = np.ones(len(steps), dtype=bool)
    while True:
        period = float(steps[kept].mean())
        longer = kept & (steps > GAP_STEPS * period)
        if not longer.any():
            return _as_round_as_known(1 / period, steps[kept])
        if _are_waits(steps, longer, kept):
            wait = float(np.median(steps[longer]))
            counted = np.where(steps > GAP_STEPS * wait, wait, steps)
            return _as_round_as_known(1 / float(counted.mean()), counted)
        kept &= ~longer


def _without_losses(steps: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Steps over single lost samples as a step for each, where samples lie on a grid and are lost at random.

    Stamps that a coarse clock rounded lie on a grid too, but nowhere far from an even spread.
    """
    period = float(np.median(steps))
    if period <= 0:
        return steps
    for _ in range(2):  # of rounded stamps the median is one of two neighbours of the period
        counts = np.maximum(np.round(steps / period), 1)
        period = float(steps[counts == 1].mean()) if (counts == 1).any() else period
    inside = counts <= GAP_STEPS
    coarse = float(np.diff(np.unique(steps.round(6))).min(initial=np.inf))
    off_grid = np.abs(steps - counts * period)[inside] > max(
        OFF_GRID * period, 1.1 * coarse if coarse < period else 0
    )
    if (counts == 1).all() or off_grid.mean() > SHARE_OFF_GRID:
        return steps
    times = np.cumsum(steps[inside])
    even = np.polyval(np.polyfit(np.arange(len(times)), times, 1), np.arange(len(times)))
    if np.abs(times - even).max() < UNEVEN * period:
        return steps
    spread = np.repeat(steps[inside] / counts[inside], counts[inside].astype(int))
    return np.concatenate([steps[~inside], spread])


def gap_seconds(steps: npt.NDArray[np.floating]) -> float:
    """A step between two samples that is longer, in seconds, is a gap. steps: `(n,)`, within recordings.

    Where samples come in packets, what is usual between two of those is none.
    """
    usual = 1 / sampling_rate_of(steps)
    longer = steps > GAP_STEPS * usual
    if longer.any() and _are_waits(steps, longer, np.ones(len(steps), dtype=bool)):
        usual = float(np.median(steps[longer]))
    return GAP_STEPS * usual


def _are_waits(steps: npt.NDArray[np.floating], longer: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]) -> bool:
    """True where long steps are no gaps, but what the short ones of a packet wait for: they are many; or as long as
    each other and as many samples apart, where the short ones are shorter than any sensor's: pauses are none.
    """
    if longer.sum() > 0.05 * kept.sum():
        return True
    places, lengths = np.flatnonzero(longer), steps[longer]
    if len(places) < FEWEST_PACKETS or float(np.median(steps[~longer])) > LONGEST_IN_PACKET:
        return False
    apart = np.diff(places)
    alike = [np.quantile(values, 0.9) < 1.5 * np.quantile(values, 0.1) for values in (apart, lengths)]
    return bool(all(alike))


def _as_round_as_known(rate: float, steps: npt.NDArray[np.floating]) -> float:
    """The nearest whole number, where the stamps are too coarse to tell it from the rate."""
    uncertain = rate * float(steps.max() - steps.min()) / float(steps.sum())
    return float(round(rate)) if abs(round(rate) - rate) <= uncertain else rate


def parse_threshold(text: str | float | None) -> Threshold:
    """None, "" or `none`: keep all; `6`: distances below 6; `90%`: the nearest 90 % of the clips; `p0.9`: those whose
    label is right with a probability of 0.9 or more.

    ValueError quotes what is neither.
    """
    text = "none" if text is None else str(text).strip().lower()
    if text in ("", "none"):
        return Threshold()
    if re.fullmatch(r"p(0?\.\d+|1(\.0*)?)", text) and float(text[1:]) > 0:
        return Threshold(confidence=float(text[1:]))
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
    if number and number[2] and 0 < float(number[1]) <= 100:
        return Threshold(share=float(number[1]) / 100)
    if number and not number[2] and float(number[1]) > 0:
        return Threshold(distance=float(number[1]))
    raise ValueError(
        f"threshold '{text}' is neither none, a distance above 0 (such as 6), a share of clips (such as 90%) nor a "
        "confidence (such as p0.9)"
    )
