"""How the pipeline shares the machine."""

from threadpoolctl import threadpool_info

from ml_backend.clusters import side_by_side


def threads() -> set[tuple[str, int]]:
    return {(library["user_api"], library["num_threads"]) for library in threadpool_info()}


def test_participants_clusteredside_by_side_have_one_thread_each_and_leave_the_process_as_it_was() -> None:
    before = threads()
    with side_by_side() as run:
        inside = list(run(lambda _: threads(), range(4)))
    assert all(count == 1 for found in inside for _, count in found)
    assert threads() == before
