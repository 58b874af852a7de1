"""Tables of samples in every dialect: the same numbers and times, or a refusal in one line; never anything else."""

import gzip
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dialects import outcome
from ml_backend.errors import RecordingError
from ml_backend.recordings import Imu, ImuFormat, read_imu
from training.contract import sampling_rate_of

COUNT = 200
TIMES = np.arange(COUNT) / 50
VALUES = np.random.default_rng(0).normal(size=(COUNT, 3)).round(3)
HEADER = "time,ax,ay,az"


def rows(times: list[str] | None = None) -> list[str]:
    times = times or [f"{time:.2f}" for time in TIMES]
    return [f"{time},{x:.3f},{y:.3f},{z:.3f}" for time, (x, y, z) in zip(times, VALUES, strict=True)]


def text(header: str = HEADER, times: list[str] | None = None) -> str:
    return "\n".join([header, *rows(times)]) + "\n"


def read(path: Path, content: str | bytes, **how: object) -> Imu:
    """The file's samples, which are those above."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    imu = read_imu(path, ImuFormat(**how))  # type: ignore[arg-type]
    np.testing.assert_allclose(imu.values, VALUES)
    np.testing.assert_allclose(imu.times, TIMES, atol=1e-6)
    assert imu.sampling_rate == pytest.approx(50, rel=1e-3)
    return imu


def refusal(path: Path, content: str | bytes, **how: object) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordingError) as error:
        read_imu(path, ImuFormat(**how))  # type: ignore[arg-type]
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert not any(word in message for word in ("CSV parse error", "Invalid", "pyarrow", "conversion error"))
    return message.removeprefix(f"{path}: ")


def test_files_in_random_dialects_are_read_right_or_refused(tmp_path: Path) -> None:
    found = Counter(outcome(seed, tmp_path) for seed in range(200))
    assert set(found) == {"read", "refused"}, found
    assert found["read"] > 120


SEMICOLONS = text().replace(",", ";")
ACTIGRAPH = """------------ Data File Created By ActiGraph GT3X+ v6.13.3 date format M/d/yyyy at 50 Hz -----------
Serial Number: NEO1C15110103
Start Time 13:00:00
Start Date 6/21/2016
Current Battery Voltage: 4.22     Mode = 12
--------------------------------------------------
"""


@pytest.mark.parametrize(
    "content",
    [
        SEMICOLONS,
        SEMICOLONS.replace(".", ","),
        text().replace(",", "\t").replace(".", ","),
        "sep=;\n" + SEMICOLONS,
        text().encode("utf-16"),
        text().encode("utf-8-sig"),
        text().replace("\n", "\r\n"),
        text().replace(",", " "),
        "# exported\n# 2024-05-01, 12:00\n" + text(),
        "# " + text(),
        text(HEADER + ","),
        text(HEADER + "\ns,m/s²,m/s²,m/s²"),
        text(HEADER + "\n(ms),(g),(g),(g)", [f"{1000 * time:.0f}" for time in TIMES]),
        "sep=,\nDeviceTag:,D1\nOutputRate:,50Hz\n\n" + text(),
        '"' + text().replace(",", '","').replace("\n", '"\n"').rstrip('"'),
        text("time,Beschl. x (m/s²),ay µ,az").encode("latin-1"),
    ],
)
def test_a_table_is_read_however_it_is_written(tmp_path: Path, content: str | bytes) -> None:
    read(tmp_path / "imu.csv", content)


def test_gzip_and_other_endings_are_read(tmp_path: Path) -> None:
    read(tmp_path / "imu.csv.gz", gzip.compress(text().encode()))
    read(tmp_path / "imu.txt", text())
    read(tmp_path / "imu.TSV", text())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (text().replace(".", ","), "are commas both its decimal mark and its separator"),
        ("\n".join(rows()), "its first line holds numbers (0.00, 0.126, -0.132, …), no names; write a header"),
        (text("time,ax,ax,az"), "has the column 'ax' twice; rename one"),
        (text()[:-9], "line 201 has 3 cells, the header 4 columns"),
        (text().replace("\n2.00,", "\n2.00,oops"), "column 'ax' holds text: 'oops"),
        (SEMICOLONS.replace(".", ",").replace(";1,", ";1.001,", 1), "write them with one decimal mark"),
        (bytes(range(256)) * 20, "its columns cannot be told apart"),
        ('{"a": 1}\n' * 30, "its columns cannot be told apart"),
        ("time,ax\n", "its columns cannot be told apart"),
        ("\n\n  \n", "holds no text"),
        ("", "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_told_in_our_words(tmp_path: Path, content: str | bytes, reason: str) -> None:
    assert reason in refusal(tmp_path / "imu.csv", content)


@pytest.mark.parametrize("name", ["imu.csv.gz", "imu.xlsx", "imu.parquet"])
def test_a_damaged_archive_is_told_in_our_words(tmp_path: Path, name: str) -> None:
    assert "the file is damaged or cut off" in refusal(tmp_path / name, b"PK\x03\x04 no such thing")


def test_a_file_without_a_clock_asks_for_the_rate_and_says_what_its_head_says(tmp_path: Path) -> None:
    without = "\n".join(["Accelerometer X,Accelerometer Y,Accelerometer Z", *[r.split(",", 1)[1] for r in rows()]])
    message = refusal(tmp_path / "imu.csv", ACTIGRAPH + without)
    assert "has no clock (a column of times); set sampling_rate (Hz)" in message
    assert "its head says '50 Hz'" in message
    read(tmp_path / "imu.csv", ACTIGRAPH + without, sampling_rate=50)


def test_a_files_head_says_which_unit_its_clock_has_or_contradicts_it(tmp_path: Path) -> None:
    def content(ticks: float) -> str:
        return "// Update Rate: 50.0Hz\n" + text(
            "SampleTimeFine,ax,ay,az", [f"{ticks * 50 * time:.0f}" for time in TIMES]
        )

    read(tmp_path / "i.csv", content(200))
    read(tmp_path / "i.csv", content(200), time_unit="100us")
    read(tmp_path / "i.csv", content(20_000))
    assert "gives 7692 samples a second, its head says '50.0Hz'; set time_unit" in refusal(
        tmp_path / "i.csv", content(130)
    )


def test_a_clock_of_32_bits_goes_on_where_it_begins_anew(tmp_path: Path) -> None:
    first = 2**32 - 100_000
    wrapped = [f"{(first + round(1e6 * time)) % 2**32}" for time in TIMES]
    read(tmp_path / "i.csv", text("SampleTimeFine,ax,ay,az", wrapped))
    shuffled = wrapped[:3] + wrapped[4:10] + wrapped[3:4] + wrapped[10:]
    assert "does not increase" in refusal(tmp_path / "i.csv", text("SampleTimeFine,ax,ay,az", shuffled))


@pytest.mark.parametrize(
    "above",
    ["Device,AX3,12345,", "Device,AX3,12345,left", "Subject,P01,left,", "Session,a,b,rate\nsensor,acc,acc,acc"],
)
def test_rows_of_metadata_above_the_names_are_no_names(tmp_path: Path, above: str) -> None:
    (tmp_path / "i.csv").write_text(f"{above}\n" + text("time,x,y,z"))
    imu = read_imu(tmp_path / "i.csv", ImuFormat())
    assert (imu.channels, imu.clock) == (("x", "y", "z"), "time")


def test_a_rate_in_the_head_does_not_overrule_a_stated_unit(tmp_path: Path) -> None:
    content = "# sensor ODR 1000 Hz\n" + text("time (ms),ax,ay,az", [f"{1000 * time:.0f}" for time in TIMES])
    assert "its head says '1000 Hz'; set time_unit" in refusal(tmp_path / "i.csv", content)


SHIMMER = ("Timestamp", "Accelerometer X", "Accelerometer Y", "Accelerometer Z")


@pytest.mark.parametrize("trailing", ["", "\t"])
@pytest.mark.parametrize(
    ("above", "names"),
    [
        (["sep=\t", "D_Timestamp_Unix_CAL\tD_X_CAL\tD_Y_CAL\tD_Z_CAL"], ("D_X_CAL", "D_Y_CAL", "D_Z_CAL")),
        (["\t".join(SHIMMER), "CAL\tCAL\tCAL\tCAL"], SHIMMER[1:]),
        (["S\tS\tS\tS", "\t".join(SHIMMER), "CAL\tCAL\tCAL\tCAL"], SHIMMER[1:]),
        (
            ["S\tS\tS\tT", "Timestamp\tX\tY\tX", "CAL\tCAL\tCAL\tCAL"],
            ("X_S", "Y", "X_T"),
        ),
        (["Timestamp\tX\tX\tZ", "CAL\tRAW\tCAL\tCAL"], ("X_RAW", "X_CAL", "Z")),
    ],
)
def test_shimmers_rows_above_the_samples(
    tmp_path: Path, above: list[str], names: tuple[str, ...], trailing: str
) -> None:
    units = "mSecs\tm/(s^2)\tm/(s^2)\tno_units"
    samples = np.column_stack([1000 * TIMES, VALUES])
    rows = ["\t".join(f"{one:.3f}" for one in sample) for sample in samples]
    sep, lines = above[0] == "sep=\t", [*above, units, *rows]
    content = "\n".join([lines[0] if sep else lines[0] + trailing, *(line + trailing for line in lines[1:])])
    (tmp_path / "i.csv").write_text(content + "\n")
    imu = read_imu(tmp_path / "i.csv", ImuFormat())
    assert imu.channels == names
    assert list(imu.units.values()) == ["m/(s^2)", "m/(s^2)", "no_units"]
    np.testing.assert_allclose(imu.times, TIMES, atol=1e-6)


def stamps(shape: str, start: datetime = datetime(2024, 5, 21, 12, 59, 58), behind: str = "") -> list[str]:
    moments = [start + timedelta(seconds=float(time)) for time in TIMES]
    return [f"{moment.strftime(shape)}.{moment.microsecond:06}{behind}" for moment in moments]


@pytest.mark.parametrize(
    ("times", "started"),
    [
        (stamps("%Y-%m-%dT%H:%M:%S", behind="Z"), 1716296398.0),
        (stamps("%Y-%m-%d %H:%M:%S", behind="+02:00"), 1716289198.0),
        (stamps("%Y-%m-%d %H:%M:%S", behind=" -0500"), 1716314398.0),
        (stamps("%Y-%m-%d %H:%M:%S"), None),
        (stamps("%Y/%m/%d %H:%M:%S"), None),
        (stamps("%d.%m.%Y %H:%M:%S", datetime(2024, 5, 6, 23, 59, 59)), None),
        (stamps("%m/%d/%Y %H:%M:%S"), None),
        (stamps("%d/%m/%Y %H:%M:%S"), None),
        (stamps("%d/%m/%Y %H:%M:%S", datetime(2024, 5, 6, 12)), None),  # within a day the order does not matter
        (stamps("%H:%M:%S", datetime(2024, 5, 21, 23, 59, 58)), None),
        (stamps("%I:%M:%S", behind=" PM"), None),
        ([f"{1716296398 + time:.6f}" for time in TIMES], 1716296398.0),
        ([f"{1716296398000 + 1000 * time:.0f}" for time in TIMES], 1716296398.0),
        ([f"{1716296398000000000 + round(time * 1e9)}" for time in TIMES], 1716296398.0),
    ],
)
def test_stamps_are_read_with_or_without_date_and_zone(
    tmp_path: Path, times: list[str], started: float | None
) -> None:
    read(tmp_path / "imu.csv", text(times=times))
    assert read_imu(tmp_path / "imu.csv", ImuFormat()).started == started


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (stamps("%m/%d/%Y %H:%M:%S", datetime(2024, 5, 6, 23, 59, 58)), "day and month cannot be told apart"),
        (stamps("%d/%m/%y %H:%M:%S", datetime(2024, 5, 6, 23, 59, 58)), "day and month cannot be told apart"),
        ([*stamps("%Y-%m-%d %H:%M:%S", behind="Z")[:-1], "2024-05-21 13:00:01.98"], "write all stamps alike"),
        ([*stamps("%Y-%m-%d %H:%M:%S")[:-1], "2024-02-30 13:00:01.98"], "holds no date in sample 200"),
        ([*stamps("%Y-%m-%d %H:%M:%S")[:-1], "soon"], "holds 'soon' in sample 200, which is no time"),
        (
            [*stamps("%Y-%m-%d %H:%M:%S", datetime(2024, 3, 31, 1, 59, 59))[:50],
             *stamps("%Y-%m-%d %H:%M:%S", datetime(2024, 3, 31, 2, 59, 59))[50:]],
            "jumps by an hour at sample 51",
        ),
        (
            [*stamps("%Y-%m-%d %H:%M:%S", datetime(2024, 10, 27, 2, 59, 59))[:50],
             *stamps("%Y-%m-%d %H:%M:%S", datetime(2024, 10, 27, 1, 59, 59))[50:]],
            "(2024-10-27 02:59:59.980000 is followed by 2024-10-27 02:00:00.000000); at a change of daylight",
        ),
        ([f"{45000 + time / 86400:.10f}" for time in TIMES], "is its unit not s? Set time_unit (h, min, s, ms"),
        ([*[f"{time:.2f}" for time in TIMES[:-1]], ""], "has 1 empty cells, the first in sample 200"),
    ],
)  # fmt: skip
def test_times_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, times: list[str], reason: str) -> None:
    assert reason in refusal(tmp_path / "imu.csv", text(times=times))


def test_samples_that_share_a_stamp_are_spread_on_request_and_none_is_lost(tmp_path: Path) -> None:
    packets = [f"{np.floor(time * 10) / 10:.1f}" for time in TIMES + 1e-9]
    assert "set duplicate_stamps: spread" in refusal(tmp_path / "imu.csv", text(times=packets))
    read(tmp_path / "imu.csv", text(times=packets), duplicate_stamps="spread")
    gap = [f"{np.floor(time * 10) / 10 + (5.0 if time >= 2 else 0.0):.1f}" for time in TIMES + 1e-9]
    (tmp_path / "imu.csv").write_text(text(times=gap))
    imu = read_imu(tmp_path / "imu.csv", ImuFormat(duplicate_stamps="spread"))
    np.testing.assert_allclose(imu.times, TIMES + 5.0 * (TIMES >= 2), atol=0.041)  # as densely as elsewhere
    assert len(imu.gaps) == 1
    back = [*packets[:100], *packets[:100]]
    assert "does not increase at sample 101" in refusal(
        tmp_path / "imu.csv", text(times=back), duplicate_stamps="spread"
    )


def test_a_clock_that_was_started_anew_is_cut_into_pieces_on_request(tmp_path: Path) -> None:
    anew = [f"{time:.2f}" for time in (*TIMES[:120], *TIMES[:80])]
    message = refusal(tmp_path / "imu.csv", text(times=anew))
    assert (
        "does not increase at sample 121 (2.38 is followed by 0.0); sort the samples, or set steps_back: cut"
        in message
    )
    imu = read_imu(tmp_path / "imu.csv", ImuFormat(steps_back="cut"))
    np.testing.assert_allclose(imu.values, VALUES)  # nothing is lost
    np.testing.assert_allclose(imu.times, TIMES + 0.06 * (np.arange(COUNT) >= 120))
    assert len(imu.gaps) == 1


@pytest.mark.parametrize("size", [2, 5, 20, 100])
def test_packets_that_come_late_are_no_gaps(tmp_path: Path, size: int) -> None:
    """Samples of a packet stand a millisecond apart, at the time when the packet came."""
    count = 2000
    number = np.arange(count)
    times = number // size * size / 50 + number % size * 0.001
    content = "\n".join(["time,ax", *[f"{time:.3f},{k % 7}" for k, time in enumerate(times)]])
    (tmp_path / "imu.csv").write_text(content)
    imu = read_imu(tmp_path / "imu.csv", ImuFormat())
    assert imu.sampling_rate == pytest.approx(50, rel=0.06)
    assert len(imu.gaps) == 0
    later = times + 30.0 * (number >= 1000)
    (tmp_path / "imu.csv").write_text(
        "\n".join(["time,ax", *[f"{time:.3f},{k % 7}" for k, time in enumerate(later)]])
    )
    imu = read_imu(tmp_path / "imu.csv", ImuFormat())
    assert imu.sampling_rate == pytest.approx(50, rel=0.06)
    assert len(imu.gaps) == 1


@pytest.mark.parametrize(
    ("pieces", "length", "pause"), [(8, 500, 50.0), (10, 100, 2.0), (10, 100, 5.0), (6, 3000, 300.0)]
)
def test_regular_pauses_are_gaps_and_no_packets(tmp_path: Path, pieces: int, length: int, pause: float) -> None:
    number = np.arange(pieces * length)
    times = number / 50 + number // length * pause
    (tmp_path / "imu.csv").write_text("\n".join(["time,ax", *[f"{t:.2f},{k % 7}" for k, t in enumerate(times)]]))
    imu = read_imu(tmp_path / "imu.csv", ImuFormat())
    assert imu.sampling_rate == 50
    assert len(imu.gaps) == pieces - 1


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
@pytest.mark.parametrize(("rate", "digits"), [(50, 4), (100, 2), (100, 3), (400, 3)])
def test_samples_lost_at_random_do_not_change_the_rate(share: float, rate: int, digits: int) -> None:
    kept = np.random.default_rng(rate).random(5000) >= share
    stamps = np.round(np.arange(5000) / rate, digits)
    assert sampling_rate_of(np.diff(stamps[kept])) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(("rate", "tick"), [(750, 0.001), (50, 0.0156), (90, 0.01)])
def test_stamps_of_a_coarse_clock_are_no_losses(rate: int, tick: float) -> None:
    stamps = np.floor(np.arange(5000) / rate / tick) * tick
    assert sampling_rate_of(np.diff(stamps[np.r_[True, np.diff(stamps) > 0]])) == pytest.approx(rate, rel=0.01)


def test_numbers_of_rows_are_no_clock_beside_a_rate(tmp_path: Path) -> None:
    (tmp_path / "imu.csv").write_text(text("timestamp,ax,ay,az", [str(number) for number in range(COUNT)]))
    imu = read_imu(tmp_path / "imu.csv", ImuFormat(sampling_rate=50))
    assert imu.clock is None
    assert imu.set_aside == ("timestamp",)
    np.testing.assert_allclose(imu.times, TIMES)


def test_samples_of_several_sensors_in_turn_are_refused(tmp_path: Path) -> None:
    header, *lines = text().splitlines()
    both = "\n".join([header + ",Sensor ID", *[f"{line},{side}" for line in lines for side in ("left", "right")]])
    for how in ({}, {"duplicate_stamps": "spread"}):
        assert "column 'Sensor ID' names 2 sensors (left, right, …); write a file each, <recording>.<sensor>.csv" in (
            refusal(tmp_path / "imu.csv", both, **how)
        )
    read(tmp_path / "imu.csv", "\n".join([header + ",device", *[f"{line},AB12" for line in lines]]))


@pytest.mark.parametrize("cell", ["NAN", "-nan", "null", "n/a", "-", "1.#QNAN", "<NA>", "#NV"])
def test_spellings_of_a_missing_value_are_one(tmp_path: Path, cell: str) -> None:
    content = text().replace(f"\n{rows()[50]}\n", f"\n1.00,{cell},0.1,0.2\n")
    assert "column 'ax' has 1 missing or infinite values, the first in sample 51" in refusal(
        tmp_path / "i.csv", content
    )
    assert read_imu(tmp_path / "i.csv", ImuFormat(missing_values="interpolate")).filled == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (text(times=[f"{133590276000000000 + round(time * 1e7)}" for time in TIMES]), "would begin in the year 1974"),
        (text(times=[f"{17145540000000 + round(time * 1e4)}" for time in TIMES]), "would begin in the year 2513"),
        (text(times=[*stamps("%Y-%m-%d %H:%M:%S")[:-1], "2024-05-21 29:00:00"]), "holds no time in sample 200"),
        (text(times=stamps("%H:%M:%S", behind=" PM", start=datetime(2024, 5, 21, 13))), "holds no time in sample 1"),
        (
            text(times=[*stamps("%m.%d.%Y %H:%M:%S", datetime(2024, 5, 3, 23, 59, 58))]),
            "day and month cannot be told",
        ),
        (text(times=[f"{105850 + time + 40 * (time >= 10):.2f}" for time in TIMES * 10]), "write them as 10:59:59"),
        (text() + "Mean,0.1,0.2,0.3\n", "column 'time' holds 'Mean' in sample 201, no number"),
        (text().replace(" ", "").replace(",", "   "), "are its columns set with several blanks?"),
        ("sbj_id," + text().replace("\n", "\n7,").replace("\n7,1.", "\n8,1.")[:-2], "names 2 people (7, 8, …)"),
        ("ax\n" + "\n".join(["2.898", "916", "1.204", "300", "5.001"] * 20), "write them with one decimal mark"),
        (
            "\n".join(["ax,ay", '"2,898",1', '"916",2', '"1,204",3'] * 1 + ['"300",4', '"5,001",5'] * 20),
            "one decimal mark",
        ),
    ],
)
def test_other_files_that_may_mean_two_things_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    assert reason in refusal(tmp_path / "imu.csv", content)


def test_rows_are_neither_lost_nor_shifted_at_the_head_of_a_file(tmp_path: Path) -> None:
    shifted = "\n".join(["ax,ay,label", "1,0.1,0.2,", *[f"{k},0.{k},0.2,walk" for k in range(2, 60)]])
    assert "its header has 3 columns (ax, ay, label, …), line 2 below it 4 cells" in refusal(
        tmp_path / "r.csv", shifted
    )
    for first in (",", "-,-"):
        (tmp_path / "blank.csv").write_text("\n".join(["ax,ay", first, *[f"{k},0.{k}" for k in range(200)]]))
        imu = read_imu(tmp_path / "blank.csv", ImuFormat(sampling_rate=50, missing_values="interpolate"))
        assert len(imu.times) == 201
    (tmp_path / "feed.csv").write_text("# a\x0cb\u2028c\n" + text())
    assert len(read_imu(tmp_path / "feed.csv", ImuFormat()).times) == COUNT
    single = "\n".join(["ax", *["" if k in (50, 51) else f"{k}.5" for k in range(200)]]) + "\n"
    assert "has 2 missing or infinite values" in refusal(tmp_path / "one.csv", single, sampling_rate=50)
    units = text(HEADER + "\nusec,m/(s^2),rad/sec,m/s2", [f"{1e6 * time:.0f}" for time in TIMES])
    read(tmp_path / "units.csv", units)
