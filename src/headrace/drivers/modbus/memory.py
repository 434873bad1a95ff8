"""The memory of a simulated Modbus device, and its answers to requests: pure but for the memory itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.codec import ExceptionCode
from headrace.drivers.modbus.values import REGISTERS, Order, Type, Words, decode, encode, encode_text

_BITS = codec.BIT_AREAS


class Memory:
    """The four areas of AP §4.3: 65,536 coils, discrete inputs, input registers and holding registers.

    Registers are kept big-endian (dtype ">u2") so that a read is one copy; bits are one byte each.
    """

    def __init__(self) -> None:
        self.holding: Words = np.zeros(codec.ADDRESSES, ">u2")
        self.input: Words = np.zeros(codec.ADDRESSES, ">u2")
        self.coil: npt.NDArray[np.uint8] = np.zeros(codec.ADDRESSES, np.uint8)
        self.discrete: npt.NDArray[np.uint8] = np.zeros(codec.ADDRESSES, np.uint8)
        self.areas: dict[str, npt.NDArray[Any]] = {
            "holding": self.holding,
            "input": self.input,
            "coil": self.coil,
            "discrete": self.discrete,
        }

    def set(
        self,
        area: str,
        address: int,
        value: float | int | bool | str,
        type: Type | str = Type.U16,
        order: Order | str = Order.ABCD,
        *,
        length: int = 0,
        encoding: str = "utf-8",
    ) -> None:
        """One value from `address` on. For a bit area `type` is ignored; for text give `length` in bytes."""
        if isinstance(value, str):
            words = encode_text(value, encoding, length or len(value.encode(encoding)), Order(order))
            self._registers(area)[address : address + len(words)] = words
            return
        self.set_many(area, address, np.array([value]), type, order)

    def set_many(
        self,
        area: str,
        address: int,
        values: npt.ArrayLike,
        type: Type | str = Type.U16,
        order: Order | str = Order.ABCD,
    ) -> None:
        """An array of values one after the other from `address` on; raises IndexError past address 65535."""
        if area in _BITS:
            cells: npt.NDArray[Any] = np.asarray(values).astype(np.bool_).astype(np.uint8)
        else:
            cells = encode(values, Type(type), Order(order)).ravel()
        if not 0 <= address <= codec.ADDRESSES - len(cells):
            raise IndexError(address)
        self.areas[area][address : address + len(cells)] = cells

    def set_at(
        self,
        area: str,
        addresses: npt.ArrayLike,
        values: npt.ArrayLike,
        type: Type | str = Type.U16,
        order: Order | str = Order.ABCD,
    ) -> None:
        """An array of values at scattered addresses of the same shape (n,)."""
        at = np.asarray(addresses, np.intp)
        if area in _BITS:
            self.areas[area][at] = np.asarray(values).astype(np.bool_)
            return
        words = encode(values, Type(type), Order(order))
        self._registers(area)[at[:, None] + np.arange(words.shape[1])] = words

    def get(
        self,
        area: str,
        address: int,
        type: Type | str = Type.U16,
        order: Order | str = Order.ABCD,
        count: int = 1,
    ) -> npt.NDArray[Any]:
        """`count` values from `address` on, shape (count,)."""
        if area in _BITS:
            return self.areas[area][address : address + count].astype(np.bool_)
        size = REGISTERS[Type(type)]
        return decode(self._registers(area)[address : address + count * size], Type(type), Order(order))

    def _registers(self, area: str) -> Words:
        if area in _BITS:
            raise ValueError(f"{area} holds bits")
        return self.areas[area]


def touched(pdu: bytes) -> tuple[str, int, int, bool] | None:
    """Area, first address, count and whether it writes, of a request; None where it is none of ours or
    too short."""
    if len(pdu) < 5:
        return None
    function = pdu[0]
    start = int.from_bytes(pdu[1:3], "big")
    if function in codec.FUNCTION_AREA:
        return codec.FUNCTION_AREA[function], start, int.from_bytes(pdu[3:5], "big"), False
    if function == codec.WRITE_COIL:
        return "coil", start, 1, True
    if function == codec.WRITE_COILS:
        return "coil", start, int.from_bytes(pdu[3:5], "big"), True
    if function in (codec.WRITE_REGISTER, codec.MASK_WRITE):
        return "holding", start, 1, True
    if function == codec.WRITE_REGISTERS:
        return "holding", start, int.from_bytes(pdu[3:5], "big"), True
    return None


def answer(
    memory: Memory,
    pdu: bytes,
    *,
    illegal: Sequence[tuple[str, int, int]] = (),
    max_registers: int = codec.MAX_READ_REGISTERS,
    max_bits: int = codec.MAX_READ_BITS,
    unsupported: frozenset[int] = frozenset(),
) -> bytes:
    """The reply PDU to a request PDU, as AP §6 and §7 have it; writes change `memory`.

    `illegal`: (area, first, last) ranges without a register, answered by exception 2. `max_*`: the longest
    read the device takes, beyond it exception 3. `unsupported`: functions answered by exception 1.
    """
    function = pdu[0]
    where = touched(pdu)
    if where is None or function in unsupported:
        return codec.exception_reply(function, ExceptionCode.ILLEGAL_FUNCTION)
    area, start, count, writes = where
    if not writes:
        if len(pdu) != 5 or not 1 <= count <= (max_bits if area in _BITS else max_registers):
            return codec.exception_reply(function, ExceptionCode.ILLEGAL_DATA_VALUE)
    elif not _write_is_whole(pdu, count):
        return codec.exception_reply(function, ExceptionCode.ILLEGAL_DATA_VALUE)
    end = start + count
    missing = any(a == area and start <= last and first < end for a, first, last in illegal)
    if end > codec.ADDRESSES or missing:
        return codec.exception_reply(function, ExceptionCode.ILLEGAL_DATA_ADDRESS)
    cells = memory.areas[area][start:end]
    if not writes:
        data = np.packbits(cells, bitorder="little").tobytes() if area in _BITS else cells.tobytes()
        return bytes((function, len(data))) + data
    if function == codec.WRITE_COIL:
        cells[0] = pdu[3] == 0xFF
    elif function == codec.WRITE_COILS:
        packed = np.frombuffer(pdu, np.uint8, offset=6)
        cells[:] = np.unpackbits(packed, count=count, bitorder="little")
    elif function == codec.WRITE_REGISTER:
        cells[:] = np.frombuffer(pdu, ">u2", 1, offset=3)
    elif function == codec.WRITE_REGISTERS:
        cells[:] = np.frombuffer(pdu, ">u2", count, offset=6)
    else:
        and_mask, or_mask = int.from_bytes(pdu[3:5], "big"), int.from_bytes(pdu[5:7], "big")
        cells[0] = (int(cells[0]) & and_mask) | (or_mask & ~and_mask & 0xFFFF)
    return codec.expected_reply(pdu)[0]


def _write_is_whole(pdu: bytes, count: int) -> bool:
    function = pdu[0]
    if function == codec.WRITE_COIL:
        return len(pdu) == 5 and pdu[3:5] in (b"\xff\x00", b"\x00\x00")
    if function == codec.WRITE_REGISTER:
        return len(pdu) == 5
    if function == codec.MASK_WRITE:
        return len(pdu) == 7
    most = codec.MAX_WRITE_BITS if function == codec.WRITE_COILS else codec.MAX_WRITE_REGISTERS
    size = (count + 7) // 8 if function == codec.WRITE_COILS else 2 * count
    return 1 <= count <= most and len(pdu) == 6 + size and pdu[5] == size
