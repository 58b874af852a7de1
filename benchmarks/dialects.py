"""IMU files with known truth in random dialects, read back: either the same numbers and times, or a refusal in one
line that names the file; never anything else.

Dialects differ in separator, decimal mark, encoding, header, lines above it, units, quotes, clock (name, unit, epoch,
zone, order of day and month, jitter, packets, gaps, steps back, daylight saving), labels, missing values, gzip
and XLSX. Run: python -m benchmarks.dialects [EXAMPLES]; 2,000 examples take half a minute.
"""

import csv
import gzip
import io
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape

import numpy as np

from ml_backend.errors import RecordingError
from ml_backend.recordings import ImuFormat, read_imu

LABELS = ("", "walking", "Treppe hinauf", "ça va", "null")
NAMES = ("acc_x", "acc_y", "acc_z", "gyr_x (°/s)", "Beschleunigung", "mag", "emg 1", "Temp", "x")
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
NUMBERED = {"s": ["Time (s)", "time", "seconds_elapsed", "t"], "ms": ["timestamp_ms", "Time [ms]", "time (ms)"],
            "us": ["Timestamp (us)", "SampleTimeFine", "time_us"], "ns": ["time_ns", "ts (ns)"]}  # fmt: skip
STAMPED = ("iso", "iso zone", "iso z", "german", "american", "ambiguous", "of day", "of day pm", "comma")


@dataclass
class Example:
    """A file's content and name, how to read it, and what is right: times since the first sample (`resolution`: to
    how many seconds the file tells them), values, labels; times are None where only a refusal is right, and with
    `unsure` it is as right as reading."""

    content: bytes
    name: str
    how: ImuFormat
    times: np.ndarray | None
    resolution: float
    channels: tuple[str, ...]
    values: np.ndarray
    labels: list[str] | None
    unsure: bool = False


def example(seed: int) -> Example:
    """One file, of the kind that `seed` draws."""
    random = np.random.default_rng(seed)

    def one_in(number: int) -> bool:
        return bool(random.integers(number) == 0)

    count, rate = int(random.integers(60, 400)), float(random.choice([12.5, 25, 31.25, 50, 100, 104, 200]))
    separator = str(random.choice([",", ";", "\t", "|", " "], p=[0.4, 0.3, 0.2, 0.05, 0.05]))
    decimal = "," if one_in(3) else "."
    channels = tuple(random.permutation(NAMES)[: random.integers(2, 6)].tolist())
    if separator == " ":
        channels = tuple(name.replace(" ", "_") for name in channels)
    values = random.normal(0, 10, (count, len(channels))).round(int(random.integers(1, 6)))
    times = _times(random, count, rate)
    how, right = ImuFormat(), True
    columns: dict[str, list[str]] = {}
    shown, name, resolution, clock_kind = _clock(random, times, separator)
    if clock_kind == "none":
        given = one_in(2)
        times, right = np.arange(count) / rate, given
        how = replace(how, sampling_rate=rate if given else None)
    else:
        right = clock_kind != "refused"
        columns[name] = shown
    if clock_kind == "numbers" and one_in(8):  # packets that share a stamp
        size = int(random.integers(2, 6))
        stamp = np.arange(count) // size * size
        columns[name] = [columns[name][index] for index in stamp]
        spread = one_in(2)
        right, how = spread, replace(how, duplicate_stamps="spread" if spread else "error")
        # Where in a packet a gap lies nobody can tell.
        resolution = size / rate + float((times - times[stamp]).max())
    elif clock_kind == "numbers" and one_in(12):  # a clock that steps back
        place = int(random.integers(5, count - 5))
        columns[name][place] = columns[name][place - 3]
        right = False
    missing = one_in(6)
    text = [[f"{value:.{6}f}".rstrip("0") + "0" for value in column] for column in values.T]
    if missing:
        how = replace(how, missing_values="interpolate")
        lost = int(random.integers(5, count - 5))
        text[0][lost] = str(random.choice(["", "NaN", "NA"]))
        values[lost, 0] = np.interp(lost, [lost - 1, lost + 1], values[[lost - 1, lost + 1], 0])
    columns |= dict(zip(channels, text, strict=True))
    if one_in(6):
        columns["PacketCounter"] = [str(number) for number in range(count)]
    labels = None
    if one_in(3):
        labels = [
            LABELS[number] for number in np.repeat(random.integers(0, len(LABELS), count // 10 + 1), 10)[:count]
        ]
        labels = [label.replace(" ", "_") if separator == " " else label for label in labels]
        columns["label"] = labels
    made = Example(b"", "", how, times if right else None, resolution, channels, values, labels)
    return _written(random, columns, separator, decimal, made)


def _times(random: np.random.Generator, count: int, rate: float) -> np.ndarray:
    times = np.arange(count) / rate
    if random.integers(3) == 0:
        times = times + random.uniform(-0.2, 0.2, count) / rate
        times -= times[0]
    if random.integers(5) == 0:
        times[int(random.integers(10, count - 10)) :] += random.uniform(1, 9)
    return times


def _clock(random: np.random.Generator, times: np.ndarray, separator: str) -> tuple[list[str], str, float, str]:
    """The clock's cells and name, to how many seconds they tell the time, and its kind: `numbers`, `stamps`, `none`,
    or `refused` where it cannot be read in one way only."""
    draw = random.random()
    if draw < 0.1:
        return [], "", 0.0, "none"
    if draw < 0.6:
        unit = str(random.choice(list(NUMBERED)))
        name = str(random.choice(NUMBERED[unit]))
        epoch = int(random.integers(1_600_000_000, 1_750_000_000)) if random.integers(3) == 0 else 0
        digits = {"s": 6, "ms": 3, "us": 0, "ns": 0}[unit]
        per_second = int(UNITS[unit])
        cells = [f"{epoch * per_second + time * per_second:.{digits}f}" for time in times]
        if digits == 0:
            cells = [str(epoch * per_second + round(time * per_second)) for time in times]
        if separator == " ":
            name = name.replace(" ", "_")
        return cells, name, 2e-6, "numbers"
    kind = str(random.choice(STAMPED if separator not in (" ", ",") else [one for one in STAMPED if one != "comma"]))
    if separator == " " and kind != "of day":
        kind = "iso"
    zone = timezone(timedelta(hours=int(random.integers(-5, 9)))) if kind == "iso zone" else UTC
    day = datetime(2024, int(random.integers(1, 13)), int(random.integers(13, 28)), 10, 20, 30, tzinfo=zone)
    if kind == "ambiguous":
        day = day.replace(day=5, month=6, hour=23, minute=59, second=58)
    stamps = [day + timedelta(seconds=float(time)) for time in times]
    shapes = {"german": "%d.%m.%Y %H:%M:%S", "american": "%m/%d/%Y %H:%M:%S", "ambiguous": "%m/%d/%Y %H:%M:%S"}
    shapes |= {"of day": "%H:%M:%S", "of day pm": "%I:%M:%S"}
    shape = shapes.get(kind, "%Y-%m-%dT%H:%M:%S" if separator == " " or random.integers(2) else "%Y-%m-%d %H:%M:%S")
    behind = {"iso z": "Z", "of day pm": " AM"}.get(kind, "")
    point = "," if kind == "comma" else "."
    cells = [f"{stamp.strftime(shape)}{point}{stamp.microsecond:06}" for stamp in stamps]
    if kind == "iso zone":
        behind = stamps[0].strftime("%z")[:3] + ":00"
    crosses = kind == "ambiguous" and stamps[0].day != stamps[-1].day
    name = str(random.choice(["timestamp", "time" if separator == " " else "Date time"]))
    return [cell + behind for cell in cells], name, 2e-6, "refused" if crosses else "stamps"


def _written(
    random: np.random.Generator, columns: dict[str, list[str]], separator: str, decimal: str, found: Example
) -> Example:
    """The file, in the dialect that is drawn; what makes it unreadable takes away what is right."""
    names, rows = list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    numeric = [name not in ("label",) and ":" not in columns[name][0] for name in names]
    if decimal == ",":
        rows = [[cell.replace(".", ",") if own else cell for cell, own in zip(r, numeric, strict=True)] for r in rows]
    if random.integers(12) == 0:
        return _sheet([names, *rows], found)
    ambiguous = decimal == separator
    quoted = bool(random.integers(4) == 0) or (ambiguous and bool(random.integers(2)))
    if ambiguous and not quoted:
        found.times = None
    lines = [separator.join(f'"{cell}"' if quoted else cell for cell in row) for row in [names, *rows]]
    header, lines = lines[0], lines[1:]
    kind = random.choice(["plain", "comments", "metadata", "units", "hash", "none", "twice", "trailing"],
                         p=[0.45, 0.12, 0.1, 0.1, 0.05, 0.06, 0.06, 0.06])  # fmt: skip
    above = {"comments": ["# exported by a program", "# of 2024"], "hash": []}.get(str(kind), [])
    if kind == "metadata":
        above = ["-------- Data File --------", "Serial Number: NEO1", "Battery 4.2", ""]
    head = [header]
    if kind == "units":
        head = [header, separator.join("" if name == "label" else "g" for name in names)]
        if names and names[0] not in found.channels:  # the clock's own unit is in its name
            head[1] = separator.join(["", *["g"] * (len(names) - 1)])
        if separator == " ":
            head = [header]
    elif kind == "hash":
        head = ["# " + header]
    elif kind == "none":
        head, found.times = [], None
    elif kind == "twice":
        same = [names[0], *names[1:-1], names[0]] if names[-1] != "label" else [names[1], *names[1:]]
        head, found.times = [separator.join(f'"{name}"' if quoted else name for name in same)], None
    elif kind == "trailing" and separator != " ":
        head, lines = [header + separator], [line + separator for line in lines]
    if separator == " " and any(cell == "" for row in rows for cell in row):
        found.unsure = True  # blanks at a line's end may be lost
    newline = str(random.choice(["\n", "\r\n"]))
    text = newline.join([*above, *head, *lines]) + newline
    encoding = str(
        random.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"], p=[0.6, 0.1, 0.1, 0.05, 0.15])
    )
    content = text.encode(encoding)
    found.content, found.name = content, str(random.choice(["imu.csv", "imu.txt", "imu.tsv"]))
    if random.integers(8) == 0:
        found.content, found.name = gzip.compress(content), "imu.csv.gz"
    return found


def _sheet(rows: list[list[str]], found: Example) -> Example:
    """The smallest workbook that holds the rows, all as text: programs write numbers as such, labs often do not."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(cell)}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    main, rel = "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://schemas.openxmlformats.org"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{rel}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{rel}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{rel}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rel}/officeDocument/2006/relationships"><sheets>'
        '<sheet name="one" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{rel}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{rel}/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    found.content, found.name = stream.getvalue(), "imu.xlsx"
    return found


def outcome(seed: int, folder: Path) -> str:
    """`read` or `refused`; AssertionError where what was read is not what was written, or was not to be read."""
    made = example(seed)
    path = folder / made.name
    path.write_bytes(made.content)
    try:
        imu = read_imu(path, made.how)
    except RecordingError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert "\n" not in message, message
        return "refused" if made.times is None or made.unsure else "refused, though it can be read"
    assert made.times is not None, "read, though it cannot be"
    assert imu.channels == made.channels, (imu.channels, made.channels)
    np.testing.assert_allclose(imu.values, made.values, atol=1e-9)
    np.testing.assert_allclose(imu.times - imu.times[0], made.times - made.times[0], atol=made.resolution)
    assert (imu.labels is None) == (made.labels is None)
    if imu.labels is not None and made.labels is not None:
        assert imu.labels.tolist() == [label or "null" for label in made.labels]
    return "read"


def main(examples: int) -> None:
    found: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for seed in range(examples):
            try:
                found[outcome(seed, Path(folder))] += 1
            except Exception as error:
                made = example(seed)
                print(
                    f"example {seed} ({made.name}): {type(error).__name__}: {str(error)[:300]}\n{made.content[:99]!r}"
                )
                found["WRONG"] += 1
    print(dict(found))
    sys.exit(bool(found["WRONG"]))


if __name__ == "__main__":
    csv.field_size_limit(sys.maxsize)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
