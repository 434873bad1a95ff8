"""From the data of a cycle's answers to Batches: compiled once, then a few numpy gathers per cycle.

All answers lie in one buffer, register blocks first, bit blocks after them. A gather takes the words (or
bits) of all points of one type and order at once; no step works point by point, but for texts that changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.codec import ExceptionCode
from headrace.drivers.modbus.exchange import EXCEPTION, GARBLED, LOST, OK, TIMEOUT, UNASKED, Exchange
from headrace.drivers.modbus.points import Place, Point
from headrace.drivers.modbus.values import BCD_INVALID, BCD_MAX, NUMPY, Type, from_bcd
from headrace.kernel.messages import Text, both
from headrace.kernel.model import Batch, Kind, Quality
from headrace.kernel.ports import Block, BlockFault, Reading

# Quality and message code for each way a request can end.
_FATE: Final[dict[int, tuple[Quality, str]]] = {
    TIMEOUT: (Quality.BAD_TIMEOUT, "modbus.why_timeout"),
    GARBLED: (Quality.BAD_DECODING, "modbus.why_garbled"),
    LOST: (Quality.BAD_COMMUNICATION, "modbus.why_lost"),
    UNASKED: (Quality.BAD_TIMEOUT, "modbus.why_unasked"),
}

# The same for exception replies, AP §7.
_EXCEPTION_FATE: Final[dict[int, tuple[Quality, str]]] = {
    ExceptionCode.ILLEGAL_FUNCTION: (Quality.BAD_NOT_SUPPORTED, "modbus.exception_1"),
    ExceptionCode.ILLEGAL_DATA_ADDRESS: (Quality.BAD_ADDRESS, "modbus.exception_2"),
    ExceptionCode.ILLEGAL_DATA_VALUE: (Quality.BAD_ADDRESS, "modbus.exception_3"),
    ExceptionCode.SERVER_DEVICE_FAILURE: (Quality.BAD_DEVICE_FAILURE, "modbus.exception_4"),
    ExceptionCode.ACKNOWLEDGE: (Quality.BAD_WAITING, "modbus.exception_5"),
    ExceptionCode.SERVER_DEVICE_BUSY: (Quality.BAD_WAITING, "modbus.exception_6"),
    ExceptionCode.MEMORY_PARITY_ERROR: (Quality.BAD_DEVICE_FAILURE, "modbus.exception_8"),
    ExceptionCode.GATEWAY_PATH_UNAVAILABLE: (Quality.BAD_NO_COMMUNICATION, "modbus.exception_10"),
    ExceptionCode.GATEWAY_TARGET_FAILED: (Quality.BAD_COMMUNICATION, "modbus.exception_11"),
}


@cache
def fate(status: int) -> tuple[Quality, Text]:
    """Quality of the points and the reason for a request that ended as `status` and not OK."""
    if not status & EXCEPTION:
        quality, why = _FATE[status]
        return quality, both(why)
    code = status & ~EXCEPTION
    quality, what = _EXCEPTION_FATE.get(code, (Quality.BAD_DEVICE_FAILURE, "modbus.exception_own"))
    return quality, both("modbus.why_exception", number=code, what=both(what))


def _fault(block: int, status: int, length: int) -> BlockFault:
    quality, why = fate(status)
    address = status == EXCEPTION | ExceptionCode.ILLEGAL_DATA_ADDRESS or (
        status == EXCEPTION | ExceptionCode.ILLEGAL_DATA_VALUE and length > 1
    )
    return BlockFault(block, int(quality), address, why.en)


class _Numbers:
    """All points of one numeric type and order; writes to rows [first, last) of the batch's value column."""

    __slots__ = ("first", "index", "last", "offset", "scale", "swapped", "type")

    def __init__(self, type_: Type, swapped: bool, first: int, members: Sequence[_Member]) -> None:
        self.type = type_
        self.swapped = swapped
        self.first = first
        self.last = first + len(members)
        # Word numbers, the least significant word of each value first, so that a little-endian view is it.
        rows = [
            range(m.word, m.word + m.place.length)
            if m.point.order.words_reversed
            else range(m.word + m.place.length - 1, m.word - 1, -1)
            for m in members
        ]
        self.index = np.array([list(r) for r in rows], np.intp).ravel()
        scale = np.array([m.point.scale for m in members])
        offset = np.array([m.point.offset for m in members])
        plain = bool(np.all(scale == 1) and np.all(offset == 0))
        self.scale = None if plain else scale
        self.offset = None if plain else offset

    def fill(
        self, words: npt.NDArray[np.uint16], values: npt.NDArray[Any], bad: npt.NDArray[np.bool_]
    ) -> None:
        """`bad` is set where the registers hold no number (BCD)."""
        raw = words.take(self.index).view(f"<{NUMPY[self.type]}")
        out = values[self.first : self.last]
        if self.type in BCD_MAX:
            digits = from_bcd(raw.astype(np.uint32))
            bad[self.first : self.last] = digits == BCD_INVALID
            out[:] = digits
        else:
            with np.errstate(invalid="ignore"):  # a signalling NaN is a value like any other
                out[:] = raw
            if self.type is Type.F32 and self.scale is None:
                _keep_signalling(raw, out)
        if self.scale is not None:
            with np.errstate(all="ignore"):
                out *= self.scale
                out += self.offset


def _keep_signalling(raw: npt.NDArray[np.float32], out: npt.NDArray[np.float64]) -> None:
    """The processor's widening of f32 sets the quiet bit of a signalling NaN; put the device's bits back."""
    nan = np.isnan(out)
    if nan.any():
        bits = raw.view("<u4")[nan].astype(np.uint64)
        sign = (bits >> np.uint64(31)) << np.uint64(63)
        out.view(np.uint64)[nan] = (
            sign | np.uint64(0x7FF0_0000_0000_0000) | ((bits & np.uint64(0x7FFFFF)) << np.uint64(29))
        )


class _Texts:
    """All text points. A text is decoded anew only where its bytes changed since the cycle before."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members
        sizes = [m.place.length * 2 for m in members]
        self._starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.intp)
        self._owner = np.repeat(np.arange(len(members)), sizes)
        index: list[int] = []
        for m in members:
            flip = 1 if m.point.order.bytes_swapped else 0
            index += [(2 * m.word + i) ^ flip for i in range(2 * m.place.length)]
        self._index = np.array(index, np.intp)
        self._seen: npt.NDArray[np.uint8] | None = None
        self._values = np.full(len(members), None, object)
        self._bad = np.zeros(len(members), np.bool_)

    def values(self, buffer: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The texts, and where bytes are no text in the point's encoding."""
        now = buffer.take(self._index)
        if self._seen is None:
            changed: Any = range(len(self._members))
        else:
            changed = np.unique(self._owner[now != self._seen])
        self._seen = now
        for i in changed:
            point = self._members[i].point
            raw = now[self._starts[i] : self._starts[i + 1]].tobytes()[: point.length]
            try:
                self._values[i] = raw.partition(b"\0")[0].decode(point.encoding.value).rstrip(" ")
                self._bad[i] = False
            except UnicodeDecodeError:
                self._values[i] = None
                self._bad[i] = True
        return self._values.copy(), self._bad


class _Member:
    """A point and where its data begin in the buffer: word number, or bit number within the bit part."""

    __slots__ = ("block", "place", "point", "tag", "word")

    def __init__(self, tag: int, point: Point, place: Place, block: int, word: int) -> None:
        self.tag = tag
        self.point = point
        self.place = place
        self.block = block
        self.word = word


class _Column:
    """The rows of one kind: tag ids, block of each row, and how values are made."""

    def __init__(self, kind: Kind, members: Sequence[_Member]) -> None:
        self.kind = kind
        self.tags = np.array([m.tag for m in members], np.int32)
        self.blocks = np.array([m.block for m in members], np.intp)
        self.count = len(members)


class Plan:
    """What `Driver.compile` makes of blocks: `exchange` is executed, then `reading()` decodes it."""

    def __init__(
        self, blocks: Sequence[Block], points: Sequence[tuple[int, Point, Place]], unit: int, *, tcp: bool
    ) -> None:
        self.blocks = tuple(blocks)
        requests = [codec.read_request(b.span.area, b.span.start, b.span.length) for b in blocks]
        places, size, self._bits_at = _lay_out(blocks)
        self.sink = bytearray(max(size, 2))
        self.exchange = Exchange(requests, unit, tcp=tcp, sink=self.sink, places=places)
        self._bytes = np.frombuffer(self.sink, np.uint8)
        words = self._bytes[: self._bits_at]
        self._raw_words = words.view("<u2")
        members: dict[Kind, list[_Member]] = {}
        for number, block in enumerate(blocks):
            for index in block.points:
                tag, point, place = points[index]
                if place.area != block.span.area or not (
                    block.span.start <= place.start and place.start + place.length <= block.span.end
                ):
                    raise ValueError(f"point {index} does not lie in block {number}")
                at = place.start - block.span.start
                if place.area in codec.BIT_AREAS:
                    at += 8 * (places[number][0] - self._bits_at)
                else:
                    at += places[number][0] // 2
                members.setdefault(place.kind, []).append(_Member(tag, point, place, number, at))
        self._numbers: dict[Kind, list[_Numbers]] = {}
        self._columns: list[_Column] = []
        for kind in (Kind.F64, Kind.I64, Kind.U64):
            if kind in members:
                self._add_numbers(kind, members[kind])
        self._bool: tuple[_Column, Any, Any, int, Any] | None = None
        if Kind.BOOL in members:
            self._add_bits(members[Kind.BOOL])
        self._text: tuple[_Column, _Texts] | None = None
        if Kind.TEXT in members:
            self._text = (_Column(Kind.TEXT, members[Kind.TEXT]), _Texts(members[Kind.TEXT]))
        self._native = any(not n.swapped for ns in self._numbers.values() for n in ns) or (
            self._bool is not None and self._bool[3] > 0
        )

    def _add_numbers(self, kind: Kind, members: list[_Member]) -> None:
        def group(m: _Member) -> tuple[str, bool, bool, bool]:
            scaled = m.point.scale != 1.0 or m.point.offset != 0.0
            return m.place.type.value, m.point.order.words_reversed, m.point.order.bytes_swapped, scaled

        members.sort(key=group)
        groups: list[_Numbers] = []
        first = 0
        for _, run in groupby(members, group):
            same = list(run)
            groups.append(_Numbers(same[0].place.type, same[0].point.order.bytes_swapped, first, same))
            first += len(same)
        self._numbers[kind] = groups
        self._columns.append(_Column(kind, members))

    def _add_bits(self, members: list[_Member]) -> None:
        """Bits of registers first, then coils and discrete inputs."""
        members.sort(key=lambda m: m.place.bit is None)
        registers = [m for m in members if m.place.bit is not None]
        index = np.array([m.word for m in members], np.intp)
        bits = np.array([m.place.bit for m in registers], np.uint16)
        self._bool = (
            _Column(Kind.BOOL, members),
            index[: len(registers)],
            bits,
            len(registers),
            index[len(registers) :],
        )

    def reading(self, now: int) -> Reading:
        """Every point once, by kind, from the exchange as it was last executed. The time of a point is that
        of its answer, or `now` (UTC ns) where there was none."""
        exchange = self.exchange
        faults: tuple[BlockFault, ...] = ()
        times = np.array(exchange.times, np.int64)
        qualities: npt.NDArray[np.uint16] | None = None
        if exchange.failed:
            found = [
                _fault(i, status, self.blocks[i].span.length)
                for i, status in enumerate(exchange.status)
                if status != OK
            ]
            faults = tuple(found)
            times[times == 0] = now
            qualities = np.zeros(len(exchange), np.uint16)
            qualities[[f.block for f in found]] = [f.quality for f in found]
        words = self._raw_words.byteswap() if self._native else self._raw_words
        batches: list[Batch] = []
        for column in self._columns:
            values: npt.NDArray[Any] = np.empty(column.count, _VALUE_TYPE[column.kind])
            bad = np.zeros(column.count, np.bool_)
            for numbers in self._numbers[column.kind]:
                numbers.fill(self._raw_words if numbers.swapped else words, values, bad)
            batches.append(_batch(column, values, bad, times, qualities))
        if self._bool is not None:
            column, words_at, shifts, registers, coils_at = self._bool
            values = np.empty(column.count, np.bool_)
            values[:registers] = (words.take(words_at) >> shifts) & 1
            if len(coils_at):
                bits = np.unpackbits(self._bytes[self._bits_at :], bitorder="little")
                values[registers:] = bits.take(coils_at)
            batches.append(_batch(column, values, np.zeros(column.count, np.bool_), times, qualities))
        if self._text is not None:
            column, texts = self._text
            values, bad = texts.values(self._bytes)
            batches.append(_batch(column, values, bad, times, qualities))
        return Reading(tuple(batches), faults)


_VALUE_TYPE: Final = {Kind.F64: np.float64, Kind.I64: np.int64, Kind.U64: np.uint64}


def _lay_out(blocks: Sequence[Block]) -> tuple[list[tuple[int, int]], int, int]:
    """Where each block's data lie in the buffer, the buffer's size, and where its bit part begins."""
    places: list[tuple[int, int]] = [(0, 0)] * len(blocks)
    at = 0
    bits_at = 0
    for bits in (False, True):
        for i, block in enumerate(blocks):
            if (block.span.area in codec.BIT_AREAS) is bits:
                size = codec.read_payload_size(block.span.area, block.span.length)
                places[i] = (at, at + size)
                at += size
        if not bits:
            bits_at = at
    return places, at, bits_at


def _batch(
    column: _Column,
    values: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    times: npt.NDArray[np.int64],
    block_qualities: npt.NDArray[np.uint16] | None,
) -> Batch:
    stamps = times.take(column.blocks)
    if block_qualities is None:
        qualities = np.zeros(column.count, np.uint16)
    else:
        qualities = block_qualities.take(column.blocks)
    if bad.any():
        qualities[bad & (qualities == 0)] = int(Quality.BAD_DECODING)
    missing = qualities != 0
    if missing.any():
        return Batch.of(column.kind, column.tags, stamps, values, qualities, missing=missing)
    return Batch.of(column.kind, column.tags, stamps, values, qualities)
