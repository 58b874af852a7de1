"""Centroid clips as Label Studio tasks, and back from a task to its clip."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ml_backend.files import safe_name
from ml_backend.labelstudio.client import Client
from ml_backend.recordings.video import cut_clip

META_KEY = "weakhar"


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

    @property
    def upload_name(self) -> str:
        """The uploaded file's name; the same clip has the same name, so that an interrupted job finds it again."""
        return f"{safe_name(f'{self.participant}|{self.key}')}.mp4"


def clip_key(recording: str, start_seconds: float, end_seconds: float) -> str:
    """Names a clip among those of its participant, whatever the clustering."""
    return f"{recording}|{start_seconds:.3f}|{end_seconds:.3f}"


def clip_of_task(task: dict[str, Any]) -> tuple[str, str] | None:
    """(participant, clip key) of a task of ours, None for any other."""
    meta = (task.get("meta") or {}).get(META_KEY)
    if not isinstance(meta, dict) or "participant" not in meta or "clip" not in meta:
        return None
    return str(meta["participant"]), str(meta["clip"])


def create_task(client: Client, project_id: int, offer: Offer, uploads: list[str], folder: Path) -> int:
    """Cut, upload (unless an interrupted run did) and import one clip; returns the task's id."""
    address = next((path for path in uploads if path.endswith(f"-{offer.upload_name}")), None)
    if address is None:
        clip = folder / offer.upload_name
        cut_clip(offer.video, offer.start_seconds, offer.end_seconds, clip)
        address = client.upload(project_id, clip, offer.upload_name)
        clip.unlink()
    return client.create_tasks(project_id, [{"data": task_data(offer, address), "meta": task_meta(offer)}])[0]


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
    }


def task_meta(offer: Offer) -> dict[str, Any]:
    """Our keys, by which a task is recognised."""
    return {META_KEY: {"participant": offer.participant, "clip": offer.key}}
