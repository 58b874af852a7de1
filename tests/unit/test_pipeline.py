"""How the pipeline shares the machine, and what it leaves behind."""

from typing import Any

from threadpoolctl import threadpool_info

from ml_backend.clusters import side_by_side
from ml_backend.jobs.held import media_of
from ml_backend.settings import Settings


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
