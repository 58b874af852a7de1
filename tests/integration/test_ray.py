"""The job's units on a real Ray cluster of two nodes, each with processes of its own, on loopback."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import exports
import psutil
import pytest
from clusterings import assert_same
from ray_nodes import Cluster, fail_of, go_on, say, says, started, take_away, what_is_given

import training.loop
from ml_backend import __version__, spread
from ml_backend.clusters import participants_of
from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError, RecordingError
from ml_backend.export import FORMATS, WriteParts, one_by_one, write_export
from ml_backend.jobs import embed_and_cluster, folds_on_ray, pipeline, usable_recordings
from ml_backend.jobs.labelled import ProjectLabels
from ml_backend.jobs.spread import written_on_ray
from ml_backend.labels import Answer, parse_threshold
from ml_backend.labelstudio import labelling_config, parse_label_config
from ml_backend.recordings import CheckedRecording, Problem
from ml_backend.sample import BackendServer, LabelStudioServer, wait_for
from ml_backend.settings import Parameters, Settings
from ml_backend.spread import Unit, cluster_in_words, ended, on_ray
from training.approaches import Approach
from training.dataset import read_dataset
from training.errors import TrainingError
from training.evaluate import make_jobs, run_grid

PARAMETERS = Parameters(components=9)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes."""
    found = started(2, tmp_path_factory.mktemp("shared"))
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def checked(sample_root: Path) -> list[CheckedRecording]:
    return usable_recordings(sample_root, PARAMETERS)[0]


@pytest.fixture(scope="module")
def alone(checked: list[CheckedRecording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clusters that one machine made."""
    folder = tmp_path_factory.mktemp("alone")
    clustered(Settings(model_dir=folder), checked)
    return folder / "clusters"


def clustered(
    settings: Settings, checked: list[CheckedRecording], progress: Progress = lambda *_: None
) -> list[Problem]:
    return embed_and_cluster(settings, settings.model_dir / "clusters", PARAMETERS, checked, progress)


def while_embedding(do: Callable[[], None]) -> Progress:
    """Does it once, when units have been at work for two seconds."""
    told = list[str]()

    def tell(step: str, _done: float, _total: float) -> None:
        told.append(step)
        if [step for step in told if step.startswith("embedding")] == [step] * 5:
            do()

    return tell


@pytest.mark.parametrize("piece_seconds", [pipeline.PIECE_SECONDS, 15.0])
def test_a_cluster_makes_what_one_machine_makes_also_where_a_node_is_lost(
    cluster: Cluster,
    checked: list[CheckedRecording],
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    piece_seconds: float,
) -> None:
    monkeypatch.setattr(pipeline, "PIECE_SECONDS", piece_seconds)

    lost = list[int]()

    def lose_a_node() -> None:
        cluster.lose_node()
        cluster.add_node()
        lost.append(len(list(tmp_path.rglob("*.piece-*"))))

    settings = Settings(model_dir=tmp_path, ray_address=cluster.address)
    assert clustered(settings, checked, while_embedding(lose_a_node)) == []
    assert len(lost) == 1
    assert_same(tmp_path / "clusters", alone)
    assert list(tmp_path.glob("ray-*")) == []
    assert list(tmp_path.rglob("*.piece-*")) == []
    steps = list[tuple[str, float]]()
    assert clustered(settings, checked, lambda step, _done, total: steps.append((step, total))) == []
    assert all(total == 0 for _, total in steps)  # nothing was left to do


def test_a_job_that_was_started_in_label_studio_runs_on_the_cluster(
    cluster: Cluster, start_backend: Callable[..., BackendServer], label_studio: LabelStudioServer
) -> None:
    backend = start_backend(WEAKHAR_RAY_ADDRESS=cluster.address)
    project = label_studio.create_project("On Ray")
    label_studio.start_training(label_studio.connect(project, backend, {"dataset": "study", "components": 5}))
    backend.wait_for_job(project)
    assert len(label_studio.tasks(project)) == 10
    (worker,) = [one for one in psutil.Process(backend.process.pid).children() if one.cmdline()[-1] == "worker"]
    commands = [" ".join(one.cmdline()) for one in worker.children()]
    assert not [one for one in commands if "resource_tracker" not in one]  # who spoke with the cluster is gone


def test_a_recording_that_fails_again_and_again_is_left_out_and_named(
    cluster: Cluster, checked: list[CheckedRecording], tmp_path: Path
) -> None:
    settings = Settings(model_dir=tmp_path / "models", ray_address=cluster.address)
    bad, *good = checked
    video = tmp_path / "session.mp4"
    video.write_bytes(bad.recording.video.read_bytes()[:2000])
    broken = CheckedRecording(
        **{**vars(bad), "recording": type(bad.recording)(**{**vars(bad.recording), "video": video})}
    )
    (problem,) = clustered(settings, [broken, *good])
    assert problem.error
    assert problem.recording == str(bad.recording)
    assert problem.message.startswith(f"{bad.recording}: {video}: cannot be opened as a video")
    assert participants_of(settings.model_dir / "clusters") == [one.recording.participant for one in good]


def test_a_job_that_is_cancelled_stops_its_units(
    cluster: Cluster, checked: list[CheckedRecording], tmp_path: Path
) -> None:
    def cancel() -> None:
        raise KeyboardInterrupt

    settings = Settings(model_dir=tmp_path, ray_address=cluster.address)
    with pytest.raises(KeyboardInterrupt):
        clustered(settings, checked, while_embedding(cancel))
    assert participants_of(tmp_path / "clusters") == []
    assert list(tmp_path.glob("ray-*")) == []


def lines(file: Path) -> int:
    return file.read_text().count("\n")


def test_closed_before_its_end_nothing_stays_at_work(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "written"
    with closing(ended(cluster.address, tmp_path, [Unit("endless", partial(go_on, file))])) as over:
        wait_for(lambda: next(over) is None and file.is_file(), 60, "the unit")
    wait_for(lambda: lines(file) == (time.sleep(0.5), lines(file))[1], 30, "the unit's end")
    assert list(tmp_path.glob("ray-*")) == []


def test_units_are_taken_as_there_is_room_and_give_their_results(cluster: Cluster, tmp_path: Path) -> None:
    taken = list[int]()

    def units() -> Iterator[Unit]:
        for number in range(40):
            taken.append(number)
            yield Unit(str(number), partial(say, number))

    over = ended(cluster.address, tmp_path, units())
    first = next(one for one in over if one is not None)
    assert first.unit.name == str(first.result)
    assert len(taken) < 20
    assert {first.result, *(one.result for one in over if one is not None)} == set(range(40))


def test_a_node_with_another_version_or_without_the_shared_folder_stops_the_job(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [Unit(str(number), partial(take_away, tmp_path)) for number in range(4)]
    with pytest.raises(ConfigError, match=rf"does not see {tmp_path}; mount that folder there at the same path"):
        on_ray(cluster.address, tmp_path, "step", units, lambda *_: None)
    monkeypatch.setattr(spread, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=rf"has weakhar {__version__}, the job 0\.0\.1; install the same one"):
        on_ray(cluster.address, tmp_path, "step", [Unit("one", partial(take_away, tmp_path))], lambda *_: None)


def test_a_cluster_without_cores_is_one_line_of_doctor(tmp_path: Path) -> None:
    cluster = Cluster(cores=0)
    try:
        wait_for(lambda: "has no cores; `ray start --address` adds nodes" in says(cluster, tmp_path), 120, "the head")
    finally:
        cluster.shutdown()


def test_a_unit_with_a_gpu_gets_the_cores_that_come_with_it(tmp_path: Path) -> None:
    cluster = started(1, tmp_path, cores=2, gpus=1)
    try:
        units = [Unit(str(number), what_is_given) for number in range(2)]
        given = {
            gpus: {one.result for one in ended(cluster.address, tmp_path, units, gpus) if one}
            for gpus in (1.0, 0.25, 0.0)
        }
    finally:
        cluster.shutdown()
    assert given == {1.0: {("0", 2)}, 0.25: {("0", 1)}, 0.0: {(None, 1)}}


def test_a_cluster_that_is_lost_in_the_middle_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends the process that spoke with it, which is not this one."""
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")  # a minute else
    cluster = started(1, tmp_path)
    try:
        over = ended(cluster.address, tmp_path, [Unit("endless", partial(go_on, tmp_path / "written"))])
        wait_for(lambda: next(over) is None and (tmp_path / "written").is_file(), 60, "the unit")
        cluster.lose_head()
        lost = rf"WEAKHAR_RAY_ADDRESS {re.escape(cluster.address)}: the cluster was lost; see that its head runs"
        with pytest.raises(ConfigError, match=lost):
            list(over)
        assert list(tmp_path.glob("ray-*")) == []
    finally:
        cluster.shutdown()


def test_doctor_sees_a_cluster_that_runs_units(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster_in_words(cluster.address, tmp_path)
    assert said == f"2 nodes with 2 cores and 0 GPUs at {cluster.address}"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_one_line(
    address: str, checked: list[CheckedRecording], tmp_path: Path
) -> None:
    settings = Settings(model_dir=tmp_path, ray_address=address)
    with pytest.raises(ConfigError, match=rf"WEAKHAR_RAY_ADDRESS {address}: nothing answers there .* or unset it"):
        clustered(settings, checked)


def exported(
    alone: Path, checked: list[CheckedRecording], target: Path, file_format: str, write: WriteParts
) -> tuple[dict[str, bytes], list[int]]:
    """The files of an export with two answers a participant, but for the time at which they were written; and how
    many participants were said to be done."""
    names = participants_of(alone)
    answers = [
        Answer(name, "session", start, start + 4.0, choice)
        for name in names
        for start, choice in ((4.0, "walking"), (25.0, "jogging"))
    ]
    classes = parse_label_config(labelling_config(["walking", "jogging"])).classes
    everything = ProjectLabels(alone, names, answers, classes, "temporal", across=True, everywhere=False)
    recordings = {str(one.recording): one.recording for one in checked}
    told = list[int]()
    how = classes.names, {"clip_seconds": 4.0}, parse_threshold("none")
    write_export(everything, recordings, *how, target, file_format, lambda done, _: told.append(done), write=write)
    files = (path for path in sorted(target.rglob("*")) if path.is_file())
    found = {str(path.relative_to(target)): re.sub(rb'DATE="[^"]*"', b"", path.read_bytes()) for path in files}
    return found, sorted(set(told))


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_written_on_the_cluster_is_that_of_one_machine(
    cluster: Cluster,
    alone: Path,
    checked: list[CheckedRecording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
) -> None:
    given = alone, checked, tmp_path / "out", file_format
    if file_format == "elan":  # what is written on a node refers to folders as seen from here
        monkeypatch.chdir(tmp_path)
        given = alone, checked, Path("out"), file_format
    here, told = exported(*given, one_by_one)
    assert told == [0, 1, 2]
    assert len([file for file in here if file.startswith("samples/")]) == 2
    assert exported(*given, partial(written_on_ray, cluster.address, tmp_path)) == (here, told)


def test_an_export_that_cannot_be_written_on_the_cluster_is_one_line_and_leaves_the_last_one(
    cluster: Cluster, alone: Path, checked: list[CheckedRecording], tmp_path: Path
) -> None:
    before, _ = exported(alone, checked, tmp_path / "out", "parquet", one_by_one)
    with pytest.raises(RecordingError, match=r"^p0\d: recording p0\d/session is gone; restore it or run again"):
        exported(alone, checked[:1], tmp_path / "out", "parquet", partial(written_on_ray, cluster.address, tmp_path))
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")} == set(before)


def grid(
    folder: Path, out: Path, progress: Callable[[int, int, str], None] = lambda *_: None, address: str = ""
) -> dict[str, bytes]:
    """What leave-one-subject-out with two seeds writes of each held-out participant."""
    dataset = read_dataset(folder)
    jobs = make_jobs(dataset, ["tinyhar"], [Approach("few-shot-ce")], [1, 2], [])
    settings = training.loop.Settings(epochs=2, learning_rate=1e-3)
    run_grid(
        dataset,
        jobs,
        settings,
        out,
        progress,
        spread=partial(folds_on_ray, address, TrainingError) if address else None,
    )
    assert list(out.glob(".dataset-*")) == []
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.npy"))}


def test_training_folds_run_on_the_cluster_also_where_a_node_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    export = exports.write_export(tmp_path / "export")
    alone = grid(export, tmp_path / "alone")
    told = []

    def lose_a_node(done: int, _total: int, _job: str) -> None:
        told.append(done)
        if done == 2:
            cluster.lose_node()
            cluster.add_node()

    assert len(alone) == 6
    assert grid(export, tmp_path / "spread", lose_a_node, cluster.address) == alone
    assert told == list(range(7))
    assert grid(export, tmp_path / "spread", lambda done, total, _: told.append(done - total)) == alone
    assert told[7:] == [0]  # nothing was left to do


def test_a_grid_that_is_interrupted_goes_on_later(cluster: Cluster, tmp_path: Path) -> None:
    def interrupt(done: int, _total: int, _job: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    export = exports.write_export(tmp_path / "export")
    with pytest.raises(KeyboardInterrupt):
        grid(export, tmp_path / "spread", interrupt, cluster.address)
    assert list((tmp_path / "spread").glob(".dataset-*")) == []
    assert len(grid(export, tmp_path / "spread", address=cluster.address)) == 6


def test_folds_that_fail_are_named_when_the_others_are_done(cluster: Cluster, tmp_path: Path) -> None:
    folds = {"bad": partial(int, "none"), "good": partial(say, 1)}
    done = folds_on_ray(cluster.address, TrainingError, folds, tmp_path)
    assert next(done) == "good"
    with pytest.raises(ConfigError, match=r"1 of 2 folds failed, bad: ValueError: invalid literal"):
        next(done)


def test_what_another_try_of_a_fold_would_not_change_is_said_at_once(cluster: Cluster, tmp_path: Path) -> None:
    folds = {"bad": partial(fail_of, TrainingError)}
    with pytest.raises(TrainingError, match=r"^approach: leaves no window; label more$"):
        list(folds_on_ray(cluster.address, TrainingError, folds, tmp_path))


def test_without_ray_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigError, match="WEAKHAR_RAY_ADDRESS is local, and Ray is not installed; run `pip install ray`"
    ):
        list(ended("local", tmp_path, [Unit("one", partial(say, 1))]))
    assert "Traceback" not in capfd.readouterr().err


def test_a_cluster_that_wants_another_token_is_one_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ConfigError, match=r"no Ray cluster is found there .* set RAY_AUTH_MODE=token where it wants"):
        list(ended(cluster.address, tmp_path, [Unit("one", partial(say, 1))]))


def test_evaluate_takes_the_cluster_from_the_settings(cluster: Cluster, tmp_path: Path) -> None:
    export = exports.write_export(tmp_path / "export")
    command = ["evaluate", str(export), "--models", "tinyhar", "--approaches", "few-shot-ce", "--seeds", "1"]
    command += ["--set", "epochs=1", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "MODEL_DIR": str(tmp_path / "models")}
    (tmp_path / ".env").write_text("WEAKHAR_RAY_ADDRESS=127.0.0.1:9\nWEAKHAR_CLIPS_URL=not looked at\n")
    weakhar = partial(
        subprocess.run,
        [sys.executable, "-m", "ml_backend.cli", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    done = weakhar(env=environment)
    assert done.returncode == 1
    assert "error: WEAKHAR_RAY_ADDRESS 127.0.0.1:9: nothing answers there" in done.stderr
    done = weakhar(env={**environment, "WEAKHAR_RAY_ADDRESS": cluster.address})
    assert done.returncode == 0, done.stderr
