"""Commands on a Label Studio project: `run`, `sync`, `export`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ml_backend.cli.shared import Dataset, Option, ProjectNumber, bars, err, opened, out, parameters_from, say_unused
from ml_backend.errors import WeakHARError


def run(
    folder: Dataset,
    project: ProjectNumber,
    option: Option = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="NAME", help="Take back what --set set before")
    ] = None,
) -> None:
    """The whole job in the foreground: check, embed, cluster, and create the tasks that are missing."""
    from ml_backend.jobs import (
        DONE,
        FAILED,
        PATIENCE,
        BusyError,
        client_for,
        project_overrides,
        run_project,
        set_by_hand,
    )

    settings, store = opened()
    known = {entry.id: entry for entry in store.projects()}
    parameters = parameters_from(settings, option, project_overrides(known[project]) if project in known else {})
    named = {text.partition("=")[0].strip() for text in option or []}
    if project not in known:
        store.save_project(project)
    client = client_for(settings, store.project(project))
    title = client.project(project)["title"]
    store.save_project(project, title=title)
    own = {name: value for name, value in set_by_hand(store.project(project)).items() if name not in (unset or [])}
    store.save_project(project, set_parameters=json.dumps({**own, **parameters.model_dump(include=named)}))
    try:
        with bars() as progress:
            result = run_project(store, settings, client, project, progress, folder, PATIENCE)
    except BusyError:
        raise
    except WeakHARError as error:
        store.set_job(project, FAILED, message=str(error))
        raise
    store.set_job(project, DONE, message=str(result), done=1, total=1)
    for news in result.adopted:
        out.print(news, markup=False, highlight=False, soft_wrap=True)
    for reason in result.left_out:
        out.print(f"left out: {reason}", style="red", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"{result.tasks_created} tasks created; label them at {client.url}/projects/{project}",
        highlight=False,
        soft_wrap=True,
    )


def sync(project: ProjectNumber) -> None:
    """Read all annotations back from Label Studio, and offer further clips where one was skipped or mixed."""
    from ml_backend.jobs import client_for, project_status, sync_project

    settings, store = opened()
    client = client_for(settings, store.project(project))
    with bars() as progress:
        created = sync_project(store, settings, client, project, progress)
    status = project_status(store, settings, store.project(project))
    out.print(
        f"{status['annotations']} annotations on {status['tasks']} tasks; {created} tasks created", highlight=False
    )
    say_unused(store, settings, project)


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write, replaced as a whole")],
    project: ProjectNumber,
    threshold: Annotated[str | None, typer.Option(help="none, a distance (6), a share (90%) or p0.9")] = None,
    file_format: Annotated[str, typer.Option("--format", help="parquet or wear")] = "parquet",
) -> None:
    """Write the weakly labelled dataset."""
    from ml_backend.jobs import client_for, export_project, reconcile

    settings, store = opened()
    reconcile(store, client_for(settings, store.project(project)), project)
    description = export_project(store, settings, project, target, threshold, file_format)
    table = Table("participant", "samples", "coverage", "clusters labelled", "ties")
    for name, counts in description["participants"].items():
        labelled = f"{counts['clusters_labelled']} of {counts['clusters']}"
        table.add_row(name, str(counts["samples"]), f"{counts['coverage']:.1%}", labelled, str(len(counts["ties"])))
    out.print(table)
    say_unused(store, settings, project)
    for warning in description["warnings"]:
        err.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    out.print(f"exported to {target} (threshold {description['threshold']})", highlight=False, soft_wrap=True)
