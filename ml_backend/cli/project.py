"""Commands on a Label Studio project: `connect`, `run`, `sync`, `audit`, `review`, `import-labels`, `export`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ml_backend.cli.shared import (
    Backend,
    Dataset,
    Option,
    ProjectNumber,
    bars,
    err,
    opened,
    out,
    parameters_from,
    say_left_out,
    say_unused,
    why_silent,
)
from ml_backend.errors import ConfigError, WeakHARError


def connect(
    title: Annotated[str, typer.Option(help="Of the project in Label Studio, which is made unless it is there")],
    dataset: Annotated[str, typer.Option(help="Folder of the recordings, in WEAKHAR_DATA_DIR")],
    classes: Annotated[str | None, typer.Option(help="walking,jogging,… in the order of their keys")] = None,
    classes_from: Annotated[
        str | None, typer.Option(help="Or those of a folder in WEAKHAR_DATA_DIR whose recordings bring labels")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CLASS,CLASS", help="What else is to be said of each clip; may be repeated"),
    ] = None,
    annotators: Annotated[int | None, typer.Option(min=1, help="How many people label each clip")] = None,
    backend: Backend = "http://127.0.0.1:9090",
    option: Option = None,
) -> None:
    """Make a project in Label Studio, or take the one of that title, connect it and start its job."""
    from ml_backend.jobs import Wish, connect_study

    if classes and classes_from:
        raise ConfigError("--classes and --classes-from: name one of them")
    settings, _ = opened()
    given = parameters_from(settings, option).model_dump(include=_named(option))
    if reason := why_silent(backend):
        raise ConfigError(f"--backend {backend}: weakhar does not answer ({reason}); start it with `weakhar serve`")
    names = tuple(classes.split(",")) if classes else ()
    tracks = {name: own.split(",") for name, own in map(_track, track or [])}
    wish = Wish(title, dataset, backend, names, classes_from or "", annotators, given, tracks)
    found = connect_study(settings.confine(), wish, say_left_out)  # the server is to read the recordings
    for line in (*found.done, f"label at {found.page}"):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.print(f"watch it at {backend.rstrip('/')}/?project={found.project}", highlight=False, soft_wrap=True)


def _track(text: str) -> tuple[str, str]:
    name, equals, classes = text.partition("=")
    if not equals:
        raise ConfigError(f"--track {text}: expected NAME=CLASS,CLASS, such as posture=sitting,standing,lying")
    return name.strip(), classes


def _named(option: list[str] | None) -> set[str]:
    return {text.partition("=")[0].strip() for text in option or []}


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
        Project,
        client_for,
        project_overrides,
        run_project,
        set_by_hand,
    )
    from ml_backend.recordings import missing_folder

    if said := missing_folder(folder):
        raise ConfigError(said)
    settings, store = opened()
    known = {entry.id: entry for entry in store.projects()}
    parameters = parameters_from(settings, option, project_overrides(known[project]) if project in known else {})
    client = client_for(settings, known.get(project) or Project(id=project, hostname="", access_token=""))
    title = client.project(project)["title"]
    store.save_project(project, title=title)
    own = {name: value for name, value in set_by_hand(store.project(project)).items() if name not in (unset or [])}
    store.save_project(project, set_parameters=json.dumps({**own, **parameters.model_dump(include=_named(option))}))
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
    from ml_backend.jobs import PATIENCE, client_for, project_status, sync_project

    settings, store = opened()
    client = client_for(settings, store.project(project))
    with bars() as progress:
        created = sync_project(store, settings, client, project, progress, PATIENCE)
    status = project_status(store, settings, store.project(project))
    out.print(
        f"{status['annotations']} annotations on {status['tasks']} tasks; {created} tasks created", highlight=False
    )
    say_unused(store, settings, project)


def audit(
    project: ProjectNumber,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Draw until so many clips are to be answered; 60 is usual")
    ] = None,
    close: Annotated[bool, typer.Option("--close", help="End it: its answers then count as any")] = False,
) -> None:
    """How right are the labels? Draw clips at random for annotators, and say what their answers show."""
    from ml_backend.jobs import (
        MOST_CLIPS,
        PATIENCE,
        begin_audit,
        client_for,
        end_audit,
        project_answers,
        project_audit,
        sync_project,
    )

    if clips is not None and clips > MOST_CLIPS:
        raise ConfigError(f"--clips {clips}: more than {MOST_CLIPS} are not drawn; name fewer")
    settings, store = opened()
    client = client_for(settings, store.project(project))
    with bars() as progress:
        sync_project(store, settings, client, project, progress, PATIENCE)
        if clips is not None:
            begin_audit(store, settings, project, clips)
            sync_project(store, settings, client, project, progress, PATIENCE)
    found = project_audit(store, settings, project, project_answers(store, settings, project))
    if found is None:
        raise ConfigError(f"project {project}: no audit yet; begin one with --clips 60")
    out.print(str(found), highlight=False, soft_wrap=True)
    if found.estimate is not None:
        out.print(_audit_table(found.as_dict()))
    open_ones = len(found.draw.drawn) - found.answered - found.no_class
    if close:
        end_audit(store, settings, project)
        out.print("the audit is closed; its answers count as any from now on", highlight=False)
    elif found.draw.closed is None and open_ones:
        where = client.project_page(project)
        out.print(f"{open_ones} audit clips wait for an answer at {where}", highlight=False, soft_wrap=True)


def _audit_table(found: dict[str, Any]) -> Table:
    """Parts of the labels, with the share that is right."""
    table = Table("labels", "right", "95 % interval", "audit clips")
    thirds = zip(("least certain third", "middle third", "most certain third"), found["by_confidence"], strict=True)
    for what, one in (*thirds, *found["by_participant"].items(), *found["by_class"].items()):
        interval = f"{one['low']:.0%} to {one['high']:.0%}"
        table.add_row(what, f"{one['value']:.0%}" if one["answers"] else "-", interval, str(one["answers"]))
    return table


def review(
    project: ProjectNumber,
    participant: Annotated[str | None, typer.Option(help="Only this one's recordings")] = None,
) -> None:
    """Make recordings ready in Label Studio, to go through and correct their labels: a second project."""
    from ml_backend.jobs import PATIENCE, client_for, open_review

    settings, store = opened()
    client = client_for(settings, store.project(project))
    with bars() as progress:
        found = open_review(store, settings, client, project, progress, participant, PATIENCE)
    out.print(str(found), highlight=False, soft_wrap=True)


def import_labels(
    project: ProjectNumber,
    file: Annotated[
        Path | None,
        typer.Argument(help="An ELAN document, a table with columns start, end and label, or Label Studio's JSON"),
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="The labels that the recordings bring themselves")] = False,
    recording: Annotated[
        str | None, typer.Option(metavar="PARTICIPANT/NAME", help="Where the file does not say it")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Tier of ELAN, or control of Label Studio, of several")] = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(min=1, help="Of the Video tag of a Label Studio project with timelines; 24 by default there"),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=CLASS", help="Another name of a class; `NAME=` leaves it out"),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take back what a file of that name brought")] = False,
) -> None:
    """Take labels over that were given elsewhere: they count as answers, and label their samples exactly."""
    from ml_backend.jobs import clusters_folder, drop_imported, project_config
    from ml_backend.jobs import import_labels as take_over

    if (file is None) != own:
        raise ConfigError("import-labels: name a file, or --own for the labels that the recordings bring")
    settings, store = opened()
    folder = clusters_folder(settings, store.project(project).id)
    if remove:
        drop_imported(folder, file)
        out.print("they were taken back", highlight=False)
        return
    pairs = [text.partition("=") for text in names or []]
    if wrong := [f"{name}{equals}{means}" for name, equals, means in pairs if not equals]:
        raise ConfigError(f"--map {wrong[0]}: expected NAME=CLASS, such as gehen=walking")
    meant = {name.strip(): means.strip() for name, _, means in pairs}
    classes = project_config(store.project(project)).classes
    found = take_over(folder, file, classes, recording or "", tier or "", meant, frame_rate)
    by_class = ", ".join(f"{name} {count}" for name, count in sorted(found.by_class.items()))
    left = f"; {found.left_out} left out" if found.left_out else ""
    text = f"{found.intervals} intervals, {found.seconds / 60:.1f} min, were taken over ({by_class}){left}"
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write, replaced as a whole")],
    project: ProjectNumber,
    threshold: Annotated[str | None, typer.Option(help="none, a distance (6), a share (90%) or p0.9")] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="parquet, wear, elan or bids: Parquet, and that too")
    ] = "parquet",
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
