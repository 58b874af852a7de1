"""What the store holds of people's answers → answers to the pictures that there are now, and those that cannot be
used: not understood, or about pictures that are gone. None is ever thrown away."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml_backend.clusters import participants_of, places_of_videos, videos_clustered
from ml_backend.errors import ConfigError
from ml_backend.files import written_atomically
from ml_backend.jobs.audits import load_audit
from ml_backend.jobs.imports import imported_intervals
from ml_backend.jobs.store import Annotation, Project, Store, Task
from ml_backend.labels import AUDIT, CLIP, REVIEW, Answer, Painted, filled
from ml_backend.labelstudio import NO_CLASS, Given, LabelConfig, parse_label_config
from ml_backend.recordings import Stretch, stretch_of_key

OLD_TASKS = "videos_of_old_tasks.json"
"""In a project's folder: which video tasks of older versions were about, by participant and recording."""
GONE = "its pictures are gone: the video was replaced, trimmed or removed"


@dataclass(frozen=True)
class Unused:
    """An answer that is kept and not used, and why; choice: what it names that is no class; review: its task is one
    of the project in which recordings are gone through; file: where it was imported from, which is no task."""

    task: int | None
    participant: str
    stretch: Stretch
    reason: str
    choice: str = ""
    review: bool = False
    file: str = ""

    def __str__(self) -> str:
        where = self.file or f"{'review ' if self.review else ''}task {self.task}"
        return f"{where} ({self.participant}/{self.stretch}): {self.reason}"


@dataclass(frozen=True)
class GivenAnswers:
    """Answers in terms of the participants and recordings that show the pictures now; those `not_understood`; those
    whose pictures are `gone`; and what was said of the clips of an open audit, which counts for nothing else, with
    the seconds that each answer took."""

    answers: list[Answer]
    not_understood: list[Unused]
    gone: list[Unused]
    held: dict[tuple[str, str], list[str | None]] = field(default_factory=dict)
    held_seconds: list[float] = field(default_factory=list)


def project_config(project: Project, track: str = "") -> LabelConfig:
    """A project's labelling config, or that of a further track of labels, with what its choices mean."""
    return parse_label_config(project.label_config, json.loads(project.meanings or "{}"), track)


def decide_meaning(store: Store, project_id: int, choice: str, means: str) -> None:
    """Say that `choice` means a class, itself, or NO_CLASS; ConfigError if there is no such class."""
    known = project_config(store.project(project_id)).classes.names
    if means not in (NO_CLASS, choice, *known):
        raise ConfigError(f"'{means}' is no class of project {project_id}; known are {', '.join(known)}")
    store.set_meaning(project_id, choice, means)


def given_answers(store: Store, folder: Path, project: Project, track: str = "") -> GivenAnswers:
    """All that was answered in a project whose clusters lie in `folder`; of a further `track` of labels only what
    clips were answered with."""
    config, found = project_config(project, track), GivenAnswers([], [], [])
    places, old, audit = places_of_videos(folder), videos_of_old_tasks(folder), load_audit(folder)
    drawn = audit.places if audit is not None else {}
    for task, annotation in store.annotations(project.id):
        stretch = with_video(stretch_of_key(task.clip), old.get(task.participant, {}))
        choice, problem = (None, "") if annotation.skipped else config.understood(_given(annotation))
        if problem:
            named = config.named_alone(_given(annotation))
            found.not_understood.append(Unused(task.id, task.participant, stretch, problem, named))
            continue
        pair = drawn.get(task.place)
        if audit is not None and pair is not None and audit.closed is None:
            found.held.setdefault(pair, []).append(choice)
            found.held_seconds.extend([annotation.seconds] if annotation.seconds else [])
            continue
        own = places.get(stretch.video) if stretch.video else [(task.participant, stretch.recording)]
        if not own:
            found.gone.append(Unused(task.id, task.participant, stretch, GONE))
        source = CLIP if pair is None else AUDIT
        found.answers.extend(_answer(task, annotation, stretch, place, choice, source) for place in own or ())
    if track:
        return found
    if project.review_project is not None:
        _add_reviews(store, project.review_project, config, places, found)
    _add_imported(folder, config, places, found)
    return found


def _add_imported(
    folder: Path, config: LabelConfig, places: Mapping[str, list[tuple[str, str]]], found: GivenAnswers
) -> None:
    """What was labelled elsewhere: of videos that are clustered now, in classes that there still are."""
    for file, video, answer in imported_intervals(folder):
        choice, problem = config.understood((("", ((answer.choice or "",),)),))
        own = places.get(video) if video else [(answer.participant, answer.recording)]
        if problem or not own:
            unused = found.not_understood if problem else found.gone
            stretch = Stretch(answer.recording, answer.start_seconds, answer.end_seconds, video)
            named = answer.choice or "" if problem else ""
            unused.append(Unused(None, answer.participant, stretch, problem or GONE, named, file=file))
            continue
        if choice not in config.classes.mixed:
            found.answers.extend(replace(answer, participant=who, recording=name, choice=choice) for who, name in own)


def _add_reviews(
    store: Store,
    review_project: int,
    config: LabelConfig,
    places: Mapping[str, list[tuple[str, str]]],
    found: GivenAnswers,
) -> None:
    """What people who went through recordings said of each part: one answer a stretch, side by side."""
    for task, annotation in store.annotations(review_project):
        part = stretch_of_key(task.clip)
        own = places.get(part.video) if part.video else [(task.participant, part.recording)]
        if annotation.skipped:
            continue
        if not own:
            found.gone.append(Unused(task.id, task.participant, part, GONE, review=True))
        regions = []
        for start, end, name in json.loads(annotation.regions):
            choice, problem = config.understood((("", ((name,),)),))
            choice = None if choice in config.classes.mixed else choice
            at = part.start_seconds
            regions.append(Painted(at + start, at + end, choice))
            if problem:
                stretch = part._replace(start_seconds=at + start, end_seconds=at + end)
                found.not_understood.append(Unused(task.id, task.participant, stretch, problem, name, review=True))
        for number, one in enumerate(filled(regions, part.start_seconds, part.end_seconds)):
            stretch = part._replace(start_seconds=one.start_seconds, end_seconds=one.end_seconds)
            for place in own or ():
                answer = _answer(task, annotation, stretch, place, one.holds, REVIEW)
                found.answers.append(answer if number == 0 else replace(answer, seconds=None))


def videos_of_old_tasks(folder: Path) -> dict[str, dict[str, str]]:
    """Participant → recording → content key of the video that tasks without one are about: what was clustered when
    tasks had none yet."""
    file = folder / OLD_TASKS
    if file.is_file():
        known: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
        return known
    return {name: videos_clustered(folder, name) for name in participants_of(folder)}


def keep_videos_of_old_tasks(folder: Path) -> None:
    """Write that down, once, before anything is clustered anew."""
    if folder.is_dir() and not (folder / OLD_TASKS).is_file():
        with written_atomically(folder / OLD_TASKS) as temporary:
            temporary.write_text(json.dumps(videos_of_old_tasks(folder), ensure_ascii=False), encoding="utf-8")


def with_video(stretch: Stretch, videos: Mapping[str, str]) -> Stretch:
    """The stretch with its video, which for tasks of older versions is the recording's among `videos`."""
    return stretch if stretch.video else stretch._replace(video=videos.get(stretch.recording, ""))


def _given(annotation: Annotation) -> Given:
    return tuple((name, tuple(map(tuple, paths))) for name, paths in json.loads(annotation.given))


def _answer(
    task: Task, annotation: Annotation, stretch: Stretch, place: tuple[str, str], choice: str | None, source: str
) -> Answer:
    return Answer(
        participant=place[0],
        recording=place[1],
        start_seconds=stretch.start_seconds,
        end_seconds=stretch.end_seconds,
        choice=choice,
        annotator=annotation.annotator,
        seconds=annotation.seconds,
        source=source,
        at=annotation.updated_at,
        task=task.id,
    )
