"""What the commands share: options, consoles, progress, and the settings and store that they open."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ml_backend.errors import ConfigError
from ml_backend.storage import place
from training.cli import lines_of_progress
from training.errors import TrainingError

if TYPE_CHECKING:
    from ml_backend.jobs import Store
    from ml_backend.recordings import CheckedRecording, Problem
    from ml_backend.settings import Parameters, Settings
    from training.evaluate import Spread

out, err = Console(), Console(stderr=True)

Dataset = Annotated[Path, typer.Argument(metavar="DIR", parser=place, help="Folder of the recordings, or its URL")]
ProjectNumber = Annotated[int, typer.Option("--project", "-p", help="Number of the Label Studio project")]
Backend = Annotated[str, typer.Option(help="Where Label Studio reaches `weakhar serve`")]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="A parameter, such as components=50 or clip_seconds=2"),
]


def opened() -> "tuple[Settings, Store]":
    """Settings and store, with log messages fit for a terminal."""
    from rich.logging import RichHandler

    from ml_backend.jobs import open_store
    from ml_backend.settings import load_settings

    settings = load_settings()
    say_where(settings)
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[RichHandler(console=err, show_path=False)])
    return settings, open_store(settings.database, settings.model_dir)


def say_where(settings: "Settings") -> None:
    """Where the data is kept: said once, when the folder is made, or each time if it depends on where one stands."""
    from ml_backend.settings import OLD_MODEL_DIR

    if "model_dir" in settings.model_fields_set:
        return
    if settings.model_dir.name == OLD_MODEL_DIR:
        err.print(f"using {settings.model_dir}, as older versions did; MODEL_DIR names another", soft_wrap=True)
    elif not settings.model_dir.exists():
        err.print(f"weakhar keeps its data in {settings.model_dir}; MODEL_DIR names another", soft_wrap=True)


def spread_of_folds() -> "Spread | None":
    """What runs the folds of `evaluate` on a Ray cluster, where one is named."""
    from ml_backend.settings import ray_address

    if not (address := ray_address()):
        return None
    from ml_backend.jobs import folds_on_ray

    return partial(folds_on_ray, address, TrainingError)


def parameters_from(
    settings: "Settings", options: list[str] | None, overrides: dict[str, Any] | None = None
) -> "Parameters":
    """The parameters in force, with `--set` on top; ConfigError names a wrong one."""
    from ml_backend.jobs import checked_parameters

    merged = dict(overrides or {})
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"--set {option}: expected NAME=VALUE, such as components=50")
        merged[name.strip()] = value.strip()
    return checked_parameters(settings, merged, where="--set")


def why_silent(backend: str) -> str:
    """Why weakhar does not answer at an address; empty where it does."""
    import httpx

    try:
        answer: Any = httpx.get(f"{backend.rstrip('/')}/health", timeout=5).json()
    except ValueError:
        answer = None
    except httpx.HTTPError as error:
        return str(error)
    ours = isinstance(answer, dict) and answer.get("model_class") == "WeakHAR"
    return "" if ours else "something else answers there"


def usable(folder: Path, parameters: "Parameters", roots: "Sequence[Path]" = ()) -> "list[CheckedRecording]":
    """The recordings of a folder that can be used, with `roots` those that a server would read; says which are left
    out, and why."""
    from ml_backend.jobs import usable_recordings

    checked, problems = usable_recordings(folder, parameters, roots)
    for problem in problems:
        if problem.error:
            say_left_out(problem)
    return checked


def say_left_out(problem: "Problem") -> None:
    """Say which recording is left out, and why."""
    err.print(f"left out: {problem.message}", style="red", markup=False, highlight=False, soft_wrap=True)


def say_unused(store: "Store", settings: "Settings", project: int) -> None:
    """Count and name the answers of a project that are kept and not used, and the clips on which people disagree."""
    from ml_backend.jobs import client_for, project_answers, project_labels, unused_answers

    review, client = store.project(project).review_project, client_for(settings, store.project(project))
    given, everything = project_answers(store, settings, project), project_labels(store, settings, project)
    for what, unused in unused_answers(store, project, given, everything):
        if unused:
            err.print(f"{len(unused)} {what}:", style="yellow", highlight=False)
        for one in unused:
            where = review if one.review else project
            page = f"; {client.task_page(where, one.task)}" if where and one.task else ""
            err.print(f"  {one}{page}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bars() -> Iterator[Any]:
    """A callable `(step, done, total)` that keeps one bar a step; where stderr is no terminal, it prints a line now
    and then."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    if not err.is_terminal:
        say = lines_of_progress()
        yield lambda step, done, total: say(f"{step}: {done:.0f} of {total:.0f}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err) as bars:
        steps: dict[str, Any] = {}

        def progress(step: str, done: float, total: float) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=total or 1)
            bars.update(steps[step], completed=done if total else 1, total=total or 1)

        yield progress
        for task in steps.values():
            bars.update(task, completed=bars.tasks[task].total)
