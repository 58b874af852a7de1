"""`weakhar rehearse`: an annotator is played on recordings whose truth is known."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_backend.jobs import usable_recordings
from ml_backend.paper import rehearsal
from ml_backend.sample import write_sample
from ml_backend.settings import Parameters, Settings


def rehearse(folder: Path, settings: Settings, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ml_backend.cli", "rehearse", str(folder), "--plot", str(tmp_path / "plot.png")]
    environment = {"MODEL_DIR": str(settings.model_dir), "PATH": "/usr/bin:/bin", "COLUMNS": "80"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of two of UTD-MHAD's people, each alone."""
    folder = tmp_path_factory.mktemp("real")
    settings = Settings(model_dir=folder)
    parameters = Parameters(across_participants=False)
    everyone, _ = usable_recordings(shared_data / "utd_mhad", parameters)
    checked = [result for result in everyone if result.recording.participant in ("s5", "s7")]
    return rehearsal.rehearse(
        settings, parameters, checked, ["27", "54", "100"], rehearsal.Annotator(), lambda *_: None
    )


def test_real_people_are_labelled_as_well_as_promised(real: list[dict[str, Any]]) -> None:
    found = {(row["components"], row["method"]): row for row in real}
    for components, least in ((27, 0.76), (54, 0.93), (100, 0.965)):
        temporal, paper = found[components, "temporal"], found[components, "paper"]
        assert temporal["macro_recall"] > least
        assert temporal["macro_recall"] > paper["macro_recall"] + 0.08
        assert temporal["change_seconds_median"] <= 0.5
        assert temporal["change_seconds_p90"] <= 2.0
        assert temporal["changes_per_true"] <= 1.2
        assert temporal["coverage"] == 1
        assert set(temporal["participants"]) == {"s5", "s7"}


def test_expected_accuracy_of_real_people_is_their_accuracy_within_five_points(real: list[dict[str, Any]]) -> None:
    found = {row["components"]: row for row in real if row["method"] == "temporal"}
    assert found[27]["expected_accuracy"] is None  # each class is named once: not calibrated
    for components in (54, 100):
        for one in found[components]["participants"].values():
            assert one["expected_accuracy"] == pytest.approx(one["accuracy"], abs=0.05)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "study"
    for _ in write_sample(folder, participants=2, minutes=2):
        pass
    return folder


def test_the_command_prints_writes_and_says_what_is_wrong(study: Path, tmp_path: Path, settings: Settings) -> None:
    done = rehearse(study, settings, tmp_path, "--components", "9,10%", "--json", "out/rows.json")
    assert done.returncode == 0, done.stderr
    assert "answered one after another" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "plot in" not in line)
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert [(row["components"], row["method"]) for row in rows] == [
        (components, method) for components in (9, "10%") for method in ("paper", "temporal")
    ]
    first = rows[1]
    assert first["across_participants"] is True
    assert first["minutes"] == pytest.approx(9 * 5 / 60)
    assert 0 < first["watched"] <= 9 * 4 / 120 + 0.01
    assert len(first["participants"]) == 2

    folder = study

    def error(*arguments: str) -> str:
        result = rehearse(folder, settings, tmp_path, *arguments)
        assert result.returncode == 1
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result.stderr

    assert "'many' is neither a count nor a share" in error("--components", "9,many")
    assert "name at least one" in error("--components", ",")
    assert "share of wrong answers" in error("--components", "9", "--error", "120%")
    shutil.copytree(study, tmp_path / "unlabelled")
    folder = tmp_path / "unlabelled"
    imu = next(folder.rglob("*.csv"))
    table = [line.rsplit(",", 1)[0] for line in imu.read_text().splitlines()]
    imu.write_text("\n".join(table) + "\n")
    assert f"{imu.name}: has no column of labels" in error("--components", "9")


def test_wrong_answers_cost(study: Path, settings: Settings) -> None:
    parameters = Parameters()
    checked, _ = usable_recordings(study, parameters)

    def recall(annotator: rehearsal.Annotator) -> float:
        rows = rehearsal.rehearse(settings, parameters, checked, ["20"], annotator, lambda *_: None)
        return float(np.mean([row["macro_recall"] for row in rows if row["method"] == "temporal"]))

    assert recall(rehearsal.Annotator()) > recall(rehearsal.Annotator(error=0.3)) + 0.03
