"""The `weakhar` command: the same steps as the server's, by hand."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from ml_backend.errors import ConfigError, WeakHARError
from ml_backend.settings import Parameters, Settings, load_settings
from training.cli import evaluate, onnx, predict, run_command, train
from training.errors import TrainingError

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
CHECK_COLUMNS = ("video s", "video", "IMU s", "IMU", "shared s", "clips")
out, err = Console(), Console(stderr=True)

Dataset = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the recordings")]
ProjectNumber = Annotated[int, typer.Option("--project", "-p", help="Number of the Label Studio project")]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="A parameter, such as components=50 or clip_seconds=2"),
]


def main() -> None:
    """Entry of `weakhar`."""
    run_command(cli, WeakHARError, TrainingError)


@cli.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to")],
    participants: Annotated[int, typer.Option(min=1, max=99)] = 4,
    minutes: Annotated[float, typer.Option(min=0.2, max=600, help="Length of each recording")] = 4.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write sample recordings: a simulated person on video, with two accelerometers and ground truth."""
    from ml_backend.sample.simulate import write_sample

    with _bars() as progress:
        for participant, share in write_sample(folder, participants, minutes, seed):
            progress(f"rendering {participant}", share * minutes * 60, minutes * 60)
    out.print(f"{participants} recordings of {minutes:g} minutes in {folder}", highlight=False)


@cli.command()
def check(folder: Dataset, option: Option = None) -> None:
    """Show all recordings of a dataset folder and every problem found; exit status 1 if there is an error."""
    from ml_backend.recordings.layouts import check_dataset

    checked, problems = check_dataset(folder, _parameters(load_settings(), option))
    if checked:
        out.print(_recordings_table(checked))
    for problem in problems:
        style = "red" if problem.error else "yellow"
        kind = "error" if problem.error else "warning"
        out.print(f"{kind}: {problem.message}", style=style, markup=False, highlight=False, soft_wrap=True)
    errors = sum(problem.error for problem in problems)
    out.print(f"{len(checked)} recordings, {errors} errors, {len(problems) - errors} warnings", highlight=False)
    if errors:
        raise typer.Exit(1)


@cli.command()
def align(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Of a GoPro, which holds what the camera measured")],
    imu: Annotated[Path, typer.Argument(metavar="IMU", help="CSV or Parquet of a body-worn IMU")],
    sampling_rate: Annotated[float, typer.Option(min=1, help="Hz, where the IMU file has no time column")] = 50.0,
) -> None:
    """Find when a body-worn IMU was started, by the motion it shares with the camera."""
    from ml_backend.recordings.gopro import align as find
    from ml_backend.recordings.imu import ImuFormat, read_imu

    samples = read_imu(imu, ImuFormat(sampling_rate=sampling_rate, missing_values="interpolate"))
    found = find(video, samples.times, samples.values, samples.channels)
    out.print(f"offset_seconds: {found.offset_seconds:.2f}", highlight=False)
    out.print(
        f"correlation {found.correlation:.2f}, elsewhere at most {found.runner_up:.2f}, by chance "
        f"{found.by_chance:.2f}; confidence {found.confidence:.0%}. Write the first line into dataset.yaml",
        highlight=False,
        soft_wrap=True,
    )


@cli.command()
def ingest(folder: Dataset, option: Option = None) -> None:
    """Embed all recordings ahead of time, without Label Studio; a later job finds the vectors."""
    from ml_backend.jobs.pipeline import embed_all, embedders
    from ml_backend.recordings.layouts import usable_recordings

    settings = load_settings()
    parameters = _parameters(settings, option)
    checked, _ = usable_recordings(folder, parameters)
    with _bars() as progress:
        embed_all(embedders(settings, parameters), checked, progress)
    vectors = settings.model_dir / "vectors"
    out.print(f"vectors of {len(checked)} recordings in {vectors}", highlight=False, soft_wrap=True)


@cli.command()
def run(folder: Dataset, project: ProjectNumber, option: Option = None) -> None:
    """The whole job in the foreground: check, embed, cluster, and create the tasks that are missing."""
    from ml_backend.jobs.pipeline import client_for, run_project
    from ml_backend.jobs.store import DONE, FAILED, project_overrides

    settings, store = _opened()
    known = {entry.id: entry for entry in store.projects()}
    overrides = project_overrides(known[project]) if project in known else {}
    parameters = _parameters(settings, option, overrides)
    if project not in known:
        store.save_project(project)
    client = client_for(settings, store.project(project))
    title = client.project(project)["title"]
    changed = parameters.model_dump_json(include=parameters.model_fields_set)
    store.save_project(project, title=title, parameters=changed)
    try:
        with _bars() as progress:
            created = run_project(store, settings, client, project, progress, folder)
    except WeakHARError as error:
        store.set_job(project, FAILED, message=str(error))
        raise
    store.set_job(project, DONE, message=f"{created} tasks created", done=1, total=1)
    out.print(
        f"{created} tasks created; label them at {client.url}/projects/{project}", highlight=False, soft_wrap=True
    )


@cli.command()
def sync(project: ProjectNumber) -> None:
    """Read all annotations back from Label Studio, and offer further clips where one was skipped or mixed."""
    from ml_backend.jobs.pipeline import client_for, sync_project
    from ml_backend.web.report import project_status

    settings, store = _opened()
    client = client_for(settings, store.project(project))
    with _bars() as progress:
        created = sync_project(store, settings, client, project, progress)
    status = project_status(store, store.project(project))
    out.print(
        f"{status['annotations']} annotations on {status['tasks']} tasks; {created} tasks created", highlight=False
    )


@cli.command()
def export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write, replaced as a whole")],
    project: ProjectNumber,
    threshold: Annotated[str | None, typer.Option(help="none, a distance such as 6, or a share such as 90%")] = None,
    file_format: Annotated[str, typer.Option("--format", help="parquet or wear")] = "parquet",
) -> None:
    """Write the weakly labelled dataset."""
    from ml_backend.export.dataset import export_dataset
    from ml_backend.jobs.pipeline import client_for
    from ml_backend.labelstudio.answers import reconcile

    settings, store = _opened()
    reconcile(store, client_for(settings, store.project(project)), project)
    description = export_dataset(store, settings, project, target, threshold, file_format)
    table = Table("participant", "samples", "coverage", "clusters labelled", "ties")
    for name, counts in description["participants"].items():
        labelled = f"{counts['clusters_labelled']} of {counts['clusters']}"
        table.add_row(name, str(counts["samples"]), f"{counts['coverage']:.1%}", labelled, str(len(counts["ties"])))
    out.print(table)
    out.print(f"exported to {target} (threshold {description['threshold']})", highlight=False, soft_wrap=True)


@cli.command()
def reproduce(
    folder: Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="The authors' download of a dataset")],
    table: Annotated[int | None, typer.Option(min=2, max=3, help="2: accuracy by embedding; 3: training")] = None,
    figure: Annotated[int | None, typer.Option(min=2, max=2, help="2: accuracy by number of clusters")] = None,
    ablation: Annotated[str | None, typer.Option(help="clip-length, answers or thresholds")] = None,
    name: Annotated[str | None, typer.Option(help="WEAR, Wetlab or ActionSense, if not the folder's name")] = None,
    clustering: Annotated[str, typer.Option(help="gmm as in the paper, ward, or segments")] = "gmm",
    propagation: Annotated[str, typer.Option(help="cluster as in the paper, or discriminant")] = "cluster",
    models: Annotated[str, typer.Option(help="Models of table 3")] = "shallow_deepconvlstm,tinyhar",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of table 3")] = 30,
    target: Annotated[Path | None, typer.Option("--out", help="Folder to write to; else runs/reproduce-NAME")] = None,
) -> None:
    """The paper's tables and figures from a published dataset, ours beside theirs; three seeds, by participant."""
    from ml_backend.paper import reproduce as paper
    from ml_backend.paper.published import read_published
    from training.loop import Settings as LoopSettings
    from training.tables import terminal_table

    way = paper.way_of(clustering, propagation)
    if sum(wanted is not None for wanted in (table, figure, ablation)) != 1:
        raise ConfigError("reproduce: name one of --table 2, --table 3, --figure 2, --ablation clip-length")
    dataset = read_published(folder)
    name = paper.paper_name(dataset, name)
    other_way = [value for value in (clustering, propagation) if value not in paper.PAPER_WAY]
    target = target or Path("runs") / "-".join(["reproduce", name, *other_way])
    with _bars() as progress:
        if table == 3:
            exports = paper.write_exports(dataset, name, target / "table-3", way, progress)
            settings = LoopSettings(epochs=epochs)
            wanted = [model.strip() for model in models.split(",")]
            trained_on, rows = paper.training_table(dataset, exports, wanted, settings, target / "table-3", progress)
        elif ablation is not None:
            outcome, stem = paper.ablation(dataset, name, ablation, way, progress), ablation
        elif figure is not None:
            outcome, stem = paper.clusters_figure(dataset, name, way, progress), "figure-2"
        else:
            outcome, stem = paper.embeddings_table(dataset, name, way, progress), "table-2"
    if table == 3:
        out.print(terminal_table(trained_on, rows))
    else:
        paper.write_outcome(dataset, outcome, target, stem)
        header, lines = paper.table_rows(outcome)
        columns = (Column(name, no_wrap=True) for name in header)
        shown = Table(*columns, title=outcome.title, box=None, pad_edge=False)
        for line in lines:
            shown.add_row(*line)
        out.print(shown)
    if figure is not None:
        paper.write_box_plots(outcome, target / "figure-2.png")
    out.print(f"written to {target}", highlight=False, soft_wrap=True)


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "0.0.0.0",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9090,
) -> None:
    """Start the web server and the worker together; the worker is started again if it dies."""
    settings, _ = _opened()
    web = _child("gunicorn", "--bind", f"{host}:{port}", "--workers", settings.workers, "--threads", settings.threads,
                 "--timeout", 120, "ml_backend._wsgi:app")  # fmt: skip
    worker = _child("ml_backend.cli", "worker")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    out.print(f"weakhar at http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}", highlight=False)
    try:
        while web.poll() is None:
            if worker.poll() is not None:
                err.print(f"the worker ended ({worker.returncode}) and is started again", highlight=False)
                worker = _child("ml_backend.cli", "worker")
            time.sleep(1)
        raise ConfigError(f"the web server ended ({web.returncode}); is port {port} taken?")
    finally:
        for process in (worker, web):
            process.terminate()
        for process in (worker, web):
            process.wait()


@cli.command()
def worker() -> None:
    """Start a worker alone, as docker-compose does; `serve` starts one too."""
    from ml_backend.jobs.runtime import runtime

    runtime()[2].work()


@cli.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for everything the demo makes")] = Path(
        "demo"
    ),
    label_studio: Annotated[str, typer.Option(help="The label-studio program")] = "label-studio",
    keep: Annotated[bool, typer.Option(help="Leave both servers running")] = False,
    participants: Annotated[int, typer.Option(min=1)] = 4,
    minutes: Annotated[float, typer.Option(min=0.5)] = 4.0,
    components: Annotated[int, typer.Option(min=1, help="Clusters a participant")] = 40,
) -> None:
    """The main job on sample recordings, with a real Label Studio and a simulated annotator."""
    from ml_backend.sample.demo import run_demo

    run_demo(folder, label_studio, keep, participants, minutes, components, out)


for command in (train, evaluate, predict, onnx):
    cli.command()(command)


def _recordings_table(checked: list[Any]) -> Table:
    columns = (Column(name, no_wrap=True) for name in CHECK_COLUMNS)
    table = Table(Column("recording", overflow="fold", min_width=12), *columns, box=None, pad_edge=False)
    for result in checked:
        video, imu = result.video, result.imu
        table.add_row(
            str(result.recording),
            f"{video.duration:.1f}" if video else "-",
            f"{video.width}×{video.height} {video.codec} {video.frame_rate:.3g}/s" if video else "-",
            f"{imu.end - imu.start:.1f}" if imu else "-",
            f"{len(imu.channels)} × {imu.sampling_rate:g} Hz" if imu else "-",
            f"{result.overlap_seconds:.1f}",
            str(result.n_clips),
        )
    return table


def _opened() -> tuple[Settings, Any]:
    """Settings and store, with log messages fit for a terminal."""
    from ml_backend.jobs.store import open_store

    settings = load_settings()
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[RichHandler(console=err, show_path=False)])
    return settings, open_store(settings.database, settings.model_dir)


def _parameters(settings: Settings, options: list[str] | None, overrides: dict[str, Any] | None = None) -> Parameters:
    merged = dict(overrides or {})
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"--set {option}: expected NAME=VALUE, such as components=50")
        merged[name.strip()] = value.strip()
    return settings.parameters(merged, where="--set")


def _child(module: str, *arguments: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)], env=os.environ)


@contextmanager
def _bars() -> Iterator[Any]:
    """A callable `(step, done, total)` that keeps one bar a step; silent where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err, disable=not err.is_terminal
    ) as bars:
        steps: dict[str, Any] = {}

        def progress(step: str, done: float, total: float) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=total or 1)
            bars.update(steps[step], completed=done if total else 1, total=total or 1)

        yield progress
        for task in steps.values():
            bars.update(task, completed=bars.tasks[task].total)
