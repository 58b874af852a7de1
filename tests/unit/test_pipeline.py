"""How the pipeline shares the machine, and what it leaves behind."""

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_info

from ml_backend import files
from ml_backend.clusters import side_by_side
from ml_backend.files import IDLE_SECONDS, content_key, sweep, written_atomically
from ml_backend.jobs import Store, projects, upkeep
from ml_backend.jobs.held import media_of
from ml_backend.labelstudio import ClipStorage, labelling_config
from ml_backend.settings import Settings
from ml_backend.spread import Knowing


def threads() -> set[tuple[str, int]]:
    return {(library["user_api"], library["num_threads"]) for library in threadpool_info()}


def test_participants_clusteredside_by_side_have_one_thread_each_and_leave_the_process_as_it_was() -> None:
    before = threads()
    with side_by_side() as run:
        inside = list(run(lambda _: threads(), range(4)))
    assert all(count == 1 for found in inside for _, count in found)
    assert threads() == before


def test_clips_of_killed_jobs_are_swept_also_of_older_versions_but_not_of_other_projects(settings: Settings) -> None:
    for name in ("clips-1-abcd_123", "clips-abcd_123", "clips-2-abcd_123"):
        (settings.model_dir / name).mkdir(parents=True)
        (settings.model_dir / name / "clip.mp4").touch()
    client: Any = None
    with media_of(settings, client, 1) as media:
        assert {path.name for path in settings.model_dir.glob("clips-*")} == {"clips-2-abcd_123", media.folder.name}
    assert {path.name for path in settings.model_dir.glob("clips-*")} == {"clips-2-abcd_123"}


def killed_while_writing(folder: Path, since: float) -> ExitStack:
    """A file and a folder as processes leave them that were killed so many seconds ago; to be kept: it cleans up."""
    with ExitStack() as killed:
        file = killed.enter_context(written_atomically(folder / "study 1.2 (final)"))
        part = killed.enter_context(written_atomically(folder / "p01")) / "features.npz"
        file.touch()
        part.parent.mkdir()
        part.touch()
        for path in (part, part.parent, file):
            os.utime(path, (time.time() - since,) * 2)
        return killed.pop_all()


def test_what_killed_processes_left_is_swept_but_not_what_is_being_written(tmp_path: Path) -> None:
    long_ago = killed_while_writing(tmp_path, IDLE_SECONDS + 1)
    for name in (".env", ".hidden", ".abcdef012345.etag", "abcdef012345"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    with written_atomically(tmp_path / "long") as folder:
        folder.mkdir()
        (folder / "file").touch()
        os.utime(folder, (0, 0))
        sweep(tmp_path)
        assert (folder / "file").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {
        ".env",
        ".hidden",
        ".abcdef012345.etag",
        "abcdef012345",
        "long",
    }
    just_now = killed_while_writing(tmp_path, 0)
    assert len(sweep(tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 7
    assert sweep(tmp_path, idle=0) == []
    assert len(list(tmp_path.iterdir())) == 5
    sweep(tmp_path / "none")
    del long_ago, just_now


def test_clips_that_killed_processes_left_in_a_folder_are_swept(tmp_path: Path) -> None:
    storage = ClipStorage(f"file://{tmp_path}/clips", new=True)
    (tmp_path / "clip").touch()
    storage.put(1, tmp_path / "clip", "clip.mp4")
    killed = killed_while_writing(tmp_path / "clips" / "1", IDLE_SECONDS + 1)
    (url,) = storage.files(1, "").values()
    assert [path.name for path in (tmp_path / "clips" / "1").iterdir()] == [url.rpartition("/")[2]]
    del killed


def test_what_killed_exports_left_is_swept_where_somebody_is_forgotten_or_named(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    store.save_project(1, label_config=labelling_config(["walking", "jogging"]))
    monkeypatch.setattr(projects, "_labels_to_export", killed)
    with pytest.raises(KeyboardInterrupt):
        projects.export_project(store, settings, 1, tmp_path / "first" / "out")
    long_ago = killed_while_writing(tmp_path / "first", IDLE_SECONDS + 1)
    just_now = killed_while_writing(tmp_path / "first", 0)
    said = upkeep._sweep_exports(settings, 1)
    assert [line.startswith("NOT removed: ") for line in said] == [True, True]
    assert len(list((tmp_path / "first").iterdir())) == 2
    del long_ago, just_now


def test_a_unit_takes_a_videos_key_along_but_not_for_another_file(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(b"pictures")
    key = content_key(video)
    unit = Knowing.of([video], partial(content_key, video))
    files._content_key.cache_clear()  # as in another process
    assert Knowing(((video, 8, "as told"),), unit.run)() == "as told"  # it is not read again
    video.write_bytes(b"other pictures")
    assert unit() == content_key(video) != key
