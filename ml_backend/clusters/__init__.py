"""Vectors → clusters. In come the vectors of one participant's clips; out come clusters, a centroid clip for each,
and every clip's distance to it, kept in a folder a participant that names all it was made of.

Other rooms use `cluster` (the paper's Gaussian mixture, Ward, or segments in time) with `components_for`;
`Clustering`, what one participant's clips and clusters are, with `Frames`, what single frames show;
`participants_work`, `cluster_participant`, `write_features`, `side_by_side` and `list_participants` to make them;
`participants_of`, `load_clustering` and `load_vectors` to read them back, from `participant_folder` as of
`clustering_stamp`; `videos_clustered`, `places_of_videos` and `parameters_clustered`, what they were made of;
`write_truth` and `truth_of` keep what files say themselves, for a look; `capped_components` for `check`;
`principal` and `reduced` for principal components, `frames_in_directions_of_clips` for `FramesOfRecording`.
The Gram matrix is in `mixture.py`."""

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
)
from ml_backend.clusters.features import Frames, FramesOfRecording, frames_in_directions_of_clips, principal, reduced
from ml_backend.clusters.participants import (
    ParticipantWork,
    capped_components,
    cluster_participant,
    clustered_seconds,
    clustering_stamp,
    list_participants,
    load_clustering,
    load_vectors,
    parameters_clustered,
    participant_folder,
    participants_clustered_with,
    participants_of,
    participants_work,
    places_of_videos,
    side_by_side,
    truth_of,
    videos_clustered,
    write_features,
    write_truth,
)

__all__ = [
    "CHECKS",
    "METHODS",
    "Clustering",
    "FittedClustering",
    "Frames",
    "FramesOfRecording",
    "ParticipantWork",
    "capped_components",
    "cluster",
    "cluster_participant",
    "clustered_seconds",
    "clustering_stamp",
    "components_for",
    "frames_in_directions_of_clips",
    "list_participants",
    "load_clustering",
    "load_vectors",
    "parameters_clustered",
    "participant_folder",
    "participants_clustered_with",
    "participants_of",
    "participants_work",
    "places_of_videos",
    "principal",
    "reduced",
    "side_by_side",
    "truth_of",
    "videos_clustered",
    "write_features",
    "write_truth",
]

CHECKS: dict[str, Callable[[Any], object]] = {"components": check_components, "clustering": check_method}
"""Parameter → what raises ValueError for a value that is not allowed."""
