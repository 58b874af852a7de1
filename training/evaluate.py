"""The grid of the paper's Table 3: every model and approach, every seed, every held-out group of participants.

One folder a job, written when it is done: a killed grid goes on where it stopped. Jobs run side by side, each in a
process with one thread, since the models are too small for more; or wherever the caller has them run.
"""

import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any
from zlib import crc32

import joblib
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from training.approaches import Approach, ground_truth, training_labels
from training.dataset import UNLABELLED, Dataset, Participant, window_starts
from training.errors import TrainingError
from training.loop import Settings, Trained, predict, predicted_classes, train
from training.models import MODELS
from training.saved import save_model, write_text

Ints = npt.NDArray[np.int64]
Spread = Callable[[Mapping[str, Callable[[], None]], Path], Generator[str]]
"""Runs jobs, by name, on machines that see a folder; yields the names of those that are done."""


@dataclass(frozen=True)
class Job:
    """One model to train: on all participants but the held-out ones, on which it is tested."""

    model: str
    approach: Approach
    seed: int
    held_out: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where in the run's folder its results lie."""
        approach = f"{self.approach.name}-{self.approach.threshold}".replace("%", "pct")
        names = "+".join(self.held_out)
        readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in names)[:40]
        return f"jobs/{self.model}/{approach}/seed-{self.seed}/{readable}-{crc32(names.encode()):08x}"


@dataclass(frozen=True)
class Score:
    """One row of the table, in percent: (mean, std) over seeds; by class `(classes,)`; subjects: macro recall of each
    held-out group, mean over seeds; confusion `(classes, classes)`: counts over all seeds, the truth in rows; seeds:
    how many there were.

    macro_recall and macro_f1 are of all folds together; subject_f1 is the mean over participants of the macro F1 of
    each alone, in which a class that the participant lacks counts 0: so does the authors' averaging, and so their
    Table 3 most likely.
    """

    model: str
    approach: Approach
    macro_recall: tuple[float, float]
    subject_f1: tuple[float, float]
    macro_f1: tuple[float, float]
    weighted_f1: tuple[float, float]
    recall_of_class: tuple[float, ...]
    f1_of_class: tuple[float, ...]
    subjects: dict[str, float]
    confusion: Ints
    seeds: int = 1


def make_jobs(
    dataset: Dataset, models: list[str], approaches: list[Approach], seeds: list[int], splits: list[list[str]]
) -> list[Job]:
    """All jobs of a grid; TrainingError before any heavy work where one of them could not run.

    Without `splits` every participant is held out once.
    """
    for model in models:
        if model not in MODELS:
            raise TrainingError(f"model '{model}' is not known; known are {', '.join(MODELS)}")
    groups = [tuple(group) for group in splits] or [(participant.name,) for participant in dataset.participants]
    for group in groups:
        for name in group:
            ground_truth(dataset, dataset.participant(name))
        if len(set(group)) == len(dataset.participants):
            raise TrainingError(
                f"{dataset.path}: holding out {', '.join(group)} leaves nobody to train on; "
                "evaluation needs two participants or more"
            )
    for approach in approaches:
        for participant in dataset.participants:
            training_labels(dataset, participant, approach, 0)
    return list(dict.fromkeys(Job(m, a, s, g) for m in models for a in approaches for s in seeds for g in groups))


def run_grid(
    dataset: Dataset,
    jobs: list[Job],
    settings: Settings,
    folder: Path,
    progress: Callable[[int, int, str], None],
    processes: int | None = None,
    spread: Spread | None = None,
) -> None:
    """Run the jobs that have no result in `folder` yet; `progress` gets how many of how many are done, and which.
    They run on this machine, in so many `processes`, or where `spread` runs them.

    TrainingError if the folder holds a run with other settings or another dataset.
    """
    _check_windows(dataset, jobs, settings)
    _claim(folder, dataset, settings)
    missing = [job for job in jobs if not (folder / job.folder / "result.json").is_file()]
    progress(len(jobs) - len(missing), len(jobs), "")
    if not missing:
        return
    shared = (folder / f".dataset-{os.getpid()}.joblib").absolute()
    joblib.dump(dataset, shared)  # workers map its arrays into memory: one copy for all
    given = shared, settings, folder.absolute()
    try:
        if spread is not None:
            finished = spread({job.folder: partial(_run_anywhere, given, job) for job in missing}, folder.absolute())
        else:
            finished = _side_by_side(missing, given, min(processes or int(joblib.cpu_count()), len(missing)))
        with closing(finished):  # whatever happens, nothing stays at work
            for done, name in enumerate(finished, start=len(jobs) - len(missing) + 1):
                progress(done, len(jobs), name)
    finally:
        shared.unlink(missing_ok=True)


Given = tuple[Path, Settings, Path]
"""The file with the dataset, the settings, and the run's folder."""


def _side_by_side(jobs: list[Job], given: Given, workers: int) -> Generator[str]:
    """Run all jobs in processes of this machine; yields the names of those that are done."""
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare_worker, given)
    try:
        with _interrupts_ignored():  # workers inherit it: Ctrl-C is for the parent, which ends them
            futures = {pool.submit(_run_job, job): job for job in jobs}
        for future in as_completed(futures):
            future.result()
            yield futures[future].folder
    except BrokenProcessPool:
        raise TrainingError(
            "a training process was killed, perhaps for want of memory; run again with fewer --processes, "
            "what is done is kept"
        ) from None
    except BaseException:
        for child in set(active_children()) - others:
            child.terminate()  # nothing is lost: a job without its result runs again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def scores(dataset: Dataset, jobs: list[Job], folder: Path) -> list[Score]:
    """A row for each model and approach whose jobs are all done."""
    rows = []
    for model, approach in dict.fromkeys((job.model, job.approach) for job in jobs):
        own = [job for job in jobs if (job.model, job.approach) == (model, approach)]
        if all((folder / job.folder / "result.json").is_file() for job in own):
            rows.append(_score(dataset, model, approach, own, folder))
    return rows


def over_seeds(of_seeds: list[list[Score]]) -> list[Score]:
    """Scores of runs with one seed each, on datasets of their own, as one: mean and std over the runs."""
    return [_merged(rows) for rows in zip(*of_seeds, strict=True)]


def _merged(rows: tuple[Score, ...]) -> Score:
    def spread(values: list[float]) -> tuple[float, float]:
        return float(np.mean(values)), float(np.std(values))

    return Score(
        model=rows[0].model,
        approach=rows[0].approach,
        macro_recall=spread([row.macro_recall[0] for row in rows]),
        subject_f1=spread([row.subject_f1[0] for row in rows]),
        macro_f1=spread([row.macro_f1[0] for row in rows]),
        weighted_f1=spread([row.weighted_f1[0] for row in rows]),
        recall_of_class=tuple(np.mean([row.recall_of_class for row in rows], axis=0).tolist()),
        f1_of_class=tuple(np.mean([row.f1_of_class for row in rows], axis=0).tolist()),
        subjects={name: float(np.mean([row.subjects[name] for row in rows])) for name in rows[0].subjects},
        confusion=np.sum([row.confusion for row in rows], axis=0),
        seeds=len(rows),
    )


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set, none is called
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


_worker: dict[str, Any] = {}


def _prepare_worker(*given: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _take(given)


def _take(given: Given) -> None:
    torch.set_num_threads(1)
    # Copy-on-write, since torch wants writable memory; nobody writes.
    _worker.update(given=given, dataset=joblib.load(given[0], mmap_mode="c"))


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and they would wait for its next job for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_job(job: Job) -> None:
    _, settings, folder = _worker["given"]
    run_job(_worker["dataset"], job, settings, folder)


def _run_anywhere(given: Given, job: Job) -> None:
    """A job in a process that may have run others, of other runs too."""
    if _worker.get("given") != given:
        _take(given)
    _run_job(job)


def run_job(dataset: Dataset, job: Job, settings: Settings, folder: Path) -> None:
    """Train and test one model; write metrics, model, predictions, and last `result.json`."""
    own = folder / job.folder
    training = [participant for participant in dataset.participants if participant.name not in job.held_out]
    lines: list[str] = []
    trained = train(
        dataset,
        training,
        job.model,
        job.approach,
        job.seed,
        settings,
        lambda epoch, loss: lines.append(json.dumps({"epoch": epoch, "loss": loss})),
    )
    if len(lines) < settings.epochs:  # interrupted: no result
        return
    save_model(trained, own, {"approach": str(job.approach), "seed": job.seed, "held_out": job.held_out})
    write_text(own / "metrics.jsonl", "\n".join(lines))
    for name in job.held_out:
        classes = _classes_of(dataset, trained, dataset.participant(name))
        np.save(own / f"{_number(dataset, name)}.npy", classes.astype(np.int16))
    write_text(own / "result.json", json.dumps({"loss": json.loads(lines[-1])["loss"]}))


def held_out_scores(dataset: Dataset, trained: Trained, names: list[str]) -> tuple[float, float] | None:
    """Macro recall and macro F1, in percent, of all samples of these participants together whose truth is known and
    that a window covers; None where there are none."""
    participants = [dataset.participant(name) for name in names]
    truth = np.concatenate([ground_truth(dataset, one) for one in participants])
    predicted = np.concatenate([_classes_of(dataset, trained, one) for one in participants])
    kept = (truth != UNLABELLED) & (predicted != UNLABELLED)
    if not kept.any():
        return None
    truth, predicted = truth[kept], predicted[kept]
    f1 = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    return _macro_recall(truth, predicted), 100 * float(f1)


def _classes_of(dataset: Dataset, trained: Trained, participant: Participant) -> Ints:
    """What a model says of each of a participant's samples, `(n,)`; UNLABELLED where no window lies."""
    rows = slice(participant.begin, participant.begin + len(participant.segment))
    return predicted_classes(predict(trained, dataset.values[rows], participant.segment))


def _score(dataset: Dataset, model: str, approach: Approach, jobs: list[Job], folder: Path) -> Score:
    classes = range(len(dataset.labels))
    by_seed: dict[int, list[tuple[Ints, Ints]]] = {}
    subjects: dict[str, list[float]] = {}
    for job in jobs:
        pairs = list(_truth_and_predictions(dataset, job, folder))
        by_seed.setdefault(job.seed, []).extend(pairs)
        truth, predicted = (np.concatenate(side) for side in zip(*pairs, strict=True))
        subjects.setdefault("+".join(job.held_out), []).append(_macro_recall(truth, predicted))
    whole = [tuple(np.concatenate(side) for side in zip(*pairs, strict=True)) for pairs in by_seed.values()]
    recalls = [_macro_recall(truth, predicted) for truth, predicted in whole]
    of_subjects = [
        100 * np.mean([f1_score(t, p, labels=classes, average="macro", zero_division=0) for t, p in pairs])
        for pairs in by_seed.values()
    ]
    macro = [100 * f1_score(truth, predicted, average="macro", zero_division=0) for truth, predicted in whole]
    weighted = [100 * f1_score(truth, predicted, average="weighted", zero_division=0) for truth, predicted in whole]
    per_class = {
        metric: np.mean([metric(t, p, labels=classes, average=None, zero_division=0) for t, p in whole], axis=0) * 100
        for metric in (recall_score, f1_score)
    }
    return Score(
        model=model,
        approach=approach,
        macro_recall=(float(np.mean(recalls)), float(np.std(recalls))),
        subject_f1=(float(np.mean(of_subjects)), float(np.std(of_subjects))),
        macro_f1=(float(np.mean(macro)), float(np.std(macro))),
        weighted_f1=(float(np.mean(weighted)), float(np.std(weighted))),
        recall_of_class=tuple(map(float, per_class[recall_score])),
        f1_of_class=tuple(map(float, per_class[f1_score])),
        subjects={name: float(np.mean(values)) for name, values in subjects.items()},
        confusion=sum(confusion_matrix(truth, predicted, labels=classes) for truth, predicted in whole),
        seeds=len(whole),
    )


def _truth_and_predictions(dataset: Dataset, job: Job, folder: Path) -> Iterator[tuple[Ints, Ints]]:
    """Samples of the held-out participants whose truth is known and that a window covers."""
    for name in job.held_out:
        predicted = np.load(folder / job.folder / f"{_number(dataset, name)}.npy").astype(np.int64)
        truth = ground_truth(dataset, dataset.participant(name))
        kept = (truth != UNLABELLED) & (predicted != UNLABELLED)
        yield truth[kept], predicted[kept]


def _macro_recall(truth: Ints, predicted: Ints) -> float:
    """Percent; over the classes that occur."""
    return 100 * float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def _number(dataset: Dataset, name: str) -> int:
    return [participant.name for participant in dataset.participants].index(name)


def _check_windows(dataset: Dataset, jobs: list[Job], settings: Settings) -> None:
    length, step = settings.window(dataset.sampling_rate)
    for name in dict.fromkeys(name for job in jobs for name in job.held_out):
        participant = dataset.participant(name)
        if (
            len(window_starts(participant.segment, ground_truth(dataset, participant) != UNLABELLED, length, step))
            == 0
        ):
            raise TrainingError(
                f"{dataset.path}: participant '{name}' has no gapless window of {length} samples to test on; "
                "hold out others with --split or shorten window_seconds"
            )


def _digest(dataset: Dataset) -> str:
    """Of everything that a result depends on: an export made anew with other labels is another dataset."""
    digest = sha256(np.ascontiguousarray(dataset.values).data)
    for participant in dataset.participants:
        for column in ("segment", "clip", "truth", "weak", "annotated", "cluster", "distance", "propagated"):
            values = getattr(participant, column)
            if column == "propagated" and values is None:  # which exports of older versions are without
                continue
            digest.update(b"-" if values is None else np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _claim(folder: Path, dataset: Dataset, settings: Settings) -> None:
    """Write what the run is, or check that it is the same run."""
    about = {
        "dataset": str(dataset.path.absolute()),
        "content": _digest(dataset),
        "participants": [participant.name for participant in dataset.participants],
        "labels": list(dataset.labels),
        "channels": list(dataset.channels),
        "settings": asdict(settings),
    }
    file = folder / "config.json"
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        unlike = [name for name in about if known.get(name) != about[name]]
        if unlike:
            raise TrainingError(f"{file}: is of a run with other {', '.join(unlike)}; name another folder with --out")
        return
    write_text(file, json.dumps(about, indent=1, ensure_ascii=False))
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-learn", "pyarrow")}
    environment = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    write_text(
        folder / "environment.json", json.dumps({**environment, "argv": sys.argv, "packages": packages}, indent=1)
    )
