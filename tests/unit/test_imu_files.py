"""IMU files as labs have them: the clock is found, what is no channel is set aside, nothing is assumed in silence."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ml_backend.cli import cli
from ml_backend.errors import RecordingError
from ml_backend.recordings import ImuFormat, check_dataset, find_recordings, read_imu
from ml_backend.sample import write_sample
from ml_backend.settings import Parameters
from training.contract import sampling_rate_of

RANDOM = np.random.default_rng(0)


def write(path: Path, columns: dict[str, np.ndarray | list[str]]) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(f'"{name}"' for name in columns), *(",".join(map(str, row)) for row in rows)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def signals(count: int) -> dict[str, np.ndarray]:
    return {name: RANDOM.normal(size=count).round(4) for name in ("ax", "ay", "az")}


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *[("Time (s)", 1.0), ("time [ms]", 1e3), ("timestamp_ms", 1e3), ("Timestamp (us)", 1e6), ("t", 1.0)],
        *[("SampleTimeFine", 1e6), ("seconds_elapsed", 1.0), ("epoch", 1.0), ("Zeit (ms)", 1e3), ("time_ns", 1e9)],
        *[
            ("time (microseconds)", 1e6),
            ("Elapsed Time (s)", 1.0),
            ("elapsed time", 1.0),
            ("ts", 1.0),
            ("time_sec", 1.0),
        ],
        *[("Local timestamp (ms)", 1e3), ("Date time", 1.0), ("TimeStamp [nanoseconds]", 1e9), ("time.ms", 1e3)],
        *[("elapsed (s)", 1.0), ("TIMESTAMP", 1.0), ("temps (s)", 1.0), ("", 1.0), ("time (µs)", 1e6)],
    ],
)
def test_a_clock_is_known_by_its_name_with_its_unit(tmp_path: Path, name: str, unit: float) -> None:
    times = np.arange(300) / 104
    imu = read_imu(write(tmp_path / "imu.csv", {name: (times * unit).round(3), **signals(300)}), ImuFormat())
    assert imu.sampling_rate == pytest.approx(104, rel=1e-3)
    np.testing.assert_allclose(imu.times, times, atol=1e-3)
    assert imu.channels == ("ax", "ay", "az")
    assert imu.clock == name


def test_a_clock_in_minutes_is_none_in_seconds(tmp_path: Path) -> None:
    times = np.arange(300) / 50
    imu = read_imu(write(tmp_path / "imu.csv", {"Time (min)": times / 60, **signals(300)}), ImuFormat())
    assert imu.sampling_rate == pytest.approx(50, rel=1e-3)


def test_what_alone_rises_is_the_clock_whatever_it_is_called(tmp_path: Path) -> None:
    columns = {"row": np.arange(300), "unix_ms_utc": 1_700_000_000_000 + 20 * np.arange(300), **signals(300)}
    imu = read_imu(write(tmp_path / "imu.csv", columns), ImuFormat())
    assert (imu.clock, imu.sampling_rate, imu.set_aside) == ("unix_ms_utc", 50, ("row",))
    path = write(tmp_path / "two.csv", {**columns, "device": 3 + np.arange(300) / 50})
    with pytest.raises(
        RecordingError, match="'unix_ms_utc' and 'device' may each be the clock; name one in time_column"
    ):
        read_imu(path, ImuFormat())
    assert read_imu(path, ImuFormat(time_column="device")).sampling_rate == 50
    milliseconds = write(tmp_path / "ms.csv", {"tick": 20 * np.arange(300), **signals(300)})
    with pytest.raises(RecordingError, match=r"'tick' gives 0\.05 samples a second; is its unit not s"):
        read_imu(milliseconds, ImuFormat())


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_a_clock_since_1970_is_told_by_its_magnitude(tmp_path: Path, per_second: int) -> None:
    stamps = [str(1_700_000_000 * per_second + round(number * per_second / 50)) for number in range(300)]
    if per_second == 1:
        stamps = [f"{1_700_000_000 + number / 50:.2f}" for number in range(300)]
    imu = read_imu(write(tmp_path / "imu.csv", {"time": stamps, **signals(300)}), ImuFormat())
    assert imu.sampling_rate == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seconds_elapsed", np.arange(300) / 50),
        ("counter", np.arange(300) % 256),
        ("PacketCounter", np.arange(300)),
        ("clock2", 17.0 + np.arange(300) / 49.9),
        ("activity_id", np.arange(300) // 60),
        ("battery level", np.full(300, 87)),
        ("Sample Number", np.arange(300)),
        ("firmware", np.full(300, 2.5)),
    ],
)
def test_second_clocks_and_counters_are_no_channels(tmp_path: Path, name: str, values: np.ndarray) -> None:
    path = write(tmp_path / "imu.csv", {"time": np.arange(300) / 50, **signals(300), name: values})
    imu = read_imu(path, ImuFormat())
    assert imu.channels == ("ax", "ay", "az")
    assert imu.set_aside == (name,)
    assert read_imu(path, ImuFormat(columns=("ax", name))).channels == ("ax", name)  # who names it means it


@pytest.mark.parametrize(
    "name", ["mag_x", "q0", "quat_w", "temperature", "Acceleration x (m/s^2)", "gyr_x", "euler_z"]
)
def test_signals_of_sensors_stay_channels_even_where_they_rise(tmp_path: Path, name: str) -> None:
    for values in (RANDOM.normal(size=300), np.arange(300) / 50, np.full(300, 9.81)):
        path = write(tmp_path / "imu.csv", {"time": np.arange(300) / 50, **signals(300), name: values})
        assert name in read_imu(path, ImuFormat()).channels


@pytest.mark.parametrize(("rate", "count"), [(400, 2001), (400, 2002), (400, 2003), (50, 2001), (104, 500)])
def test_stamps_in_milliseconds_give_the_whole_rate(rate: int, count: int) -> None:
    for rounded in (np.floor, np.round, np.ceil):
        times = rounded(1000 * np.arange(count) / rate) / 1000
        assert sampling_rate_of(np.diff(times)) == rate


@settings(max_examples=60, deadline=None)
@given(
    st.floats(10, 1000), st.sampled_from(["plain", "ms", "pairs", "jitter"]), st.integers(0, 3), st.integers(0, 2**31)
)
def test_the_rate_is_samples_by_duration_whatever_the_stamps(rate: float, kind: str, gaps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(200, 3000))
    times = np.arange(count) / rate
    if kind == "ms" and rate < 700:  # faster ones have several samples a stamp
        times = np.floor(times * 1000) / 1000
    if kind == "pairs":
        times[1::2] = times[0::2][: len(times[1::2])] + 0.1 / rate
    if kind == "jitter":
        times = np.sort(times + random.uniform(-0.3, 0.3, count) / rate)
    for place in random.choice(np.arange(2, count - 2), gaps, replace=False):
        times[place:] += random.uniform(20, 500) / rate
    assert sampling_rate_of(np.diff(times)) == pytest.approx(rate, rel=0.02)


def test_a_file_without_a_header_or_with_a_name_twice_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("".join(f"{i / 50:.2f},{i % 7},{i % 5}\n" for i in range(100)))
    with pytest.raises(RecordingError, match=r"none\.csv: its first line holds numbers .* write a header"):
        read_imu(tmp_path / "none.csv", ImuFormat())
    path = tmp_path / "twice.csv"
    path.write_text("time,acc_x,acc_x\n" + "".join(f"{i / 50:.2f},{i % 7},{i % 5}\n" for i in range(100)))
    with pytest.raises(RecordingError, match="has the column 'acc_x' twice"):
        read_imu(path, ImuFormat())


def test_packets_with_one_stamp_are_refused_without_advice_that_loses_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "imu.csv", {"time": np.repeat(np.arange(60) / 10, 5), **signals(300)})
    with pytest.raises(RecordingError, match="does not increase") as error:
        read_imu(path, ImuFormat())
    assert "remove" not in str(error.value)


def test_participants_in_yaml_stay_what_is_written(tmp_path: Path) -> None:
    names = ["007", "008", "010", "8", "0100", "1e3", "12:30", "no", "2024_05", "1.50"]
    entries = [f"  - {{participant: {name}, video: v{i}.mp4, imu: v{i}.csv}}\n" for i, name in enumerate(names)]
    (tmp_path / "dataset.yaml").write_text("recordings:\n" + "".join(entries))
    found, problems = find_recordings(tmp_path, Parameters())
    assert sorted(recording.participant for recording in found) == sorted(names)
    assert problems == []


def test_fields_left_empty_are_not_given_and_aliases_are_to_be_written_out(tmp_path: Path) -> None:
    listed = (
        "recordings:\n"
        "  - {participant: 010, video: v.mp4, imu: v.csv, offset_seconds: 2.5, sampling_rate: 104}\n"
        "  - {participant: 011, recording: , video: w.mp4, imu: w.csv, labels: ~, drift_ppm: null}\n"
    )
    (tmp_path / "dataset.yaml").write_text(listed)
    (first, second), problems = find_recordings(tmp_path, Parameters())
    assert problems == []
    assert first.imus[0].how == ImuFormat(sampling_rate=104, offset_seconds=2.5)
    assert second.name == "w"
    assert second.imus[0].how == ImuFormat()
    merged = listed.replace("sampling_rate: 104", "<<: *wrist")
    (tmp_path / "dataset.yaml").write_text(f"wrist: &wrist {{sampling_rate: 104}}\n{merged}")
    _, (problem,) = find_recordings(tmp_path, Parameters())
    assert "aliases (*name) are not read; write it out" in problem.message


def test_check_says_what_it_assumed(tmp_path: Path) -> None:
    for _ in write_sample(tmp_path, participants=1, minutes=0.5):
        pass
    path = next(tmp_path.rglob("*.csv"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{line},{number if number else 'packet'}" for number, line in enumerate(lines)))
    _, problems = check_dataset(path.parent.parent, Parameters())
    (warning,) = (problem.message for problem in problems)
    assert "'packet' taken for no channel" in warning
    place = lines[0].replace('"', "").split(",").index("time")
    path.write_text("\n".join(",".join(np.delete(line.split(","), place)) for line in lines))
    _, problems = check_dataset(path.parent.parent, Parameters())
    assert any("has no clock (a column of times); set sampling_rate" in problem.message for problem in problems)
    _, problems = check_dataset(path.parent.parent, Parameters(sampling_rate=50))
    assert not any(problem.error for problem in problems)


def test_predict_reads_what_check_and_export_read(tmp_path: Path) -> None:
    def weakhar(*arguments: object) -> str:
        done = CliRunner().invoke(cli, list(map(str, arguments)))
        return (
            done.output if done.exception is None or isinstance(done.exception, SystemExit) else str(done.exception)
        )

    for number in range(2):
        labels = ["walking" if k // 100 % 2 else "" for k in range(600)]
        write(tmp_path / "data" / f"{number}.csv", {"time": np.arange(600) / 100, **signals(600), "label": labels})
    train = ("train", tmp_path / "data", "--approach", "full", "--set", "epochs=1", "--out", tmp_path / "model")
    assert "trained on 2 participants" in weakhar(*train)
    values, times = signals(500), (np.arange(500) / 100).round(2)
    found = []
    for name, own in {
        "time": times,
        "Time": times,
        "timestamp": [f"2024-05-21T12:00:{time:05.2f}Z" for time in times],
        "seconds": times + 7,
        "t_ms": (1000 * times).round(),
    }.items():
        path = write(tmp_path / f"{name}.csv", {name: own, **values, "battery": np.full(500, 80)})
        assert "samples labelled" in weakhar("predict", tmp_path / "model", path, "--out", tmp_path / "labels.csv")
        found.append((tmp_path / "labels.csv").read_text())
    assert len(set(found)) == 1
    slow = write(tmp_path / "slow.csv", {"time": times * 2, **values})
    assert "has 50 samples a second, expected 100" in weakhar("predict", tmp_path / "model", slow)
    without = write(tmp_path / "without.csv", values)
    assert "has no clock (a column of times); set sampling_rate" in weakhar("predict", tmp_path / "model", without)
    given = ("predict", tmp_path / "model", without, "--sampling-rate", 100, "--out", tmp_path / "labels.csv")
    assert "samples labelled" in weakhar(*given)
    assert (tmp_path / "labels.csv").read_text() == found[0]
    assert "is a folder; name a file in it" in weakhar("predict", tmp_path / "model", tmp_path)
    other = write(tmp_path / "other.csv", {"time": times, "gyr": values["ax"]})
    assert "has no column 'ax' (a channel that the model was trained with)" in weakhar(
        "predict", tmp_path / "model", other
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "activityID",
            "ActivityId",
            "activity.id",
            "classId",
            "labels",
            "target",
            "ground_truth",
            "Marker",
            "SubjectID",
        ),
        *("userId", "BatteryLevel", "battery_voltage", "CRC", "PacketCounter", "SampleCount", "PacketNum", "Packet#"),
        *("frameId", "accelerometerTimestamp_sinceReboot(s)", "acc_time", "hostTimestamp", "timestamp_ms [ms]"),
        *("Temps écoulé (s)", "Unnamed: 0", "__index_level_0__", "minute"),
    ],
)
def test_names_in_camel_case_and_of_other_programs_are_no_channels(tmp_path: Path, name: str) -> None:
    values = np.arange(300) % 60
    path = write(tmp_path / "imu.csv", {"time": np.arange(300) / 50, **signals(300), name: values})
    assert read_imu(path, ImuFormat()).set_aside == (name,)


def test_a_temperature_called_t_is_no_clock_beside_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "imu.csv", {"T": 20 + np.arange(300) / 1000, "time_ms": 20 * np.arange(300), **signals(300)}
    )
    imu = read_imu(path, ImuFormat())
    assert (imu.clock, imu.sampling_rate) == ("time_ms", 50)


def test_labels_are_alike_in_all_kinds_of_files(tmp_path: Path) -> None:
    time = np.arange(6) / 50
    for number, (labels, right) in enumerate([
        ([1.0, float("nan"), 2.0, 2.0, 1.0, 1.0], ["1", "null", "2", "2", "1", "1"]),
        ([b"walk", None, b"run", b"run", b" ", b"walk "], ["walk", "null", "run", "run", "null", "walk"]),
    ]):  # fmt: skip
        table = pa.table({"time": time, "ax": time, "label": pa.array(labels, from_pandas=False)})
        pa.parquet.write_table(table, tmp_path / f"{number}.parquet")
        found = read_imu(tmp_path / f"{number}.parquet", ImuFormat()).labels
        assert found is not None
        assert found.tolist() == right
    table = pa.table({"time": time, "ax": [str(value) for value in time]})
    pa.parquet.write_table(table, tmp_path / "text.parquet")
    np.testing.assert_allclose(read_imu(tmp_path / "text.parquet", ImuFormat()).values[:, 0], time)
