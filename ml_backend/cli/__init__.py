"""The `weakhar` command: the same steps as the server's, by hand. One file a group of commands, each of which
imports what is heavy only when it is used, so that `--help` answers at once. Nothing imports this room."""

from collections.abc import Callable
from typing import Annotated

import typer

from ml_backend import __version__
from ml_backend.cli.data import align, check, ingest, predict, sample
from ml_backend.cli.doctor import doctor
from ml_backend.cli.paper import rehearse, reproduce
from ml_backend.cli.project import audit, connect, export, import_labels, review, run, sync
from ml_backend.cli.server import demo, serve, worker
from ml_backend.cli.shared import spread_of_folds
from ml_backend.cli.upkeep import backup, cancel, forget, meaning, restore
from ml_backend.errors import WeakHARError
from training.cli import evaluate, onnx, run_command, train
from training.errors import TrainingError

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def main() -> None:
    """Entry of `weakhar`."""
    run_command(cli, WeakHARError, TrainingError)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weakhar {__version__}")
        raise typer.Exit


@cli.callback()
def weakhar(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback is all of it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit")
    ] = False,
) -> None:
    """Label hours of synchronised video and IMU recordings from a few minutes of human work."""
    context.obj = spread_of_folds


COMMANDS: tuple[Callable[..., None], ...] = (
    sample,
    check,
    align,
    ingest,
    connect,
    run,
    sync,
    audit,
    review,
    import_labels,
    export,
    cancel,
    meaning,
    forget,
    backup,
    restore,
    doctor,
    serve,
    worker,
    demo,
    train,
    evaluate,
    predict,
    onnx,
    rehearse,
    reproduce,
)
for command in COMMANDS:
    cli.command()(command)
