"""A project's recordings gone through in Label Studio: a second project there, a task a part of a recording, whose
prediction is what the labels are. What people draw comes back as any answer does, and parts that nobody has touched
get a new prediction when the labels change.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError
from ml_backend.files import safe_name
from ml_backend.jobs.answers import project_config
from ml_backend.jobs.held import held, media_of
from ml_backend.jobs.projects import project_labels, project_parameters, project_recordings, webhook_fields
from ml_backend.jobs.reconciliation import reconcile
from ml_backend.jobs.store import Project, Store
from ml_backend.labels import UNLABELLED, ParticipantLabels, labelled_stretches, parse_threshold
from ml_backend.labelstudio import (
    ANNOTATED,
    DELETED,
    FRAME_RATE,
    Client,
    GoneError,
    Media,
    Place,
    arrange_columns,
    as_written,
    channels_of,
    import_tasks,
    is_prediction,
    place_of,
    place_of_task,
    prediction_of,
    review_config,
    task_meta,
    without_names,
)
from ml_backend.recordings import (
    Imu,
    Recording,
    Stretch,
    clip_key,
    cut_part,
    read_imus,
    signals_of,
    without_faces,
    write_signals,
)
from ml_backend.settings import Parameters, Settings

log = logging.getLogger(__name__)

PART_SECONDS = 600.0
"""The longest part of a recording that is one task: Chromium takes 74 MB for that, and three seconds."""
NOWHERE: Place = ("", 0.0, 0.0)
LONGEST_TITLE, ENDING = 50, " (review)"
"""Letters of a project's title in Label Studio, and what the second project's ends with."""


@dataclass(frozen=True)
class Part:
    """A part of a recording that one task shows, with the labels that it is of."""

    labels: ParticipantLabels
    stretch: Stretch

    @property
    def participant(self) -> str:
        """Whose it is."""
        return self.labels.clustering.participant

    @property
    def recording(self) -> str:
        """Which recording of whom, `participant/name`."""
        return f"{self.participant}/{self.stretch.recording}"

    @property
    def key(self) -> str:
        """As that of a clip."""
        return clip_key(self.stretch)

    @property
    def place(self) -> Place:
        """Where it is."""
        return place_of(self.participant, self.stretch)


@dataclass(frozen=True)
class OpenReview:
    """The project in which recordings are gone through, its page, and how many parts it has, and got now."""

    project: int
    page: str
    parts: int
    created: int

    def __str__(self) -> str:
        return f"{self.created} of {self.parts} parts were made ready; go through them at {self.page}"


def open_review(
    store: Store,
    settings: Settings,
    client: Client,
    project_id: int,
    progress: Progress,
    participant: str | None = None,
    patience: float = 0.0,
) -> OpenReview:
    """Make the second project, or what is missing in it, of one participant or of all. ConfigError where nothing is
    labelled yet."""
    with held(store, project_id, client, progress, patience) as (client, progress):
        progress("reading annotations", 0, 1)
        reconcile(store, client, project_id)
        review = _Review(store, settings, client, project_id)
        parts = [part for part in review.parts() if participant in (None, part.participant)]
        if not any((part.labels.propagated != UNLABELLED).any() for part in parts):
            whose = "project" if participant is None else f"participant '{participant}' of project"
            raise ConfigError(f"{whose} {project_id}: has no labels to go through yet; label some clips first")
        number, channels = review.made_project(parts)
        known = {task.place for task in store.tasks(number)}
        missing = [part for part in parts if part.place not in known]
        with media_of(settings, client, project_id) as media:
            review.renew(number, media)
            for count, part in enumerate(missing):
                progress("making recordings ready to go through", count, len(missing))
                review.create(media, number, part, channels)
        return OpenReview(number, client.project_page(number), len(store.tasks(number)), len(missing))


def renew_review(
    store: Store, settings: Settings, client: Client, project_id: int, media: Media | None = None
) -> None:
    """Give parts that nobody has touched the labels as they are now; with `media` all of them names and pictures as
    they are to be shown now."""
    number = store.project(project_id).review_project
    if number is not None:
        try:
            _Review(store, settings, client, project_id).renew(number, media)
        except GoneError as error:
            log.warning("project %s: nobody goes through its recordings any more: %s", project_id, error)


@dataclass(frozen=True)
class _Review:
    """A project whose recordings are gone through."""

    store: Store
    settings: Settings
    client: Client
    project_id: int

    @cached_property
    def project(self) -> Project:
        return self.store.project(self.project_id)

    @cached_property
    def parameters(self) -> Parameters:
        return project_parameters(self.settings, self.project)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return project_config(self.project).classes.names

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        return project_recordings(self.store, self.settings, self.project_id)

    def parts(self) -> Iterator[Part]:
        """The parts of all recordings that were clustered, of even lengths."""
        for labels in project_labels(self.store, self.settings, self.project_id):
            clustering = labels.clustering
            for number, name in enumerate(clustering.recordings):
                seconds = float(clustering.durations[number])
                count = max(1, ceil(seconds / PART_SECONDS))
                video = clustering.videos[number] if clustering.videos else ""
                for part in range(count):
                    yield Part(labels, Stretch(name, seconds * part / count, seconds * (part + 1) / count, video))

    def made_project(self, parts: list[Part]) -> tuple[int, tuple[str, ...]]:
        """The number of the second project, made unless it is there, and the signals that it shows: those of the
        first recording."""
        if (number := self.project.review_project) is not None:
            try:
                channels = channels_of(self.client.project(number)["label_config"])
                self._listen_to(number)
                return number, channels
            except GoneError:
                log.warning("project %s: the one for its review is gone and made anew", self.project_id)
        first = next((found for part in parts if (found := self.recordings.get(part.recording)) is not None), None)
        if first is None:
            raise ConfigError("review: the recordings are gone; restore them or run the job again")
        channels = tuple(signals_of(_imu(first)))
        number = self.client.create_project(
            title=f"{self.project.title[: LONGEST_TITLE - len(ENDING)]}{ENDING}",
            label_config=review_config(self.classes, channels),
            sampling="Uncertainty sampling",  # parts whose labels are least certain come first
        )
        self.store.change_project(self.project_id, review_project=number)
        arrange_columns(self.client, number)
        self._listen_to(number)
        return number, channels

    def _listen_to(self, number: int) -> None:
        """Have what is drawn in the second project told to us; without an address of ours a reconciliation asks."""
        url = f"{self.project.backend_url}/webhook"
        if self.project.backend_url and url not in {hook["url"] for hook in self.client.webhooks(number)}:
            fields = webhook_fields(self.store, self.settings, self.project_id)
            own = {"actions": [*ANNOTATED, DELETED]}  # a project's own webhook may name no other of ours
            self.client.create_webhook(number, url=url, **{**fields, **own})

    def create(self, media: Media, number: int, part: Part, channels: tuple[str, ...]) -> None:
        """Make a part's video and signals, upload them, and create its task."""
        if part.recording not in self.recordings:
            log.warning("%s is gone and not made ready", part.recording)
            return
        task = {**self.shown(media, part, channels), "predictions": [self.prediction(part)]}
        self.store.add_tasks(
            number, [(import_tasks(self.client, number, [(task, part.place)])[0], part.participant, part.key)]
        )

    def shown(self, media: Media, part: Part, channels: tuple[str, ...]) -> dict[str, Any]:
        """A task's data and meta, with the files that it shows made and uploaded unless they are there."""
        recording, span = self.recordings[part.recording], (part.stretch.start_seconds, part.stretch.end_seconds)
        named, blurred = self.parameters.show_participant, self.parameters.blur_faces
        shown_as = (part.participant, part.key) if named else without_names(part.key)
        name = safe_name("|".join((*shown_as, "part", str(blurred))))
        retouch = without_faces if blurred else iter
        whose = part.recording if named else "this person"
        data = {
            "video": media.served(
                f"{name}.mp4", lambda file: cut_part(recording.video, *span, file, FRAME_RATE, retouch)
            ),
            "signals": media.served(
                f"{name}.csv", lambda file: write_signals(_imu(recording), channels, *span, file)
            ),
            "participant": part.participant if named else "this person",
            "recording": part.stretch.recording if named else " ",
            "start_seconds": round(span[0], 3),
            "end_seconds": round(span[1], 3),
            "about": f"{whose}, from {_clock(span[0])} to {_clock(span[1])}: correct what is wrong, then Submit",
        }
        return {"data": data, "meta": task_meta(*shown_as)}

    def renew(self, number: int, media: Media | None = None) -> None:
        """Bring tasks up to date: predictions where nobody has touched a part; with `media` what they show."""
        parts = {part.place: part for part in self.parts()}
        channels = channels_of(self.client.project(number)["label_config"]) if media else ()
        for task in list(self.client.tasks(number)):
            part = parts.get(place_of_task(task) or NOWHERE)
            if part is None:
                continue
            if media is not None and part.recording in self.recordings:
                self._show(media, task, part, channels)
            wanted, before = self.prediction(part), task.get("predictions") or []
            touched = task.get("annotations") or task.get("drafts")
            if not touched and not is_prediction(before, wanted):
                self.client.predict(task["id"], wanted)
                for one in before:
                    self.client.delete_prediction(one["id"])

    def _show(self, media: Media, task: dict[str, Any], part: Part, channels: tuple[str, ...]) -> None:
        """Show in a task what is to be shown now, such as no names any more."""
        before, now = as_written(task), self.shown(media, part, channels)
        if (before, task["meta"]) != (now["data"], now["meta"]):
            self.client.update_task(task["id"], now["data"], now["meta"])
            media.drop({before["video"], before["signals"]} - {now["data"]["video"], now["data"]["signals"]})

    def prediction(self, part: Part) -> dict[str, Any]:
        """What the labels of a part are now."""
        kept = part.labels.clip_labels(parse_threshold(self.parameters.threshold))
        stretches = labelled_stretches(part.labels, kept, self.parameters.paper_exact)
        own = (one for one in stretches if one.recording == part.stretch.recording)
        return prediction_of(own, self.classes, part.stretch.start_seconds, part.stretch.end_seconds)


def _imu(recording: Recording) -> Imu:
    return read_imus(recording.imus, recording.span)


def _clock(seconds: float) -> str:
    """Such as 1:02:03."""
    minutes, whole = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{whole:02}"
