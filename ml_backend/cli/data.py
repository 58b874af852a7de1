"""Commands on recordings: `sample`, `check`, `align`, `ingest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from ml_backend.cli.shared import Dataset, Option, bars, out, parameters_from

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

    with bars() as progress:
        for participant, share in write_sample(folder, participants, minutes, seed):
            progress(f"rendering {participant}", share * minutes * 60, minutes * 60)
    out.print(f"{participants} recordings of {minutes:g} minutes in {folder}", highlight=False)


def check(folder: Dataset, option: Option = None) -> None:
    """Show all recordings of a dataset folder and every problem found; exit status 1 if there is an error."""
    from ml_backend.jobs import check_study
    from ml_backend.settings import load_settings

    checked, problems = check_study(folder, parameters_from(load_settings(), option))
    if checked:
        out.print(_recordings_table(checked))
    for problem in problems:
        style = "red" if problem.error else "yellow"
        kind = "error" if problem.error else "warning"
        out.print(f"{kind}: {problem.message}", style=style, markup=False, highlight=False, soft_wrap=True)
    errors = sum(problem.error for problem in problems)
    out.print(f"{len(checked)} recordings, {errors} errors, {len(problems) - errors} warnings", highlight=False)
    if errors:
        raise typer.Exit(1)


def align(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Of a GoPro, which holds what the camera measured")],
    imu: Annotated[Path, typer.Argument(metavar="IMU", help="CSV or Parquet of a body-worn IMU")],
    sampling_rate: Annotated[float, typer.Option(min=1, help="Hz, where the IMU file has no time column")] = 50.0,
) -> None:
    """Find when a body-worn IMU was started, by the motion it shares with the camera."""
    from ml_backend.recordings import ImuFormat, read_imu
    from ml_backend.recordings import align as find

    samples = read_imu(imu, ImuFormat(sampling_rate=sampling_rate, missing_values="interpolate"))
    found = find(video, samples.times, samples.values, samples.channels)
    out.print(f"offset_seconds: {found.offset_seconds:.2f}", highlight=False)
    out.print(
        f"correlation {found.correlation:.2f}, elsewhere at most {found.runner_up:.2f}, by chance "
        f"{found.by_chance:.2f}; confidence {found.confidence:.0%}. Write the first line into dataset.yaml",
        highlight=False,
        soft_wrap=True,
    )


def ingest(folder: Dataset, option: Option = None) -> None:
    """Embed all recordings ahead of time, without Label Studio; a later job finds the vectors."""
    from ml_backend.embeddings import embed_all, embedders
    from ml_backend.jobs import usable_recordings
    from ml_backend.settings import load_settings

    settings = load_settings()
    parameters = parameters_from(settings, option)
    checked, _ = usable_recordings(folder, parameters)
    with bars() as progress:
        embed_all(embedders(settings, parameters), checked, progress)
    vectors = settings.model_dir / "vectors"
    out.print(f"vectors of {len(checked)} recordings in {vectors}", highlight=False, soft_wrap=True)


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
