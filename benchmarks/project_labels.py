"""How long a page waits for its labels: 20 participants of 2,400 clips each, 54 answers a participant, 20 classes.

`first`: a new process, no temperature is known; `cold`: a new process, they are; `warm`: asked again. Every
participant is informed by all others. `one answer later` is what follows a single new answer, in the same process.
"""

import gc
import time
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np

from benchmarks.harness import Rows, in_child
from ml_backend.clusters import (
    Clustering,
    ParticipantWork,
    cluster_participant,
    list_participants,
    load_clustering,
    participant_folder,
    write_features,
)
from ml_backend.jobs import open_store, project_labels
from ml_backend.labelstudio import TaskAnswer
from ml_backend.recordings import CheckedRecording, ImuFile, ImuFormat, Recording, VideoInfo
from ml_backend.settings import Parameters, Settings

FOLDER = Path("build/benchmarks/project_labels")
PARTICIPANTS, CLIPS, CLUSTERS, CLASSES, DIM = 20, 2400, 54, 20, 1280


def settings() -> Settings:
    return Settings(model_dir=FOLDER)


def prepare() -> None:
    """Clusters on disk and answers in the store."""
    rmtree(FOLDER, ignore_errors=True)
    store = open_store(settings().database, settings().model_dir)
    choices = "".join(f"<Choice value='c{number}'/>" for number in range(CLASSES))
    config = f"<View><HyperText name='clip' value='$html'/><Choices name='a' toName='clip'>{choices}</Choices></View>"
    store.save_project(1, label_config=config, parameters="{}")
    folder, random = FOLDER / "projects" / "1", np.random.default_rng(0)
    looks = random.normal(size=(CLASSES, DIM)).astype(np.float32)
    names = [f"p{number:02}" for number in range(PARTICIPANTS)]
    for number, name in enumerate(names):
        truth = np.repeat(random.integers(0, CLASSES, CLIPS // 15), 15)
        vectors = looks[truth] + random.normal(size=(CLIPS, DIM)).astype(np.float32)
        clustering = clustered(folder, name, vectors)
        asked = clustering.centroids[clustering.centroids >= 0]
        tasks = [(1000 * number + int(clip), name, clustering.key(clip)) for clip in asked]
        store.add_tasks(1, tasks)
        for (task, _, _), clip in zip(tasks, asked, strict=True):
            store.upsert_annotation(
                1, TaskAnswer(task, task, (("", ((f"c{truth[clip]}",),)),), skipped=False, updated_at=1.0)
            )
    list_participants(folder, names)


def clustered(folder: Path, name: str, vectors: np.ndarray, components: int = CLUSTERS) -> Clustering:
    """A participant's clusters as the job writes them, without frames."""
    recording = Recording(name, "r", Path("r.mp4"), (ImuFile(Path("r.csv"), ImuFormat()),))
    video = VideoInfo(len(vectors) + 3.0, 640, 480, 25.0, "h264")
    checked = CheckedRecording(recording, video, None, len(vectors), video.duration)
    starts = np.arange(len(vectors), dtype=float)
    work = ParticipantWork(participant_folder(folder, name), [checked], [starts], {})
    cluster_participant(Parameters(components=components, clustering="ward"), work, vectors)
    write_features(work, None, None)
    return load_clustering(folder, name)


def started() -> None:
    """Everything is imported by now, as when a server begins to answer (ml_backend.web.server)."""
    gc.freeze()


def timed(_prepared: None) -> dict[str, float]:
    """Seconds of the first call in this process, of a second one, and of one after another answer."""
    found = {}
    store, own = open_store(settings().database, settings().model_dir), settings()
    for name in ("cold", "warm", "one answer later"):
        if name == "one answer later":
            first = store.tasks(1)[0].id
            changed = TaskAnswer(first, first, (("", (("c1",),)),), skipped=False, updated_at=time.time())
            store.upsert_annotation(1, replace(changed))
        began = time.perf_counter()
        list(project_labels(store, own, 1))
        found[name] = time.perf_counter() - began
    return found


def measure() -> Rows:
    prepare()
    first, again = in_child(started, timed).result, in_child(started, timed).result
    return [
        {
            "participants x clips": f"{PARTICIPANTS} x {CLIPS}",
            "first": f"{first['cold']:.2f} s",
            "cold": f"{again['cold']:.2f} s",
            "warm": f"{1000 * again['warm']:.0f} ms",
            "one answer later": f"{again['one answer later']:.2f} s",
        }
    ]
