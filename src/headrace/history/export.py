"""Taking data out, exact: Parquet and Arrow carry the bits, CSV and JSON texts that read back as them.

CSV and JSON write floats in the shortest form that reads back to the same double, integers in full, NaN and
infinities as NaN, Infinity and -Infinity; a missing value is an empty cell or null. Times are RFC 3339 with
nine decimals (CSV, JSON) and timestamps in ns (Parquet, Arrow).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.history.files import NewFile, sync_folder, translated
from headrace.history.query import Series
from headrace.history.reader import Reader
from headrace.kernel.clock import iso
from headrace.kernel.errors import InputError
from headrace.kernel.model import ARROW_TYPE, Tag

Format = Literal["parquet", "csv"]

_STEP = 86_400 * 1_000_000_000  # a day at a time, so that a year does not stand in memory at once


class Exported(msgspec.Struct, frozen=True):
    """What an export wrote."""

    path: str
    points: int
    bytes: int


def export(
    dir: Path | str,
    tags: Sequence[Tag],
    start: int,
    end: int,
    path: Path | str,
    *,
    format: Format | None = None,
) -> Exported:
    """Write the raw points of `tags` in [start, end) to `path`, which appears when it is complete.

    Columns: tag (name), time, value, quality; rows by tag in the order given, then time. `format` by the
    file's ending where it is None. Raises InputError (`history.bad_export_format`,
    `history.no_export_folder`, and `history.mixed_export` where the tags of a Parquet file are of several
    kinds), Unavailable, Corrupt.
    """
    path = Path(path)
    chosen = format or path.suffix.lower().lstrip(".")
    if chosen not in ("parquet", "csv"):
        raise InputError("history.bad_export_format", format=chosen)
    kinds = {tag.kind for tag in tags}
    if chosen == "parquet" and len(kinds) > 1:
        raise InputError("history.mixed_export", kinds=", ".join(sorted(kinds)))
    if not path.absolute().parent.is_dir():
        raise InputError("history.no_export_folder", path=str(path.absolute().parent))
    with Reader(dir) as reader, translated(path):
        file = NewFile(path)
        try:
            write = _parquet if chosen == "parquet" else _csv
            points = write(file, _pieces(reader, tags, start, end), tags)
            file.publish()
        finally:
            file.discard()
        sync_folder(path.absolute().parent)
    return Exported(str(path), points, file.size)


def _pieces(reader: Reader, tags: Sequence[Tag], start: int, end: int) -> Iterator[tuple[Tag, Series]]:
    stats = reader.stats()
    if stats.first_time is None or stats.last_time is None:
        return
    low, high = max(start, stats.first_time), min(end, stats.last_time + 1)
    for tag in tags:
        at = low
        while at < high:
            until = min(at + _STEP, high)
            found = reader.raw(tag.id, at, until, kind=tag.kind)
            if len(found):
                yield tag, found
            at = until


def table(name: str, points: Series) -> pa.Table:
    """A Series as an Arrow table: tag (name, dictionary), time, value, quality."""
    missing = points.missing if points.missing.any() else None
    return pa.table(
        {
            "tag": pa.DictionaryArray.from_arrays(pa.array([0] * len(points), pa.int32()), pa.array([name])),
            "time": pa.array(points.time).view(pa.timestamp("ns", tz="UTC")),
            "value": pa.array(points.value, ARROW_TYPE[points.kind], mask=missing, from_pandas=False),
            "quality": pa.array(points.quality),
        }
    )


def arrow(named: Sequence[tuple[str, Series]]) -> bytes:
    """Series of one kind as one Arrow IPC stream. Raises InputError (`history.mixed_export`)."""
    kinds = {points.kind for _, points in named}
    if len(kinds) > 1:
        raise InputError("history.mixed_export", kinds=", ".join(sorted(kinds)))
    whole = pa.concat_tables([table(name, points) for name, points in named]).unify_dictionaries()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def rows(points: Series) -> list[dict[str, Any]]:
    """A Series as JSON-ready rows: time (RFC 3339), value, quality. Integers keep all digits."""
    return [
        {"time": iso(time), "value": None if missing else _plain(value), "quality": quality}
        for time, value, quality, missing in zip(
            points.time.tolist(),
            points.value.tolist(),
            points.quality.tolist(),
            points.missing.tolist(),
            strict=True,
        )
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _parquet(file: NewFile, pieces: Iterator[tuple[Tag, Series]], tags: Sequence[Tag]) -> int:
    value = ARROW_TYPE[tags[0].kind] if tags else pa.float64()
    schema = pa.schema(
        [
            pa.field("tag", pa.dictionary(pa.int32(), pa.string())),
            pa.field("time", pa.timestamp("ns", tz="UTC")),
            pa.field("value", value),
            pa.field("quality", pa.uint16()),
        ]
    )
    points = 0
    with pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        use_dictionary=["tag", "quality", "time"],  # never float values: all NaNs would become one
    ) as writer:
        for tag, piece in pieces:
            writer.write_table(table(tag.name, piece))
            points += len(piece)
    return points


def _csv(file: NewFile, pieces: Iterator[tuple[Tag, Series]], tags: Sequence[Tag]) -> int:
    text = _Text(file)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["tag", "time", "value", "quality"])
    points = 0
    for tag, piece in pieces:
        for row in rows(piece):
            value = row["value"]
            shown = "" if value is None else str(value).lower() if isinstance(value, bool) else _text(value)
            writer.writerow([tag.name, row["time"], shown, row["quality"]])
        points += len(piece)
    return points


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


class _Text:
    """The text side of a binary sink, for csv."""

    def __init__(self, file: NewFile) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
