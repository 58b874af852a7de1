"""Vectors → clusters. In come the vectors of one participant's clips; out come clusters, a centroid clip for each,
and every clip's distance to it, kept in a folder a participant that names all it was made of.

Other rooms use `cluster` (the paper's Gaussian mixture, Ward, or segments in time) with `components_for`;
`Clustering`, what one participant's clips and clusters are; `participants_work`, `cluster_participant`,
`side_by_side` and `list_participants` to make them; `participants_of`, `load_clustering` and `load_vectors` to read
them back; `capped_components` for `check`; `reduced` for principal components. The Gram matrix is in `mixture.py`.
"""

from collections.abc import Callable
from typing import Any

from ml_backend.clusters.clustering import (
    METHODS,
    Clustering,
    FittedClustering,
    check_components,
    check_method,
    cluster,
    components_for,
    reduced,
)
from ml_backend.clusters.participants import (
    ParticipantWork,
    capped_components,
    cluster_participant,
    list_participants,
    load_clustering,
    load_vectors,
    participants_of,
    participants_work,
    side_by_side,
)

__all__ = [
    "CHECKS",
    "METHODS",
    "Clustering",
    "FittedClustering",
    "ParticipantWork",
    "capped_components",
    "cluster",
    "cluster_participant",
    "components_for",
    "list_participants",
    "load_clustering",
    "load_vectors",
    "participants_of",
    "participants_work",
    "reduced",
    "side_by_side",
]

CHECKS: dict[str, Callable[[Any], object]] = {"components": check_components, "clustering": check_method}
"""Parameter → what raises ValueError for a value that is not allowed."""
