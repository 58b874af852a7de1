"""The paper's Table 3 from a published download, through the command."""

import json
from pathlib import Path

from typer.testing import CliRunner

from ml_backend.cli import cli


def test_table_3_trains_on_the_weak_labels_of_each_seed(published: Path, tmp_path: Path) -> None:
    arguments = [str(published), "--table", "3", "--models", "tinyhar", "--epochs", "1", "--out", str(tmp_path)]
    arguments += ["--components", "classes,100"]
    for _ in range(2):  # the second time everything is there
        done = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["reproduce", *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        shown = done.stdout
    for count, paper in (("classes", "49.45"), ("100", "71.10")):  # the paper's for weak-ce, TinyHAR
        own = tmp_path / "table-3" / f"clusters-{count}"
        table = (own / "table.md").read_text()
        assert "77.83" in table  # the paper's for full supervision
        assert paper in table
        assert "weak-phgce (T = 4)" in table
        assert "F1 by subject" in table
        for seed in (1, 2, 3):
            assert (own / f"export-seed-{seed}" / "WEAR" / "sbj_2.parquet").is_file()
        config = json.loads((own / "seed-1" / "config.json").read_text())
        assert config["settings"]["paper_exact"] is True
        assert config["settings"]["precision"] == "float32"
    assert (own / "confusion" / "tinyhar.png").read_bytes().startswith(b"\x89PNG")
    rows = [line for line in shown.splitlines() if line.startswith("TinyHAR")]
    assert len(rows) == len(set(rows)) == 2 * 9  # told apart on 80 columns
    assert all(len(line) <= 80 for line in shown.splitlines() if "written to" not in line)


def test_a_rehearsal_of_table_3_our_way_takes_two_subjects(published: Path, tmp_path: Path) -> None:
    arguments = ["reproduce", str(published), "--table", "3", "--models", "tinyhar", "--epochs", "1", "--ours"]
    arguments += ["--subjects", "2", "--components", "50", "--out", str(tmp_path)]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    config = json.loads((tmp_path / "table-3-ours" / "clusters-50" / "seed-1" / "config.json").read_text())
    assert config["settings"]["paper_exact"] is False
    assert len(config["participants"]) == 2
    wrong = CliRunner().invoke(cli, [*arguments, "--components", "70"])
    assert "table 3 is for classes, 50, 100" in str(wrong.exception)
