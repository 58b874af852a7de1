"""Commands on a Label Studio project: `run`, `sync`, `export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ml_backend.cli.shared import Dataset, Option, ProjectNumber, bars, opened, out, parameters_from
from ml_backend.errors import WeakHARError


def run(folder: Dataset, project: ProjectNumber, option: Option = None) -> None:
    """The whole job in the foreground: check, embed, cluster, and create the tasks that are missing."""
    from ml_backend.jobs import DONE, FAILED, client_for, project_overrides, run_project

    settings, store = opened()
    known = {entry.id: entry for entry in store.projects()}
    overrides = project_overrides(known[project]) if project in known else {}
    parameters = parameters_from(settings, option, overrides)
    if project not in known:
        store.save_project(project)
    client = client_for(settings, store.project(project))
    title = client.project(project)["title"]
    changed = parameters.model_dump_json(include=parameters.model_fields_set)
    store.save_project(project, title=title, parameters=changed)
    try:
        with bars() as progress:
            result = run_project(store, settings, client, project, progress, folder)
    except WeakHARError as error:
        store.set_job(project, FAILED, message=str(error))
        raise
    store.set_job(project, DONE, message=str(result), done=1, total=1)
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
    status = project_status(store, store.project(project))
    out.print(
        f"{status['annotations']} annotations on {status['tasks']} tasks; {created} tasks created", highlight=False
    )


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
    out.print(f"exported to {target} (threshold {description['threshold']})", highlight=False, soft_wrap=True)
