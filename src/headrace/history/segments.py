"""Segments: Parquet files sorted by (tag, time, arrival), so that any engine can read them.

Columns are those of a Batch. Beside Parquet's own metadata the footer carries, under `headrace`, a
SegmentMeta (MessagePack, base64) with the format version, what the name says, the header sequences of the
messages in it, and the index: the tags and the row at which each begins. With the index one tag's points
cost the row groups they lie in and no look at the tag column.

Encodings are chosen by trying them on a sample (see `_choose`). Floats are never dictionary-encoded: Parquet
writers take all NaNs for one value there, and ours must come back bit by bit.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.history.files import NewFile
from headrace.kernel.errors import Corrupt
from headrace.kernel.model import Kind

SEGMENT_FORMAT = 1
_KEY = "headrace"
_SAMPLE = 65_536
_PAGE = 1 << 20
_LEVEL = 3  # of zstd, for files that stay

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


class SegmentMeta(msgspec.Struct, frozen=True):
    """What the footer says. `seen`: per node/source the header sequences, as closed intervals. `index`: the
    zstd-compressed steps of the tag ids (u32 each), then of the rows at which they begin (u64 each)."""

    format: int
    kind: Kind
    stream: str
    first: int
    last: int
    level: int
    every: int
    points: int
    seen: dict[str, list[tuple[int, int]]]
    tags: int
    index: bytes


class SegmentIndex(msgspec.Struct, frozen=True):
    """The tags of a file, ascending, and the rows of each: tag i has rows starts[i] to starts[i + 1]."""

    tags: Int32s
    starts: Int64s

    def rows(self, tag: int) -> tuple[int, int]:
        """(0, 0) where the tag is not in the file."""
        at = int(np.searchsorted(self.tags, tag))
        if at == len(self.tags) or self.tags[at] != tag:
            return 0, 0
        return int(self.starts[at]), int(self.starts[at + 1])


# --- order -------------------------------------------------------------------------------------------------


def order_of(tags: Int32s, *times: Int64s) -> npt.NDArray[np.intp] | None:
    """The stable order by (tag, times…), None where the rows stand in it already.

    Arrival order is nearly time order, so a sort by tag alone mostly does; tags within 65,536 of each other
    take numpy's radix sort, which costs a few ns a row.
    """
    if len(tags) < 2:
        return None
    if _sorted(tags, times):
        return None
    low = int(tags.min())
    narrow = tags - low
    key = narrow.astype(np.uint16) if int(tags.max()) - low < 65_536 else narrow
    order = np.argsort(key, kind="stable")
    if _sorted(tags[order], [t[order] for t in times]):
        return order
    keys: tuple[Any, ...] = (*reversed(times), tags)
    return np.lexsort(keys)


def _sorted(tags: Int32s, times: Sequence[Int64s]) -> bool:
    rising = tags[1:] > tags[:-1]
    level = tags[1:] == tags[:-1]
    for time in times:
        rising |= level & (time[1:] > time[:-1])
        level &= time[1:] == time[:-1]
    return bool((rising | level).all())


def sort_table(table: pa.Table) -> pa.Table:
    """Rows of a Batch's columns by (tag, time, arrival); arrival is the order they stand in."""
    order = order_of(column(table, "tag"), column(table, "time"))
    return table if order is None else take(table, order)


def take(table: pa.Table, rows: npt.NDArray[np.intp]) -> pa.Table:
    """The rows at these positions, bits unchanged, each column in one chunk."""
    at = pa.array(rows)
    columns = [pc.take(_whole(c), at) for c in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column without nulls as numpy; times as int64 UTC ns."""
    array = _whole(table.column(name))
    if pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _whole(array: pa.ChunkedArray) -> pa.Array:
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


# --- writing -----------------------------------------------------------------------------------------------


class SegmentWriter:
    """Writes one file from sorted tables, given in order. `finish` makes it durable; the folder is the
    caller's to sync. On any failure call `discard`."""

    def __init__(self, path: Path, schema: pa.Schema, *, level: int) -> None:
        self._schema = schema
        self._level = level
        self._file = NewFile(path)
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._tags: list[Int32s] = []
        self._starts: list[Int64s] = []
        self.min_time = np.iinfo(np.int64).max
        self.max_time = np.iinfo(np.int64).min

    def write(self, table: pa.Table) -> None:
        """Append rows that follow those written before."""
        if not table.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._file, mode="w"),
                self._schema,
                data_page_size=_PAGE,
                write_statistics=["tag", "time"],
                store_schema=True,
                **_choose(table, final=self._level > 0),
            )
        tags, times = column(table, "tag"), column(table, "time")
        starts = np.flatnonzero(np.concatenate(([True], tags[1:] != tags[:-1])))
        firsts = tags[starts]
        if self._tags and self._tags[-1][-1] == firsts[0]:
            starts, firsts = starts[1:], firsts[1:]
        if len(firsts):
            self._tags.append(firsts)
            self._starts.append(starts + self._rows)
        self.min_time = min(self.min_time, int(times.min()))
        self.max_time = max(self.max_time, int(times.max()))
        # Fresh segments are read whole and soon merged; small groups let a query of the last hour skip more.
        self._writer.write_table(table, row_group_size=65_536 if self._level else 16_384)
        self._rows += table.num_rows

    def finish(self, meta: SegmentMeta) -> tuple[int, int, int]:
        """Write the footer, make the file durable: (rows, bytes, CRC-32)."""
        assert self._writer is not None, "a segment has at least one row"
        tags = np.concatenate(self._tags)
        starts = np.concatenate(self._starts)
        meta = msgspec.structs.replace(meta, tags=len(tags), index=_pack_index(tags, starts))
        said = base64.b64encode(msgspec.msgpack.encode(meta)).decode()
        self._writer.add_key_value_metadata({_KEY: said})
        self._writer.close()
        self._file.publish()
        return self._rows, self._file.size, self._file.crc

    def discard(self) -> None:
        """Remove the unfinished file. Idempotent."""
        if self._writer is not None and not self._file.closed:
            try:
                self._writer.close()
            except (OSError, pa.ArrowException):
                self._writer.is_open = False  # its sink is full: the file goes anyway
        self._file.discard()


def _choose(table: pa.Table, *, final: bool) -> dict[str, Any]:
    """Compression and encodings for a file that begins with `table`, by size on a sample.

    Tag and quality are long runs: dictionary. Times repeat from tag to tag of one device, where dictionary
    indexes mostly compress best; values compare plain with byte-stream-split (integers with dictionary and
    delta, too); booleans and texts take Parquet's defaults. Fresh segments take the likely winner untried:
    they are merged soon, and trying costs more than it saves.
    """
    dictionary = ["tag", "quality"]
    encoding: dict[str, str] = {}
    start = max(0, (table.num_rows - _SAMPLE) // 2)
    sample = table.slice(start, _SAMPLE) if final and table.num_rows > 1_000 else None
    for field in table.schema:
        if field.name in ("tag", "quality") or pa.types.is_boolean(field.type):
            continue
        options: list[str | None] = [None, "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"]
        if pa.types.is_string(field.type):
            options = [None]
        elif pa.types.is_floating(field.type):
            options = ["BYTE_STREAM_SPLIT", "PLAIN"]
        best = options[0]
        if sample is not None and len(options) > 1:
            sizes = [_size(sample, field.name, option) for option in options]
            best = options[sizes.index(min(sizes))]
        if best is None:
            dictionary.append(field.name)
        else:
            encoding[field.name] = best
    return {
        "compression": "zstd",
        "compression_level": _LEVEL if final else 1,
        "use_dictionary": dictionary,
        "column_encoding": encoding or None,
    }


def _size(sample: pa.Table, name: str, encoding: str | None) -> int:
    sink = io.BytesIO()
    pq.write_table(
        sample.select([name]),
        sink,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=[name] if encoding is None else False,
        column_encoding=None if encoding is None else {name: encoding},
        write_statistics=False,
        store_schema=False,
    )
    return sink.tell()


def _pack_index(tags: Int32s, starts: Int64s) -> bytes:
    steps = np.diff(tags, prepend=0).astype("<u4").tobytes()
    return bytes(
        pa.compress(steps + np.diff(starts, prepend=0).astype("<u8").tobytes(), "zstd", asbytes=True)
    )


# --- reading -----------------------------------------------------------------------------------------------


class SegmentFile:
    """One file, opened for reading: footer and index parsed once, rows read on demand. Threads may share it:
    each read opens the file anew with the footer at hand."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError where it has been merged away, Corrupt (`history.bad_segment`)."""
        self.path = path
        try:
            with pa.memory_map(str(path)) as source:
                self._footer = pq.read_metadata(source)
            said = (self._footer.metadata or {})[_KEY.encode()]
            self.meta = msgspec.msgpack.decode(base64.b64decode(said), type=SegmentMeta)
            if self.meta.format > SEGMENT_FORMAT:
                raise Corrupt(
                    "history.newer_format", path=str(path), format=self.meta.format, known=SEGMENT_FORMAT
                )
            self.rows = int(self._footer.num_rows)
            self.index = _unpack_index(self.meta, self.rows)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, KeyError, ValueError, msgspec.DecodeError) as error:
            raise bad_segment(path, error) from error
        counts = [self._footer.row_group(i).num_rows for i in range(self._footer.num_row_groups)]
        self._ends = np.cumsum(np.asarray(counts, np.int64))

    @property
    def groups(self) -> int:
        """Row groups in the file."""
        return len(self._ends)

    @property
    def encodings(self) -> dict[str, str]:
        """How each column is stored, as Parquet names it."""
        group = self._footer.row_group(0)
        return {
            group.column(i).path_in_schema: "/".join(sorted(group.column(i).encodings))
            for i in range(group.num_columns)
        }

    def group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group."""
        return self._read([number], columns)

    def tag(self, tag: int, columns: Sequence[str] | None = None) -> pa.Table | None:
        """All rows of one tag, None where it has none."""
        start, stop = self.index.rows(tag)
        return None if start == stop else self.slice(start, stop, columns)

    def tags(self, tags: Int32s, columns: Sequence[str] | None = None) -> pa.Table | None:
        """All rows of several tags (ascending), each row group read once; None where there are none."""
        at = np.searchsorted(self.index.tags, tags)
        at = at[self.index.tags[np.minimum(at, len(self.index.tags) - 1)] == tags]
        if not len(at):
            return None
        starts, stops = self.index.starts[at], self.index.starts[at + 1]
        first = np.searchsorted(self._ends, starts, side="right")
        last = np.searchsorted(self._ends, stops - 1, side="right")
        groups = np.unique(np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]))
        table = self._read(groups.tolist(), columns)
        begins = np.concatenate(([0], self._ends[:-1]))[groups]
        sizes = self._ends[groups] - begins
        offset = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        at_group = np.searchsorted(groups, first)
        shift = offset[at_group] - begins[at_group]
        pieces = [
            table.slice(int(start + move), int(stop - start))
            for start, stop, move in zip(starts, stops, shift, strict=True)
        ]
        return pa.concat_tables(pieces).combine_chunks()

    def slice(self, start: int, stop: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows start to stop."""
        first = int(np.searchsorted(self._ends, start, side="right"))
        last = int(np.searchsorted(self._ends, stop - 1, side="right"))
        begin = int(self._ends[first - 1]) if first else 0
        return self._read(list(range(first, last + 1)), columns).slice(start - begin, stop - start)

    def _read(self, groups: Iterable[int], columns: Sequence[str] | None) -> pa.Table:
        try:
            with pa.memory_map(str(self.path)) as source:
                file = pq.ParquetFile(source, metadata=self._footer)
                return file.read_row_groups(list(groups), columns=columns, use_threads=False)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError) as error:
            raise bad_segment(self.path, error) from error


def bad_segment(path: Path, error: BaseException | str) -> Corrupt:
    reason = str(error).strip() or type(error).__name__
    return Corrupt("history.bad_segment", path=str(path), reason=reason.splitlines()[0])


def _unpack_index(meta: SegmentMeta, rows: int) -> SegmentIndex:
    raw = pa.decompress(meta.index, decompressed_size=12 * meta.tags, codec="zstd", asbytes=True)
    steps = np.frombuffer(raw, "<u4", meta.tags)
    starts = np.frombuffer(raw, "<u8", meta.tags, offset=4 * meta.tags)
    return SegmentIndex(
        tags=np.cumsum(steps.astype(np.int64)).astype(np.int32),
        starts=np.concatenate((np.cumsum(starts.astype(np.int64)), [rows])),
    )
