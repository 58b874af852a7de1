"""The training commands: `train`, `evaluate`, `predict` and `onnx`, of `weakhar` and of `python -m training`.

Every option can also stand in one YAML file (`--config`); what is given on the command line wins.
"""

import csv
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from training.dataset import Dataset
    from training.loop import Settings, Trained

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out, err = Console(), Console(stderr=True)
LINE_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""

Export = Annotated[Path, typer.Argument(metavar="EXPORT", help="An export of weakhar, or a folder of WEAR-style CSV")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that train wrote")]
Labels = Annotated[Path | None, typer.Option("--out", help="CSV to write; else RECORDING.labels.csv here")]
Config = Annotated[Path | None, typer.Option(help="A YAML file with any of the options")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="epochs=30, batch_size=100, normalise=true …"),
]
Rate = Annotated[float | None, typer.Option("--sampling-rate", min=1, help="Hz, of CSV files without a column time")]
Track = Annotated[str | None, typer.Option(help="Which labels, of an export that has several; the first ones else")]
Exact = Annotated[bool | None, typer.Option("--paper-exact", help="With the oddities of the published code")]


def main() -> None:
    """Entry of `python -m training`."""
    run_command(cli, TrainingError)


def run_command(command: typer.Typer, *errors: type[Exception]) -> None:
    """Run a command line: an error a user can cause is one line on stderr and exit status 1."""
    try:
        command()
    except errors as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == 130:  # what typer makes of Ctrl-C
            err.print("stopped; what was finished is kept, the same command goes on from there")
        raise


@cli.command()
def train(
    export: Export,
    model: Annotated[str | None, typer.Option(help="tinyhar or shallow_deepconvlstm")] = None,
    approach: Annotated[str | None, typer.Option(help="full, few-shot-ce, random-ce, weak-ce or weak-phgce")] = None,
    threshold: Annotated[str | None, typer.Option(help="none, a distance (6), a share (90%) or p0.9")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    hold_out: Annotated[list[str] | None, typer.Option(help="Participant not to train on; may be repeated")] = None,
    sampling_rate: Rate = None,
    track: Track = None,
    option: Setting = None,
    paper_exact: Exact = None,
    config: Config = None,
    folder: Out = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard logs too")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that is in the folder")] = False,
) -> None:
    """Train one model and save it. Ctrl-C saves the model as it is after the steps made so far."""
    from training.approaches import Approach, parse_approaches
    from training.dataset import read_dataset
    from training.loop import train as train_model
    from training.saved import DESCRIPTION, save_model

    given = _merged(
        config,
        model=model,
        approach=approach,
        threshold=threshold,
        seed=seed,
        hold_out=hold_out,
        sampling_rate=sampling_rate,
        track=track,
    )
    settings = _settings(given, option, paper_exact)
    name, chosen = str(given.get("model", "tinyhar")), str(given.get("approach", "weak-phgce"))
    if not chosen.startswith("weak") and str(given.get("threshold", "none")) != "none":
        raise TrainingError(f"approach '{chosen}' takes no threshold; use weak-ce or weak-phgce")
    dataset = read_dataset(export, _rate(given), given.get("track"))
    _check_exact(dataset, settings)
    asked: Approach = parse_approaches([chosen], [str(given.get("threshold", dataset.threshold))])[0]
    left_out = [dataset.participant(entry).name for entry in _texts(given, "hold_out", [])]
    seed = _seeds({"seeds": given.get("seed", 1)})[0]
    participants = [entry for entry in dataset.participants if entry.name not in left_out]
    if not participants:
        raise TrainingError(f"{export}: every participant is held out; leave one to train on")
    target = folder or Path("models") / f"{name}-{chosen}"
    if (target / DESCRIPTION).is_file() and not overwrite:
        raise TrainingError(f"{target}: holds a model already; name another folder in --out, or --overwrite it")
    losses: list[float] = []
    with _bar(settings.epochs) as step, _tensorboard(target if tensorboard else None) as write:

        def after_epoch(epoch: int, loss: float) -> None:
            losses.append(loss)
            write(epoch, loss)
            step(epoch, f"{name}, {asked}: loss {loss:.4f}")

        trained = train_model(dataset, participants, name, asked, seed, settings, after_epoch)
    save_model(trained, target, {"approach": str(asked), "losses": losses, "held_out": left_out})
    if len(losses) < settings.epochs:
        err.print(f"stopped after {len(losses)} of {settings.epochs} epochs; the model so far is whole and saved")
    out.print(
        f"{name} trained on {len(participants)} participants; saved in {target}", highlight=False, soft_wrap=True
    )
    _say_held_out(dataset, trained, left_out)
    out.print(f"label other recordings: weakhar predict {target} RECORDING.csv", highlight=False, soft_wrap=True)


def _say_held_out(dataset: "Dataset", trained: "Trained", names: list[str]) -> None:
    """The score on participants that were held out, where the truth is known."""
    from training.evaluate import held_out_scores

    if not names:
        return
    found = held_out_scores(dataset, trained, names)
    score = "no truth is known" if found is None else f"macro recall {found[0]:.1f} %, macro F1 {found[1]:.1f} %"
    out.print(f"held out {', '.join(names)}: {score}", highlight=False, soft_wrap=True)


@cli.command()
def evaluate(
    context: typer.Context,
    export: Export,
    models: Annotated[list[str] | None, typer.Option("--models", help="Models; may be repeated")] = None,
    approaches: Annotated[list[str] | None, typer.Option("--approaches", help="Approaches; may be repeated")] = None,
    thresholds: Annotated[list[str] | None, typer.Option("--thresholds", help="Of the weak approaches")] = None,
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="Such as 1,2,3")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Hold out together, such as p01,p02; may be repeated")
    ] = None,
    sampling_rate: Rate = None,
    track: Track = None,
    option: Setting = None,
    paper_exact: Exact = None,
    config: Config = None,
    folder: Out = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Models to train side by side; one a core")] = None,
) -> None:
    """Train and test every model and approach, leaving one subject out at a time, and print the paper's Table 3."""
    from training.approaches import parse_approaches
    from training.dataset import read_dataset
    from training.evaluate import make_jobs, run_grid, scores
    from training.models import MODELS
    from training.tables import terminal_table, write_tables

    given = _merged(
        config,
        models=models,
        approaches=approaches,
        thresholds=thresholds,
        seeds=seeds,
        splits=split,
        processes=processes,
        sampling_rate=sampling_rate,
        track=track,
    )
    settings = _settings(given, option, paper_exact)
    dataset = read_dataset(export, _rate(given), given.get("track"))
    _check_exact(dataset, settings)
    weak = dataset.participants[0].weak is not None
    default = ["full", "few-shot-ce", "random-ce", "weak-ce", "weak-phgce"] if weak else ["full"]
    rows = parse_approaches(_texts(given, "approaches", default), _texts(given, "thresholds", [dataset.threshold]))
    splits = [_texts({"split": group}, "split", []) for group in given.get("splits") or []]
    jobs = make_jobs(dataset, _texts(given, "models", list(MODELS)), rows, _seeds(given), splits)
    target = folder or Path("runs") / export.absolute().name
    spread = context.obj() if context.obj else None
    with _bar(len(jobs)) as step:
        run_grid(
            dataset, jobs, settings, target, lambda done, _, name: step(done, name), given.get("processes"), spread
        )
    found = scores(dataset, jobs, target)
    write_tables(dataset, found, target)
    out.print(terminal_table(dataset, found))
    out.print(f"tables, confusion matrices and {len(jobs)} models in {target}", highlight=False, soft_wrap=True)


@cli.command()
def predict(
    model: Model,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="CSV or Parquet with the model's channels")],
    target: Labels = None,
    sampling_rate: Rate = None,
) -> None:
    """Label new IMU data: a CSV with time, label and probability of every sample."""
    from training.dataset import read_recording
    from training.saved import load_model

    trained = load_model(model)
    samples = read_recording(recording, trained.channels, trained.sampling_rate, sampling_rate)
    write_labels(trained, recording, *samples, target)


def write_labels(
    trained: "Trained",
    recording: Path,
    times: "npt.NDArray[np.float64]",
    values: "npt.NDArray[np.float32]",
    segment: "npt.NDArray[np.int64]",
    target: Path | None,
) -> None:
    """Label the samples `values (n, channels)` of a recording, with their times and gapless segments `(n,)`, into a
    CSV."""
    from training.loop import predict as predict_samples
    from training.loop import predicted_classes

    probabilities = predict_samples(trained, values, segment)
    classes = predicted_classes(probabilities)
    if (classes < 0).all():
        raise TrainingError(f"{recording}: holds no gapless window of {trained.window} samples; record longer")
    file = target or Path(f"{recording.stem}.labels.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", "label", "probability"])
        for time, index, row in zip(times, classes, probabilities.tolist(), strict=True):
            label, share = (trained.labels[index], f"{row[index]:.4f}") if index >= 0 else ("", "")
            writer.writerow([f"{time:.4f}", label, share])
    out.print(f"{(classes >= 0).sum()} of {len(classes)} samples labelled in {file}", highlight=False, soft_wrap=True)


@cli.command()
def onnx(
    model: Model,
    target: Annotated[Path | None, typer.Option("--out", help="File to write; else model.onnx in the folder")] = None,
) -> None:
    """Export a trained model to ONNX, with labels, channels and normalisation in its metadata."""
    from training.saved import export_onnx, load_model

    file = target or model / "model.onnx"
    difference = export_onnx(load_model(model), file)
    out.print(f"{file}: onnxruntime and torch differ by {difference:.1e} at most", highlight=False, soft_wrap=True)


def _rate(given: dict[str, Any]) -> float | None:
    """The sampling rate that was given, if any."""
    value = given.get("sampling_rate")
    try:
        rate = None if value is None else float(value)
    except (TypeError, ValueError):
        rate = 0.0
    if rate is not None and rate <= 0:
        raise TrainingError(f"sampling_rate: '{value}' is no number above 0; write Hz, such as 50")
    return rate


def _merged(config: Path | None, **options: Any) -> dict[str, Any]:
    """The YAML file's entries, overridden by the options that were given."""
    from training.loop import Settings

    entries: dict[str, Any] = {}
    if config is not None:
        entries = _entries(config)
        known = {*options, *(field.name for field in fields(Settings))}
        for name in entries:
            if name not in known:
                raise TrainingError(f"{config}: '{name}' is not known; known are {', '.join(sorted(known))}")
    return {**entries, **{name: value for name, value in options.items() if value is not None}}


def _entries(config: Path) -> dict[str, Any]:
    """What a YAML file holds; PyYAML is wanted only here."""
    try:
        import yaml
    except ImportError:
        raise TrainingError(f"{config}: to read it needs a package; pip install PyYAML") from None
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TrainingError(f"{config}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise TrainingError(f"{config}: expected entries such as `epochs: 30`")
    return content


def _settings(given: dict[str, Any], options: list[str] | None, paper_exact: bool | None) -> "Settings":
    from training.loop import Settings

    kinds = {field.name: type(field.default) for field in fields(Settings)}
    values = {name: given[name] for name in kinds if name in given}
    for text in options or []:
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            raise TrainingError(f"--set {text}: expected NAME=VALUE with a name among {', '.join(kinds)}")
        values[name] = _scalar(text, value.strip())
    values = {name: _typed(name, value, kinds[name]) for name, value in values.items()}
    if paper_exact:
        values["paper_exact"] = True
    return Settings(**values)


def _scalar(option: str, value: str) -> Any:
    """A plain YAML scalar, without YAML: truth values and its `.nan` and `.inf`; else the text."""
    if value[:1] in tuple("[]{}&*!|>%@`"):
        raise TrainingError(f"--set {option}: '{value}' cannot be read as a value")
    known = {"true": True, "false": False, ".nan": "nan", ".inf": "inf", "-.inf": "-inf"}
    return known.get(value.lower(), value)


def _check_exact(dataset: "Dataset", settings: "Settings") -> None:
    """The published code's oddities belong to labels that were made by its rules."""
    if settings.paper_exact and not dataset.paper_exact:
        raise TrainingError(
            f"{dataset.path}: --paper-exact needs an export with paper_exact (or WEAR-style CSV); set it for the "
            "project and export again"
        )


def _typed(name: str, value: Any, kind: type) -> Any:
    """The value as the setting's type; YAML reads 1e-4 as text."""
    try:
        if isinstance(value, bool) != (kind is bool):
            raise ValueError
        return kind(str(value)) if kind is int else kind(value)
    except (TypeError, ValueError):
        raise TrainingError(f"{name}: expected {kind.__name__}, got {value!r}") from None


def _texts(given: dict[str, Any], name: str, default: list[str]) -> list[str]:
    """A list of names; `--models a,b` and `--models a --models b` are the same."""
    value = default if given.get(name) is None else given[name]
    entries = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    return listed(*entries)


def listed(*entries: str) -> list[str]:
    """`a,b` or `a` and `b` → each."""
    return [part.strip() for entry in entries for part in entry.split(",") if part.strip()]


def _seeds(given: dict[str, Any]) -> list[int]:
    seeds = _texts(given, "seeds", ["1", "2", "3"])
    if not all(seed.isdecimal() for seed in seeds):
        raise TrainingError(f"seeds: expected whole numbers from 0 on such as 1,2,3, got {', '.join(seeds)}")
    return [int(seed) for seed in seeds]


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """A callable `(done, text)` that moves a bar on a terminal; elsewhere it prints a line now and then."""
    if not err.is_terminal:
        say, began = lines_of_progress(), time.monotonic()
        yield lambda done, text: say(
            f"{done} of {total} after {time.monotonic() - began:.0f} s, {text}", done == total
        )
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=err) as bars:
        bar = bars.add_task("", total=total)
        yield lambda done, text: bars.update(bar, completed=done, description=text)


def lines_of_progress() -> Callable[..., None]:
    """A callable `(text, last=False)` for where there is no terminal: of the lines it is given it prints one every
    LINE_SECONDS, and the last."""
    said = time.monotonic()

    def say(text: str, last: bool = False) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_SECONDS or last:
            said = now
            err.print(text, markup=False, highlight=False, soft_wrap=True)

    return say


@contextmanager
def _tensorboard(folder: Path | None) -> Iterator[Any]:
    """A callable `(epoch, loss)` that writes TensorBoard logs to `folder`, or nothing without one."""
    if folder is None:
        yield lambda *_: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("TensorBoard logs need the package tensorboard; pip install tensorboard") from None
    with SummaryWriter(str(folder)) as writer:
        yield lambda epoch, loss: writer.add_scalar("loss", loss, epoch)
