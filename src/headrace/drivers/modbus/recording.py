"""A recorded table of measurements as data: reading it from CSV, and where each column lies in registers.
Pure but for reading the file."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.drivers.modbus.values import Type, Words, encode
from headrace.kernel.clock import NS_PER_S, parse_time
from headrace.kernel.errors import InputError, NotFound
from headrace.kernel.messages import os_reason

ROW_AT: Final = 0  # u64 row counter, from 1
TIME_AT: Final = 4  # i64 time of the row as recorded, UTC ns
VALUES_AT: Final = 8  # f64 values, four registers each, in the order of the columns
MAX_COLUMNS: Final = 4096


class Column(msgspec.Struct, frozen=True):
    """A column of numbers: `title` as the file has it, `segment` as a tag's name has it."""

    title: str
    segment: str


class Recording(msgspec.Struct, frozen=True):
    """`times`: UTC ns, shape (rows,), of the time column, or one row per second where there is none.
    `values`: float64, shape (rows, columns); NaN for an empty cell."""

    name: str  # of the machine it becomes
    file: str
    columns: tuple[Column, ...]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    timed: bool  # the times are the file's own

    @property
    def rows(self) -> int:
        return len(self.times)

    @property
    def period_ns(self) -> int:
        """The usual time from one row to the next: the median of the differences above zero."""
        steps = np.diff(self.times)
        steps = steps[steps > 0]
        return int(np.median(steps)) if len(steps) else NS_PER_S

    @property
    def registers(self) -> int:
        """Registers that a row takes, counter and time included."""
        return VALUES_AT + 4 * len(self.columns)

    def tag(self, segment: str) -> str:
        return f"{self.name}/{segment}"


def row_registers(recording: Recording, row: int) -> Words:
    """The registers of row `row` (from 0), shape (recording.registers,). The counter is row + 1."""
    return np.concatenate(
        [
            encode(np.array([row + 1], np.uint64), Type.U64).ravel(),
            encode(recording.times[row : row + 1], Type.I64).ravel(),
            encode(recording.values[row], Type.F64).ravel(),
        ]
    )


# --- reading ----------------------------------------------------------------------------------------------

_TIME_NAMES: Final = frozenset(
    (
        "time",
        "timestamp",
        "datetime",
        "date",
        "date_time",
        "ts",
        "时间",
        "日期",
        "时间戳",
        "采集时间",
        "采样时间",
        "记录时间",
        "日期时间",
    )
)
_MISSING: Final = frozenset(("", "nan", "na", "n/a", "null", "none", "-", "--", "?"))
_DATE: Final = re.compile(
    r"^(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})([.,]\d{1,9})?)?)?(.*)$"
)


def load(path: Path, time_column: str | None = None) -> Recording:
    """Read a recording. The delimiter (; , tab), the encoding (UTF-8, GB 18030), the time column and the
    columns of numbers are found out; a column with any cell that is neither empty nor a number is left out.

    `time_column`: title of the time column where guessing fails. Raises NotFound where there is no such file
    or column, InputError where the file is no table of numbers.
    """
    titles, rows = _table(path)
    at = _time_at(titles, rows, time_column, path)
    times = _times([row[at] for row in rows], path) if at is not None else None
    columns: list[tuple[str, npt.NDArray[np.float64]]] = []
    for i, title in enumerate(titles):
        if i != at and (numbers := _numbers([row[i] for row in rows])) is not None:
            columns.append((title, numbers))
    if not columns:
        raise InputError("replay.no_numbers", file=str(path))
    if len(columns) > MAX_COLUMNS:
        raise InputError("replay.too_many_columns", file=str(path), count=len(columns), most=MAX_COLUMNS)
    segments = _segments([title for title, _ in columns])
    return Recording(
        name=_machine(path),
        file=path.name,
        columns=tuple(Column(t, s) for (t, _), s in zip(columns, segments, strict=True)),
        times=times if times is not None else np.arange(len(rows), dtype=np.int64) * NS_PER_S,
        values=np.column_stack([numbers for _, numbers in columns]),
        timed=times is not None,
    )


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("replay.no_file", file=str(path)) from None
    except OSError as error:
        raise InputError("replay.unreadable", file=str(path), reason=os_reason(error)) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("gb18030")
        except UnicodeDecodeError:
            raise InputError("replay.not_text", file=str(path)) from None
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(";,\t", key=first.count)
    rows = [[c.strip() for c in row] for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    if len(rows) < 2:
        raise InputError("replay.no_rows", file=str(path))
    titles = rows[0]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(titles):
            raise InputError(
                "replay.ragged", file=str(path), row=number, found=len(row), expected=len(titles)
            )
    return titles, rows[1:]


def _time_at(
    titles: Sequence[str], rows: Sequence[Sequence[str]], wanted: str | None, path: Path
) -> int | None:
    if wanted is not None:
        if wanted not in titles:
            raise NotFound("replay.no_column", file=str(path), column=wanted, known=", ".join(titles))
        return titles.index(wanted)
    for i, title in enumerate(titles):
        if title.lower().replace(" ", "_") in _TIME_NAMES and _moment(rows[0][i]) is not None:
            return i
    for i, cell in enumerate(rows[0]):
        if _number(cell) is None and _moment(cell) is not None:
            return i
    return None


def _times(cells: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    out = np.empty(len(cells), np.int64)
    for i, cell in enumerate(cells):
        moment = _moment(cell)
        if moment is None:
            raise InputError("replay.bad_time", file=str(path), row=i + 2, value=cell)
        out[i] = moment
    return out


def _moment(cell: str) -> int | None:
    """UTC ns of a time in a cell: ISO 8601, 2020/3/9 10:14:33 or 2020年3月9日 10:14 (without a zone taken as
    UTC), or a number of seconds or milliseconds since 1970. None where it is none of them."""
    number = _number(cell)
    if number is not None:
        if not 1e8 <= number < 1e14 or math.isnan(number):
            return None
        return round(number * NS_PER_S) if number < 1e11 else round(number * 1_000_000)
    match = _DATE.match(cell)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    fraction = (fraction or "").replace(",", ".")
    clock_ = f"{int(hour or 0):02}:{minute or '00'}:{second or '00'}"
    try:
        return parse_time(f"{year}-{int(month):02}-{int(day):02}T{clock_}{fraction}{zone.strip()}")
    except ValueError:
        return None


def _number(cell: str) -> float | None:
    if cell.lower() in _MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _numbers(cells: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """None where a cell is no number, or all are empty."""
    out = np.empty(len(cells))
    for i, cell in enumerate(cells):
        number = _number(cell)
        if number is None:
            return None
        out[i] = number
    return None if np.isnan(out).all() else out


# --- names ------------------------------------------------------------------------------------------------

# Measured quantities in Chinese headers, longest first where one holds another.
_WORDS: Final = {
    "加速度": "acceleration", "温度": "temperature", "湿度": "humidity", "压力": "pressure",
    "压强": "pressure", "流量": "flow", "液位": "level", "转速": "speed",
    "速度": "velocity", "电流": "current", "电压": "voltage", "功率": "power",
    "频率": "frequency", "振动": "vibration", "位移": "displacement", "扭矩": "torque",
    "转矩": "torque", "重量": "weight", "质量": "mass", "厚度": "thickness",
    "浓度": "concentration", "电能": "energy", "能耗": "energy", "产量": "output",
    "状态": "state", "标签": "label", "异常": "anomaly", "时间": "time",
    "平均": "mean", "最大": "max", "最小": "min", "设定": "set",
    "入口": "inlet", "出口": "outlet", "进口": "inlet", "电机": "motor",
    "轴承": "bearing", "泵": "pump", "阀门": "valve", "阀": "valve",
    "炉": "oven", "水": "water", "油": "oil", "气": "gas",
}  # fmt: skip


def slug(text: str) -> str:
    """A tag name's segment of a header: lower case, hyphens; common Chinese terms are put into English.
    "" where nothing is left."""
    for chinese, english in _WORDS.items():
        text = text.replace(chinese, f" {english} ")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain.lower()).strip("-_")


def _segments(titles: Sequence[str]) -> list[str]:
    """One segment per title, all different; "row" and "row-time" are taken by the counter and its time."""
    taken = {"row", "row-time"}
    out = []
    for number, title in enumerate(titles, 1):
        base = slug(title) or f"column-{number}"
        segment, again = base, 2
        while segment in taken:
            segment, again = f"{base}-{again}", again + 1
        taken.add(segment)
        out.append(segment)
    return out


def _machine(path: Path) -> str:
    """The machine's name: of the file, and of its folder where the file's is only a number."""
    stem = slug(path.stem).replace("_", "-")
    if not stem or stem.isdigit():
        stem = f"{slug(path.resolve().parent.name).replace('_', '-')}-{stem}".strip("-")
    return re.sub(r"-+", "-", stem)[:63].strip("-") or "recording"
