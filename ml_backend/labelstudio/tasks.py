"""Clips as Label Studio tasks, and back from a task to its clip."""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape, unescape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from joblib import cpu_count

from ml_backend.errors import RecordingError
from ml_backend.labelstudio.client import WAITS, AwayError, Client, Upload
from ml_backend.labelstudio.offers import Offer, Place, place_of, upload_name
from ml_backend.recordings import cut_clip, stretch_of_key, without_faces, write_strip

log = logging.getLogger(__name__)
T = TypeVar("T")

META_KEY = "weakhar"
NAMED = "weakhar"
"""In a task as it was read: (participant, clip key), where what it holds itself does not name the participant."""
PROXY = "/storage-data/uploaded/?filepath="
ADDRESSES = ("video", "signals")
"""Fields of a task's data that are addresses and nothing else."""
SOURCE = re.compile(r'src="([^"]*)"')


def clip_of_task(task: dict[str, Any]) -> tuple[str, str] | None:
    """(participant, clip key) of a task of ours, None for any other; no participant where that is hidden."""
    if NAMED in task:
        named: tuple[str, str] = task[NAMED]
        return named
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


@dataclass(frozen=True)
class Media:
    """The files that a project's tasks show, each made, in `folder`, and uploaded once."""

    client: Client
    project_id: int
    folder: Path

    @cached_property
    def uploads(self) -> dict[str, Upload]:
        """Addresses, and numbers or URLs, of those that were there before."""
        return self.client.uploads(self.project_id)

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Their addresses by name."""
        return _by_name(self.uploads)

    def ahead(self, offers: Sequence[Offer]) -> Iterator[Offer]:
        """The offers one by one, while the files of those that follow are made beside, on all cores."""
        cores, known = cpu_count(), set(self.addresses)
        with ThreadPoolExecutor(cores) as pool:
            made = [pool.submit(self.make, offer, known) for offer in offers[:cores]]
            try:
                for number, offer in enumerate(offers):
                    made[number].result()
                    made += [pool.submit(self.make, one, known) for one in offers[len(made) : number + 1 + cores]]
                    yield offer
            finally:
                pool.shutdown(cancel_futures=True)

    def make(self, offer: Offer, known: Collection[str]) -> None:
        """Write an offer's files beforehand, but those whose names are known; what cannot be is left to who asks for
        it, and says why."""
        for name, make in ((offer.upload_name, _cut), (offer.strip_name, _strip)):
            file = self.folder / name
            if name not in known and (make is _cut or offer.alike):
                try:
                    make(offer, file)
                except Exception:  # the same again, where it is asked for
                    file.unlink(missing_ok=True)

    def clip(self, offer: Offer) -> str:
        """The address of a clip."""
        return self.served(offer.upload_name, partial(_cut, offer))

    def strip(self, offer: Offer) -> str:
        """The address of the pictures beside it; empty where there are none."""
        if not offer.alike:
            return ""
        try:
            return self.served(offer.strip_name, partial(_strip, offer))
        except RecordingError as error:
            log.warning("task without the pictures beside it: %s", error)
            return ""

    def drop(self, addresses: Iterable[str]) -> None:
        """Remove files that no task shows any longer."""
        dropped = [address for address in addresses if address in self.uploads]
        for name in _by_name(dropped):
            self.addresses.pop(name, None)
        gone = [self.uploads.pop(address) for address in dropped]
        if gone:
            self.client.delete_uploads(self.project_id, gone)

    def served(self, name: str, make: Callable[[Path], None]) -> str:
        """The address of a file called `name`, which `make` writes unless it is there."""
        address = self.addresses.get(name)
        if address is None:
            file = self.folder / name
            try:
                if not file.is_file():
                    make(file)
            except OSError:
                self.client.check()  # who took over the job has removed our folder
                raise
            address = _uploaded(self.client, self.project_id, file, name)
            file.unlink()
        return address


def _cut(offer: Offer, file: Path) -> None:
    cut_clip(offer.video, offer.start_seconds, offer.end_seconds, file, without_faces if offer.blurred else iter)


def _strip(offer: Offer, file: Path) -> None:
    write_strip(offer.alike, file, offer.blurred)


def task_of(media: Media, offer: Offer) -> dict[str, Any]:
    """The task of a clip, which is cut and uploaded unless an interrupted run did."""
    return {"data": task_data(offer, media.clip(offer), media.strip(offer)), "meta": task_meta(*offer.shown_as)}


def _uploaded(client: Client, project_id: int, file: Path, name: str) -> str:
    """Upload a file; its address."""

    def there() -> str | None:
        return _by_name(client.uploads(project_id)).get(name)

    return _once(client, lambda: client.upload(project_id, file, name), there)


def _by_name(uploads: Iterable[str]) -> dict[str, str]:
    """The name under which a file was uploaded → its address, in which Label Studio puts letters before it."""
    return {path.rpartition("/")[2].partition("-")[2]: path for path in uploads}


def import_tasks(client: Client, project_id: int, tasks: Sequence[tuple[dict[str, Any], Place]]) -> list[int]:
    """Create the tasks of some places, once; their ids. Label Studio makes all of a request, or none."""

    def there() -> list[int] | None:
        known = {place_of_task(other): int(other["id"]) for other in client.tasks(project_id)}
        found = [known[place] for _, place in tasks if place in known]
        return found if len(found) == len(tasks) else None

    return _once(client, lambda: client.create_tasks(project_id, [task for task, _ in tasks]), there)


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
    task.pop(NAMED, None)
    client.update_task(task["id"], as_written(task), task["meta"])


def drop_stale(
    client: Client, existing: Mapping[Place, dict[str, Any]], wanted: Mapping[Place, Offer], media: Media
) -> None:
    """Remove tasks that the present clusters do not ask for and that nobody has touched, with what they show."""
    for place, task in existing.items():
        if place not in wanted and not task.get("annotations") and not task.get("drafts"):
            client.delete_task(task["id"])
            media.drop(shown_by(as_written(task)))


def refresh(
    client: Client,
    existing: Mapping[Place, dict[str, Any]],
    wanted: Mapping[Place, Offer],
    media: Media | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """After a new clustering a clip may stand for another cluster, or its recording have another name: correct what
    its task says, and with `media` what it shows."""
    for number, (place, task) in enumerate(existing.items()):
        progress(number, len(existing))
        if place in wanted:
            offer, written = wanted[place], as_written(task)
            before = shown_by(written)
            shown = _right_ones(offer, *before, media) if media else before
            data, meta = task_data(offer, *shown), {**(task.get("meta") or {}), **task_meta(*offer.shown_as)}
            if data != written or meta != task.get("meta"):
                client.update_task(task["id"], data, meta)
            if media:
                media.drop(set(before) - set(shown))


def shown_by(data: dict[str, Any]) -> tuple[str, str]:
    """Addresses of the clip and the strip that a task's data shows; the latter empty where there is none."""
    strips = [unescape(address) for address in SOURCE.findall(str(data.get("html", "")))[1:]]
    return str(data.get("video", "")), strips[0] if strips else ""


def _right_ones(offer: Offer, clip: str, strip: str, media: Media) -> tuple[str, str]:
    """Addresses of a task's clip and strip, made anew where they are not right; a clip that an older version uploaded
    under another name stays, unless that tells, or shows, what is to be hidden."""
    hidden = f"-{upload_name(*offer.shown_as, blurred=True)}"
    if not clip.endswith(f"-{offer.upload_name}") and (not offer.named or offer.blurred or clip.endswith(hidden)):
        clip = media.clip(offer)
    return clip, strip if strip.endswith(f"-{offer.strip_name}") else media.strip(offer)


def as_written(task: dict[str, Any]) -> dict[str, Any]:
    """A task's data as it is stored: with cloud storage Label Studio shows the address of its proxy in place of the
    upload's, which it would not do any more for what comes back with that."""
    return {name: _without_proxy(value) if name in ADDRESSES else value for name, value in task["data"].items()}


def _without_proxy(address: Any) -> Any:
    before, proxied, path = str(address).partition(PROXY)
    return f"{urlsplit(before).path}/data/{path}" if proxied else address


def task_data(offer: Offer, clip: str, strip: str = "") -> dict[str, Any]:
    """The fields that the labelling configs show, from the addresses of clip and strip; `html` plays and loops at
    once, `video` is for the Video tag, and `others` for beside it."""
    player = (
        f'<video src="{escape(clip)}" autoplay loop muted playsinline controls '
        'style="display:block;width:100%;height:46vh;background:#000"></video>'
    )
    others = _others(strip) if strip else ""
    return {
        "html": player + others,
        "video": clip,
        "others": others or " ",
        "participant": offer.participant if offer.named else "this person",
        "recording": offer.recording if offer.named else " ",
        "start_seconds": round(offer.start_seconds, 3),
        "end_seconds": round(offer.end_seconds, 3),
        "cluster": offer.cluster,
        "cluster_clips": offer.cluster_clips,
        "cluster_minutes": round(offer.cluster_seconds / 60, 2),
        "about": offer.about or " ",
        "likely": _likely(offer.likely),
    }


def _others(strip: str) -> str:
    """The strip with what is to be known of it."""
    return (
        f'<img src="{escape(strip)}" alt="Other moments of the cluster" '
        'style="display:block;max-width:100%;max-height:90px;margin:6px auto 2px">'
        '<div style="text-align:center;font-size:12px;color:#667">'
        "Your answer spreads to moments like these, from the most to the least alike.</div>"
    )


def _likely(classes: tuple[str, ...]) -> str:
    """What stands beside a clip: a blank where nothing is known, since Label Studio shows an empty field's name."""
    return f"Most probably {', else '.join(classes)}." if classes else " "


def task_meta(participant: str, key: str) -> dict[str, Any]:
    """Our keys, by which a task is recognised."""
    return {META_KEY: {"participant": participant, "clip": key}}
