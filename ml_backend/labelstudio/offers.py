"""Which clips an annotator is asked for, in which order, and what each says of itself: names, places, words."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.clusters import Clustering
from ml_backend.files import safe_name
from ml_backend.labels import ParticipantLabels
from ml_backend.recordings import Stretch, clip_key, stretch_of_key

log = logging.getLogger(__name__)

STRIP_PICTURES = 7
BLURRED = "|blurred"
Ints = npt.NDArray[np.int64]
Place = tuple[str, float, float]
"""A part of a video: the file's content key (where an older version did not know it, whose recording it is), start
and end in seconds. Whatever participants and recordings are called, equal places show the same pictures."""
Moment = tuple[Path, float]
"""A video, and seconds in it."""


@dataclass(frozen=True)
class Offer:
    """A clip that an annotator should label, and what its cluster stands for. alike: other moments of the cluster,
    from those that are most to those that are least like its centre; next_best: it stands in for a skipped or mixed
    centroid clip; about: where it stands among all, in words; named: whether Label Studio may know whose it is;
    blurred: whether faces in it are hidden."""

    participant: str
    recording: str
    video: Path
    start_seconds: float
    end_seconds: float
    cluster: int
    cluster_clips: int
    cluster_seconds: float
    key: str
    likely: tuple[str, ...] = ()
    alike: tuple[Moment, ...] = ()
    next_best: bool = False
    about: str = ""
    named: bool = True
    blurred: bool = False

    @property
    def place(self) -> Place:
        """The part of a video that the clip is."""
        return place_of(self.participant, stretch_of_key(self.key))

    @property
    def shown_as(self) -> tuple[str, str]:
        """Participant and clip key as Label Studio is told them: without names, the video's content says it."""
        return (self.participant, self.key) if self.named else without_names(self.key)

    @property
    def upload_name(self) -> str:
        """The uploaded file's name; the same clip has the same name, so that an interrupted job finds it again."""
        return upload_name(*self.shown_as, self.blurred)

    @property
    def strip_name(self) -> str:
        """The name of the strip's file, another where the cluster is another; empty where there is none."""
        made_of = [(video.parts[-2:], round(seconds, 3)) for video, seconds in self.alike]  # wherever it lies
        digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:6]
        return f"{Path(self.upload_name).stem}-{digest}.jpg" if self.alike else ""


def offers_of(
    labels: ParticipantLabels,
    videos: Mapping[str, Path],
    likely: Callable[[int], tuple[str, ...]] = lambda _clip: (),
) -> list[Offer]:
    """The clips of a participant that should have tasks; `videos` are the present ones by participant/recording.

    `likely` names the classes that a clip most probably shows, to be read beside it.
    """
    clustering, offers = labels.clustering, []
    members = _by_distance(clustering)
    for cluster, clip in labels.wanted:
        name = clustering.recordings[clustering.recording_of_clip[clip]]
        video = videos.get(f"{clustering.participant}/{name}")
        if video is None:
            log.warning("%s/%s is gone and not offered", clustering.participant, name)
            continue
        size, start = int(clustering.sizes[cluster]), float(clustering.starts[clip])
        offers.append(
            Offer(
                participant=clustering.participant,
                recording=name,
                video=video,
                start_seconds=start,
                end_seconds=start + clustering.clip_seconds,
                cluster=cluster,
                cluster_clips=size,
                key=clustering.key(clip),
                likely=likely(clip),
                alike=_alike(clustering, members[cluster], clip, videos),
                next_best=clip != clustering.centroids[cluster],
                cluster_seconds=size * clustering.stride_seconds,
            )
        )
    return offers


def _by_distance(clustering: Clustering) -> list[Ints]:
    """The clips of each cluster, those nearest to its centroid clip first."""
    order = np.lexsort((clustering.distances, clustering.clusters))
    return np.split(order, np.searchsorted(clustering.clusters[order], np.arange(1, len(clustering.centroids))))


def _alike(clustering: Clustering, members: Ints, clip: int, videos: Mapping[str, Path]) -> tuple[Moment, ...]:
    """Moments of a cluster beside a clip of it: evenly by rank of distance, so that a mixed cluster shows. members:
    the cluster's clips in that order."""
    members = members[members != clip]
    ranks = np.unique(np.linspace(0, len(members) - 1, STRIP_PICTURES).round().astype(int)) if len(members) else ()
    found = []
    for other in members[list(ranks)]:
        name = clustering.recordings[clustering.recording_of_clip[other]]
        video = videos.get(f"{clustering.participant}/{name}")
        if video is not None:
            found.append((video, float(clustering.starts[other]) + clustering.clip_seconds / 2))
    return tuple(found)


def with_order(offers: list[Offer], clips: int) -> list[Offer]:
    """The offers, each with what it says of its place among them if they are labelled in that order; clips: of all
    recordings, of which they stand for a share."""
    total = sum(not offer.next_best for offer in offers)
    said, number, known = [], 0, 0
    for offer in offers:
        stands = f"stands for {_duration(offer.cluster_seconds)}"
        about = f"In place of a clip that showed no class · {stands}"
        if not offer.next_best:
            number, known = number + 1, known + offer.cluster_clips
            about = f"Clip {number} of {total} · {stands} · with it {known / clips:.0%} of the recordings"
        said.append(replace(offer, about=about))
    return said


def audit_offer(participant: str, key: str, video: Path, number: int, of: int) -> Offer:
    """A clip that was drawn to see whether its label is right: nothing beside it says what that is."""
    stretch = stretch_of_key(key)
    return Offer(
        participant=participant,
        recording=stretch.recording,
        video=video,
        start_seconds=stretch.start_seconds,
        end_seconds=stretch.end_seconds,
        cluster=-1,
        cluster_clips=1,
        cluster_seconds=0.0,
        key=key,
        about=f"Audit clip {number} of {of} · tells how right the labels are, and spreads to no others meanwhile",
    )


def _duration(seconds: float) -> str:
    """Such as 48 s, 1 min 22 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    units = ("min", "s", divmod(whole, 60)) if whole < 3600 else ("h", "min", divmod(round(seconds / 60), 60))
    large, small, (many, few) = units
    return f"{many} {large} {few} {small}" if few else f"{many} {large}"


def place_of(participant: str, stretch: Stretch) -> Place:
    """Where a stretch of one of a participant's recordings is."""
    whose = stretch.video or f"{participant}/{stretch.recording}"
    return whose, round(stretch.start_seconds, 3), round(stretch.end_seconds, 3)


def without_names(key: str) -> tuple[str, str]:
    """Participant and key of a clip as a task holds them that names neither participant nor recording."""
    return "", clip_key(stretch_of_key(key)._replace(recording=""))


def upload_name(participant: str, key: str, blurred: bool = False) -> str:
    """What the file of a participant's clip, perhaps one without faces, is called in Label Studio."""
    return f"{safe_name(f'{participant}|{key}' + BLURRED * blurred)}.mp4"


def upload_names(participant: str, key: str) -> set[str]:
    """All that the file of a participant's clip may be called: with names and without, with faces and without."""
    shown = (participant, key), without_names(key)
    return {upload_name(*one, blurred) for one in shown for blurred in (False, True)}


def is_upload_of(file: str, names: Iterable[str]) -> bool:
    """True for a clip of one of these names as Label Studio calls it, or a strip that was made for it."""
    own = Path(file.partition("-")[2])
    return f"{own.stem if own.suffix == '.mp4' else own.stem.rpartition('-')[0]}.mp4" in names
