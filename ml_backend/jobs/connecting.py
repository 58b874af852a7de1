"""A study brought into Label Studio: its recordings are checked, a project made or found, the model connected and its
job started. By `weakhar connect`, or by the status page's form, whose wishes a worker fulfils one by one.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_backend.errors import ConfigError
from ml_backend.files import locked, written_atomically
from ml_backend.jobs.checks import checked_parameters, extra_params, usable_recordings
from ml_backend.labelstudio import Client, connect, labelling_config
from ml_backend.recordings import CheckedRecording, Problem
from ml_backend.settings import Settings
from ml_backend.storage import fresh

MOST, LONGEST, KEPT_SECONDS = 10, 300, 86_400.0
"""Wishes of the form that are kept, letters of what is wrong with one, and for how long."""


@dataclass(frozen=True)
class Wish:
    """What is to be connected: `classes`, or those of the recordings in `classes_from`, in a project called `title`;
    `backend` is where Label Studio reaches us; tracks: name → classes of what else is to be said of each clip."""

    title: str
    dataset: str
    backend: str
    classes: tuple[str, ...] = ()
    classes_from: str = ""
    annotators: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tracks: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectedStudy:
    """The project, its page in Label Studio, and what was done, in words."""

    project: int
    page: str
    done: tuple[str, ...]


def connect_study(
    settings: Settings, wish: Wish, say: Callable[[Problem], None] = lambda _problem: None
) -> ConnectedStudy:
    """Fulfil a wish; it may be repeated. `say` hears of each recording that is left out. ConfigError or
    RecordingError where something is wrong with it, before anything is made."""
    if wish.classes and wish.classes_from:
        raise ConfigError("classes: name them, or the folder whose recordings bring them, not both")
    meant = extra_params(settings, {**wish.parameters, "dataset": wish.dataset})
    checked = _usable(settings, meant, say)
    classes = wish.classes
    if wish.classes_from:
        same = wish.classes_from == wish.dataset
        source = checked if same else _usable(settings, {**meant, "dataset": wish.classes_from}, say)
        classes = _labels_of(source, wish.classes_from)
    if wish.tracks and not classes:
        raise ConfigError("track: name the classes of the project too")
    config = labelling_config(classes, wish.tracks) if classes else None
    client = Client(settings.label_studio_url, settings.label_studio_api_key, authority=settings.label_studio_ca)
    auth = {"basic_auth_user": settings.basic_auth_user, "basic_auth_pass": settings.basic_auth_pass}
    model = {"url": wish.backend.rstrip("/"), "extra_params": meant}
    model |= auth if settings.auth_required else {}
    result = connect(client, wish.title, config, wish.annotators, model)
    client.start_training(result.model)
    done = (f"{len(checked)} recordings can be used", *result.done, "the job was started")
    return ConnectedStudy(result.project, client.project_page(result.project), done)


class Wishes:
    """What the form wished for and is not there yet: of each title `{"title", "state", "message", "at"}`, in a file,
    since the page may be another process's."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.model_dir / "wishes.json"

    def listed(self) -> list[dict[str, Any]]:
        """Newest last."""
        if not fresh(self._file).is_file():
            return []
        known: list[dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))
        return [one for one in known if time.time() - one["at"] < KEPT_SECONDS]

    def note(self, title: str, state: str, message: str = "") -> None:
        """Say how a wish stands: `running`, `failed`, or `done`, which needs no further word."""
        with locked(self._file.with_suffix(".lock")):
            fresh(self._file, now=True)
            kept = [one for one in self.listed() if one["title"] != title]
            if state != "done":
                kept.append({"title": title, "state": state, "message": message[:LONGEST], "at": time.time()})
            with written_atomically(self._file) as temporary:
                temporary.write_text(json.dumps(kept[-MOST:], ensure_ascii=False), encoding="utf-8")


def _usable(settings: Settings, meant: Mapping[str, Any], say: Callable[[Problem], None]) -> list[CheckedRecording]:
    parameters = checked_parameters(settings, dict(meant))
    checked, problems = usable_recordings(settings.dataset_folder(parameters), parameters, settings.roots)
    for problem in problems:
        if problem.error:
            say(problem)
    return checked


def _labels_of(checked: list[CheckedRecording], where: str) -> tuple[str, ...]:
    """The ground truth's classes, in the order of the alphabet."""
    labels = [result.imu.labels for result in checked if result.imu is not None and result.imu.labels is not None]
    if not labels:
        raise ConfigError(f"classes: the recordings in {where} bring no labels; name the classes")
    return tuple(sorted({str(name) for own in labels for name in own}))
