"""Experiments with an annotator who knows the truth: `rehearse` on one's own recordings, `reproduce` on published
datasets."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from ml_backend.cli.shared import Dataset, Option, bars, out, parameters_from, spread_of_folds, usable
from ml_backend.errors import ConfigError
from training.cli import listed


def rehearse(
    folder: Dataset,
    components: Annotated[str, typer.Option(help="Numbers of clusters a participant, such as 20,50,100 or 10%")],
    as_in_paper: Annotated[
        bool, typer.Option("--paper", help="Answer with a clip's last sample, as the paper's annotator")
    ] = False,
    error: Annotated[str, typer.Option(help="Share of wrong answers, such as 5%")] = "0%",
    seed: Annotated[int, typer.Option(min=0, help="Of the clusters and of the wrong answers")] = 1,
    rows_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to")] = None,
    plot: Annotated[Path, typer.Option(help="PNG to write the plot to")] = Path("rehearsal.png"),
    option: Option = None,
) -> None:
    """How many clips must we label? Plays an annotator on recordings that bring labels, and compares."""
    from ml_backend.paper import rehearsal
    from ml_backend.settings import load_settings

    settings = load_settings()
    parameters = parameters_from(settings, [*(option or []), f"seed={seed}"])
    numbers = listed(components)
    rehearsal.check_components(numbers)
    annotator = rehearsal.Annotator(as_in_paper, rehearsal.parse_error(error), seed)
    checked = usable(folder, parameters)
    with bars() as progress:
        rows = rehearsal.rehearse(settings, parameters, checked, numbers, annotator, progress)
    if rows_file is not None:
        rows_file.parent.mkdir(parents=True, exist_ok=True)
        rows_file.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    rehearsal.write_plot(rows, plot)
    out.print(_rehearsal_table(rows))
    if any(row["across_participants"] for row in rows):
        out.print(
            "Participants were answered one after another, and answers about one inform the next "
            "(--set across_participants=false: each alone).",
            highlight=False,
        )
    out.print(f"plot in {plot}", highlight=False, soft_wrap=True)


def _rehearsal_table(rows: list[dict[str, Any]]) -> Table:
    """A line a number of clusters and method; it fits 80 columns."""
    header = ("C", "method", "recall, %", "F1, %", "cover", "change 50/90 %", "watched", "min")
    table = Table(*(Column(name, no_wrap=True) for name in header), box=None, pad_edge=False)
    table.title = "per participant, mean ± std"
    for row in rows:
        changes = [row[name] for name in ("change_seconds_median", "change_seconds_p90")]
        table.add_row(
            str(row["components"]),
            row["method"],
            _percent(row["macro_recall"], row["macro_recall_std"]),
            _percent(row["macro_f1"], row["macro_f1_std"]),
            f"{row['coverage']:.0%}",
            " / ".join("-" if value is None else f"{value:.2f}" for value in changes) + " s",
            f"{row['watched']:.0%}",
            f"{row['minutes']:.1f}",
        )
    return table


def _percent(mean: float | None, spread: float | None) -> str:
    return "-" if mean is None or spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


def reproduce(
    folder: Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="The authors' download of a dataset")],
    table: Annotated[int | None, typer.Option(min=2, max=3, help="2: accuracy by embedding; 3: training")] = None,
    figure: Annotated[int | None, typer.Option(min=2, max=2, help="2: accuracy by number of clusters")] = None,
    ablation: Annotated[str | None, typer.Option(help="clip-length, answers or thresholds")] = None,
    name: Annotated[str | None, typer.Option(help="WEAR, Wetlab or ActionSense, if not the folder's name")] = None,
    clustering: Annotated[str, typer.Option(help="gmm as in the paper, ward, or segments")] = "gmm",
    propagation: Annotated[str, typer.Option(help="cluster as in the paper, or discriminant")] = "cluster",
    models: Annotated[str, typer.Option(help="Models of table 3")] = "shallow_deepconvlstm,tinyhar",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of table 3")] = 30,
    components: Annotated[str, typer.Option(help="Clusters of table 3: classes, 50, 100")] = "classes,50,100",
    ours: Annotated[bool, typer.Option("--ours", help="Train table 3 our way, not as the published code")] = False,
    subjects: Annotated[int | None, typer.Option(min=2, help="Only so many participants: a rehearsal")] = None,
    target: Annotated[Path | None, typer.Option("--out", help="Folder to write to; else runs/reproduce-NAME")] = None,
) -> None:
    """The paper's tables and figures from a published dataset, ours beside theirs; three seeds, by participant."""
    from ml_backend.paper import published
    from ml_backend.paper import reproduce as paper
    from training.loop import Settings as LoopSettings
    from training.tables import terminal_table

    way = paper.way_of(clustering, propagation)
    if sum(wanted is not None for wanted in (table, figure, ablation)) != 1:
        raise ConfigError("reproduce: name one of --table 2, --table 3, --figure 2, --ablation clip-length")
    dataset = published.read_published(folder)
    if subjects is not None:
        dataset = dataset.first(subjects)
    name = paper.paper_name(dataset, name)
    other_way = [value for value in (clustering, propagation) if value not in paper.PAPER_WAY]
    target = target or Path("runs") / "-".join(["reproduce", name, *other_way])
    spread = spread_of_folds() if table == 3 else None
    with bars() as progress:
        if table == 3:
            if ours:  # gaps are bridged, windows do not span them, models are as they are described
                settings, dataset = LoopSettings(epochs=epochs), replace(dataset, missing_values="interpolate")
            else:
                settings = LoopSettings(epochs=epochs, paper_exact=True, precision="float32")
            own = target / ("table-3-ours" if ours else "table-3")
            counts = listed(components)
            paper.check_counts(counts)
            tables = list(
                paper.training_tables(dataset, name, counts, listed(models), settings, own, way, progress, spread)
            )
        elif ablation is not None:
            outcome, stem = paper.ablation(dataset, name, ablation, way, progress), ablation
        elif figure is not None:
            outcome, stem = paper.clusters_figure(dataset, name, way, progress), "figure-2"
        else:
            outcome, stem = paper.embeddings_table(dataset, name, way, progress), "table-2"
    if table == 3:
        for count, trained_on, rows in tables:
            out.print(f"\n[bold]{len(dataset.labels) if count == 'classes' else count} clusters[/bold]")
            out.print(terminal_table(trained_on, rows, count))
        out.print("F1 by subject is the authors' average and stands beside the paper's; F1 is of all folds together.")
    else:
        paper.write_outcome(dataset, outcome, target, stem)
        header, lines = paper.table_rows(outcome)
        columns = (Column(name, no_wrap=True) for name in header)
        shown = Table(*columns, title=f"{outcome.title}; percent", box=None, padding=(0, 1, 0, 0))
        for line in lines:
            shown.add_row(*line)
        out.print(shown)
    if figure is not None:
        paper.write_box_plots(outcome, target / "figure-2.png")
    out.print(f"written to {target}", highlight=False, soft_wrap=True)
