"""weakhar's wheel in an environment of its own, which holds just the packages that are asked for."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = tuple(PROJECT["dependencies"])


def name_of(requirement: str) -> str:
    """A requirement's package, as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()


def built_wheel(folder: Path) -> Path:
    """weakhar's wheel, built of a copy of what is tracked."""
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


def python_with(folder: Path, requirements: tuple[str, ...], wheel: Path) -> Path:
    """The interpreter of a virtual environment with the wheel and the closure of these, as installed here."""
    python = _venv_with(folder, _closure([name_of(entry) for entry in requirements]))
    packages = next((folder / "lib").glob("python*")) / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(packages)]
    subprocess.run([*command, str(wheel)], check=True)
    return python


def _closure(names: list[str]) -> set[str]:
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


def _venv_with(folder: Path, names: set[str]) -> Path:
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
