"""The house: a room imports only rooms before it, only by their public names, and no more than eight floors stand."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[2] / "ml_backend"
ORDER = (
    "recordings",
    "embeddings",
    "clusters",
    "labels",
    "export",
    "labelstudio",
    "jobs",
    "web",
    "paper",
    "sample",
    "cli",
)
SHARED = ("errors", "storage", "files", "settings", "spread")
MOST_FLOORS = 8


def imports_of(path: Path) -> set[str]:
    """Modules of the repository that a file imports anywhere, also inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by a relative name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in found if name.split(".")[0] in ("ml_backend", "training")}


@cache
def rooms_of(room: str) -> frozenset[str]:
    """Other rooms that a room imports; what all share counts as the ground floor."""
    found = set()
    for path in (BACKEND / room).rglob("*.py"):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "ml_backend" and len(parts) > 1 and (BACKEND / parts[1]).is_dir() and parts[1] != room:
                found.add(parts[1])
    return frozenset(found)


def floor_of(room: str) -> int:
    """One above the highest room that it imports; what all share is the first floor."""
    return 1 + max([1, *(floor_of(other) for other in rooms_of(room))])


def test_every_folder_is_a_room_of_the_plan() -> None:
    folders = {path.name for path in BACKEND.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders == set(ORDER)
    files = {path.stem for path in BACKEND.glob("*.py")}
    assert files == {*SHARED, "__init__", "_wsgi", "model"}


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_that_stand_before_it(room: str) -> None:
    assert rooms_of(room) <= set(ORDER[: ORDER.index(room)])


def test_the_house_has_at_most_eight_floors() -> None:
    assert max(floor_of(room) for room in ORDER) <= MOST_FLOORS


@pytest.mark.parametrize("name", SHARED)
def test_what_all_share_imports_no_room(name: str) -> None:
    used = {module.split(".")[1] for module in imports_of(BACKEND / f"{name}.py") if module.count(".")}
    assert used <= {*SHARED, "__version__"}


@pytest.mark.parametrize("room", ORDER)
def test_rooms_use_each_other_by_public_names_alone(room: str) -> None:
    for path in (BACKEND / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ml_backend."):
                _, other, *inside = str(node.module).split(".")
                if other != room and (BACKEND / other).is_dir():
                    assert not inside, f"{path.relative_to(BACKEND)}: imports {node.module}, not what {other} names"


@pytest.mark.parametrize("room", [room for room in ORDER if room != "cli"])
def test_a_room_names_its_public_things_in_its_docstring(room: str) -> None:
    tree = ast.parse((BACKEND / room / "__init__.py").read_text(encoding="utf-8"))
    text = " ".join((ast.get_docstring(tree) or "").split())
    assert "out come" in text
    assert "Other rooms use" in text


def test_training_imports_nothing_of_the_backend() -> None:
    training = BACKEND.parent / "training"
    for path in training.rglob("*.py"):
        assert not any(name.startswith("ml_backend") for name in imports_of(path)), path
    assert imports_of(training / "contract.py") == set()


def test_help_imports_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ml_backend.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {
        line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }
    heavy = {"torch", "sklearn", "pandas", "scipy", "pyarrow", "av", "transformers"}
    assert not imported & heavy
    assert "reproduce" in done.stdout
