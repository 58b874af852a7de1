"""Tables of samples as labs and programs write them → one Arrow table with one header.

CSV by whatever name, separator, decimal mark and encoding, plain or gzipped, with lines of comments or metadata above
the header and a row of units below it; XLSX; Parquet. What can be read in one way only is read so; of the rest a
RecordingError names the file, what is unclear, and the remedy.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ml_backend.errors import RecordingError
from ml_backend.files import check_present
from ml_backend.storage import local_copy, reading

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".tsv.gz", ".txt.gz")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx")
SEPARATORS = (",", ";", "\t", "|", " ")
HEAD_BYTES = 1 << 17
"""So much of a file is looked at to find out how it is written."""
ROWS_AT_FIRST = 4096
DIGITS_OF_FLOAT = 15
NULLS = [
    *("", "NaN", "nan", "NAN", "Nan", "-NaN", "-nan", "+nan", "NaT", "1.#QNAN", "1.#IND", "#N/A", "#NV"),
    *("NA", "N/A", "n/a", "<NA>", "NULL", "null", "None", "none", "-"),
]
COMMENT = re.compile(r"\s*(#|//|%|!)+\s*")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
TIME_OF_DAY = r"\d{1,2}:\d{2}(:\d{2}([.,:]\d+)?)?(\s*[ap]\.?m\.?)?\s*(z|utc|[+-]\d{2}:?\d{2})?"
STAMP = re.compile(rf"\d{{1,4}}[-./]\d{{1,2}}[-./]\d{{1,4}}([t ,]\s*{TIME_OF_DAY})?|{TIME_OF_DAY}", re.IGNORECASE)
UNIT = re.compile(
    r"[(\[]?[a-zA-Zµμ°%#]{1,12}([/*^·.\s⁻²³\d()\-]+[a-zA-Z²³\d()^\-]*)*[)\]]?|[(\[]?[°%][)\]]?|no_units"
    r"|[yYmMdDhHsS0/:.\s\-]{10,}"
)
"""What stands in a row of units below the header; of a stamp how it is written."""
KINDS = {"CAL", "RAW", "UNCAL"}
NO_UNITS = {"time", "timestamp", "timestamps", "datetime"}


@dataclass(frozen=True)
class Dialect:
    """How a text file is written: names of its columns, and units where a row gives them; first_row: number of the
    first line of samples, from 0; types: of the columns whose first samples tell; above: the lines before those."""

    encoding: str
    separator: str
    decimal: str
    names: tuple[str, ...]
    units: dict[str, str]
    first_row: int
    types: dict[str, pa.DataType]
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampleTable:
    """samples: a column a quantity, names unique; units: those that a row of units gives; above: lines of metadata
    above the header; aside: what else the file holds that is no sample of motion."""

    samples: pa.Table
    units: dict[str, str] = field(default_factory=dict)
    above: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


def suffix_of(path: Path) -> str:
    """The file's ending in small letters, `.csv.gz` as one."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    return "".join(endings) if endings[-1:] == [".gz"] else "".join(endings[-1:])


def read_table(path: Path, label_column: str | None = None, content: bytes | None = None) -> SampleTable:
    """All samples of a file, or of the text that `content` is in its place; labels stay text even where they look
    like numbers."""
    if content is None:
        check_present(path)
    kind = suffix_of(path)
    try:
        if kind == ".parquet":
            with local_copy(path) as local:
                table = pa.parquet.read_table(local)
            _refuse_names_twice(path, table.column_names)
            return SampleTable(table)
        if kind == ".xlsx":
            return _from_text(path, _sheet(path), label_column)
        return _from_text(path, content, label_column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OSError, EOFError) as error:
        form = {".parquet": "Parquet", ".xlsx": "XLSX"}.get(kind, "CSV")
        raise RecordingError(f"{path}: cannot be read as {form} ({_own_words(error)}); write it again") from None


def _own_words(error: Exception) -> str:
    """The reason without the library's innards."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    text = re.sub(r"^(CSV parse error|Invalid|IOError):\s*", "", text)
    return "the file is damaged or cut off" if "arquet" in text or "zip" in text.lower() else text


def _refuse_names_twice(path: Path, names: Sequence[str]) -> None:
    names = [name.strip() for name in names]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecordingError(f"{path}: has the column '{twice[0]}' twice; rename one of them in the header")


def _from_text(path: Path, content: bytes | None, label_column: str | None) -> SampleTable:
    """A text file's table, or that of `content` in its place."""
    dialect = _dialect(path, content)
    _refuse_names_twice(path, dialect.names)
    types = {name: pa.string() for name in dialect.names if name == label_column or name.strip().lower() == "label"}
    try:
        table = _columns(path, content, dialect, {**dialect.types, **types})
    except pa.ArrowInvalid:  # a cell further down is of another kind: its column becomes text, and is named as such
        table = _columns(path, content, dialect, types)
    # A separator at the end of each line makes a column without name and content.
    empty = [name for name in table.column_names if not name.strip() and table[name].null_count == table.num_rows]
    return SampleTable(table.drop_columns(empty), dialect.units, dialect.above)


def _columns(path: Path, content: bytes | None, dialect: Dialect, types: dict[str, pa.DataType]) -> pa.Table:
    """The samples, with columns of the given types; a file of which all are known is in memory once."""
    broken: list[tuple[int | None, int, int]] = []

    def remember(row: Any) -> str:
        broken.append((row.number, row.actual_columns, row.expected_columns))
        return "error"

    # One thread, so that a bad row has a number.
    reading = pa.csv.ReadOptions(
        skip_rows=dialect.first_row,
        column_names=list(dialect.names),
        encoding=dialect.encoding,
        use_threads=False,
    )
    parsing = pa.csv.ParseOptions(
        delimiter=dialect.separator,
        invalid_row_handler=remember,
        ignore_empty_lines=len(dialect.names) > 1,  # of a single column they are missing values
    )
    converting = pa.csv.ConvertOptions(
        column_types=types,
        strings_can_be_null=True,
        null_values=NULLS,
        decimal_point=dialect.decimal,
        timestamp_parsers=[],
    )
    with _opened(path, content) as stream:
        try:
            if len(types) == len(dialect.names):
                return _gathered(pa.csv.open_csv(stream, reading, parsing, converting))
            return pa.csv.read_csv(stream, reading, parsing, converting)
        except pa.ArrowInvalid:
            if not broken:
                raise
    number, has, wants = broken[0]
    line = f"line {number}" if number else "a line"
    raise RecordingError(
        f"{path}: {line} has {has} cells, the header {wants} columns ({', '.join(dialect.names[:4])}, …); "
        "correct it, or copy the file again"
    )


def _gathered(batches: pa.RecordBatchReader) -> pa.Table:
    """All rows; numbers go into one array a column as they come, which gives its memory back when it is dropped."""
    floats = {one.name: np.empty(ROWS_AT_FIRST) for one in batches.schema if pa.types.is_floating(one.type)}
    others: dict[str, list[pa.Array]] = {name: [] for name in batches.schema.names if name not in floats}
    count = 0
    for batch in batches:
        for name, array in floats.items():
            if count + batch.num_rows > len(array):
                array.resize(2 * (count + batch.num_rows), refcheck=False)
            array[count : count + batch.num_rows] = batch[name].to_numpy(zero_copy_only=False)
        for name, parts in others.items():
            parts.append(batch[name])
        count += batch.num_rows
    columns: dict[str, Any] = {}
    for name in batches.schema.names:
        if name in floats:
            array = floats.pop(name)
            array.resize(count, refcheck=False)
            columns[name] = pa.array(array, from_pandas=True)  # not copied; NaN is an empty cell
        else:
            columns[name] = pa.chunked_array(others[name], batches.schema.field(name).type)
    return pa.table(columns)


@contextmanager
def _opened(path: Path, content: bytes | None) -> Iterator[BinaryIO]:
    if content is not None:
        yield io.BytesIO(content)
    elif path.suffix.lower() == ".gz":
        with reading(path), path.open("rb") as packed, gzip.open(packed, "rb") as stream:
            yield stream  # type: ignore[misc]
    else:
        with reading(path), path.open("rb") as stream:
            yield stream


def _sheet(path: Path) -> bytes:
    """The only sheet of a workbook that holds rows, as CSV."""
    import python_calamine

    try:
        with local_copy(path) as local:
            book = python_calamine.CalamineWorkbook.from_path(str(local))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read as XLSX ({_own_words(error)}); save it again") from None
    filled = [name for name, rows in sheets.items() if len(rows) > 1]
    if len(filled) != 1:
        found = f"sheets {', '.join(filled)} hold rows" if filled else "no sheet holds samples"
        raise RecordingError(f"{path}: {found}; save the samples as the only sheet, or as CSV")
    # A stamp at midnight comes as a date.
    rows = [[f"{cell} 00:00:00" if type(cell) is date else cell for cell in row] for row in sheets[filled[0]]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _dialect(path: Path, content: bytes | None) -> Dialect:
    encoding = _encoding(path, content)
    with _opened(path, content) as stream:
        head = stream.read(HEAD_BYTES)
    whole = len(head) < HEAD_BYTES
    lines = re.split(r"\r\n|\r|\n", head.decode(encoding, errors="replace").lstrip("\ufeff"))
    lines = lines if whole or len(lines) < 2 else lines[:-1]  # the last one may be cut
    if not any(line.strip() for line in lines):
        raise RecordingError(f"{path}: holds no text; copy it again or remove it")
    separator = _separator(path, lines)
    rows = [_cells(line, separator) for line in lines]
    wide, numeric = _shape(rows)
    first = next((number for number, row in enumerate(rows) if _is_of_samples(row, wide, numeric)), None)
    while first and len(rows[first - 1]) == wide > 1 and all(cell in NULLS for cell in rows[first - 1]):
        first -= 1  # samples of which all values are missing
    if first is None or not numeric:
        raise RecordingError(
            f"{path}: holds no rows of numbers below a header; is it a table of samples? Write one as CSV, with "
            "the names of the columns in its first line"
        )
    header, units = _header(path, lines, rows, first, wide, separator)
    samples = [row for row in islice(rows, first, None) if len(row) == wide]
    return Dialect(
        encoding=encoding,
        separator=separator,
        decimal=_decimal(path, samples),
        names=header,
        units=units,
        first_row=first,
        types={
            name: kind
            for number, name in enumerate(header)
            if (kind := _type([row[number] for row in samples if row[number] not in NULLS])) is not None
        },
        above=tuple(line.strip() for line in lines[:first] if line.strip()),
    )


def _encoding(path: Path, content: bytes | None) -> str:
    """UTF-8 where the whole file is; UTF-16 by its mark or its zeros; else Windows' western one."""
    with _opened(path, content) as stream:
        start = stream.read(4096)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if (zeros := start.count(b"\0")) > len(start) // 4:
            return "utf-16-le" if start[1::2].count(b"\0") > zeros // 2 else "utf-16-be"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(start)
            while chunk := stream.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _separator(path: Path, lines: list[str]) -> str:
    """The one by which most of the lines are rows of samples, of most numbers; RecordingError where there is none."""
    if said := re.fullmatch(r"sep=(.)", lines[0].strip(), re.IGNORECASE):
        return said[1]
    found = []
    for separator in SEPARATORS:
        rows = [_cells(line, separator) for line in lines]
        wide, numeric = _shape(rows)
        if numeric and (wide > 1 or separator == ","):  # a single column has no separator
            fitting = [row for row in rows if _is_of_samples(row, wide, numeric)]
            mixed = any(other in cell for row in fitting for cell in row for other in ";\t" if other != separator)
            found.append((0 if mixed else len(fitting), len(numeric), separator))
    best = max(found, key=lambda one: one[:2], default=(0, 0, ","))
    if best[0] > 0:
        return best[2]
    raise RecordingError(
        f"{path}: its columns cannot be told apart; write it as CSV with one separator (comma, semicolon or tab), "
        "and a decimal mark that is another"
    )


def _cells(line: str, separator: str) -> list[str]:
    """What stands between separators, without quotes and blanks."""
    if '"' in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    return [cell.strip() for cell in line.split(separator)] if line.strip() else []


def _shape(rows: list[list[str]]) -> tuple[int, list[int]]:
    """How many cells most rows have, and which columns hold numbers or times; by the later half, which no header
    reaches."""
    later = [row for row in rows[len(rows) // 2 :] if row]
    widths = [len(row) for row in later]
    wide = max(set(widths), key=widths.count) if widths else 0
    own = [row for row in later if len(row) == wide]
    numeric = []
    for column in range(wide):
        filled = [row[column] for row in own if row[column] not in NULLS]
        if filled and sum(map(_is_number_or_time, filled)) > len(filled) / 2:
            numeric.append(column)
    return wide, numeric


def _is_number(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell) or DECIMAL_COMMA.fullmatch(cell))


def _type(cells: list[str]) -> pa.DataType | None:
    """The type of a column by its first cells, None where they are empty."""
    if not cells:
        return None
    if not all(map(_is_number, cells)):
        return pa.string()
    # What a float does not hold exactly: nanoseconds since 1970.
    whole = all(cell.lstrip("+-").isdigit() for cell in cells) and max(map(len, cells)) > DIGITS_OF_FLOAT
    return pa.int64() if whole else pa.float64()


def _is_number_or_time(cell: str) -> bool:
    return _is_number(cell) or bool(STAMP.fullmatch(cell))


def _is_of_samples(row: list[str], wide: int, numeric: list[int]) -> bool:
    """True if a row has numbers or times where they belong."""
    if len(row) != wide:
        return False
    filled = [row[column] for column in numeric if row[column] not in NULLS]
    return bool(filled) and all(map(_is_number_or_time, filled))


def _header(
    path: Path, lines: list[str], rows: list[list[str]], first: int, wide: int, separator: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the columns, and units of those that have one, from the lines above the first row of samples."""
    above = [number for number in range(first) if lines[number].strip()]
    if not above:
        shown = ", ".join(rows[first][:3])
        raise RecordingError(
            f"{path}: its first line holds numbers ({shown}, …), no names; write a header with the names of the "
            "columns above it"
        )
    names, units = _names_and_units([_header_cells(lines[number], separator) for number in above[-4:]], wide)
    if len(names) == wide - 1 and all(row[-1] == "" for row in rows[first:] if len(row) == wide):
        names.append("")  # a separator at the end of the rows alone
    if len(names) == wide + 1 and names[-1] == "":
        names.pop()  # or at the end of the header alone
    if len(names) != wide or (separator == " " and "" in names):
        raise RecordingError(
            f"{path}: its header has {len(names)} columns ({', '.join(names[:3])}, …), line {first + 1} below it "
            f"{wide} cells; {_remedy_of_widths(names, wide, separator)}"
        )
    return tuple(names), {name: _bare(unit) for name, unit in zip(names, units, strict=False) if unit}


def _bare(unit: str) -> str:
    """A unit without the brackets round it."""
    return unit[1:-1].strip() if (unit[0], unit[-1]) in (("(", ")"), ("[", "]")) else unit


def _names_and_units(above: list[list[str]], wide: int) -> tuple[list[str], list[str]]:
    """Of the rows above the samples the names, and a unit each where the last row holds units: below the names, or as
    Shimmer's programs write it below a row that says what is raw and what calibrated, and a row of devices above."""
    *higher, names = above
    are_units = all(not cell or UNIT.fullmatch(cell) for cell in names)
    if not higher or len(names) != wide or not are_units or any(cell.lower() in NO_UNITS for cell in names):
        return names, []
    kinds = higher.pop() if set(higher[-1]) - {""} <= KINDS else []
    candidates = higher[-1:]
    candidates += [_joined(higher[-1], kinds)] if higher and kinds else []
    candidates += [_joined(higher[-1], higher[-2])] if len(higher) > 1 and kinds else []
    named = wide - (names[-1] == "")  # a separator at the end of each line
    for cells in candidates:
        if len(cells) == wide and all(cells[:named]) and len(set(cells)) == wide:
            return cells, names
    return names, []


def _joined(names: list[str], others: list[str]) -> list[str]:
    """The names, of which those that stand there twice carry what stands above or below them."""
    pairs = zip_longest(names, others, fillvalue="")
    return ["_".join(filter(None, pair)) if names.count(pair[0]) > 1 else pair[0] for pair in pairs]


def _header_cells(line: str, separator: str) -> list[str]:
    return _cells(COMMENT.sub("", line, count=1) if COMMENT.match(line) else line, separator)


def _remedy_of_widths(names: list[str], wide: int, separator: str) -> str:
    if separator == " ":
        return "are its columns set with several blanks? Write one comma, semicolon or tab between them"
    if separator == "," and wide > len(names):
        return "are commas both its decimal mark and its separator? Write it with semicolons, or with points"
    return "give each column a name, and each row a cell for it"


def _decimal(path: Path, samples: list[list[str]]) -> str:
    """The decimal mark; RecordingError where numbers have both, or thousands marks."""
    cells = [cell for row in samples for cell in row]
    comma = next((cell for cell in cells if DECIMAL_COMMA.fullmatch(cell)), None)
    point = next((cell for cell in cells if NUMBER.fullmatch(cell) and "." in cell), None)
    both = next((cell for cell in cells if re.fullmatch(r"[+-]?\d{1,3}([.,]\d{3})+[.,]\d+", cell)), None)
    both = both or next(filter(None, map(_thousands, zip(*samples, strict=True))), None)
    if both is not None or (comma is not None and point is not None):
        shown = f"'{both}'" if both is not None else f"'{comma}' and '{point}'"
        raise RecordingError(
            f"{path}: holds numbers such as {shown}; write them with one decimal mark, and none between thousands"
        )
    return "," if comma is not None else "."


def _thousands(column: tuple[str, ...]) -> str | None:
    """A number of a column that may be thousands, where all others are whole and some have three digits."""
    grouped = [cell for cell in column if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", cell)]
    whole = [cell for cell in column if re.fullmatch(r"[+-]?\d+", cell)]
    alone = len(grouped) + len(whole) == sum(cell not in NULLS for cell in column)
    hundreds = any(len(cell.lstrip("+-")) == 3 for cell in whole)
    return grouped[0] if grouped and alone and hundreds else None
