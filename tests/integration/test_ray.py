"""The job's units on a real Ray cluster of two nodes, each with processes of its own, on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusterings import assert_same
from exports import write_export
from ray.cluster_utils import Cluster

import training.loop
import training.spread
from ml_backend import __version__
from ml_backend.clusters import participants_of
from ml_backend.embeddings import Progress
from ml_backend.errors import ConfigError
from ml_backend.jobs import cluster_in_words, embed_and_cluster, spread, usable_recordings
from ml_backend.jobs.spread import Unit, on_ray
from ml_backend.recordings import CheckedRecording, Problem
from ml_backend.settings import Parameters, Settings
from training.approaches import Approach
from training.dataset import read_dataset
from training.errors import TrainingError
from training.evaluate import make_jobs, run_grid

LOOPBACK = "127.0.0.2"
"""Ray takes 127.0.0.1 for the machine's other address."""
PARAMETERS = Parameters(components=9)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one core each."""
    head = {"num_cpus": 1, "include_dashboard": False, "node_ip_address": LOOPBACK}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1, node_ip_address=LOOPBACK)
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
        if step.startswith("embedding") and len(told) == 5:
            do()

    return tell


def test_a_cluster_makes_what_one_machine_makes_also_where_a_node_is_lost(
    cluster: Cluster, checked: list[CheckedRecording], alone: Path, tmp_path: Path
) -> None:
    def lose_a_node() -> None:
        worker = next(iter(cluster.worker_nodes))
        cluster.remove_node(worker, allow_graceful=False)
        cluster.add_node(num_cpus=1, node_ip_address=LOOPBACK)

    settings = Settings(model_dir=tmp_path, ray_address=cluster.address)
    assert clustered(settings, checked, while_embedding(lose_a_node)) == []
    assert_same(tmp_path / "clusters", alone)
    assert list(tmp_path.glob("ray-*")) == []
    steps = list[tuple[str, float]]()
    assert clustered(settings, checked, lambda step, _done, total: steps.append((step, total))) == []
    assert all(total == 0 for _, total in steps)  # nothing was left to do


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


def test_a_node_with_another_version_or_without_the_shared_folder_stops_the_job(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget_folder() -> None:
        for token in tmp_path.glob("ray-*"):
            token.unlink()

    units = [Unit("first", forget_folder), *(Unit(f"{number}", forget_folder) for number in range(3))]
    with pytest.raises(ConfigError, match=rf"does not see {tmp_path}, the MODEL_DIR of the job; mount that folder"):
        on_ray(cluster.address, tmp_path, "step", units, lambda *_: None)
    monkeypatch.setattr(spread, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=rf"has weakhar {__version__}, the job 0\.0\.1; install the same one"):
        on_ray(cluster.address, tmp_path, "step", [Unit("one", forget_folder)], lambda *_: None)


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


def grid(folder: Path, out: Path, progress: Callable[[int, int, str], None] = lambda *_: None) -> dict[str, bytes]:
    """What leave-one-subject-out with two seeds writes of each held-out participant."""
    dataset = read_dataset(folder)
    jobs = make_jobs(dataset, ["tinyhar"], [Approach("few-shot-ce")], [1, 2], [])
    run_grid(dataset, jobs, training.loop.Settings(epochs=2, learning_rate=1e-3), out, progress)
    assert list(out.glob(".dataset-*")) == []
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.npy"))}


def test_training_folds_run_on_the_cluster_also_where_a_node_is_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = write_export(tmp_path / "export")
    alone = grid(export, tmp_path / "alone")
    told = []

    def lose_a_node(done: int, _total: int, _job: str) -> None:
        told.append(done)
        if done == 2:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            cluster.add_node(num_cpus=1, node_ip_address=LOOPBACK)

    monkeypatch.setenv("WEAKHAR_RAY_ADDRESS", cluster.address)
    assert len(alone) == 6
    assert grid(export, tmp_path / "spread", lose_a_node) == alone
    assert told == list(range(7))
    assert grid(export, tmp_path / "spread", lambda done, total, _: told.append(done - total)) == alone
    assert told[7:] == [0]  # nothing was left to do


def test_a_grid_that_is_interrupted_stops_its_folds_and_goes_on_later(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, _total: int, _job: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    export = write_export(tmp_path / "export")
    monkeypatch.setenv("WEAKHAR_RAY_ADDRESS", cluster.address)
    with pytest.raises(KeyboardInterrupt):
        grid(export, tmp_path / "spread", interrupt)
    assert list((tmp_path / "spread").glob(".dataset-*")) == []
    assert len(grid(export, tmp_path / "spread")) == 6


def test_a_cluster_that_cannot_train_is_one_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = write_export(tmp_path / "export")
    monkeypatch.setenv("WEAKHAR_RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(TrainingError, match=r"WEAKHAR_RAY_ADDRESS 127\.0\.0\.1:9: nothing answers there"):
        grid(export, tmp_path / "spread")
    monkeypatch.setenv("WEAKHAR_RAY_ADDRESS", cluster.address)
    monkeypatch.setattr(training.spread, "_version", lambda: "0.0.1")
    with pytest.raises(TrainingError, match=rf"has weakhar {__version__}, the run 0\.0\.1; install the same one"):
        grid(export, tmp_path / "spread")
