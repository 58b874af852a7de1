"""The paper's Table 3 from a published download, through the command."""

from pathlib import Path

from typer.testing import CliRunner

from ml_backend.cli import cli


def test_table_3_trains_on_the_weak_labels_of_each_seed(published: Path, tmp_path: Path) -> None:
    arguments = [str(published), "--table", "3", "--models", "tinyhar", "--epochs", "1", "--out", str(tmp_path)]
    for _ in range(2):  # the second time everything is there
        assert CliRunner().invoke(cli, ["reproduce", *arguments], catch_exceptions=False).exit_code == 0
    table = (tmp_path / "table-3" / "table.md").read_text()
    assert "77.83" in table  # the paper's for full supervision
    assert "weak-phgce (T = 4)" in table
    for seed in (1, 2, 3):
        assert (tmp_path / "table-3" / f"export-seed-{seed}" / "WEAR" / "sbj_2.parquet").is_file()
