"""What is installed: dependencies that agree, and a wheel that works without the repository beside it."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from ml_backend import __version__

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRAINING_NEEDS = ["torch", "numpy", "pyarrow", "scikit-learn", "typer", "rich", "safetensors", "matplotlib", "onnx"]


def name_of(requirement: str) -> str:
    """A requirement's package, as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()


def pinned(file: str) -> dict[str, str]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return {name_of(line): line.split("==")[1] for line in lines if "==" in line}


def closure(names: list[str]) -> set[str]:
    """Distributions that are installed for these, those that they need included."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:  # needed on other systems alone
            continue
        found.add(name)
        names += [name_of(entry) for entry in needed if "extra ==" not in entry]
    return found


def venv_with(folder: Path, names: set[str]) -> Path:
    """A virtual environment in which just these distributions, as installed here, can be imported."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    for name in names:
        for file in distribution(name).files or []:
            top = file.parts[0]
            source, target = Path(str(distribution(name).locate_file(top))), packages / top
            if top not in ("..", "__pycache__") and not target.exists() and source.exists():
                target.symlink_to(source)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weakhar's wheel, built of a copy of what is tracked."""
    folder = tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    source = folder / "source"
    for name in listing.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True)
    return next(folder.glob("*.whl"))


def installed(python: Path, wheel: Path) -> None:
    packages = next((python.parents[1] / "lib").glob("python*")) / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(packages)]
    subprocess.run([*command, str(wheel)], check=True)


def test_the_pinned_set_and_the_dependencies_name_the_same_packages() -> None:
    assert set(pinned("requirements.txt")) == {name_of(entry) for entry in PROJECT["dependencies"]}
    development = set(pinned("requirements-dev.txt")) - {"setuptools"}
    assert development == {name_of(entry) for entry in PROJECT["optional-dependencies"]["dev"]}


def test_every_pinned_version_is_the_constraints_and_allowed_by_the_dependencies() -> None:
    constraints = pinned("constraints.txt")
    allowed = {name_of(entry): entry.split(">=")[1] for entry in PROJECT["dependencies"]}
    for name, version in pinned("requirements.txt").items():
        assert constraints[name] == version
        as_numbers = [tuple(map(int, text.split(".")[:2])) for text in (f"{version}.0", f"{allowed[name]}.0")]
        assert as_numbers[0] >= as_numbers[1], name


def test_an_installed_wheel_works_in_a_folder_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    python = venv_with(tmp_path / "venv", closure([name_of(entry) for entry in PROJECT["dependencies"]]))
    installed(python, wheel)
    code = """
import json
from importlib.resources import files
from pathlib import Path

import ml_backend.web
from ml_backend.jobs import open_store
from ml_backend.paper.reproduce import embeddings_table
from ml_backend.sample.servers import CONFIGS
from training.models import TinyHAR

open_store("sqlite:///store.db", Path("."))
page = files("ml_backend.web") / "templates" / "status.html"
tables = files("ml_backend.paper") / "paper_tables.json"
config = (CONFIGS / "looping_clip.xml").read_text()
print(json.dumps([ml_backend.__file__, config, page.is_file(), tables.is_file()]))
"""
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, config, page, tables = json.loads(done.stdout.splitlines()[-1])
    assert str(tmp_path) in place
    assert "<Choices" in config
    assert page
    assert tables
    command = [python, "-m", "ml_backend.cli"]
    version = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"weakhar {__version__}"
    made = subprocess.run(
        [*command, "sample", "study", "--participants", "1", "--minutes", "0.2"], cwd=tmp_path, check=False
    )
    assert made.returncode == 0
    checked = subprocess.run([*command, "check", "study"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 recordings, 0 errors" in checked.stdout


def test_training_alone_needs_only_a_few_packages(wheel: Path, tmp_path: Path) -> None:
    python = venv_with(tmp_path / "venv", closure(list(TRAINING_NEEDS)))
    installed(python, wheel)
    random = np.random.default_rng(0)
    for number in range(2):
        values = random.normal(size=(600, 3))
        rows = [f"{number},{x},{y},{z},{'walking' if x > 0 else ''}" for x, y, z in values]
        (tmp_path / "data").mkdir(exist_ok=True)
        text = "\n".join(["sbj_id,acc_x,acc_y,acc_z,label", *rows])
        (tmp_path / "data" / f"sbj_{number}.csv").write_text(text + "\n")
    train = [python, "-m", "training", "train", "data", "--approach", "full", "--set", "epochs=1", "--out", "model"]
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predict = [python, "-m", "training", "predict", "model", "data/sbj_0.csv"]
    done = subprocess.run(predict, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "samples labelled" in done.stdout, done.stderr
    without = subprocess.run([python, "-c", "import yaml"], capture_output=True, check=False)
    assert without.returncode == 1  # the environment holds just what was asked for
    done = subprocess.run([*train, "--config", "c.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "pip install PyYAML" in done.stderr
