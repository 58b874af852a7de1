"""What a grid found, for people: a table like the paper's Table 3 on the terminal and as Markdown, CSV and LaTeX, the
scores by class, and confusion matrices as CSV and PNG."""

import csv
import json
from dataclasses import asdict
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Column, Table

from training.dataset import Dataset
from training.evaluate import Score
from training.saved import write_text

COLUMNS = ("model", "approach", "macro recall", "F1 by subject", "macro F1", "weighted F1", "subjects")
SHOWN = ("macro recall", "F1 by subject", "macro F1")
"""What of it a terminal of 80 columns has room for."""
SHORT_MODELS = {"shallow_deepconvlstm": "DeepConvLSTM", "tinyhar": "TinyHAR"}
PAPER_COLUMNS = ("paper's recall", "paper's F1")
PAPER_ROWS = {"full": "fully_supervised", "few-shot-ce": "few_shot_ce", "random-ce": "random_ce"}
PAPER_MODELS = {"shallow_deepconvlstm": 0, "tinyhar": 2}


def write_tables(dataset: Dataset, scores: list[Score], folder: Path, components: str = "100") -> None:
    """Write table.md, table.csv, table.tex, results.json, for each row its classes and confusion matrix, and for each
    model those of all its rows side by side, as the paper's Figure 3.

    components: beside which of the paper's columns, `classes` (as many clusters as classes), `50` or `100`.
    """
    header, rows = table_rows(dataset, scores, components)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    write_text(folder / "table.md", "\n".join(lines))
    write_text(folder / "table.csv", _csv([header, *rows]))
    write_text(folder / "table.tex", _latex(header, rows))
    results = [
        {**asdict(score), "approach": str(score.approach), "confusion": score.confusion.tolist()} for score in scores
    ]
    write_text(folder / "results.json", json.dumps({"labels": dataset.labels, "rows": results}, indent=1))
    for score in scores:
        name = f"{score.model}-{score.approach.name}-{score.approach.threshold}".replace("%", "pct")
        by_class = zip(dataset.labels, score.recall_of_class, score.f1_of_class, strict=True)
        table = [
            ["class", "recall", "F1"],
            *[[label, f"{recall:.2f}", f"{f1:.2f}"] for label, recall, f1 in by_class],
        ]
        write_text(folder / "classes" / f"{name}.csv", _csv(table))
        _confusion(score, dataset.labels, folder / "confusion" / name)
    for model in dict.fromkeys(score.model for score in scores):
        own = [score for score in scores if score.model == model]
        _confusions_side_by_side(own, dataset.labels, folder / "confusion" / f"{model}.png")


def terminal_table(dataset: Dataset, scores: list[Score], components: str = "100") -> Table:
    """The table for a terminal: what tells the rows apart is never cut."""
    header, rows = table_rows(dataset, scores, components)
    shown = [header.index(name) for name in SHOWN] + list(range(len(COLUMNS), len(header)))
    names = [name.replace("macro ", "").replace("paper's", "paper") for name in (header[index] for index in shown)]
    columns = [Column(name, no_wrap=number < 2) for number, name in enumerate(("model", "approach", *names))]
    table = Table(*columns, title=f"{dataset.title}: percent, {_over(scores)}", box=None, pad_edge=False)
    for row in rows:
        table.add_row(SHORT_MODELS.get(row[0], row[0]), row[1], *(row[index] for index in shown))
    return table


def _over(scores: list[Score]) -> str:
    """Of how many seeds the numbers are."""
    seeds = max((score.seeds for score in scores), default=1)
    return f"mean ± std over {seeds} seeds" if seeds > 1 else "one seed; take three or more to compare"


def table_rows(dataset: Dataset, scores: list[Score], components: str = "100") -> tuple[list[str], list[list[str]]]:
    """Header and rows as text; with the paper's numbers where the dataset's name is one of theirs."""
    paper = _paper_rows(dataset.title)
    header = [*COLUMNS, *(PAPER_COLUMNS if paper else ())]
    rows = []
    for score in scores:
        subjects = list(score.subjects.values())
        row = [score.model, str(score.approach)]
        row += [_spread(mean, std, score.seeds) for mean, std in _averages(score)]
        row.append(_spread(float(np.mean(subjects)), float(np.std(subjects)), len(subjects)))
        if paper:
            row += _paper_cells(paper, score, components)
        rows.append(row)
    return header, rows


def _spread(mean: float, std: float, count: int) -> str:
    """A mean with its standard deviation, of one value without: ± 0.00 would say that it is always the same."""
    return f"{mean:.2f} ± {std:.2f}" if count > 1 else f"{mean:.2f}"


def _averages(score: Score) -> tuple[tuple[float, float], ...]:
    return score.macro_recall, score.subject_f1, score.macro_f1, score.weighted_f1


def _paper_rows(title: str) -> dict[str, Any] | None:
    published: dict[str, dict[str, Any]] = json.loads((files("training") / "paper_results.json").read_text())
    words = title.lower().replace("-", " ").replace("_", " ").split()
    return next((rows for name, rows in published.items() if name.lower() in words), None)


def _paper_cells(paper: dict[str, Any], score: Score, components: str) -> list[str]:
    """Recall and F1; full supervision does not depend on the number of clusters."""
    approach = score.approach
    suffix = "" if approach.threshold == "none" else f"_t{approach.threshold}"
    row = paper.get(PAPER_ROWS.get(approach.name, approach.name.replace("-", "_") + suffix))
    first = PAPER_MODELS[score.model]
    if isinstance(row, dict):
        row = row[components]
    return [f"{value:.2f}" for value in row[first : first + 2]] if row else ["", ""]


def _csv(rows: list[list[str]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")


def _latex(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        escaped = (cell.replace("%", r"\%").replace("_", r"\_").replace("±", r"$\pm$") for cell in cells)
        return " & ".join(escaped) + r" \\"

    body = [r"\begin{tabular}{ll" + "r" * (len(header) - 2) + "}", r"\hline", line(header), r"\hline"]
    return "\n".join([*body, *map(line, rows), r"\hline", r"\end{tabular}"])


def _confusion(score: Score, labels: tuple[str, ...], path: Path) -> None:
    """Row-normalised, in percent."""
    from matplotlib.figure import Figure

    shares = _shares(score)
    rows = [
        ["truth \\ predicted", *labels],
        *[[label, *map("{:.2f}".format, row)] for label, row in zip(labels, shares, strict=True)],
    ]
    write_text(path.with_suffix(".csv"), _csv(rows))
    size = 2.5 + 0.55 * len(labels)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel="predicted", ylabel="truth")
    axes.set_xticklabels(labels, rotation=90)
    axes.set_yticklabels(labels)
    axes.set_title(f"{score.model}, {score.approach}\nrecall, percent", fontsize=9)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column,
            row,
            f"{share:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share > 50 else "black",
        )
    figure.savefig(path.with_suffix(".png"), dpi=120)


def _confusions_side_by_side(scores: list[Score], labels: tuple[str, ...], path: Path) -> None:
    """One model's confusion matrices in four columns, row-normalised."""
    from matplotlib.figure import Figure

    across = min(4, len(scores))
    down = -(-len(scores) // across)
    size = 1.8 + 0.14 * len(labels)
    figure = Figure(figsize=(size * across + 1.5, size * down + 1.5), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(scores) :]:
        axes.set_axis_off()
    for axes, score in zip(grid.flat, scores, strict=False):
        image = axes.imshow(_shares(score), cmap="Blues", vmin=0, vmax=100)
        axes.set_title(str(score.approach), fontsize=9)
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
        axes.set_yticks(range(len(labels)), labels, fontsize=6)
        axes.tick_params(labelbottom=True)
    figure.colorbar(image, ax=grid, label="recall, percent", shrink=0.6)
    figure.suptitle(scores[0].model)
    figure.savefig(path, dpi=120)


def _shares(score: Score) -> npt.NDArray[np.float64]:
    """The confusion matrix in percent of each row."""
    sums = score.confusion.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = 100 * score.confusion / np.where(sums > 0, sums, 1)
    return shares
