"""Clusters + answers → labels. In come one participant's clusters and what people said of clips; out come the label
of every clip, and the clips still to ask for. Arrays in, arrays out: no file, no database, computed when asked for.

Other rooms use `participant_labels` with `ParticipantLabels` (a clip's label is decided there), `others_of` with
`Others` (what a project's other participants say), `likely_classes` of a clip, `labelled_stretches` of time,
`filled` and `reviewed_at` for parts that people went through, `in_order_of_cover`, `could_bring` and
`expected_right` of answers yet to come,
`audited` with `Population`, how right labels are, `verdict` of several answers to a clip, `work_of` and
`without_breaks`, `agreement_of` people and `reliabilities` of each, `Answer` and `Classes`, which are filled from
what Label Studio holds, `parse_threshold` with
`Threshold`, `macro_recall`, `macro_f1`, and the parts `clip_posterior` (the model of time), `majority`,
`cluster_labels`, `thresholded`, `discriminant_labels`, `UNLABELLED`. `Temperatures` is how a
caller may remember what calibration found."""

from collections.abc import Callable
from typing import Any

from ml_backend.labels.accuracy import macro_f1, macro_recall
from ml_backend.labels.across import Others
from ml_backend.labels.answers import AUDIT, CLIP, IMPORTED, REVIEW, UNLABELLED, Answer, Classes, majority, verdict
from ml_backend.labels.asking import could_bring, expected_right, in_order_of_cover
from ml_backend.labels.audit import Audit, Estimate, Population, audited
from ml_backend.labels.discriminant import discriminant_labels
from ml_backend.labels.labelling import (
    PROPAGATIONS,
    ParticipantLabels,
    Temperatures,
    check_propagation,
    cluster_labels,
    likely_classes,
    others_of,
    parse_threshold,
    participant_labels,
    thresholded,
)
from ml_backend.labels.people import Agreement, Work, agreement_of, without_breaks, work_of
from ml_backend.labels.reliability import reliabilities
from ml_backend.labels.review import NOT_REVIEWED, Painted, filled, reviewed_at
from ml_backend.labels.stretches import LabelledStretch, labelled_stretches
from ml_backend.labels.temporal import clip_posterior
from training import contract
from training.contract import Threshold

__all__ = [
    "AUDIT",
    "CHECKS",
    "CLIP",
    "IMPORTED",
    "NOT_REVIEWED",
    "PROPAGATIONS",
    "REVIEW",
    "UNLABELLED",
    "Agreement",
    "Answer",
    "Audit",
    "Classes",
    "Estimate",
    "LabelledStretch",
    "Others",
    "Painted",
    "ParticipantLabels",
    "Population",
    "Temperatures",
    "Threshold",
    "Work",
    "agreement_of",
    "audited",
    "clip_posterior",
    "cluster_labels",
    "could_bring",
    "discriminant_labels",
    "expected_right",
    "filled",
    "in_order_of_cover",
    "labelled_stretches",
    "likely_classes",
    "macro_f1",
    "macro_recall",
    "majority",
    "others_of",
    "parse_threshold",
    "participant_labels",
    "reliabilities",
    "reviewed_at",
    "thresholded",
    "verdict",
    "without_breaks",
    "work_of",
]

CHECKS: dict[str, Callable[[Any], object]] = {"propagation": check_propagation, "threshold": contract.parse_threshold}
"""Parameter → what raises ValueError for a value that is not allowed."""
