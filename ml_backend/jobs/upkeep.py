"""What is done with all that is kept here: a participant or a project is forgotten, all is backed up and restored."""

import json
import shutil
import tarfile
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ml_backend.clusters import (
    list_participants,
    load_clustering,
    participant_folder,
    participants_of,
    places_of_videos,
    videos_clustered,
)
from ml_backend.errors import ConfigError
from ml_backend.export import forget_in_export
from ml_backend.files import private_folder, remove, sweep, written_atomically
from ml_backend.jobs.answers import OLD_TASKS, videos_of_old_tasks
from ml_backend.jobs.audits import forget_in_audit
from ml_backend.jobs.imports import forget_imported
from ml_backend.jobs.projects import clusters_folder, exports_folder, exports_of, listed_exports
from ml_backend.jobs.store import PATIENCE, Store, create_store, open_store
from ml_backend.labelstudio import Client, ClipStorage, GoneError, clip_of_task, is_upload_of, shown_by, upload_names
from ml_backend.recordings import stretch_of_key
from ml_backend.settings import Settings
from ml_backend.storage import ETAG, fresh, stored

STORE_FILE, FILES_FOLDER = "store.json", "files"
LEFT_OUT = ("queue.db", "weakhar.db", "migrate.lock")
"""Files of MODEL_DIR that a backup does not hold: the store's rows are in it, and queued jobs are not worth it."""


def forget_participant(
    store: Store, settings: Settings, client: Client, project_id: int, participant: str, media: Path | None = None
) -> list[str]:
    """Remove a participant from a project for good: tasks with their answers, uploaded clips, clusters, vectors, and
    the participant's part of exports made here. The job leaves them out from now on. Returns what was removed.

    `media` is Label Studio's media folder: what is deleted by its API is not served any longer, but stays there.
    """
    clips = _clips_in(media, project_id)
    with store.lease(project_id, PATIENCE) as check:
        client = client.fenced(check)
        folder = clusters_folder(settings, project_id)
        videos = set(videos_clustered(folder, participant).values())
        videos |= set(videos_of_old_tasks(folder).get(participant, {}).values())
        store.withdraw(project_id, participant, videos)
        names = _upload_names(folder, participant)

        def theirs(whose: str, video: str) -> bool:
            return whose == participant or video in videos

        for inside in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sweep(inside, idle=0)  # we hold the lease: whoever wrote there is dead
        files, removed = _forget_tasks(client, project_id, store.project(project_id).review_project, names, theirs)
        removed += _forget_clips(clips, names, files)
        removed += _remove(participant_folder(folder, participant), f"clusters of {participant}")
        _forget_names(folder, participant)
        forget_in_audit(folder, participant)
        forget_imported(folder, participant)
        store.forget_tasks(project_id, participant, videos)
        removed += _forget_vectors(settings, videos)
        removed += _remove(exports_folder(settings, project_id), "exports made by the server")
        for export in exports_of(settings, project_id):
            removed += [f"{participant} in {export}"] if forget_in_export(export, participant) else []
        removed += _sweep_exports(settings, project_id)
    return removed


def forget_project(
    store: Store, settings: Settings, client: Client | None, project_id: int, media: Path | None = None
) -> list[str]:
    """Remove all of a project that is ours: tasks, uploaded clips, clusters, vectors, answers, exports made here.

    Without a client, of a project that Label Studio deleted. Returns what was removed.
    """
    clips = _clips_in(media, project_id)
    with store.lease(project_id, PATIENCE) as check:
        folder = clusters_folder(settings, project_id)
        videos = list(places_of_videos(folder))
        names = {name for who in participants_of(folder) for name in _upload_names(folder, who)}
        files, removed = list[str](), list[str]()
        if client is not None:
            with suppress(GoneError):  # Label Studio deleted it
                review = store.project(project_id).review_project
                files, removed = _forget_tasks(client.fenced(check), project_id, review, names, lambda *_: True)
        removed += _forget_clips(clips, names, files)
        removed += _forget_stored(settings, project_id)
        for export in exports_of(settings, project_id):
            removed += _remove(export, f"export {export}")
        removed += _sweep_exports(settings, project_id)
        removed += _remove(folder, f"clusters of project {project_id}")
        removed += _remove(exports_folder(settings, project_id), "exports made by the server")
        store.delete_project(project_id)
        removed += _forget_vectors(settings, videos)
    return removed


def _sweep_exports(settings: Settings, project_id: int) -> list[str]:
    """Remove what killed exports left; says what may be one that is at work."""
    folders = {export.parent for export in listed_exports(settings, project_id)}
    return [
        f"NOT removed: {left} is an export being written, or one killed within the hour; remove it in that case"
        for folder in sorted(folders)
        for left in sweep(folder)
    ]


def back_up(store: Store, settings: Settings, target: Path) -> None:
    """Write the store and MODEL_DIR into one archive; ConfigError if it exists, BusyError while a job is at work."""
    if target.exists():
        raise ConfigError(f"{target}: exists; name another file")
    with ExitStack() as stack:
        for project in store.projects():  # nobody changes anything meanwhile
            stack.enter_context(store.lease(project.id, PATIENCE))
        with written_atomically(target) as temporary, TemporaryDirectory() as folder:
            temporary.touch(mode=0o600)
            rows = Path(folder) / STORE_FILE
            rows.write_text(json.dumps(store.dump(), ensure_ascii=False), encoding="utf-8")
            with tarfile.open(temporary, "w:gz", compresslevel=1) as archive:
                archive.add(rows, STORE_FILE)
                for path in sorted(fresh(settings.model_dir, now=True).rglob("*")):
                    name = path.relative_to(settings.model_dir)
                    left_out = str(name).startswith((*LEFT_OUT, "clips-")) or name.suffix == ETAG or path == target
                    if path.is_file() and not left_out:
                        archive.add(path, f"{FILES_FOLDER}/{name}")


def restore(settings: Settings, source: Path) -> None:
    """Put back what `back_up` wrote, into an empty MODEL_DIR and an empty store; ConfigError if they are not."""
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise ConfigError(f"{source}: is no backup of weakhar")
    if fresh(settings.model_dir, now=True).is_dir() and any(settings.model_dir.iterdir()):
        raise ConfigError(f"{settings.model_dir}: is not empty; name an empty folder in MODEL_DIR to restore into")
    private_folder(settings.model_dir)
    with TemporaryDirectory(dir=settings.model_dir.parent) as folder, tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
        rows = Path(folder) / STORE_FILE
        if not rows.is_file():
            raise ConfigError(f"{source}: is no backup of weakhar")
        create_store(settings.database, settings.model_dir, json.loads(rows.read_text(encoding="utf-8")))
        for path in (Path(folder) / FILES_FOLDER).glob("*"):
            shutil.move(path, settings.model_dir / path.name)
    for path in sorted(settings.model_dir.rglob("*")):
        if path.is_file() and path.name not in LEFT_OUT:
            stored(path)
    open_store(settings.database, settings.model_dir)


def _forget_tasks(
    client: Client,
    project_id: int,
    review: int | None,
    names: Collection[str],
    theirs: Callable[[str, str], bool],
) -> tuple[list[str], list[str]]:
    """Delete tasks of ours of which `theirs(participant, video)`, also those in which recordings are gone through,
    and the files that were uploaded for them, whatever an older version called these; the files, and what was
    removed."""
    shown, count = set[str](), 0
    for number in (project_id, review):
        for task in _tasks_there(client, number):
            clip = clip_of_task(task)
            if clip is not None and theirs(clip[0], stretch_of_key(clip[1]).video):
                addresses = (*shown_by(task["data"]), str(task["data"].get("signals", "")))
                shown |= {address.rpartition("/")[2] for address in addresses if address}
                client.delete_task(task["id"])
                count += 1
    uploads = {address.rpartition("/")[2]: number for address, number in client.uploads(project_id).items()}
    files = [file for file in uploads if file in shown or is_upload_of(file, names)]
    client.delete_uploads(project_id, [uploads[file] for file in files])
    found = (
        (count, "tasks with their answers in Label Studio"),
        (len(files), "uploaded clips and pictures in Label Studio"),
    )
    return files, [f"{number} {what}" for number, what in found if number]


def _tasks_there(client: Client, number: int | None) -> list[dict[str, Any]]:
    """A project's tasks; none of a review that there is not, or no longer."""
    try:
        return list(client.tasks(number)) if number is not None else []
    except GoneError:
        return []


def _clips_in(media: Path | None, project_id: int) -> Path | None:
    """Where Label Studio keeps a project's uploads on its own disk; ConfigError if `media` is no such place."""
    if media is not None and not (media / "upload").is_dir():
        raise ConfigError(f"{media}: is no media folder of Label Studio: it has no `upload`")
    return media / "upload" / str(project_id) if media is not None else None


def _forget_clips(folder: Path | None, names: Collection[str], files: Collection[str]) -> list[str]:
    """Remove uploaded clips from Label Studio's own disk: `files` that it served, and others that were uploaded under
    `names`."""
    clips = folder.glob("*") if folder is not None else ()
    found = [path for path in clips if path.name in files or is_upload_of(path.name, names)]
    for path in found:
        path.unlink()
    return [f"{len(found)} files of clips and pictures in {folder}"] if found else []


def _forget_stored(settings: Settings, project_id: int) -> list[str]:
    """Remove what is left of a project in the storage of clips; Label Studio, which serves them, never does."""
    if not settings.clips_url:
        return []
    clips = ClipStorage(settings.clips_url, new=False)
    urls = list(clips.files(project_id, "").values())
    clips.delete(urls)
    return [f"{len(urls)} clips and pictures in {settings.clips_url}"] if urls else []


def _upload_names(folder: Path, participant: str) -> set[str]:
    """What the files of a participant's clips are called; also of those without a task."""
    if participant not in participants_of(folder):
        return set()
    clustering = load_clustering(folder, participant)
    keys = [clustering.key(clip) for clip in range(len(clustering.starts))]
    return {name for key in keys for name in upload_names(participant, key)}


def _forget_names(folder: Path, participant: str) -> None:
    if not folder.is_dir():
        return
    list_participants(folder, [name for name in participants_of(folder) if name != participant])
    old = {name: videos for name, videos in videos_of_old_tasks(folder).items() if name != participant}
    with written_atomically(folder / OLD_TASKS) as temporary:
        temporary.write_text(json.dumps(old, ensure_ascii=False), encoding="utf-8")


def _forget_vectors(settings: Settings, videos: Iterable[str]) -> list[str]:
    """Remove the vectors of videos that no project has clusters of any longer."""
    projects = (path for path in fresh(settings.model_dir / "projects").glob("*") if path.is_dir())
    used = {video for folder in projects for video in places_of_videos(folder)}
    found = [settings.model_dir / "vectors" / video for video in videos if video and video not in used]
    return [line for path in found for line in _remove(path, f"vectors of video {path.name}")]


def _remove(path: Path, what: str) -> list[str]:
    if not fresh(path).is_dir():
        return []
    remove(path)
    return [what]
