"""Files of devices and apps, written here from their public descriptions: what is read, in which unit, and when.

None of these writers shares code with what reads them, so that each pair checks the other.
"""

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ml_backend.errors import RecordingError, WeakHARError
from ml_backend.recordings import ImuFile, ImuFormat, check_dataset, read_imu, read_imus
from ml_backend.settings import Parameters

Floats = npt.NDArray[np.float64]
STARTED = 1_717_236_000.0  # 2024-06-01 10:00:00 UTC


def motion(seconds: float, rate: float, seed: int = 0) -> tuple[Floats, Floats]:
    """Times and three axes in g."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    return times, np.round(np.cumsum(random.normal(0, 0.02, (len(times), 3)), axis=0).clip(-3, 3), 4)


# --- Axivity: cwa.h of the Open Movement project


def packed_time(seconds: int) -> int:
    """2024-06-01 10:00 and so many seconds."""
    return (24 << 26) | (6 << 22) | (1 << 17) | (10 << 12) | ((seconds // 60) << 6) | seconds % 60


def write_cwa(path: Path, values: Floats, rate_code: int = 0x4A, drop: int = -1, gyro: Floats | None = None) -> None:
    """16 bits a value, 100 Hz (0x4A: ±8 g); `drop`: a sector that is missing."""
    six = gyro is not None
    head = bytearray(1024)
    struct.pack_into("<2sHBHI", head, 0, b"MD", 1020, 0x64 if six else 0x17, 4711, 1)
    struct.pack_into("<II", head, 13, 0, 0xFFFFFFFF)
    head[35], head[36] = (0x02 if six else 0), rate_code
    struct.pack_into("<I", head, 37, packed_time(0))
    head[41] = 50
    head[64:512] = b" " * 448
    body = bytearray(head)
    a_sector, rate, scale = (40 if six else 80), 100, 4096
    for number in range(len(values) // a_sector):
        if number == drop:
            continue
        first = number * a_sector
        sector = bytearray(512)
        # The whole second that lies in the sector, or before it, and at which sample that is.
        second = -(-first // rate)
        offset = second * rate - first
        struct.pack_into("<2sHHII", sector, 0, b"AX", 508, 0, 1, number)
        struct.pack_into("<I", sector, 14, packed_time(second))
        struct.pack_into("<H", sector, 18, (4 << 13) | (2 << 10) | 300)  # 1/4096 g; 2000 °/s over 2^15
        struct.pack_into("<HBB", sector, 20, 400, 0, 200)
        sector[24], sector[25] = rate_code, 0x62 if six else 0x32
        struct.pack_into("<hH", sector, 26, offset, a_sector)
        own = np.round(values[first : first + a_sector] * scale)
        if gyro is not None:
            own = np.concatenate([np.round(gyro[first : first + a_sector] * 32768 / 2000), own], axis=1)
        sector[30:510] = own.astype("<i2").tobytes()
        total = sum(struct.unpack("<255H", sector[:510])) & 0xFFFF
        struct.pack_into("<H", sector, 510, (-total) & 0xFFFF)
        body += sector
    path.write_bytes(body)


def test_axivitys_files_are_read_in_g_at_their_times(tmp_path: Path) -> None:
    times, values = motion(24, 100)
    write_cwa(tmp_path / "a.cwa", values)
    imu = read_imu(tmp_path / "a.cwa", ImuFormat(offset_seconds=2.0))
    assert imu.channels == ("acc_x", "acc_y", "acc_z")
    assert set(imu.units.values()) == {"g"}
    assert {"temperature", "light", "battery"} <= set(imu.set_aside)
    assert imu.sampling_rate == pytest.approx(100, rel=1e-3)
    assert imu.started is None  # its clock knows no zone
    np.testing.assert_allclose(imu.values, values[: len(imu.values)], atol=1.5 / 4096)
    np.testing.assert_allclose(imu.times, 2.0 + times[: len(imu.times)], atol=0.02)
    assert len(imu.times) >= len(times) - 80


def test_axivitys_gyroscope_and_a_missing_sector(tmp_path: Path) -> None:
    _, values = motion(24, 100)
    _, turns = motion(24, 100, 1)
    write_cwa(tmp_path / "a.cwa", values, gyro=100 * turns, drop=20)
    imu = read_imu(tmp_path / "a.cwa", ImuFormat())
    there = np.r_[0:800, 840:2400]
    np.testing.assert_allclose(imu.times, there / 100, atol=0.02)
    assert sorted(imu.channels) == ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
    assert imu.units["gyro_x"] == "deg/s"
    ((start, end),) = imu.gaps
    assert start == pytest.approx(8.0, abs=0.05)
    assert end - start == pytest.approx(0.41, abs=0.05)
    turned = imu.values[:800, [imu.channels.index(f"gyro_{axis}") for axis in "xyz"]]
    np.testing.assert_allclose(turned, 100 * turns[:800], atol=0.1)


# --- ActiGraph: the GT3X file format of ActiGraph's own documentation


def gt3x_event(kind: int, second: int, payload: bytes) -> bytes:
    head = struct.pack("<BBIH", 0x1E, kind, second, len(payload))
    checksum = 0
    for byte in head + payload:
        checksum ^= byte
    return head + payload + bytes([~checksum & 0xFF])


def write_gt3x(path: Path, values: Floats, rate: int = 30, asleep: tuple[int, int] | None = None) -> None:
    """Events of type 26, a second each; `asleep`: seconds in idle sleep mode."""
    ticks = int((STARTED + 62_135_596_800) * 10**7)
    info = {
        "Serial Number": "TAS1H30182785",
        "Device Type": "wGT3XBT",
        "Firmware": "1.9.2",
        "Battery Voltage": "4.18",
        "Sample Rate": str(rate),
        "Start Date": str(ticks),
        "Stop Date": "0",
        "Last Sample Time": str(ticks),
        "TimeZone": "02:00:00",
        "Download Date": str(ticks),
        "Board Revision": "8",
        "Unexpected Resets": "0",
        "Acceleration Scale": "256.0",
        "Acceleration Min": "-8.0",
        "Acceleration Max": "8.0",
    }
    log = io.BytesIO()
    if asleep:
        log.write(gt3x_event(21, int(STARTED), struct.pack("<HBBI", 2, 0, 0, 0)[:8]))
    for second in range(len(values) // rate):
        at = int(STARTED) + second
        if asleep and second == asleep[0]:
            log.write(gt3x_event(3, at, b"\x08"))
        if asleep and asleep[0] <= second < asleep[1]:
            continue
        if asleep and second == asleep[1]:
            log.write(gt3x_event(3, at, b"\x09"))
        own = np.round(values[second * rate : (second + 1) * rate] * 256).astype("<i2")
        log.write(gt3x_event(26, at, own.tobytes()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("info.txt", "".join(f"{name}: {value}\r\n" for name, value in info.items()))
        archive.writestr("log.bin", log.getvalue())


def test_actigraphs_files_are_read_in_g_at_their_times(tmp_path: Path) -> None:
    times, values = motion(20, 30)
    write_gt3x(tmp_path / "a.gt3x", values)
    imu = read_imu(tmp_path / "a.gt3x", ImuFormat())
    assert imu.channels == ("acc_x", "acc_y", "acc_z")
    assert imu.units == dict.fromkeys(imu.channels, "g")
    assert imu.sampling_rate == pytest.approx(30, rel=1e-3)
    np.testing.assert_allclose(imu.times, times, atol=1e-6)
    np.testing.assert_allclose(imu.values, values, atol=1 / 256)


def test_what_actigraph_did_not_measure_asleep_is_a_gap(tmp_path: Path) -> None:
    times, values = motion(20, 30)
    write_gt3x(tmp_path / "a.gt3x", values, asleep=(8, 12))
    imu = read_imu(tmp_path / "a.gt3x", ImuFormat())
    awake = (times < 8) | (times >= 12)
    np.testing.assert_allclose(imu.times, times[awake], atol=1e-6)
    ((start, end),) = imu.gaps
    assert (start, end) == (pytest.approx(8, abs=0.05), pytest.approx(12, abs=0.05))


# --- Xsens: MVNX, as the MVN user manual describes it


def write_mvnx(path: Path, parts: Mapping[str, Floats], sensors: int = 2, rate: int = 60, skip: int = -1) -> None:
    names = ("Pelvis", "RightForeArm", "LeftForeArm")[:sensors]
    frames = ['<frame time="0" index="" tc="" ms="0" type="tpose"><orientation>1 0 0 0</orientation></frame>']
    for index in range(len(next(iter(parts.values())))):
        if index == skip:
            continue
        own = "".join(
            f"<{name}>{' '.join(f'{one:.6f}' for one in values[index])}</{name}>" for name, values in parts.items()
        )
        ms = round(1000 * (STARTED + index / rate))
        frames.append(f'<frame time="{1000 * index // rate}" index="{index}" ms="{ms}" type="normal">{own}</frame>')
    segments = "".join(f'<segment id="{number}" label="{name}"/>' for number, name in enumerate(names, 1))
    own_sensors = "".join(f'<sensor label="{name}"/>' for name in names)
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><mvnx xmlns="http://www.xsens.com/mvn/mvnx" version="4">'
        f'<subject label="S1" frameRate="{rate}" recDateMSecsSinceEpoch="{round(1000 * STARTED)}">'
        f"<segments>{segments}</segments><sensors>{own_sensors}</sensors>"
        f"<frames>{''.join(frames)}</frames></subject></mvnx>"
    )


def test_xsens_files_are_read_sensor_by_sensor(tmp_path: Path) -> None:
    _, acc = motion(5, 60)
    free = np.concatenate([acc, 2 * acc], axis=1)
    quat = np.tile([1.0, 0, 0, 0], (300, 2))
    pose = np.zeros((300, 6))
    parts = {"position": pose, "sensorFreeAcceleration": free, "sensorOrientation": quat, "orientation": quat}
    write_mvnx(tmp_path / "a.mvnx", parts, skip=100)
    imu = read_imu(tmp_path / "a.mvnx", ImuFormat())
    assert imu.channels[:3] == ("Pelvis_free_acc_x", "Pelvis_free_acc_y", "Pelvis_free_acc_z")
    assert len(imu.channels) == 6 + 8
    assert (imu.units["Pelvis_free_acc_x"], imu.units["RightForeArm_quat_w"]) == ("m/s^2", "1")
    assert {"position", "orientation"} <= set(imu.set_aside)
    assert imu.started == pytest.approx(STARTED, abs=1e-3)
    there = np.arange(300) != 100
    np.testing.assert_allclose(imu.times, np.arange(300)[there] / 60, atol=1e-6)
    np.testing.assert_allclose(imu.values[:, :6], free[there], atol=1e-5)
    write_mvnx(tmp_path / "b.mvnx", {"acceleration": free, "position": pose})
    assert read_imu(tmp_path / "b.mvnx", ImuFormat()).channels[3] == "RightForeArm_acc_x"


def test_a_document_without_motion_or_of_uneven_frames_is_refused(tmp_path: Path) -> None:
    write_mvnx(tmp_path / "a.mvnx", {"position": np.zeros((9, 6))})
    with pytest.raises(RecordingError, match=r"a\.mvnx: holds no <sensorFreeAcceleration>.*export MVNX with sensor"):
        read_imu(tmp_path / "a.mvnx", ImuFormat())
    write_mvnx(tmp_path / "b.mvnx", {"sensorFreeAcceleration": np.zeros((9, 7))})
    with pytest.raises(RecordingError, match=r"b\.mvnx: <sensorFreeAcceleration> has 7 numbers for 2 sensors"):
        read_imu(tmp_path / "b.mvnx", ImuFormat())
    text = (tmp_path / "a.mvnx").read_text().replace("position", "acceleration")
    (tmp_path / "c.mvnx").write_text(text.replace("0.000000 0.000000", "x 0", 1))
    with pytest.raises(RecordingError, match=r"frame 0: <acceleration> holds what is no number"):
        read_imu(tmp_path / "c.mvnx", ImuFormat())


# --- apps


def sensor_loggers(axes: Mapping[str, tuple[Floats, Floats]], **metadata: str) -> dict[str, str]:
    """Tables as Sensor Logger writes them, of (seconds since the start, three axes)."""
    files = {}
    for name, (times, values) in axes.items():
        rows = [
            f"{round(1e9 * STARTED) + round(1e9 * at)},{at!r},{z!r},{y!r},{x!r}"
            for at, (x, y, z) in zip(times.tolist(), values.tolist(), strict=True)
        ]
        files[f"{name}.csv"] = "\n".join(["time,seconds_elapsed,z,y,x", *rows, ""])
    about = {"version": "3", "device name": "iPhone", "platform": "ios", "standardisation": "false", **metadata}
    files["Metadata.csv"] = f"{','.join(about)}\n{','.join(about.values())}\n"
    return files


def packed(path: Path, files: Mapping[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(path: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def test_sensor_loggers_tables_are_one_imu_on_one_clock(tmp_path: Path) -> None:
    times, acc = motion(10, 100)
    slower, gyr = motion(10, 50, 1)
    files = sensor_loggers(
        {
            "Accelerometer": (times + 0.02, acc),
            "Gyroscope": (slower - 0.01, gyr),
            "AccelerometerUncalibrated": (times + 0.02, acc),
        }
    )
    files["Location.csv"] = "time,seconds_elapsed,longitude,latitude\n1717236000000000000,0.0,8.1,50.9\n"
    files["Camera/1717236000.jpg"] = "x"
    for path in (packed(tmp_path / "a.zip", files), unpacked(tmp_path / "b", files)):
        imu = read_imu(path, ImuFormat(offset_seconds=3.0, columns=None))
        assert set(imu.channels) == {
            f"{sensor}_{axis}"
            for sensor in ("accelerometer", "gyroscope", "accelerometer_uncalibrated")
            for axis in "xyz"
        }
        assert (imu.units["accelerometer_x"], imu.units["gyroscope_z"]) == ("m/s^2", "rad/s")
        assert imu.units["accelerometer_uncalibrated_x"] == "g"
        assert "Location.csv" in imu.set_aside
        # The earliest sample, of the gyroscope, lies at the offset; it was taken then.
        assert imu.start == pytest.approx(3.03, abs=1e-6)
        assert imu.started == pytest.approx(STARTED - 0.01, abs=1e-6)
        own = imu.values[:, imu.channels.index("accelerometer_x")]
        np.testing.assert_allclose(own, acc[: len(own), 0], atol=1e-9)
        turned = imu.values[:, imu.channels.index("gyroscope_y")]
        np.testing.assert_allclose(turned, np.interp(imu.times - 3.0, slower, gyr[:, 1]), atol=1e-6)


@pytest.mark.parametrize(
    ("platform", "standardisation", "unit"),
    [("ios", "false", "g"), ("ios", "true", "m/s^2"), ("android", "false", "m/s^2"), ("ios", "", None)],
)
def test_a_watchs_unit_follows_the_settings(
    tmp_path: Path, platform: str, standardisation: str, unit: str | None
) -> None:
    times, values = motion(10, 50)
    files = sensor_loggers({"WristMotion": (times, values)}, platform=platform, standardisation=standardisation)
    names = "time,seconds_elapsed,rotationRateX,accelerationX,quaternionW"
    files["WristMotion.csv"] = files["WristMotion.csv"].replace("time,seconds_elapsed,z,y,x", names)
    imu = read_imu(packed(tmp_path / "a.zip", files), ImuFormat())
    assert imu.channels == ("rotationRateX", "accelerationX", "quaternionW")
    assert (imu.units.get("accelerationX"), imu.units["rotationRateX"], imu.units["quaternionW"]) == (
        unit,
        "rad/s",
        "1",
    )


PHYPHOX = '"Time (s)","Acceleration x (m/s^2)","Acceleration y (m/s^2)","Acceleration z (m/s^2)"'


def phyphox(values: Floats, times: Floats, separator: str = ",", decimal: str = ".") -> str:
    rows = [
        separator.join(f"{one:.9E}".replace(".", decimal) for one in (at, *row))
        for at, row in zip(times, values, strict=True)
    ]
    return "\n".join([PHYPHOX.replace(",", separator), *rows]) + "\n"


def phyphox_starts(*events: tuple[str, float, float], separator: str = ",") -> str:
    head = ('"event"', '"experiment time"', '"system time"', '"system time text"')
    rows = [(f'"{name}"', f"{at:.9E}", f"{system:.6f}", '"2024-06-01"') for name, at, system in events]
    return "\n".join(separator.join(row) for row in (head, *rows)) + "\n"


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), ("\t", ".")])
def test_phyphox_says_when_it_was_started_and_paused(tmp_path: Path, separator: str, decimal: str) -> None:
    times, values = motion(10, 100)
    meta = phyphox_starts(
        ("START", 0.0, STARTED),
        ("PAUSE", 4.0, STARTED + 4.0),
        ("START", 4.0, STARTED + 11.0),
        ("PAUSE", 10.0, STARTED + 17.0),
        separator=separator,
    )
    files = {"Raw Data.csv": phyphox(values, times, separator, decimal), "meta/time.csv": meta, "meta/device.csv": ""}
    imu = read_imu(packed(tmp_path / "a.zip", files), ImuFormat())
    assert imu.channels[0] == "Acceleration x (m/s^2)"
    assert imu.units["Acceleration x (m/s^2)"] == "m/s^2"
    assert imu.started == pytest.approx(STARTED, abs=1e-5)
    np.testing.assert_allclose(imu.times, np.where(times < 4, times, times + 7), atol=1e-5)
    assert len(imu.gaps) == 1
    created = read_imu(tmp_path / "a.zip", ImuFormat(video_created=STARTED - 5))
    assert created.start == pytest.approx(5.0, abs=1e-5)


def test_phyphox_tables_of_several_sensors_share_a_clock_also_without_its_meta_data(tmp_path: Path) -> None:
    times, acc = motion(10, 100)
    slower, gyr = motion(9, 50, 1)
    slow = phyphox(gyr[:40], np.arange(40.0) / 4)
    files = {
        "Accelerometer.csv": phyphox(acc, times),
        "Gyroscope.csv": phyphox(gyr, slower + 0.5).replace("Acceleration", "Gyroscope").replace("m/s^2", "rad/s"),
        "Pressure.csv": slow,
    }
    imu = read_imu(packed(tmp_path / "a.zip", files), ImuFormat())
    assert imu.units["gyroscope_Gyroscope x (rad/s)"] == "rad/s"
    assert imu.start == pytest.approx(0.5)
    assert imu.set_aside == ("Pressure.csv (too few samples a second)",)
    turned = imu.values[:, imu.channels.index("gyroscope_Gyroscope x (rad/s)")]
    np.testing.assert_allclose(turned, np.interp(imu.times, slower + 0.5, gyr[:, 0]), atol=1e-6)


def test_archives_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    table = "time,acc_x\n" + "".join(f"{n / 50},{n % 7}\n" for n in range(200))
    one = packed(tmp_path / "one.zip", {"notes.pdf": b"x", "data.csv": table, "__MACOSX/._data.csv": b"x"})
    assert read_imu(one, ImuFormat()).channels == ("acc_x",)
    two = packed(tmp_path / "two.zip", {"a.csv": table, "b.csv": table})
    (tmp_path / "cut.zip").write_bytes(one.read_bytes()[:-40])
    still = sensor_loggers({})
    still["Location.csv"] = "time,seconds_elapsed,longitude\n1,2,3\n"
    nothing = packed(tmp_path / "nothing.zip", still)
    for path, said in (
        (two, r"two\.zip: holds several tables \(a\.csv, b\.csv\) and is of no app that is known.*<sensor>\.csv"),
        (tmp_path / "cut.zip", r"cut\.zip: cannot be read as a zip archive \(it is damaged or cut off\)"),
        (packed(tmp_path / "empty.zip", {}), r"empty\.zip: holds no table of samples"),
        (nothing, r"nothing\.zip: of Sensor Logger, but none of its tables holds motion"),
        (
            packed(
                tmp_path / "p.zip", {"a.csv": phyphox(np.zeros((9, 3)), np.arange(9) / 9), "meta/time.csv": "x\n1"}
            ),
            r"p\.zip/meta/time\.csv: is not as phyphox writes it",
        ),
    ):
        with pytest.raises(RecordingError, match=said) as error:
            read_imu(path, ImuFormat())
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["cwa", "gt3x", "mvnx", "zip", "lzma.zip"])
def test_a_damaged_file_is_refused_in_one_line_or_read(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp(kind)
    whole = folder / f"whole.{kind}"
    times, values = motion(8, 100)
    if kind == "cwa":
        write_cwa(whole, values)
    elif kind == "gt3x":
        write_gt3x(whole, values)
    elif kind == "mvnx":
        write_mvnx(whole, {"sensorFreeAcceleration": np.concatenate([values, values], axis=1)})
    else:
        how = zipfile.ZIP_LZMA if kind == "lzma.zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(whole, "w", how) as archive:
            for name, text in sensor_loggers(
                {"Bewegung ä": (times, values), "Accelerometer": (times, values)}
            ).items():
                archive.writestr(name, text)
    content, path = whole.read_bytes(), folder / f"damaged.{kind}"

    @effort(max_examples=60, deadline=None)
    @given(st.integers(0, len(content)), st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))))
    def read(length: int, changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(content)
        for at, byte in changes:
            damaged[at] = byte
        path.write_bytes(damaged[:length])
        said, imu = "", None
        try:
            imu = read_imu(path, ImuFormat())
        except WeakHARError as error:
            said = str(error)
        assert imu is not None or (str(path) in said and "\n" not in said)
        assert imu is None or ((np.diff(imu.times) > 0).all() and len(imu.times) == len(imu.values) >= 2)

    read()


def test_they_lie_beside_a_video_as_tables_do(sample_root: Path, tmp_path: Path) -> None:
    video = sample_root / "p01" / "session.mp4"
    times, values = motion(60, 100)
    for name in ("p01", "p02", "p03", "p04", "p05"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "session.mp4").symlink_to(video)
    write_cwa(tmp_path / "p01" / "session.cwa", values)
    write_gt3x(tmp_path / "p02" / "session.gt3x", values)
    packed(tmp_path / "p03" / "session.zip", sensor_loggers({"Accelerometer": (times, values)}))
    unpacked(tmp_path / "p04" / "session", sensor_loggers({"Gyroscope": (times, values)}))
    write_mvnx(tmp_path / "p05" / "session.mvnx", {"sensorFreeAcceleration": np.concatenate([values] * 2, axis=1)})
    checked, problems = check_dataset(tmp_path, Parameters())
    assert [str(one.recording) for one in checked] == [f"p0{number}/session" for number in range(1, 6)]
    assert all(one.imu is not None for one in checked)
    assert not [one.message for one in problems if one.error and "channels differ" not in one.message]
    listed = [
        {"participant": "p04", "video": "p04/session.mp4", "imu": "p04/session"},
        {"participant": "p03", "video": "p03/session.mp4", "imu": {"file": "p03/session.zip", "offset_seconds": "1"}},
    ]
    (tmp_path / "dataset.yaml").write_text(json.dumps({"recordings": listed}))
    checked, problems = check_dataset(tmp_path, Parameters())
    assert [one.imu.start for one in checked if one.imu is not None] == [1.0, 0.0]
    assert not [one.message for one in problems if "does not list" in one.message]


TABLE = "time,acc_x,acc_y,acc_z\n" + "".join(f"{n / 50},{n % 7},{n % 5},{n % 3}\n" for n in range(2500))


def test_what_a_table_was_made_of_lies_beside_it_and_is_ignored(sample_root: Path, tmp_path: Path) -> None:
    for name in ("p01", "p02", "p03"):
        (tmp_path / name / "raw").mkdir(parents=True)
        (tmp_path / name / "session.mp4").symlink_to(sample_root / "p01" / "session.mp4")
        (tmp_path / name / "session.csv").write_text(TABLE)
        (tmp_path / name / "raw" / "6013.cwa").write_bytes(b"x")
        (tmp_path / name / "other.gt3x").write_bytes(b"x")
    (tmp_path / "p01" / "session.cwa").write_bytes(b"x")
    packed(tmp_path / "p02" / "session.zip", {"a.txt": "x"})
    unpacked(tmp_path / "p03" / "session", sensor_loggers({}))
    checked, problems = check_dataset(tmp_path, Parameters())
    assert [str(one.recording) for one in checked if one.imu is not None] == [f"p0{n}/session" for n in (1, 2, 3)]
    assert not [one.message for one in problems if one.error]
    said = " ".join(one.message for one in problems)
    assert all(name in said for name in ("session.cwa", "session.zip", "session/", "other.gt3x", "raw/"))


def test_two_archives_and_a_late_table_stay_on_one_clock(tmp_path: Path) -> None:
    times, acc = motion(20, 50)
    phone = packed(tmp_path / "v.phone.zip", sensor_loggers({"Accelerometer": (times, acc)}))
    late = {"WristMotion": (times, acc), "WatchMagnetometer": (times[:600] + 5, acc[:600])}
    watch = packed(tmp_path / "v.watch.zip", sensor_loggers(late))
    alone = read_imu(watch, ImuFormat(offset_seconds=2.0))
    assert (alone.start, alone.started) == (pytest.approx(7.0), pytest.approx(STARTED))
    files = [ImuFile(path, ImuFormat(), name) for path, name in ((phone, "phone"), (watch, "watch"))]
    both = read_imus(files)
    own = both.values[:, both.channels.index("watch_wrist_motion_x")]
    np.testing.assert_allclose(own, np.interp(both.times, times, acc[:, 0]), atol=1e-6)


def test_columns_of_an_archive_are_chosen_by_their_full_names(tmp_path: Path) -> None:
    times, acc = motion(10, 50)
    three = dict.fromkeys(("Magnetometer", "Gyroscope", "Accelerometer"), (times, acc))
    path = packed(tmp_path / "a.zip", sensor_loggers(three))
    assert (
        read_imu(path, ImuFormat()).channels
        == read_imu(unpacked(tmp_path / "b", sensor_loggers(three)), ImuFormat()).channels
    )
    wanted = ("gyroscope_y", "accelerometer_x")
    imu = read_imu(path, ImuFormat(columns=wanted))
    assert imu.channels == wanted
    np.testing.assert_allclose(imu.values, acc[:, [1, 0]], atol=1e-9)
    with pytest.raises(RecordingError, match=r"has no column 'acc_x' \(imu_columns\); it has accelerometer_z, "):
        read_imu(path, ImuFormat(columns=("accelerometer_x", "acc_x")))


def test_a_table_that_is_empty_still_or_short_is_set_aside_and_named(tmp_path: Path) -> None:
    times, acc = motion(20, 50)
    files = {
        "Accelerometer.csv": phyphox(acc, times),
        "Location.csv": '"Time (s)","Latitude"\n',
        "Light.csv": '"Time (s)","Illuminance"\n0.1,3\n',
        "Proximity.csv": '"Time (s)","Distance"\n' + "".join(f"{at},5\n" for at in times),
        "Gyroscope.csv": phyphox(acc[:200], times[:200]),
    }
    imu = read_imu(packed(tmp_path / "a.zip", files), ImuFormat())
    assert len(imu.times) == len(times)
    assert [name.split(" ")[0] for name in imu.set_aside] == [
        "Light.csv",
        "Location.csv",
        "Proximity.csv",
        "Gyroscope.csv",
    ]
    files["Accelerometer.csv"] = files["Accelerometer.csv"].replace(
        files["Accelerometer.csv"].split("\n")[5], "x,y,z,1"
    )
    with pytest.raises(RecordingError, match=r"Accelerometer\.csv"):
        read_imu(packed(tmp_path / "b.zip", files), ImuFormat())


def test_several_recordings_in_one_archive_are_refused(tmp_path: Path) -> None:
    times, acc = motion(10, 50)
    one = sensor_loggers({"Accelerometer": (times, acc)})
    two = {f"r{number}/{name}": content for number in (1, 2) for name, content in one.items()}
    with pytest.raises(RecordingError, match=r"holds several recordings \('Accelerometer' is there twice\)"):
        read_imu(packed(tmp_path / "a.zip", two), ImuFormat())
    with pytest.raises(RecordingError, match=r"none\.zip: no such file"):
        read_imu(tmp_path / "none.zip", ImuFormat())
