"""Tag, Quality and Batch: what a value is, how much it can be trusted, and how values travel.

A Batch is columnar: hundreds to thousands of points of one kind. Its wire form is one Arrow IPC stream with
lz4 buffers whose schema metadata is the Header; its Arrow schema is

    tag: int32 · time: timestamp[ns, UTC] · value: float64 | int64 | uint64 | bool | string · quality: uint16

`value` is null where there is none to give (communication lost before the first read, an illegal address);
a NaN in a float column is a value that the device really sent.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.kernel.errors import Corrupt, InputError
from headrace.kernel.messages import Text

SCHEMA_VERSION = 1


class Kind(enum.StrEnum):
    """The value types that travel; one Batch holds one kind. Nothing changes kind silently.

    F64 carries every number it can hold exactly: f32, f64, integers up to 32 bits, and scaled values.
    """

    F64 = "f64"
    I64 = "i64"
    U64 = "u64"
    BOOL = "bool"
    TEXT = "text"


ARROW_TYPE: dict[Kind, pa.DataType] = {
    Kind.F64: pa.float64(),
    Kind.I64: pa.int64(),
    Kind.U64: pa.uint64(),
    Kind.BOOL: pa.bool_(),
    Kind.TEXT: pa.string(),
}
NUMPY_TYPE: dict[Kind, Any] = {
    Kind.F64: np.float64,
    Kind.I64: np.int64,
    Kind.U64: np.uint64,
    Kind.BOOL: np.bool_,
    Kind.TEXT: object,
}
SCHEMA: dict[Kind, pa.Schema] = {
    kind: pa.schema(
        [
            pa.field("tag", pa.int32(), nullable=False),
            pa.field("time", pa.timestamp("ns", tz="UTC"), nullable=False),
            pa.field("value", type_, nullable=True),
            pa.field("quality", pa.uint16(), nullable=False),
        ]
    )
    for kind, type_ in ARROW_TYPE.items()
}


class Quality(enum.IntEnum):
    """The high 16 bits of an OPC UA StatusCode (OPC 10000-4 §7.39, OPC 10000-8 §6.3.3): severity in the top
    two bits, the reason in the rest, so that quality says *why* and survives OPC UA both ways unchanged.
    Any other 16-bit code of the standard is valid too; these are the ones Headrace itself assigns.
    """

    GOOD = 0x0000
    GOOD_LOCAL_OVERRIDE = 0x0096  # forced by hand at the device
    UNCERTAIN = 0x4000
    UNCERTAIN_LAST_USABLE = 0x4090  # stale: nothing newer has come
    UNCERTAIN_SUBSTITUTE = 0x4091  # a substituted value
    UNCERTAIN_INITIAL = 0x4092
    UNCERTAIN_SENSOR = 0x4093  # sensor not accurate
    UNCERTAIN_RANGE = 0x4094  # engineering units exceeded
    UNCERTAIN_SUBNORMAL = 0x4095
    UNCERTAIN_SIMULATED = 0x4098  # Headrace's own, in the reserved space after the standard's
    BAD = 0x8000
    BAD_COMMUNICATION = 0x8005  # the device stopped answering
    BAD_DECODING = 0x8007  # the answer made no sense
    BAD_TIMEOUT = 0x800A
    BAD_NO_COMMUNICATION = 0x8031  # never answered
    BAD_WAITING = 0x8032  # waiting for initial data
    BAD_ADDRESS = 0x8034  # the device has no such address (NodeIdUnknown)
    BAD_NOT_READABLE = 0x803A
    BAD_NOT_WRITABLE = 0x803B
    BAD_OUT_OF_RANGE = 0x803C
    BAD_NOT_SUPPORTED = 0x803D
    BAD_CONFIGURATION = 0x8089
    BAD_NOT_CONNECTED = 0x808A  # no sensor there
    BAD_DEVICE_FAILURE = 0x808B
    BAD_SENSOR_FAILURE = 0x808C
    BAD_OUT_OF_SERVICE = 0x808D
    BAD_NO_DATA = 0x809B


def severity(quality: int) -> str:
    """ "good", "uncertain" or "bad" for any 16-bit quality."""
    return ("good", "uncertain", "bad", "bad")[(quality >> 14) & 3]


def is_good(qualities: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Element-wise: severity good. Shape (n,) in and out."""
    return qualities < 0x4000


def is_bad(qualities: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Element-wise: severity bad. Shape (n,) in and out."""
    return qualities >= 0x8000


class Tag(msgspec.Struct, frozen=True):
    """A measured, set or computed variable of one machine.

    `name` is the path `machine/part/measurement`: its first segment is the machine. `id` is the int32 that
    batches carry, assigned once per node and never reused.
    """

    id: int
    name: str
    kind: Kind
    title: Text | None = None
    unit: str = ""  # UCUM where UCUM has it: Cel, bar, kW.h, m/min
    source: str = ""  # the connection that delivers it
    writable: bool = False
    low: float | None = None  # the measuring range, for bars and plausibility
    high: float | None = None

    @property
    def machine(self) -> str:
        return self.name.partition("/")[0]


class Header(msgspec.Struct, frozen=True):
    """Who sent a Batch and which one it is. (node, source, sequence) is the dedupe key."""

    node: str
    source: str
    sequence: int
    version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        return f"{self.node}/{self.source}/{self.sequence}"


class Batch:
    """Points of one kind as an Arrow record batch; immutable."""

    __slots__ = ("data", "kind")

    def __init__(self, kind: Kind, data: pa.RecordBatch) -> None:
        self.kind = kind
        self.data = data

    @classmethod
    def of(
        cls,
        kind: Kind,
        tags: npt.ArrayLike,
        times: npt.ArrayLike,
        values: Any,
        qualities: npt.ArrayLike,
        *,
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> Batch:
        """From columns of equal length n. `times` are UTC ns; `values` a sequence, numpy or Arrow array;
        `missing` marks the values that are null. Raises ValueError where lengths differ."""
        tag = pa.array(np.asarray(tags, np.int32))
        time = pa.array(np.asarray(times, np.int64)).view(pa.timestamp("ns", tz="UTC"))
        if isinstance(values, pa.Array):
            value = values if values.type == ARROW_TYPE[kind] else values.cast(ARROW_TYPE[kind])
        else:
            value = pa.array(values, type=ARROW_TYPE[kind], mask=missing, from_pandas=False)
        quality = pa.array(np.asarray(qualities, np.uint16))
        return cls(kind, pa.RecordBatch.from_arrays([tag, time, value, quality], schema=SCHEMA[kind]))

    @property
    def tags(self) -> npt.NDArray[np.int32]:
        return self.data.column(0).to_numpy()  # type: ignore[no-any-return]

    @property
    def times(self) -> npt.NDArray[np.int64]:
        return self.data.column(1).view(pa.int64()).to_numpy()  # type: ignore[no-any-return]

    @property
    def values(self) -> npt.NDArray[Any]:
        """The value column in numpy; where a value is missing it is NaN, 0, False or None: see `missing`."""
        column = self.data.column(2)
        if self.kind is Kind.TEXT:
            return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
        if column.null_count:
            fill = float("nan") if self.kind is Kind.F64 else 0 if self.kind is not Kind.BOOL else False
            column = column.fill_null(fill)
        return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        column = self.data.column(2)
        if not column.null_count:
            return np.zeros(len(column), np.bool_)
        return column.is_null().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @property
    def qualities(self) -> npt.NDArray[np.uint16]:
        return self.data.column(3).to_numpy()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and self.kind is other.kind and bool(self.data.equals(other.data))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Batch({self.kind}, {len(self)} points)"

    def take(self, rows: npt.NDArray[Any]) -> Batch:
        """The rows at these indexes, or where this boolean mask is true."""
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        return Batch(self.kind, self.data.take(pa.array(rows)))


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows in order. All must be of one kind; raises InputError otherwise."""
    kinds = {b.kind for b in batches}
    if len(kinds) != 1:
        raise InputError("batch.mixed_kinds", kinds=", ".join(sorted(kinds)))
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches([b.data for b in batches]).combine_chunks()
    return Batch(batches[0].kind, table.to_batches()[0] if table.num_rows else batches[0].data)


_META = b"headrace"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
_KIND_OF = {schema: kind for kind, schema in SCHEMA.items()}


def encode(header: Header, batch: Batch) -> bytes:
    """The wire form: an Arrow IPC stream, lz4 buffers, the header as schema metadata `headrace` (JSON)."""
    data = batch.data.replace_schema_metadata({_META: msgspec.json.encode(header)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data.schema, options=_OPTIONS) as writer:
        writer.write_batch(data)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def decode(payload: bytes | memoryview | pa.Buffer) -> tuple[Header, Batch]:
    """Header and Batch of a wire message. Raises Corrupt for anything else than what `encode` makes."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            schema = reader.schema
            header = msgspec.json.decode((schema.metadata or {})[_META], type=Header)
            data = reader.read_next_batch()
        data.validate(full=False)
        bare = data.replace_schema_metadata(None)
        kind = _KIND_OF.get(bare.schema)
        if kind is None or header.version != SCHEMA_VERSION:
            raise Corrupt("batch.unknown_schema", schema=str(bare.schema).replace("\n", ", "))
        if any(bare.column(i).null_count for i in (0, 1, 3)):
            raise Corrupt("batch.null_column")
    except (pa.ArrowException, KeyError, ValueError, msgspec.DecodeError, StopIteration, OSError) as error:
        raise Corrupt(
            "batch.unreadable", reason=str(error).splitlines()[0] if str(error) else type(error).__name__
        ) from error
    return header, Batch(kind, bare)
