"""weakhar from its wheel, in a folder without the repository: commands, the demo with its server, training alone."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
from installed import DEPENDENCIES, python_with

from ml_backend import __version__

LABEL_STUDIO = Path(__file__).parents[2] / ".venv-label-studio" / "bin" / "label-studio"
TRAINING_NEEDS = (
    "torch",
    "numpy",
    "pyarrow",
    "scikit-learn",
    "typer",
    "rich",
    "safetensors",
    "matplotlib",
    "onnx",
)


def test_the_demo_runs_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path / "venv", DEPENDENCIES, wheel)
    command = [python, "-m", "ml_backend.cli", "demo", "shown", "--label-studio", LABEL_STUDIO]
    command += ["--participants", "1", "--minutes", "0.5", "--components", "3"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "shown" / "report.json").read_text())
    assert report["annotations_received"] == report["tasks_created"] == 3
    assert (tmp_path / "shown" / "export" / "samples" / "p01.parquet").is_file()
    assert "<html" in (tmp_path / "shown" / "report.html").read_text()


def test_an_installed_wheel_works_in_a_folder_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path / "venv", DEPENDENCIES, wheel)
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
script = files("ml_backend.web") / "static" / "fresh.js"
tables = files("ml_backend.paper") / "paper_tables.json"
config = (CONFIGS / "looping_clip.xml").read_text()
print(json.dumps([ml_backend.__file__, config, page.is_file() and script.is_file(), tables.is_file()]))
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
    python = python_with(tmp_path / "venv", TRAINING_NEEDS, wheel)
    random = np.random.default_rng(0)
    for number in range(2):
        values = random.normal(size=(600, 3))
        rows = [f"{number},{x},{y},{z},{'walking' if x > 0 else ''}" for x, y, z in values]
        (tmp_path / "data").mkdir(exist_ok=True)
        text = "\n".join(["sbj_id,acc_x,acc_y,acc_z,label", *rows])
        (tmp_path / "data" / f"sbj_{number}.csv").write_text(text + "\n")
    train = [python, "-m", "training", "train", "data", "--approach", "full", "--set", "epochs=1", "--out", "model"]
    train += ["--sampling-rate", "50"]
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predict = [python, "-m", "training", "predict", "model", "data/sbj_0.csv", "--sampling-rate", "50"]
    done = subprocess.run(predict, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "samples labelled" in done.stdout, done.stderr
    without = subprocess.run([python, "-c", "import yaml"], capture_output=True, check=False)
    assert without.returncode == 1  # the environment holds just what was asked for
    done = subprocess.run([*train, "--config", "c.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "pip install PyYAML" in done.stderr
