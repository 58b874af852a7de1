"""Shared by all tests: small sample recordings, and a real Label Studio, started once a run where asked for."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from installed import built_wheel
from published_data import write_published

from ml_backend.embeddings import embed_all, embedders
from ml_backend.embeddings.torchvision_ops import declare_missing_operators
from ml_backend.jobs import Store, open_store, usable_recordings
from ml_backend.sample import BackendServer, LabelStudioServer, write_sample
from ml_backend.settings import Settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a test process for every core
declare_missing_operators()  # before any test imports timm or open_clip

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
LABEL_STUDIO = REPOSITORY / ".venv-label-studio" / "bin" / "label-studio"


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants of 40 s each, whose recordings have the same file name. Not to be changed by tests."""
    root = tmp_path_factory.mktemp("sample")
    for _ in write_sample(root, participants=2, minutes=40 / 60):
        pass
    return root


@pytest.fixture
def dataset(sample_root: Path, tmp_path: Path) -> Path:
    """A copy of the sample recordings that a test may spoil."""
    return Path(shutil.copytree(sample_root, tmp_path / "data" / "study"))


@pytest.fixture(autouse=True)
def as_patient_as_before() -> Iterator[None]:
    """No test changes how its process, and all that it starts later, shares the processor with others."""
    before = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    yield
    if before is not None:
        assert os.sched_getscheduler(0) == before, "a library took another scheduling policy for this process"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real recordings are absent: {SHARED_DATA.relative_to(REPOSITORY.parent)}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download as its authors laid it out, named as one of the paper's datasets. Not to be changed by tests."""
    root = tmp_path_factory.mktemp("published") / "WEAR"
    write_published(root)
    return root


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weakhar's wheel."""
    return built_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    """A running Label Studio; each test makes its own project."""
    server = LabelStudioServer(str(LABEL_STUDIO), tmp_path_factory.mktemp("label-studio"))
    root = str(tmp_path_factory.mktemp("files"))
    server.environment |= {"LOCAL_FILES_SERVING_ENABLED": "true", "LOCAL_FILES_DOCUMENT_ROOT": root}
    with server:
        server.wait_until_up()
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with all files in the test's folder."""
    return Settings(model_dir=tmp_path / "model", data_dir=tmp_path / "data")


@pytest.fixture
def store(settings: Settings) -> Store:
    """An empty store on SQLite."""
    return open_store(settings.database, settings.model_dir)


@pytest.fixture(scope="session")
def embedded(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MODEL_DIR in which the sample recordings are embedded."""
    settings = Settings(model_dir=tmp_path_factory.mktemp("embedded"), data_dir=sample_root)
    parameters = settings.parameters()
    checked, _ = usable_recordings(sample_root, parameters)
    embed_all(embedders(settings, parameters), checked, lambda *_: None)
    return settings.model_dir


@pytest.fixture
def start_backend(
    dataset: Path, tmp_path: Path, label_studio: LabelStudioServer, embedded: Path
) -> Iterator[Callable[..., BackendServer]]:
    """Starts `weakhar serve` on the test's copy of the sample recordings, which are embedded already unless it is
    `new`; stopped after the test."""
    with ExitStack() as stack:

        def start(auth: bool = False, new: bool = False, **environment: str) -> BackendServer:
            if not new:
                shutil.copytree(embedded, tmp_path / "model", dirs_exist_ok=True)
            backend = BackendServer(tmp_path / "model", dataset.parent, label_studio, auth)
            backend.environment.update(environment)
            stack.enter_context(backend)
            backend.wait_until_up()
            return backend

        yield start
