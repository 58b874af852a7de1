"""The main job on sample recordings, from nothing to an exported dataset, with a real Label Studio."""

import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ml_backend.recordings import ImuFormat, mostly_in_clips, read_imu
from ml_backend.sample.servers import USER, BackendServer, LabelStudioServer, wait_for
from ml_backend.sample.simulate import CLASSES, write_sample


def run_demo(
    folder: Path, label_studio: str, keep: bool, participants: int, minutes: float, components: int, console: Console
) -> None:
    """Everything from sample recordings to `report.json`; see the module."""
    began = time.monotonic()
    for name in ("recordings", "label-studio", "model", "export", "report.json", "report.html"):
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    server = LabelStudioServer(label_studio, folder / "label-studio")
    with ExitStack() as stack:
        with _step(console, "Label Studio and the backend start; the sample recordings are rendered"):
            stack.enter_context(server)
            for _ in write_sample(folder / "recordings", participants, minutes):
                pass
            server.wait_until_up()
            backend = BackendServer(folder / "model", folder, server, auth=True)
            stack.enter_context(backend)
            backend.wait_until_up()
        with _step(console, "a project is created, the backend connected, Start Training pressed"):
            project = server.create_project("weakhar demo")
            model = server.connect(project, backend, {"dataset": "recordings", "components": components})
            server.start_training(model)
        with _step(console, "recordings are embedded and clustered, centroid clips become tasks"):
            backend.wait_for_job(project)
        with _step(console, "an annotator who knows the ground truth answers"):
            tasks = server.tasks(project)
            for task, label in zip(tasks, true_labels(folder / "recordings", tasks), strict=True):
                server.annotate(task["id"], label)
            wait_for(lambda: backend.status(project)["annotations"] == len(tasks), 60, "the webhooks")
        with _step(console, "the dataset is exported"):
            _fetch_export(backend, project, folder / "export")
            report = _report(folder, backend, project, len(tasks), time.monotonic() - began)
        _print_report(console, report, folder)
        if keep:
            _print_addresses(console, server, backend, project)
            stack.pop_all()


def true_labels(root: Path, tasks: list[dict[str, Any]]) -> list[str]:
    """What an annotator who knows the ground truth answers: what the clip mostly shows."""
    labels = []
    for task in tasks:
        data = task["data"]
        imu = read_imu(root / data["participant"] / f"{data['recording']}.csv", ImuFormat())
        assert imu.labels is not None
        names, classes = np.unique(imu.labels.astype(str), return_inverse=True)
        length = data["end_seconds"] - data["start_seconds"]
        shown = mostly_in_clips(imu.times, classes, np.array([data["start_seconds"]]), length)[0]
        labels.append(str(names[shown]))
    return labels


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(what):
        yield
    console.print(f"{time.monotonic() - began:6.1f} s  {what}", highlight=False)


def _fetch_export(backend: BackendServer, project: int, target: Path) -> None:
    answer = backend.get(f"export/{project}")
    answer.raise_for_status()
    archive = target.with_suffix(".zip")
    archive.write_bytes(answer.content)
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(target)
    archive.unlink()


def _report(folder: Path, backend: BackendServer, project: int, created: int, seconds: float) -> dict[str, Any]:
    (folder / "report.html").write_text(backend.get(f"report/{project}").text, encoding="utf-8")
    table: list[dict[str, Any]] = backend.get(f"thresholds/{project}").json()
    description = json.loads((folder / "export" / "dataset.json").read_text(encoding="utf-8"))
    counts = description["participants"].values()
    report = {
        "participants": len(counts),
        "clips": sum(entry["clips"] for entry in counts),
        "clusters": sum(entry["clusters"] for entry in counts),
        "tasks_created": created,
        "annotations_received": backend.status(project)["annotations"],
        "labelling_accuracy": table[0]["accuracy"],
        "coverage": table[0]["coverage"],
        "threshold_table": table,
        "export_dir": str(folder / "export"),
        "classes": list(CLASSES),
        "seconds": round(seconds, 1),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    return report


def _print_report(console: Console, report: dict[str, Any], folder: Path) -> None:
    table = Table("threshold", "coverage", "labelling accuracy", title="threshold: share of clips kept")
    for row in report["threshold_table"]:
        accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.3f} ± {row['accuracy_std']:.3f}"
        table.add_row(row["threshold"], f"{row['coverage']:.1%}", accuracy)
    console.print(table)
    console.print(
        f"{report['participants']} participants, {report['clips']} clips, {report['clusters']} clusters, "
        f"{report['tasks_created']} tasks, {report['annotations_received']} annotations, {report['seconds']:.0f} s\n"
        f"{folder / 'report.html'}, {folder / 'report.json'}, {report['export_dir']}",
        highlight=False,
        soft_wrap=True,
    )


def _print_addresses(console: Console, server: LabelStudioServer, backend: BackendServer, project: int) -> None:
    pids = " ".join(str(entry.process.pid) for entry in (server, backend) if entry.process)
    console.print(
        f"Label Studio  {server.url}/projects/{project}  user {USER}  password {server.password}\n"
        f"backend       {backend.url}  user {backend.user}  password {backend.password}\n"
        f"stop them with: kill {pids}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
