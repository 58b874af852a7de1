"""What works on a project while it holds its lease: nothing it does outlives that, nor do the files it makes."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from ml_backend.embeddings import Progress
from ml_backend.files import disk_errors
from ml_backend.jobs.store import Store
from ml_backend.labelstudio import Client, Media
from ml_backend.settings import Settings

LOOK_SECONDS = 0.5


@contextmanager
def held(
    store: Store, project_id: int, client: Client, progress: Progress, patience: float = 0.0
) -> Iterator[tuple[Client, Progress]]:
    """Hold a project's lease, for which one waits `patience` seconds; client and progress as they are then used."""
    with store.lease(project_id, patience) as check:
        yield client.fenced(check), _fenced(progress, check)


def _fenced(progress: Progress, check: Callable[[], None]) -> Progress:
    """Progress that is told only while the lease is held; that is looked at twice a second at most."""
    looked = 0.0

    def tell(step: str, done: float, total: float) -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_SECONDS:
            check()
            looked = time.monotonic()
        progress(step, done, total)

    return tell


@contextmanager
def media_of(settings: Settings, client: Client, project_id: int) -> Iterator[Media]:
    """What makes and uploads the files of a project's tasks."""
    prefix = f"clips-{project_id}-"
    for left in settings.model_dir.glob("clips-*"):
        # Of a job that was killed: nobody else has the lease; older versions did not name the project.
        if left.name.startswith(prefix) or not re.match(r"clips-\d+-", left.name):
            rmtree(left, ignore_errors=True)
    with disk_errors(settings.model_dir), TemporaryDirectory(dir=settings.model_dir, prefix=prefix) as folder:
        yield Media(client, project_id, Path(folder))
