"""Labels of ten million clips: how long one look at all takes, and the most memory that the process ever held.

Participants of three hours with 100 answers each; `alone`: none of them informs others. They are one simulated
participant under many names. `one answer later`: what follows a single new answer, in the same process; `an audit`:
60 clips drawn from all of them, answered, and the estimate.
"""

import os
import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks import project_labels as few
from benchmarks.harness import Rows, in_child
from ml_backend.clusters import list_participants, load_clustering, participant_folder
from ml_backend.jobs import clusters_folder, open_store, project_config, project_labels
from ml_backend.jobs.audits import audit_found, draw_audit
from ml_backend.labels import Threshold
from ml_backend.labelstudio import TaskAnswer
from ml_backend.settings import Settings

FOLDER = Path("build/benchmarks/many_labels")
CLIPS, CLUSTERS, CLASSES = 10_800, 100, 8
CONFIG = "<View><HyperText name='clip' value='$html'/><Choices name='a' toName='clip'>{}</Choices></View>"


def model(participants: int) -> Settings:
    return Settings(model_dir=FOLDER / str(participants))


def prepare(participants: int, like: Path) -> None:
    """A project of so many participants, each answered as they are clustered."""
    settings = model(participants)
    store, folder = open_store(settings.database, settings.model_dir), settings.model_dir / "projects" / "1"
    choices = "".join(f"<Choice value='c{number}'/>" for number in range(CLASSES))
    store.save_project(1, label_config=CONFIG.format(choices))
    names, clustering = [f"p{number:04}" for number in range(participants)], load_clustering(like, "p")
    asked = [int(clip) for clip in clustering.centroids if clip >= 0]
    truth = np.load(like / "truth.npy")
    with np.load(participant_folder(like, "p") / "clustering.npz") as arrays:
        saved = dict(arrays)
    tasks, answers = [], []
    for number, name in enumerate(names):
        own = participant_folder(folder, name)
        own.mkdir(parents=True)
        np.savez(own / "clustering.npz", **{**saved, "participant": np.array(name)})
        os.link(participant_folder(like, "p") / "features.npz", own / "features.npz")
        shutil.copy(participant_folder(like, "p") / "made_of.json", own)
        for clip in asked:
            task = 1000 * number + len(tasks) % 1000 + 1
            tasks.append((task, name, clustering.key(clip)))
            given = (("", ((f"c{truth[clip]}",),)),)
            answers.append(TaskAnswer(task, task, given, skipped=False, updated_at=1.0))
    list_participants(folder, names)
    store.reconcile(1, time.time(), tasks, answers)


def one_participant(like: Path) -> None:
    """In a process of its own: what a process held before it starts another counts as that one's peak."""
    random = np.random.default_rng(0)
    truth = np.repeat(random.integers(0, CLASSES, CLIPS // 20), 20)
    looks = random.normal(size=(CLASSES, 768)).astype(np.float32)
    few.clustered(like, "p", looks[truth] + random.normal(size=(CLIPS, 768)).astype(np.float32), CLUSTERS)
    np.save(like / "truth.npy", truth)


def opened(participants: int, across: bool) -> Settings:
    settings = model(participants)
    store = open_store(settings.database, settings.model_dir)
    store.save_project(1, parameters="{}" if across else '{"across_participants": false}')
    return settings


def looked_at(settings: Settings) -> tuple[int, float, float, float]:
    """Clips with a label, and the seconds of one look at all, of another after one answer more, and of an audit."""
    store = open_store(settings.database, settings.model_dir)
    began = time.perf_counter()
    labelled = sum(int((labels.propagated >= 0).sum()) for labels in project_labels(store, settings, 1))
    first = time.perf_counter() - began
    task = store.tasks(1)[0].id
    changed = TaskAnswer(task, task, (("", (("c1",),)),), skipped=False, updated_at=time.time())
    store.upsert_annotation(1, changed)
    began = time.perf_counter()
    sum(int((labels.propagated >= 0).sum()) for labels in project_labels(store, settings, 1))
    later = time.perf_counter() - began
    folder, classes = clusters_folder(settings, 1), project_config(store.project(1)).classes
    began = time.perf_counter()
    drawn = draw_audit(folder, project_labels(store, settings, 1), classes, Threshold(), 60).drawn
    found = audit_found(folder, {clip: ["c1"] for clip in drawn}, classes, project_labels(store, settings, 1))
    assert found is not None
    assert found.answered == 60
    return labelled, first, later, time.perf_counter() - began


def measure() -> Rows:
    shutil.rmtree(FOLDER, ignore_errors=True)
    like = FOLDER / "like"
    in_child(Path, one_participant, like)
    rows = []
    for participants in (20, 92, 926):
        prepare(participants, like)
        for across in (True, False):
            run = in_child(opened, looked_at, participants, across)
            clips, first, later, audit = run.result
            rows.append(
                {
                    "participants": participants,
                    "clips": clips,
                    "each": "informed by all others" if across else "alone",
                    "one look": f"{first:.0f} s",
                    "one answer later": f"{later:.1f} s",
                    "an audit": f"{audit:.0f} s",
                    "peak memory": f"{run.peak_mb / 1024:.2f} GB",
                }
            )
        shutil.rmtree(model(participants).model_dir)
    return rows
