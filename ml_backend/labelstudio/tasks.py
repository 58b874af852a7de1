"""Centroid clips as Label Studio tasks, and back from a task to its clip."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ml_backend.files import safe_name
from ml_backend.labels import ParticipantLabels
from ml_backend.labelstudio.client import WAITS, AwayError, Client
from ml_backend.recordings import Stretch, cut_clip, stretch_of_key

log = logging.getLogger(__name__)
T = TypeVar("T")

META_KEY = "weakhar"
PROXY = "/storage-data/uploaded/?filepath="
Place = tuple[str, float, float]
"""A part of a video: the file's content key (where an older version did not know it, whose recording it is), start
and end in seconds. Whatever participants and recordings are called, equal places show the same pictures."""


@dataclass(frozen=True)
class Offer:
    """A clip that an annotator should label, and what its cluster stands for."""

    participant: str
    recording: str
    video: Path
    start_seconds: float
    end_seconds: float
    cluster: int
    cluster_clips: int
    cluster_minutes: float
    key: str
    likely: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """The part of a video that the clip is."""
        return place_of(self.participant, stretch_of_key(self.key))

    @property
    def upload_name(self) -> str:
        """The uploaded file's name; the same clip has the same name, so that an interrupted job finds it again."""
        return upload_name(self.participant, self.key)


def upload_name(participant: str, key: str) -> str:
    """What the file of a participant's clip is called in Label Studio."""
    return f"{safe_name(f'{participant}|{key}')}.mp4"


def offers_of(
    labels: ParticipantLabels,
    videos: Mapping[str, Path],
    next_best_only: bool = False,
    likely: Callable[[int], tuple[str, ...]] = lambda _clip: (),
) -> list[Offer]:
    """The clips of a participant that should have tasks; `videos` are the present ones by participant/recording.

    With `next_best_only` those alone that stand in for a skipped or mixed centroid clip. `likely` names the classes
    that a clip most probably shows, to be read beside it.
    """
    clustering, offers = labels.clustering, []
    for cluster, clip in labels.wanted:
        if next_best_only and clip == clustering.centroids[cluster]:
            continue
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
                cluster_minutes=size * clustering.stride_seconds / 60,
                key=clustering.key(clip),
                likely=likely(clip),
            )
        )
    return offers


def place_of(participant: str, stretch: Stretch) -> Place:
    """Where a stretch of one of a participant's recordings is."""
    whose = stretch.video or f"{participant}/{stretch.recording}"
    return whose, round(stretch.start_seconds, 3), round(stretch.end_seconds, 3)


def clip_of_task(task: dict[str, Any]) -> tuple[str, str] | None:
    """(participant, clip key) of a task of ours, None for any other."""
    meta = task.get("meta")
    meta = meta.get(META_KEY) if isinstance(meta, dict) else None
    participant, key = (meta.get("participant"), meta.get("clip")) if isinstance(meta, dict) else (None, None)
    if not isinstance(participant, str) or not isinstance(key, str):
        return None
    try:
        stretch_of_key(key)
    except ValueError:
        return None
    return participant, key


def place_of_task(task: dict[str, Any]) -> Place | None:
    """What a task of ours shows, None for any other."""
    clip = clip_of_task(task)
    return place_of(clip[0], stretch_of_key(clip[1])) if clip else None


def create_task(client: Client, project_id: int, offer: Offer, uploads: Iterable[str], folder: Path) -> int:
    """Cut, upload (unless an interrupted run did) and import one clip; returns the task's id."""
    address = _address(uploads, offer.upload_name)
    if address is None:
        clip = folder / offer.upload_name
        cut_clip(offer.video, offer.start_seconds, offer.end_seconds, clip)
        address = _uploaded(client, project_id, clip, offer.upload_name)
        clip.unlink()
    return _created(client, project_id, offer, address)


def _uploaded(client: Client, project_id: int, clip: Path, name: str) -> str:
    """Upload a clip; its address."""

    def there() -> str | None:
        return _address(client.uploads(project_id), name)

    return _once(client, lambda: client.upload(project_id, clip, name), there)


def _address(uploads: Iterable[str], name: str) -> str | None:
    return next((path for path in uploads if path.endswith(f"-{name}")), None)


def _created(client: Client, project_id: int, offer: Offer, address: str) -> int:
    """Create a clip's task; its id."""
    task = {"data": task_data(offer, address), "meta": task_meta(offer)}

    def there() -> int | None:
        return next(
            (int(other["id"]) for other in client.tasks(project_id) if place_of_task(other) == offer.place), None
        )

    return _once(client, lambda: client.create_tasks(project_id, [task])[0], there)


def _once(client: Client, do: Callable[[], T], there: Callable[[], T | None]) -> T:
    """What `do` gives, which must not be done twice: where its answer was lost, `there` looks whether it was done."""
    for seconds in WAITS:
        try:
            return do()
        except AwayError as error:
            client.wait(error, seconds)
            if (found := there()) is not None:
                return found
    return do()


def rename_clip(client: Client, task: dict[str, Any], participant: str, key: str) -> None:
    """Write another key, of the same pictures, into a task of ours; `task` then says it too."""
    task["meta"] = {**task["meta"], META_KEY: {"participant": participant, "clip": key}}
    client.update_task(task["id"], _as_written(task), task["meta"])


def drop_stale(client: Client, existing: Mapping[Place, dict[str, Any]], wanted: Mapping[Place, Offer]) -> None:
    """Remove tasks that the present clusters do not ask for and that nobody has touched."""
    for place, task in existing.items():
        if place not in wanted and not task.get("annotations") and not task.get("drafts"):
            client.delete_task(task["id"])


def refresh(client: Client, existing: Mapping[Place, dict[str, Any]], wanted: Mapping[Place, Offer]) -> None:
    """After a new clustering a clip may stand for another cluster, or its recording have another name: correct what
    its task says."""
    for place, task in existing.items():
        if place in wanted:
            written = _as_written(task)
            data = task_data(wanted[place], written.get("video", ""))
            meta = {**(task.get("meta") or {}), **task_meta(wanted[place])}
            if data != written or meta != task.get("meta"):
                client.update_task(task["id"], data, meta)


def _as_written(task: dict[str, Any]) -> dict[str, Any]:
    """A task's data as it is stored: with cloud storage Label Studio shows the address of its proxy in place of the
    upload's, which it would not do any more for what comes back with that."""
    before, proxied, path = str(task["data"].get("video", "")).partition(PROXY)
    if not proxied:
        return dict(task["data"])
    return {**task["data"], "video": f"{urlsplit(before).path}/data/{path}"}


def task_data(offer: Offer, address: str) -> dict[str, Any]:
    """The fields that the labelling configs show; `html` plays and loops at once, `video` is for the Video tag."""
    player = (
        f'<video src="{escape(address)}" autoplay loop muted playsinline controls '
        'style="width:100%;max-height:60vh;background:#000"></video>'
    )
    return {
        "html": player,
        "video": address,
        "participant": offer.participant,
        "recording": offer.recording,
        "start_seconds": round(offer.start_seconds, 3),
        "end_seconds": round(offer.end_seconds, 3),
        "cluster": offer.cluster,
        "cluster_clips": offer.cluster_clips,
        "cluster_minutes": round(offer.cluster_minutes, 2),
        "likely": _likely(offer.likely),
    }


def _likely(classes: tuple[str, ...]) -> str:
    """What stands beside a clip: a blank where nothing is known, since Label Studio shows an empty field's name."""
    return f"Most probably {', else '.join(classes)}." if classes else " "


def task_meta(offer: Offer) -> dict[str, Any]:
    """Our keys, by which a task is recognised."""
    return {META_KEY: {"participant": offer.participant, "clip": offer.key}}
