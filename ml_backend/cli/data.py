"""Commands on recordings: `sample`, `check`, `align`, `ingest`, `predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from ml_backend.cli.shared import Dataset, Option, bars, out, parameters_from, usable
from ml_backend.errors import ConfigError
from ml_backend.files import disk_errors
from training.cli import Labels, Model, write_labels

if TYPE_CHECKING:
    from ml_backend.recordings import CheckedRecording

CHECK_COLUMNS = ("video s", "video", "IMU s", "IMU", "shared s", "clips")


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to")],
    participants: Annotated[int, typer.Option(min=1, max=99)] = 4,
    minutes: Annotated[float, typer.Option(min=0.2, max=600, help="Length of each recording")] = 4.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write sample recordings: a simulated person on video, with two accelerometers and ground truth."""
    from ml_backend.sample import write_sample

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already, and not empty; name a new folder")
    with bars() as progress:
        for participant, share in write_sample(folder, participants, minutes, seed):
            progress(f"rendering {participant}", share * minutes * 60, minutes * 60)
    out.print(f"{participants} recordings of {minutes:g} minutes in {folder}", highlight=False)


def check(
    folder: Dataset,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every video as a whole")] = False,
    option: Option = None,
) -> None:
    """Show all recordings of a dataset folder, how each is read, and every problem; exit status 1 if there is an
    error."""
    from ml_backend.jobs import check_study
    from ml_backend.settings import load_settings

    checked, problems = check_study(folder, parameters_from(load_settings(), option), deep)
    if checked:
        out.print(_recordings_table(checked))
    for how, names in _read_alike(checked).items():
        whose = names[0] if len(names) == 1 else f"{len(names)} recordings" if len(names) < len(checked) else "all"
        out.print(f"{whose}: {how}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        style = "red" if problem.error else "yellow"
        kind = "error" if problem.error else "warning"
        out.print(f"{kind}: {problem.message}", style=style, markup=False, highlight=False, soft_wrap=True)
    errors = sum(problem.error for problem in problems)
    out.print(f"{len(checked)} recordings, {errors} errors, {len(problems) - errors} warnings", highlight=False)
    if errors:
        raise typer.Exit(1)


def align(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="Any; of a GoPro also what the camera measured is used")
    ],
    imu: Annotated[Path, typer.Argument(metavar="IMU", help="What a body-worn sensor recorded, in any format read")],
    sampling_rate: Annotated[float | None, typer.Option(min=1, help="Hz, where the IMU file has no clock")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw what was compared into this PNG, PDF or SVG file")] = None,
) -> None:
    """Find when a body-worn IMU was started, by the motion it shares with the camera, or with who is seen."""
    from ml_backend.recordings import ImuFormat, plot_alignment, read_imu
    from ml_backend.recordings import align as find

    if plot is not None and plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"--plot {plot}: name a file that ends in .png, .pdf or .svg")
    found = find(video, read_imu(imu, ImuFormat(sampling_rate=sampling_rate, missing_values="interpolate")))
    out.print(f"offset_seconds: {found.offset_seconds:.2f}", highlight=False)
    if found.drift_ppm:
        out.print(f"drift_ppm: {found.drift_ppm:.0f}", highlight=False)
    out.print(f"{found}. Write what stands above into dataset.yaml", highlight=False, soft_wrap=True)
    if plot is not None:
        with disk_errors(plot.parent):
            plot_alignment(found, video, imu, plot)


def predict(
    model: Model,
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="An IMU file with the model's channels")],
    target: Labels = None,
    sampling_rate: Annotated[float | None, typer.Option(min=1, help="Hz, where the file has no clock")] = None,
    time_column: Annotated[str | None, typer.Option(help="Its clock, where no name says so")] = None,
    time_unit: Annotated[str | None, typer.Option(help="h, min, s, ms, 100us, us or ns")] = None,
) -> None:
    """Label new IMU data: a CSV with the seconds since the first sample, label and probability of every sample."""
    import numpy as np

    from ml_backend.recordings import TIME_UNITS, ImuFormat, read_imu
    from training.dataset import check_rate, read_recording
    from training.saved import load_model

    trained = load_model(model)
    if any((folder / "dataset.json").is_file() for folder in (recording.parent, recording.parent.parent)):
        samples = read_recording(recording, trained.channels, trained.sampling_rate)  # several recordings in one
    else:
        if time_unit is not None and time_unit not in TIME_UNITS:
            raise ConfigError(f"--time-unit '{time_unit}' is not known; known are {', '.join(TIME_UNITS)}")
        channels, why = trained.channels, "a channel that the model was trained with"
        how = ImuFormat(sampling_rate, time_column=time_column, time_unit=time_unit, columns=channels, columns_of=why)
        imu = read_imu(recording, how)
        check_rate(recording, imu.sampling_rate, trained.sampling_rate)
        segment = np.searchsorted(imu.gaps[:, 1], imu.times, side="right")
        samples = imu.times, imu.values.astype(np.float32), segment.astype(np.int64)
    write_labels(trained, recording, *samples, target)


def ingest(folder: Dataset, option: Option = None) -> None:
    """Embed all recordings ahead of time, without Label Studio; a later job finds the vectors."""
    from ml_backend.embeddings import embed_all, embedders
    from ml_backend.settings import load_settings
    from ml_backend.storage import url_of

    settings = load_settings()
    parameters = parameters_from(settings, option)
    checked = usable(folder, parameters)
    with bars() as progress:
        embed_all(embedders(settings, parameters), checked, progress)
    vectors = f"{url_of(settings.model_dir) or settings.model_dir}/vectors"
    out.print(f"vectors of {len(checked)} recordings in {vectors}", highlight=False, soft_wrap=True)


def _read_alike(checked: "list[CheckedRecording]") -> dict[str, list[str]]:
    """How IMU files are read → the recordings of which that is so."""
    from ml_backend.recordings import described

    found: dict[str, list[str]] = {}
    for result in checked:
        if result.imu is not None:
            found.setdefault(described(result), []).append(str(result.recording))
    return found


def _recordings_table(checked: "list[CheckedRecording]") -> Table:
    columns = (Column(name, no_wrap=True) for name in CHECK_COLUMNS)
    table = Table(Column("recording", overflow="fold", min_width=12), *columns, box=None, pad_edge=False)
    for result in checked:
        video, imu = result.video, result.imu
        table.add_row(
            str(result.recording),
            f"{video.duration:.1f}" if video else "-",
            f"{video.width}×{video.height} {video.codec} {video.frame_rate:.3g}/s" if video else "-",
            f"{imu.end - imu.start:.1f}" if imu else "-",
            f"{len(imu.channels)} × {imu.sampling_rate:g} Hz" if imu else "-",
            f"{result.overlap_seconds:.1f}",
            str(result.n_clips),
        )
    return table
