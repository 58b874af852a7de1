"""Participants whose truth is known, clustered, answered and labelled as the product does it: what the benchmarks of
labels share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml_backend.clusters import Clustering, cluster, frames_in_directions_of_clips, principal
from ml_backend.labels import Answer, Classes, Others, ParticipantLabels, participant_labels
from ml_backend.paper import Track
from ml_backend.recordings import Imu, clip_of_samples_by_borders, mostly_in_clips, nearest_clip_of_samples

PROPAGATIONS = ("cluster", "discriminant", "temporal")


@dataclass(frozen=True)
class Person:
    """One participant: truth, clip vectors `(n_clips, dim)`, and times and vectors of single frames, and what the IMU
    measured during each clip `(n_clips, n)`, where there are any."""

    track: Track
    vectors: np.ndarray
    frame_times: np.ndarray | None = None
    frames: np.ndarray | None = None
    imu: np.ndarray | None = None


def measured_in_clips(imu: Imu, track: Track) -> np.ndarray:
    """Mean, spread and mean change of every channel in each clip, `(n_clips, 3 n_channels)`."""
    begins, ends = np.searchsorted(imu.times, [track.starts, track.starts + track.clip_seconds])
    found = []
    for begin, end in zip(begins, np.maximum(ends, begins + 2), strict=True):
        values = imu.values[begin:end]
        found.append(np.r_[values.mean(axis=0), values.std(axis=0), abs(np.diff(values, axis=0)).mean(axis=0)])
    return np.array(found)


def clustering_of(name: str, person: Person, count: int, seed: int) -> Clustering:
    """A participant's clusters as the job makes them."""
    track, vectors = person.track, np.asarray(person.vectors, dtype=np.float32)
    recordings = {"r": (float(track.times[-1]) + 1, track.starts)}
    found = cluster(vectors, count, seed)
    clustering = Clustering.of(name, recordings, found, track.clip_seconds, track.stride_seconds)
    components, directions = principal(vectors)
    frames = None
    if person.frame_times is not None and person.frames is not None:
        frames = frames_in_directions_of_clips([(person.frame_times, [person.frames])], vectors)
    return replace(clustering, principal_components=components, principal_directions=directions, frames=frames)


def classes_of(people: Sequence[Person]) -> Classes:
    """Their numbers as names."""
    return Classes(tuple(map(str, range(max(int(person.track.truth.max()) for person in people) + 1))))


def shown_in(track: Track) -> np.ndarray:
    """What each clip mostly shows."""
    return mostly_in_clips(track.times, track.truth, track.starts, track.clip_seconds)


def answers_to(clustering: Clustering, track: Track, classes: Classes) -> list[Answer]:
    """What an annotator says who is asked what a centroid clip mostly shows."""
    shown, starts = shown_in(track), clustering.starts
    return [
        Answer(
            clustering.participant, "r", starts[clip], starts[clip] + track.clip_seconds, classes.names[shown[clip]]
        )
        for clip in clustering.centroids
        if clip >= 0
    ]


def labelled(
    person: Person, clustering: Clustering, answers: list[Answer], classes: Classes, others: Others | None = None
) -> tuple[dict[str, ParticipantLabels], dict[str, np.ndarray]]:
    """Labels by each way of propagating, and with `others` by theirs too; and the class of every sample by each of
    these, the paper's way, and with every clip answered."""
    track = person.track
    labels = {way: participant_labels(clustering, answers, classes, way) for way in PROPAGATIONS}
    if others is not None:
        labels["others"] = participant_labels(clustering, answers, classes, "temporal", others)
    centre = nearest_clip_of_samples(track.times, track.starts, track.clip_seconds, np.inf)
    samples = {
        "paper": track.answers[clustering.centroids][clustering.clusters][track.clip_of_sample],
        "every clip": shown_in(track)[centre],
    }
    for way, own in labels.items():
        clip = clip_of_samples_by_borders(track.times, own.borders, np.inf)
        samples[way] = own.propagated[np.maximum(clip, 0)]
    return labels, samples
