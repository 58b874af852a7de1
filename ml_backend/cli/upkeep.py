"""Commands on what is kept: `forget`, `backup`, `restore`; and on a project's job and choices: `cancel`,
`meaning`."""

from pathlib import Path
from typing import Annotated

import typer

from ml_backend.cli.shared import ProjectNumber, opened, out
from ml_backend.errors import ConfigError


def cancel(project: ProjectNumber) -> None:
    """End a project's job; what was done stays, and Start Training goes on from there."""
    _, store = opened()
    store.project(project)
    if not store.cancel_job(project):
        raise ConfigError(f"project {project}: no job is queued or at work")
    out.print(f"project {project}: its job ends", highlight=False)


def meaning(
    project: ProjectNumber,
    choice: Annotated[str, typer.Argument(help="As answers have it, such as the old name of a class")],
    means: Annotated[str, typer.Argument(help="The class that is meant; `none`: the clip shows no class")],
) -> None:
    """Say what a choice means that is no class of the labelling config, such as one that was renamed."""
    from ml_backend.jobs import decide_meaning, project_config
    from ml_backend.labelstudio import NO_CLASS, plain

    _, store = opened()
    classes = project_config(store.project(project)).classes.names
    meant = NO_CLASS if means.strip().lower() == "none" and "none" not in classes else plain(means)
    decide_meaning(store, project, plain(choice), meant)
    out.print(
        f"'{choice}' means {meant or 'that the clip shows no class'} from now on", highlight=False, markup=False
    )


def forget(
    project: Annotated[
        int | None, typer.Option("--project", "-p", help="In this Label Studio project alone; else in all")
    ] = None,
    participant: Annotated[
        str | None, typer.Option(help="The participant who withdrew; else the whole project")
    ] = None,
    media: Annotated[
        Path | None,
        typer.Option(
            help="Label Studio's media folder, where its API leaves the files of clips", file_okay=False, exists=True
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Remove a participant, or a project, for good: tasks, answers and clips in Label Studio, vectors, clusters,
    exports."""
    from ml_backend.jobs import client_for, forget_participant, forget_project

    settings, store = opened()
    if participant is None and project is None:
        raise ConfigError("forget: name a --participant, a --project, or both")
    projects = [store.project(project)] if project is not None else store.projects()
    where = ", ".join(str(one.id) for one in projects)
    whom = f"participant {participant} in project {where}" if participant is not None else f"all of project {where}"
    if not yes:
        typer.confirm(f"Remove {whom}, answers too, for good?", abort=True)
    for one in projects:
        client = client_for(settings, one)
        if participant is not None:
            removed = forget_participant(store, settings, client, one.id, participant, media)
        else:
            removed = forget_project(store, settings, client, one.id, media)
        for line in removed or ["nothing was there"]:
            out.print(f"project {one.id}: {line}", highlight=False, markup=False, soft_wrap=True)
    out.print("Not touched: the recordings themselves, trained models, backups and copies elsewhere", soft_wrap=True)
    if media is None:
        out.print(
            "Label Studio serves the clips no longer, but leaves their files on its disk: name its media folder "
            "(LABEL_STUDIO_BASE_DATA_DIR/media) in --media to remove them there",
            soft_wrap=True,
        )


def backup(target: Annotated[Path, typer.Argument(metavar="FILE", help="Archive to write, .tar.gz")]) -> None:
    """Write the database and MODEL_DIR into one file."""
    from ml_backend.jobs import back_up

    settings, store = opened()
    back_up(store, settings, target)
    out.print(f"{target}: {target.stat().st_size / 2**20:.1f} MB; keep it private, it holds tokens", highlight=False)


def restore(source: Annotated[Path, typer.Argument(metavar="FILE", help="What `weakhar backup` wrote")]) -> None:
    """Put a backup back, into an empty MODEL_DIR and database."""
    from ml_backend.jobs import restore as put_back
    from ml_backend.settings import load_settings

    settings = load_settings()
    put_back(settings, source)
    out.print(f"restored into {settings.model_dir}", highlight=False, soft_wrap=True)
