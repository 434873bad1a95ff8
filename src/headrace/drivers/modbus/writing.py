"""From values in engineering units to the registers that are to be written. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.points import Place, Point
from headrace.drivers.modbus.values import Type, encode, encode_text, integer_range
from headrace.kernel.errors import InputError

_F32_MAX: Final = float(np.finfo(np.float32).max)


class Encoded(msgspec.Struct, frozen=True):
    """`data`: what the place is to hold. Registers as big-endian bytes; for bits one byte, 0 or 1."""

    place: Place
    data: bytes

    @property
    def is_bit(self) -> bool:
        return self.place.type is Type.BOOL


def encode_value(point: Point, place: Place, value: Any) -> Encoded:
    """Raises InputError where the point is not writable, or the value has the wrong type or does not fit."""
    if not point.writable:
        raise InputError("modbus.not_writable", address=str(point.address))
    if place.type is Type.BOOL:
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise InputError("modbus.write_needs_bool", value=value)
        return Encoded(place, bytes((int(value),)))
    if place.type is Type.STRING:
        return Encoded(place, _text(point, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("modbus.write_needs_number", value=value, type=place.type.value)
    return Encoded(place, _number(point, place, value))


def _text(point: Point, value: Any) -> bytes:
    if not isinstance(value, str):
        raise InputError("modbus.write_needs_text", value=value)
    try:
        return encode_text(value, point.encoding.value, point.length, point.order).tobytes()
    except UnicodeEncodeError as error:
        character = value[error.start]
        raise InputError(
            "modbus.text_not_in_encoding", character=character, encoding=point.encoding.value
        ) from error
    except ValueError as error:
        raise InputError("modbus.text_too_long", length=error.args[0], most=point.length) from error


def _number(point: Point, place: Place, value: float) -> bytes:
    scaled = point.scale != 1.0 or point.offset != 0.0
    range_ = integer_range(place.type)
    if range_ is None:
        raw = (value - point.offset) / point.scale if scaled else float(value)
        if place.type is Type.F32 and math.isfinite(raw) and abs(raw) > _F32_MAX:
            low, high = sorted(b * point.scale + point.offset for b in (-_F32_MAX, _F32_MAX))
            raise InputError(
                "modbus.value_out_of_range", value=value, low=low, high=high, type=place.type.value
            )
        return encode([raw], place.type, point.order).tobytes()
    least, most = range_
    if not scaled and isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        raise InputError("modbus.write_needs_whole", value=value, type=place.type.value)
    whole = _whole(point, value, scaled)
    if whole is None or not least <= whole <= most:
        ends = sorted(b * point.scale + point.offset for b in range_) if scaled else range_
        raise InputError(
            "modbus.value_out_of_range", value=value, low=ends[0], high=ends[1], type=place.type.value
        )
    dtype = np.int64 if least < 0 else np.uint64
    return encode(np.array([whole], dtype), place.type, point.order).tobytes()


def _whole(point: Point, value: float, scaled: bool) -> int | None:
    """The raw integer nearest to `value`, or None where there is none (NaN, infinity)."""
    if not scaled and isinstance(value, int):
        return value  # exact beyond 2**53
    raw = (value - point.offset) / point.scale
    return round(raw) if math.isfinite(raw) else None


def requests_for(encoded: Encoded) -> tuple[bytes, bytes | None]:
    """The request that writes it, and one to try where the device knows no such function. The second is None
    where there is none, or where the register has to be read first (a bit of a register)."""
    place = encoded.place
    if place.area == "coil":
        on = encoded.data == b"\x01"
        return (
            codec.write_coil_request(place.start, on),
            codec.write_coils_request(place.start, encoded.data, 1),
        )
    if place.bit is not None:
        mask = 1 << place.bit
        return codec.mask_write_request(
            place.start, ~mask & 0xFFFF, mask if encoded.data == b"\x01" else 0
        ), None
    many = codec.write_registers_request(place.start, encoded.data)
    if place.length > 1:
        return many, None
    return codec.write_register_request(place.start, int.from_bytes(encoded.data, "big")), many


def merge(items: list[Encoded]) -> list[list[int]]:
    """Runs of neighbouring writes, in their order, that one request can carry: [[0], [1, 2, 3], …].

    Only writes that follow each other in `items` and in the address space are joined, so that their order on
    the device is the order they were given in.
    """
    runs: list[list[int]] = []
    for i, item in enumerate(items):
        if runs and _follows(items[runs[-1][-1]], item):
            area = item.place.area
            most = codec.MAX_WRITE_BITS if area == "coil" else codec.MAX_WRITE_REGISTERS
            if item.place.start + item.place.length - items[runs[-1][0]].place.start <= most:
                runs[-1].append(i)
                continue
        runs.append([i])
    return runs


def _follows(before: Encoded, after: Encoded) -> bool:
    a, b = before.place, after.place
    return a.area == b.area and a.bit is None and b.bit is None and b.start == a.start + a.length


def merged_request(items: list[Encoded]) -> bytes:
    """One request for a run of two or more writes of `merge`."""
    start = items[0].place.start
    if items[0].place.area == "coil":
        bits = np.frombuffer(b"".join(i.data for i in items), np.uint8)
        return codec.write_coils_request(start, np.packbits(bits, bitorder="little").tobytes(), len(items))
    return codec.write_registers_request(start, b"".join(i.data for i in items))
