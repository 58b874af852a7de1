"""The command on published datasets: `reproduce`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from ml_backend.cli.shared import bars, out
from ml_backend.errors import ConfigError


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
    name = paper.paper_name(dataset, name)
    other_way = [value for value in (clustering, propagation) if value not in paper.PAPER_WAY]
    target = target or Path("runs") / "-".join(["reproduce", name, *other_way])
    with bars() as progress:
        if table == 3:
            exports = paper.write_exports(dataset, name, target / "table-3", way, progress)
            settings = LoopSettings(epochs=epochs)
            wanted = [model.strip() for model in models.split(",")]
            trained_on, rows = paper.training_table(dataset, exports, wanted, settings, target / "table-3", progress)
        elif ablation is not None:
            outcome, stem = paper.ablation(dataset, name, ablation, way, progress), ablation
        elif figure is not None:
            outcome, stem = paper.clusters_figure(dataset, name, way, progress), "figure-2"
        else:
            outcome, stem = paper.embeddings_table(dataset, name, way, progress), "table-2"
    if table == 3:
        out.print(terminal_table(trained_on, rows))
    else:
        paper.write_outcome(dataset, outcome, target, stem)
        header, lines = paper.table_rows(outcome)
        columns = (Column(name, no_wrap=True) for name in header)
        shown = Table(*columns, title=outcome.title, box=None, pad_edge=False)
        for line in lines:
            shown.add_row(*line)
        out.print(shown)
    if figure is not None:
        paper.write_box_plots(outcome, target / "figure-2.png")
    out.print(f"written to {target}", highlight=False, soft_wrap=True)
