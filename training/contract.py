"""The contract between an export and what reads it: columns, sources, thresholds and `dataset.json`, stated once.

It stands before every other module: the backend's export writes by it, `training` reads by it, and a channel of an
IMU must not bear the name of one of its columns. An export is a folder with `dataset.json` and a file of samples for
each participant.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 1
NULL_CLASS = "null"
"""What a sample without any activity is called; empty cells of a label column mean it too."""
ANNOTATED, PROPAGATED, OMITTED = "annotated", "propagated", "omitted"
"""Where a sample's label comes from: a person watched it, its cluster spread it, or a threshold left it without."""
PROPAGATED_LABEL = "propagated_label"
"""Column with the label that a sample would have without any threshold."""
COLUMNS = ("recording", "time", "label", "source", "cluster", "distance", PROPAGATED_LABEL, "ground_truth")
"""What an export holds besides the channels."""
PARTICIPANT_COLUMNS = ("sbj_id", "subject", "participant")
"""Columns that name the participant, as in WEAR's files: they are no channels."""
DESCRIPTION_FIELDS = ("labels", "channels", "sampling_rate", "clip_seconds", "stride_seconds", "participants")
"""Fields that every `dataset.json` has."""


@dataclass(frozen=True)
class Threshold:
    """Which clips keep their label: all, those nearer than `distance` to their centroid clip (strictly, section 3 of
    the paper), or the `share` of a participant's clips that is nearest."""

    distance: float | None = None
    share: float | None = None

    def __str__(self) -> str:
        if self.share is not None:
            return f"{100 * self.share:g}%"
        return "none" if self.distance is None else f"{self.distance:g}"

    def keeps(self, distances: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """True for every clip that keeps its label; distances: `(n_clips,)` of one participant."""
        if self.distance is not None:
            return np.asarray(distances < self.distance)
        kept = np.ones(len(distances), dtype=bool)
        if self.share is not None:
            kept[np.argsort(distances, kind="stable")[int(np.ceil(self.share * len(distances))) :]] = False
        return kept


def parse_threshold(text: str | float | None) -> Threshold:
    """None, "" or `none`: keep all; `6`: distances below 6; `90%`: the nearest 90 % of the clips.

    ValueError quotes what is neither.
    """
    text = "none" if text is None else str(text).strip().lower()
    if text in ("", "none"):
        return Threshold()
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
    if number and number[2] and 0 < float(number[1]) <= 100:
        return Threshold(share=float(number[1]) / 100)
    if number and not number[2] and float(number[1]) > 0:
        return Threshold(distance=float(number[1]))
    raise ValueError(
        f"threshold '{text}' is neither none, a distance above 0 (such as 6) nor a share of clips (such as 90%)"
    )
