"""Recordings and what is made of them in object storage, on a real S3 server."""

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import fsspec
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from clusterings import assert_same
from ray_nodes import started
from s3fs.core import S3File

from ml_backend.clusters import participant_folder, participants_of, truth_of
from ml_backend.embeddings import Progress
from ml_backend.embeddings.store import read_array
from ml_backend.errors import ConfigError, LabelStudioError, RecordingError
from ml_backend.files import content_key, remove, written_atomically
from ml_backend.jobs import check_study, checked_parameters, embed_and_cluster, pipeline, usable_recordings
from ml_backend.labelstudio import ClipStorage
from ml_backend.recordings import find_recordings, probe, sample_frames
from ml_backend.recordings.archives import read_archive
from ml_backend.recordings.devices import read_device
from ml_backend.sample import BackendServer, LabelStudioServer, wait_for
from ml_backend.settings import Parameters, Settings, load_settings
from ml_backend.storage import Mirror, StorageError, attach, by_ranges, fresh, place

PARAMETERS = Parameters(components=5)
SERVERS = {"database_url": "postgresql://127.0.0.1/none", "redis_url": "redis://127.0.0.1/0"}
"""A store and a queue that are named, and not asked."""


def put(folder: Path, url: str) -> None:
    fsspec.filesystem("s3").put(f"{folder}/", f"{url}/", recursive=True)


def in_storage(url: str) -> list[str]:
    files, folder = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return sorted(name.partition("/")[2] for name in files.find(folder) if not name.endswith("/"))


def machine(folder: Path, url: str) -> Path:
    """Another machine's copy of what lies under a URL."""
    attach(folder, url)
    return folder


def test_recordings_by_url_are_read_as_from_a_folder(dataset: Path, bucket: str) -> None:
    first, second = dataset / "p01", dataset / "p02"
    table = (first / "session.csv").read_bytes()
    (first / "session.csv.gz").write_bytes(gzip.compress(table))
    (first / "session.csv").unlink()
    with zipfile.ZipFile(second / "session.zip", "w") as archive:
        archive.write(second / "session.csv", "samples.csv")
    (second / "session.csv").unlink()
    third = Path(shutil.copytree(second, dataset / "Tåg 03"))
    (third / "session.zip").unlink()
    pa.parquet.write_table(pa.csv.read_csv(io.BytesIO(table)), third / "session.parquet")
    (third / "notes.txt").write_text("a note")
    np.save(third / "session.npy", np.zeros((40, 3), np.float32))
    (dataset / "p04").mkdir()
    (dataset / "p04" / "alone.csv").write_bytes(table)
    put(dataset, f"{bucket}/study")
    local, there = check_study(dataset, PARAMETERS), check_study(place(f"{bucket}/study"), PARAMETERS)

    def named(problems: list[Any], root: object) -> list[tuple[str, bool]]:
        return [(problem.message.replace(str(root), "ROOT"), problem.error) for problem in problems]

    assert len(local[1]) == 2
    assert named(there[1], f"{bucket}/study") == named(local[1], dataset)
    assert [str(one.recording) for one in there[0]] == ["Tåg 03/session", "p01/session", "p02/session"]
    for one, other in zip(local[0], there[0], strict=True):
        assert one.imu is not None
        assert other.imu is not None
        np.testing.assert_array_equal(one.imu.values, other.imu.values)
        assert one.video == other.video
        assert content_key(one.recording.video) == content_key(other.recording.video)
        frames = zip(sample_frames(one.recording.video, 2), sample_frames(other.recording.video, 2), strict=True)
        assert all(before == now and (a == b).all() for (before, a), (now, b) in frames)


def test_folders_that_a_console_marked_and_names_of_any_kind_are_read(bucket: str, sample_root: Path) -> None:
    files, names = fsspec.filesystem("s3"), ("a?b", "p 01", "p%41", "Tåg #3")
    for folder in ("study", "study/p 01", "models", "models/projects"):
        httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/{bucket[5:]}/{folder}/").raise_for_status()
    for name in names:
        put(sample_root / "p01", f"{bucket}/study/{name}")
    assert f"{bucket[5:]}/study/" in files.find(bucket)
    found, problems = find_recordings(place(f"{bucket}/study"), PARAMETERS)
    assert sorted(one.participant for one in found) == sorted(names)
    assert problems == []


def test_a_listed_dataset_by_url_and_what_comes_later_are_found(dataset: Path, bucket: str) -> None:
    listing = "recordings:\n- {participant: '010', video: ../study/p01/session.mp4, imu: p01/session.csv}\n"
    (dataset / "dataset.yaml").write_text(listing)
    put(dataset, f"{bucket}/study")
    root = place(f"{bucket}/study")
    found, problems = find_recordings(root, PARAMETERS, [place(bucket)])
    assert [str(one) for one in found] == ["010/session"]
    assert [problem.message for problem in problems] == [
        f"{bucket}/study/dataset.yaml: does not list p02/session.csv, p02/session.mp4; ignored"
    ]
    with_second = listing + "- {participant: '011', video: p02/session.mp4, imu: ../other/session.csv}\n"
    fsspec.filesystem("s3").pipe_file(f"{bucket}/study/dataset.yaml", with_second.encode())
    _, problems = find_recordings(root, PARAMETERS, [root])
    assert f"{bucket}/study/../other/session.csv: lies outside WEAKHAR_DATA_DIR" in problems[0].message


def write_folder(folder: Path, **files: str) -> None:
    with written_atomically(folder) as temporary:
        temporary.mkdir(parents=True)
        for name, text in files.items():
            (temporary / name).write_text(text)


def test_what_is_made_reaches_other_machines_whole(bucket: str, tmp_path: Path) -> None:
    here, there = machine(tmp_path / "a", f"{bucket}/models"), machine(tmp_path / "b", f"{bucket}/models")
    httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/{bucket[5:]}/models/projects/").raise_for_status()  # a mark

    def seen(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in sorted(fresh(folder, now=True).rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }

    write_folder(here / "projects" / "1" / "p01", clusters="one", made_of="this")
    write_folder(here / "projects" / "1" / "p01b", clusters="alike")
    with written_atomically(here / "projects" / "1" / "p01" / "features") as temporary:
        temporary.write_text("of one")
    before = {"p01/clusters": "one", "p01/made_of": "this", "p01/features": "of one", "p01b/clusters": "alike"}
    assert seen(there / "projects" / "1") == before == seen(here / "projects" / "1")
    assert in_storage(f"{bucket}/models") == [
        "models/projects/1/p01.tar",
        "models/projects/1/p01/features",
        "models/projects/1/p01b.tar",
    ]
    write_folder(there / "projects" / "1" / "p01", clusters="two")  # what lay beside the former is of the former
    assert seen(here / "projects" / "1") == {"p01/clusters": "two", "p01b/clusters": "alike"}
    assert seen(here / "projects" / "1" / "p01") == {"clusters": "two"}
    remove(here / "projects" / "1" / "p01b")
    assert seen(there / "projects" / "1") == {"p01/clusters": "two"}
    remove(here / "projects" / "1" / "p01")
    assert seen(there / "projects" / "1") == {}
    assert in_storage(f"{bucket}/models") == []


def test_what_a_killed_process_had_done_is_sent_by_the_next(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine(tmp_path / "a", f"{bucket}/models"), machine(tmp_path / "b", f"{bucket}/models")
    write_folder(here / "p01", clusters="one")
    with monkeypatch.context() as killed:
        killed.setattr(Mirror, "send", lambda *_: fail(tmp_path / "killed"))
        with pytest.raises(KeyboardInterrupt):
            write_folder(here / "p01", clusters="two")
    assert (fresh(here, now=True) / "p01" / "clusters").read_text() == "two"  # and not fetched anew
    assert (fresh(there, now=True) / "p01" / "clusters").read_text() == "one"
    os.utime(here / ".p01.etag", (1, 1))  # a while ago
    fresh(here, now=True)
    assert (fresh(there, now=True) / "p01" / "clusters").read_text() == "two"


def fail(temporary: Path) -> None:
    temporary.write_text("half")
    raise KeyboardInterrupt


def test_a_broken_off_write_leaves_nothing_in_the_storage(bucket: str, tmp_path: Path) -> None:
    here = machine(tmp_path / "a", f"{bucket}/models")

    with pytest.raises(KeyboardInterrupt), written_atomically(here / "vectors.npy") as temporary:
        fail(temporary)
    assert in_storage(bucket) == []


@pytest.fixture
def alone(sample_root: Path, tmp_path: Path) -> Path:
    """Clusters that a machine made of a folder."""
    checked = usable_recordings(sample_root, PARAMETERS)[0]
    embed_and_cluster(Settings(model_dir=tmp_path), tmp_path / "alone", PARAMETERS, checked, lambda *_: None)
    return tmp_path / "alone"


@pytest.mark.parametrize("nodes", [0, 2])
def test_clusters_made_in_the_storage_are_those_of_one_machine(
    sample_root: Path, alone: Path, bucket: str, tmp_path: Path, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PIECE_SECONDS", 25.0)
    put(sample_root, f"{bucket}/data/study")
    cluster = started(nodes, tmp_path) if nodes else None
    try:
        settings = Settings(
            model_dir=f"{bucket}/models",
            data_dir=f"{bucket}/data",
            ray_address=cluster.address if cluster else "",
            **SERVERS,
        )
        checked, _ = usable_recordings(settings.data_dir / "study", PARAMETERS, settings.confine().roots)
        lost = losing(lambda: shutil.rmtree(settings.model_dir)) if nodes else lambda *_: None
        folder = settings.model_dir / "projects" / "1"
        assert embed_and_cluster(settings, folder, PARAMETERS, checked, lost) == []
    finally:
        if cluster:
            cluster.shutdown()
    assert_same(fresh(machine(tmp_path / "other", f"{bucket}/models") / "projects" / "1"), alone)
    assert [name for name in in_storage(bucket) if "/ray-" in name or "/." in name or ".piece-" in name] == []


def test_what_nodes_with_copies_of_their_own_clustered_gets_its_truth_here(
    sample_root: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(model_dir=f"{bucket}/models", **SERVERS)
    folder, cluster = settings.model_dir / "projects" / "1", pipeline._cluster_all

    def elsewhere(*given: Any) -> dict[str, str]:
        failed = cluster(*given)
        shutil.rmtree(settings.model_dir)
        return failed

    monkeypatch.setattr(pipeline, "_cluster_all", elsewhere)
    checked, _ = usable_recordings(sample_root, PARAMETERS)
    embed_and_cluster(settings, folder, PARAMETERS, checked, lambda *_: None)
    assert all(truth_of(participant_folder(folder, name)) for name in participants_of(folder))
    assert len([name for name in in_storage(bucket) if name.endswith("/truth.json")]) == 2


def losing(lose: Callable[[], None]) -> Progress:
    """Does it once, when clustering begins: all vectors must then come out of the storage again."""
    told = list[str]()

    def tell(step: str, _done: float, _total: float) -> None:
        if step.startswith("clustering") and not told:
            lose()
            told.append(step)

    return tell


def test_what_cannot_be_is_one_line(bucket: str, sample_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing, wanted in (("database_url", "WEAKHAR_DATABASE_URL"), ("redis_url", "WEAKHAR_REDIS_URL")):
        with pytest.raises(ConfigError, match=rf"MODEL_DIR is {bucket}, where neither SQLite .* set {wanted} to"):
            load_settings(model_dir=bucket, **{**SERVERS, missing: ""})
    with pytest.raises(ConfigError, match=r"gs://lab: cannot be read by its URL \(.*gcsfs.*\)"):
        load_settings(data_dir="gs://lab")
    with pytest.raises(RecordingError, match=rf"{bucket}/none: no such folder"):
        usable_recordings(place(f"{bucket}/none"), PARAMETERS)
    put(sample_root, f"{bucket}/study")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=rf"{bucket}/study: the storage does not answer .* check address"):
        usable_recordings(place(f"{bucket}/study"), PARAMETERS)
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_study_in_the_storage_is_labelled_and_exported_on_two_machines(
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    run_job: Callable[..., int],
    answer_all: Callable[[int], dict[int, int]],
    dataset: Path,
    bucket: str,
    postgres_url: str,
    redis_url: str,
    tmp_path: Path,
) -> None:
    """The second machine has nothing but the settings."""
    put(dataset, f"{bucket}/data/study")
    environment = {
        "WEAKHAR_DATABASE_URL": postgres_url,
        "WEAKHAR_REDIS_URL": redis_url,
        "WEAKHAR_DATA_DIR": f"{bucket}/data",
        "MODEL_DIR": f"{bucket}/models",
    }
    alone = start_backend()
    places = shown(label_studio.tasks(run_job(alone, "A folder")))
    first = start_backend(new=True, **environment)
    project = run_job(first, "Object storage")
    assert shown(label_studio.tasks(project)) == places
    answer_all(project)
    wait_for(lambda: first.status(project)["annotations"] == len(places), 30, "the webhooks")
    own = first.get(f"export/{project}")
    second = start_backend(new=True, **environment, XDG_CACHE_HOME=str(tmp_path / "second"))
    one, other = ({**machine.status(project), "synced_at": None} for machine in (first, second))
    assert one == other
    assert one["annotations"] == len(places)
    again = second.get(f"export/{project}")
    assert own.status_code == again.status_code == httpx.codes.OK
    assert samples_in(again.content) == samples_in(own.content) != {}
    assert not list(tmp_path.rglob("weakhar.db"))[1:]  # but that of the first, in its folder


def shown(tasks: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {tuple(task["data"][name] for name in ("participant", "recording", "start_seconds")) for task in tasks}


def samples_in(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return {name: found.read(name) for name in found.namelist() if name.startswith("samples/")}


@pytest.mark.parametrize("kind", ["s3", "localfiles"])
def test_label_studio_serves_clips_out_of_the_storage_and_forgotten_ones_are_gone(
    label_studio: LabelStudioServer,
    start_backend: Callable[..., BackendServer],
    s3_keys: dict[str, str],
    bucket: str,
    kind: str,
) -> None:
    if kind == "s3":
        folder, refused = f"{bucket}/clips", f"has no source storage of bucket {bucket[5:]}; add one there under"
    else:
        folder = f"file://{label_studio.environment['LOCAL_FILES_DOCUMENT_ROOT']}/clips of {bucket[5:]}"
        refused = rf"does not serve {folder} to project \d+ \(404\); add a source storage of local files with the"
    backend = start_backend(WEAKHAR_CLIPS_URL=folder)
    project = label_studio.create_project("Clips in storage")
    model = label_studio.connect(project, backend, {"dataset": "study", "components": 3, "clips": "storage"})
    label_studio.start_training(model)
    with pytest.raises(LabelStudioError, match=refused):
        backend.wait_for_job(project)
    assert in_storage(folder) == []
    storage: dict[str, Any] = {"project": project, "use_blob_urls": True}
    if kind == "s3":
        storage |= {
            "bucket": bucket[5:],
            "presign": False,
            "aws_access_key_id": s3_keys["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": s3_keys["AWS_SECRET_ACCESS_KEY"],
            "region_name": s3_keys["AWS_DEFAULT_REGION"],
            "s3_endpoint": s3_keys["AWS_ENDPOINT_URL"],
        }
    else:
        storage["path"] = f"{folder.removeprefix('file://')}/{project}"
    label_studio.api("POST", f"api/storages/{kind}", json=storage)
    label_studio.start_training(model)
    wait_for(lambda: backend.status(project)["state"] == "done", 120, "the job")
    tasks, stored = label_studio.tasks(project), in_storage(folder)
    assert len(tasks) == 6
    assert len(stored) == 12  # a clip and the pictures beside it
    assert label_studio.api("GET", f"api/projects/{project}/file-uploads") == []
    for shown in (tasks[0]["data"]["video"], *re.findall(r'src="([^"]*)"', tasks[0]["data"]["html"])):
        address = f"{label_studio.url}{unescape(shown)}"
        served = httpx.get(address, headers=label_studio.headers)
        assert served.status_code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT)
        name = address.rpartition("/")[2]
        assert served.content == place(f"{folder}/{project}/{name}").read_bytes()
        assert httpx.get(address).status_code == httpx.codes.UNAUTHORIZED
    label_studio.start_training(model)  # again: nothing is made, and nothing is lost
    backend.wait_for_job(project)
    assert in_storage(folder) == stored
    assert label_studio.tasks(project) == tasks

    environment = {**os.environ, **backend.environment}
    weakhar = [sys.executable, "-m", "ml_backend.cli", "forget", "--project", str(project), "--yes"]
    subprocess.run([*weakhar, "--participant", "p01"], env=environment, check=True, capture_output=True)
    left = in_storage(folder)
    assert len(left) == 6
    assert not [name for name in left if "p01" in name]
    label_studio.api("DELETE", f"api/projects/{project}/")
    subprocess.run(weakhar, env=environment, check=True, capture_output=True)
    assert in_storage(folder) == []


def test_a_folder_for_clips_that_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    away = ClipStorage(f"file://{tmp_path}/away/clips", new=False)
    with pytest.raises(StorageError, match=r"away/clips: the folder above it is not there; mount it, or correct it"):
        away.files(1, "")
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(StorageError, match=r"WEAKHAR_CLIPS_URL: .*clips/1/"):
        ClipStorage(f"file://{tmp_path}/clips", new=True).put(1, tmp_path / "clips", "clip.mp4")
    assert ClipStorage(f"file://{tmp_path}/others", new=False).files(1, "") == {}


def test_storage_for_clips_that_is_not_named_or_not_one_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r'"clips": storage needs WEAKHAR_CLIPS_URL where weakhar is started'):
        checked_parameters(load_settings(), {"clips": "storage"})
    with pytest.raises(
        ConfigError, match=r'"clips_url": expected s3://bucket/folder, gs://bucket/folder, or a folder'
    ):
        load_settings(clips_url="/srv/clips")
    with pytest.raises(ConfigError, match=r'"clips_url": expected .* file:///srv/files/clips'):
        load_settings(clips_url="file:///clips")
    with pytest.raises(ConfigError, match=r'"clips_url": expected'):
        load_settings(clips_url="file:///srv/files/../clips")


def test_a_read_that_failed_once_is_not_told_of_again_and_again(
    bucket: str, sample_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sample_root / "p01", f"{bucket}/p01")
    video = place(f"{bucket}/p01/session.mp4")
    fetch, failed = S3File._fetch_range, list[int]()

    def once(self: S3File, start: int, end: int) -> bytes:
        if not failed:
            failed.append(start)
            raise ConnectionError("reset by peer")
        return bytes(fetch(self, start, end))

    monkeypatch.setattr(S3File, "_fetch_range", once)
    with by_ranges(video) as stream:
        assert stream.read() == (sample_root / "p01" / "session.mp4").read_bytes()
    assert failed == [0]


def test_a_storage_that_refuses_is_not_taken_for_a_file_that_is_not_there(
    bucket: str, sample_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sample_root / "p01", f"{bucket}/p01")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(fsspec.filesystem("s3"), "info", refused)
    with pytest.raises(StorageError, match=rf"{bucket}/p01/session.mp4: the storage does not answer .*\(Forbidden\)"):
        probe(place(f"{bucket}/p01/session.mp4"))


def test_a_storage_that_refuses_is_not_taken_for_a_damaged_file(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("s3")
    for name in ("imu.cwa", "imu.zip", "vectors.npy"):
        files.pipe_file(f"{bucket}/{name}", b"anything")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(files, "get_file", refused)
    monkeypatch.setattr(files, "open", refused)
    for read, name in ((read_device, "imu.cwa"), (read_archive, "imu.zip"), (read_array, "vectors.npy")):
        with pytest.raises(StorageError, match=rf"{bucket}/{name}: the storage does not answer .*\(Forbidden\)"):
            read(place(f"{bucket}/{name}"))


def test_temporary_files_of_exports_are_not_sent(bucket: str, tmp_path: Path) -> None:
    here = machine(tmp_path / "a", f"{bucket}/models")
    with written_atomically(here / "exports" / "1" / ".abc" / "export" / "p1.parquet") as temporary:
        temporary.write_text("rows")
    with written_atomically(here / "exports" / "1" / "export.zip") as temporary:
        temporary.write_text("all rows")
    assert in_storage(f"{bucket}/models") == ["models/exports/1/export.zip"]


def test_who_looks_while_something_is_removed_does_not_bring_it_back(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(tmp_path / "a", f"{bucket}/models")
    write_folder(here / "p01", clusters="one")
    delete = Mirror.delete

    def looked_at(self: Mirror, path: Path) -> None:
        delete(self, path)
        Mirror(self.local, self.url).fetch(self.local, now=True)  # another process of this machine

    monkeypatch.setattr(Mirror, "delete", looked_at)
    remove(here / "p01")
    assert list(fresh(here, now=True).iterdir()) == []
    fresh(machine(tmp_path / "b", f"{bucket}/models"), now=True)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o700


@pytest.mark.usefixtures("bucket")
def test_addresses_that_are_no_good_are_one_line_without_their_passwords(tmp_path: Path) -> None:
    for given in ("sftp://user:secret@host/x", "https://user:secret@host/x"):
        with pytest.raises(ConfigError, match="holds a password; leave it out") as error:
            load_settings(data_dir=given)
        assert "secret" not in str(error.value)
    assert load_settings(model_dir=f"file://{tmp_path}").model_dir == tmp_path
    missing = Settings(model_dir="s3://there-is-no-such-bucket/x", **SERVERS)
    with (
        pytest.raises(StorageError, match=r"^s3://there-is-no-such-bucket/x: cannot be written .* is the bucket"),
        written_atomically(missing.model_dir / "file") as temporary,
    ):
        temporary.touch()


def test_files_outside_of_roots_of_two_kinds_are_told(bucket: str, dataset: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.mp4"
    (dataset / "p01" / "session.mp4").rename(outside)
    (dataset / "p01" / "session.mp4").symlink_to(outside)
    for roots in ((dataset, place(bucket)), (place(bucket), dataset)):
        found, problems = find_recordings(dataset, PARAMETERS, roots)
        assert [str(one) for one in found] == ["p02/session"]
        assert "session.mp4: lies outside WEAKHAR_DATA_DIR" in problems[0].message
