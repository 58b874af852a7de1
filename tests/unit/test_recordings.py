"""Reading and checking a dataset folder: the three layouts, and every input that a user can get wrong."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml

from ml_backend.errors import RecordingError
from ml_backend.jobs import usable_recordings
from ml_backend.recordings import ImuFormat, check_dataset, read_imu, recording_clips
from ml_backend.recordings.video import VideoInfo
from ml_backend.settings import Parameters

PARAMETERS = Parameters()


def errors_of(root: Path, **parameters: object) -> list[str]:
    _, problems = check_dataset(root, Parameters(**parameters))
    return [problem.message for problem in problems if problem.error]


def only_error(root: Path, **parameters: object) -> str:
    errors = errors_of(root, **parameters)
    assert len(errors) == 1, errors
    assert "\n" not in errors[0]
    return errors[0]


def edit_csv(path: Path, column: str, row: int, value: str) -> None:
    lines = path.read_text().splitlines()
    position = [name.strip('"') for name in lines[0].split(",")].index(column)
    cells = lines[row].split(",")
    cells[position] = value
    lines[row] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


def test_participant_folders_with_equal_file_names_are_two_participants(sample_root: Path) -> None:
    checked, problems = usable_recordings(sample_root, PARAMETERS)
    assert [str(result.recording) for result in checked] == ["p01/session", "p02/session"]
    assert all(result.n_clips == 37 for result in checked)
    assert all("components" in problem.message for problem in problems)


def test_wear_layout_without_a_time_column_uses_the_sampling_rate(sample_root: Path, tmp_path: Path) -> None:
    for folder in ("inertial", "video"):
        (tmp_path / folder).mkdir()
    shutil.copy(sample_root / "p01/session.mp4", tmp_path / "video/sbj_0.mp4")
    table = pa.csv.read_csv(sample_root / "p01/session.csv").drop_columns(["time"])
    table = table.add_column(0, "sbj_id", pa.array([0] * table.num_rows))
    pa.csv.write_csv(table, tmp_path / "inertial/sbj_0.csv")
    with pytest.raises(RecordingError, match=r"has no clock \(a column of times\); set sampling_rate"):
        usable_recordings(tmp_path, PARAMETERS)
    (result,), _ = usable_recordings(tmp_path, Parameters(sampling_rate=50))
    assert result.recording.participant == "sbj_0"
    assert result.imu is not None
    assert len(result.imu.channels) == 6
    assert result.imu.end == pytest.approx(40)


def test_the_manifest_gives_offset_drift_unit_and_columns(sample_root: Path, tmp_path: Path) -> None:
    table = pa.csv.read_csv(sample_root / "p01/session.csv")
    milliseconds = pa.compute.add(pa.compute.multiply(table["time"], 1000), 1_700_000_000_000.0)
    pa.parquet.write_table(table.set_column(0, "clock", milliseconds), tmp_path / "bewegung ä.parquet")
    shutil.copy(sample_root / "p01/session.mp4", tmp_path / "video ü 1.mp4")
    entry = {"participant": "Zoë 1", "video": "video ü 1.mp4", "imu": "bewegung ä.parquet", "time_column": "clock"}
    entry |= {"time_unit": "ms", "offset_seconds": 2.5, "drift_ppm": 1000, "imu_columns": ["right_wrist_acc_x"]}
    entry |= {"labels": "label"}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"recordings": [entry]}, allow_unicode=True), "utf-8")
    (result,), _ = usable_recordings(tmp_path, PARAMETERS)
    assert result.imu is not None
    assert result.imu.channels == ("right_wrist_acc_x",)
    assert result.imu.start == pytest.approx(2.5)
    assert result.imu.times[-1] == pytest.approx(2.5 + 39.98 * 1.001, abs=1e-3)


def test_iso_timestamps_with_nanoseconds_keep_their_precision(tmp_path: Path) -> None:
    path = tmp_path / "imu.csv"
    path.write_text("timestamp,x\n" + "".join(f"2024-05-01 12:00:00.{i * 20:03d},{i % 7}\n" for i in range(40)))
    imu = read_imu(path, ImuFormat())
    assert imu.sampling_rate == pytest.approx(50)
    np.testing.assert_allclose(np.diff(imu.times), 0.02, atol=1e-9)


def test_empty_label_cells_are_the_null_class(tmp_path: Path) -> None:
    path = tmp_path / "imu.csv"
    path.write_text("sbj_id,x,label\n0,1.0,\n0,2.0,walking\n0,3.0,null\n")
    assert list(read_imu(path, ImuFormat(sampling_rate=50)).labels) == ["null", "walking", "null"]


def test_clips_miss_less_than_a_stride_at_the_edges_of_the_imu(tmp_path: Path) -> None:
    path = tmp_path / "imu.csv"
    path.write_text("time,x\n" + "".join(f"{i / 50},{i % 9}\n" for i in range(500)))
    imu = read_imu(path, ImuFormat(offset_seconds=3.5))
    starts = recording_clips(VideoInfo(20.0, 320, 240, 25, "h264"), imu, PARAMETERS)
    assert starts[0] == 3.0
    assert starts[-1] == 10.0


def test_no_such_folder_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    assert "no such folder" in only_error(tmp_path / "nowhere")
    assert "no recordings found" in only_error(tmp_path)


def test_video_without_imu_and_imu_without_video_are_named(dataset: Path) -> None:
    (dataset / "p01/session.csv").unlink()
    (dataset / "p02/session.mp4").unlink()
    first, second = errors_of(dataset)
    assert "p01/session.mp4: has no IMU file" in first
    assert "p02/session.csv: has no video" in second


def test_two_videos_of_one_recording_are_ambiguous(dataset: Path) -> None:
    shutil.copy(dataset / "p01/session.mp4", dataset / "p01/session.avi")
    assert "two videos of one recording" in only_error(dataset)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "truncated"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"this is no video" * 1000), "cannot be opened as a video"),
    ],
    ids=["truncated", "empty", "no video"],
)
def test_a_damaged_video_is_named(dataset: Path, damage: object, expected: str) -> None:
    damage(dataset / "p01/session.mp4")  # type: ignore[operator]
    error = only_error(dataset)
    assert expected in error
    assert "p01/session.mp4" in error


def test_missing_values_are_named_or_interpolated(dataset: Path) -> None:
    edit_csv(dataset / "p01/session.csv", "left_ankle_acc_y", 17, "NaN")
    assert "column 'left_ankle_acc_y' has 1 missing or infinite values, the first in sample 17" in only_error(dataset)
    assert errors_of(dataset, missing_values="interpolate") == []


def test_a_clock_that_goes_back_is_named(dataset: Path) -> None:
    edit_csv(dataset / "p01/session.csv", "time", 30, "0.1")
    assert "does not increase at sample 30" in only_error(dataset)


def test_text_in_a_channel_is_named(dataset: Path) -> None:
    edit_csv(dataset / "p01/session.csv", "right_wrist_acc_x", 5, "n/a?")
    assert "column 'right_wrist_acc_x' holds text: 'n/a?' in sample 5" in only_error(dataset)


def test_a_channel_named_as_a_column_of_the_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "imu.csv").write_text("acc_x,distance\n1,2\n3,4\n")
    with pytest.raises(RecordingError, match=r"imu\.csv: channel 'distance' has the name of a column of the export"):
        read_imu(tmp_path / "imu.csv", ImuFormat())


def test_a_clock_in_milliseconds_is_suspected(dataset: Path) -> None:
    lines = (dataset / "p01/session.csv").read_text().splitlines()
    scaled = [f"{float(line.split(',', 1)[0]) * 1000},{line.split(',', 1)[1]}" for line in lines[1:]]
    (dataset / "p01/session.csv").write_text("\n".join([lines[0], *scaled]))
    assert "Set time_unit" in only_error(dataset)


def test_an_imu_shorter_than_the_video_is_a_warning(dataset: Path) -> None:
    path = dataset / "p01/session.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:1001]))
    checked, problems = check_dataset(dataset, PARAMETERS)
    assert any("share only 20.0 s" in problem.message and not problem.error for problem in problems)
    assert checked[0].n_clips == 17


def test_an_imu_that_does_not_overlap_the_video_is_an_error(dataset: Path) -> None:
    entries = [{"participant": "p", "video": "p01/session.mp4", "imu": "p01/session.csv", "offset_seconds": 500}]
    (dataset / "dataset.yaml").write_text(yaml.safe_dump({"recordings": entries}))
    assert "does not overlap the video" in only_error(dataset)


def test_a_recording_shorter_than_a_clip_is_an_error(dataset: Path) -> None:
    assert "shorter than one clip of 60 s" in errors_of(dataset, clip_seconds=60)[0]


def test_a_recording_listed_twice_is_an_error(dataset: Path) -> None:
    entry = {"participant": "p", "video": "p01/session.mp4", "imu": "p01/session.csv"}
    (dataset / "dataset.yaml").write_text(yaml.safe_dump({"recordings": [entry, dict(entry)]}))
    assert "recording p/session is listed twice" in only_error(dataset)
    with pytest.raises(RecordingError, match="is listed twice"):  # and neither is used
        usable_recordings(dataset, PARAMETERS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("recordings: [", "not valid YAML"),
        ("participants: 3", "expected a list under `recordings:`"),
        ("recordings: [{participant: p, video: v.mp4}]", "recording 1, field imu"),
        ("recordings: [{participant: a/b, video: v.mp4, imu: i.csv}]", "field participant"),
        ("recordings: [{participant: p, video: v.mp4, imu: i.csv, ofset: 1}]", "field ofset"),
    ],
)
def test_a_wrong_manifest_names_recording_and_field(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "dataset.yaml").write_text(content)
    assert expected in only_error(tmp_path)


def test_channels_that_differ_between_participants_are_an_error(dataset: Path) -> None:
    path = dataset / "p02/session.csv"
    path.write_text(path.read_text().replace("left_ankle_acc_z", "gyro_z", 1))
    assert "gyro_z" in only_error(dataset)


def test_sampling_rates_that_training_would_refuse_are_a_warning(dataset: Path) -> None:
    path = dataset / "p02" / "session.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[1::2]]) + "\n")
    _, problems = check_dataset(dataset, PARAMETERS)
    assert any("25 samples a second" in problem.message and not problem.error for problem in problems)


def test_all_problems_are_collected_and_the_job_stops_at_the_first(dataset: Path) -> None:
    (dataset / "p01/session.mp4").write_bytes(b"")
    edit_csv(dataset / "p02/session.csv", "time", 30, "0.1")
    assert len(errors_of(dataset)) == 2
    with pytest.raises(RecordingError, match="and 1 more"):
        usable_recordings(dataset, PARAMETERS)
