"""How values lie in registers: types, word and byte orders, and the encoding of arrays into registers.

Modbus defines 16-bit registers, sent high byte first (Application Protocol V1.1b3 §4.2), and nothing wider;
how a device puts a 32-bit or 64-bit value into several registers is its own choice, which `Order` names.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint16]
"""Registers as big-endian uint16 (dtype ">u2"), so that their bytes are what the wire carries."""


class Type(enum.StrEnum):
    """What a point's registers or bit mean."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    BCD16 = "bcd16"  # 4 decimal digits in one register
    BCD32 = "bcd32"  # 8 decimal digits in two registers
    BOOL = "bool"
    STRING = "string"


class Order(enum.StrEnum):
    """Which byte of a value lies where; A is the most significant byte, registers are read left to right.

    The four-letter names hold for values of any width; the others are their usual names for 16 and 64 bits.
    """

    ABCD = "ABCD"  # high word first, high byte first
    CDAB = "CDAB"  # low word first, high byte first
    BADC = "BADC"  # high word first, low byte first
    DCBA = "DCBA"  # low word first, low byte first
    AB = "AB"
    BA = "BA"
    ABCDEFGH = "ABCDEFGH"
    GHEFCDAB = "GHEFCDAB"
    BADCFEHG = "BADCFEHG"
    HGFEDCBA = "HGFEDCBA"

    @property
    def words_reversed(self) -> bool:
        """The least significant register comes first."""
        return self in (Order.CDAB, Order.DCBA, Order.GHEFCDAB, Order.HGFEDCBA)

    @property
    def bytes_swapped(self) -> bool:
        """The low byte of each register comes first."""
        return self in (Order.BADC, Order.DCBA, Order.BA, Order.BADCFEHG, Order.HGFEDCBA)

    @property
    def width(self) -> int:
        """The number of registers the name is for; 0 where it holds for any width."""
        return {2: 1, 4: 0, 8: 4}[len(self.value)]


REGISTERS: dict[Type, int] = {
    Type.U16: 1,
    Type.I16: 1,
    Type.U32: 2,
    Type.I32: 2,
    Type.U64: 4,
    Type.I64: 4,
    Type.F32: 2,
    Type.F64: 4,
    Type.BCD16: 1,
    Type.BCD32: 2,
}
"""Registers per value of the numeric types."""

NUMPY: dict[Type, str] = {
    Type.U16: "u2",
    Type.I16: "i2",
    Type.U32: "u4",
    Type.I32: "i4",
    Type.U64: "u8",
    Type.I64: "i8",
    Type.F32: "f4",
    Type.F64: "f8",
    Type.BCD16: "u2",
    Type.BCD32: "u4",
}
"""numpy type code, without byte order, of the raw value."""

BCD_MAX: dict[Type, int] = {Type.BCD16: 9_999, Type.BCD32: 99_999_999}


def integer_range(type_: Type) -> tuple[int, int] | None:
    """The least and greatest raw value of an integer or BCD type; None for floats."""
    if type_ in BCD_MAX:
        return 0, BCD_MAX[type_]
    dtype = np.dtype(NUMPY[type_])
    if dtype.kind == "f":
        return None
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def encode(values: npt.ArrayLike, type_: Type, order: Order = Order.ABCD) -> Words:
    """Registers of `values`, shape (n, REGISTERS[type_]), dtype ">u2", in the order the device holds them.

    `values` are raw (unscaled) and must lie in the type's range; integers outside wrap as numpy casts do,
    so the caller checks first.
    """
    size = REGISTERS[type_]
    raw: npt.NDArray[Any] = np.atleast_1d(np.asarray(values))
    if type_ in BCD_MAX:
        raw = to_bcd(raw.astype(np.uint32))
    with np.errstate(over="ignore", invalid="ignore"):
        big = raw.astype(f">{NUMPY[type_]}")
    words = np.ascontiguousarray(big).view(">u2").reshape(-1, size)
    if order.words_reversed:
        words = words[:, ::-1]
    if order.bytes_swapped:
        words = words.byteswap()
    return np.ascontiguousarray(words)


def decode(words: Words, type_: Type, order: Order = Order.ABCD) -> npt.NDArray[Any]:
    """The inverse of `encode` for shape (n, REGISTERS[type_]); native numpy type, shape (n,).

    BCD registers with a nibble above 9 decode to the greatest value of uint32, which no BCD value has.
    """
    words = np.asarray(words, ">u2").reshape(-1, REGISTERS[type_])
    if order.bytes_swapped:
        words = words.byteswap()
    if order.words_reversed:
        words = words[:, ::-1]
    big = np.ascontiguousarray(words).view(f">{NUMPY[type_]}").ravel()
    native = big.astype(NUMPY[type_])
    return from_bcd(native.astype(np.uint32)) if type_ in BCD_MAX else native


def to_bcd(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Eight decimal digits, one per nibble. Shape (n,) in and out."""
    out = np.zeros_like(values)
    rest = values.copy()
    for digit in range(8):
        out |= (rest % 10) << np.uint32(4 * digit)
        rest //= 10
    return out


BCD_INVALID = np.uint32(0xFFFFFFFF)


def from_bcd(raw: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The inverse of `to_bcd`; BCD_INVALID where a nibble is above 9. Shape (n,) in and out."""
    out = np.zeros_like(raw)
    bad = np.zeros(raw.shape, np.bool_)
    for digit in range(8):
        nibble = (raw >> np.uint32(4 * digit)) & np.uint32(0xF)
        bad |= nibble > 9
        out += nibble * np.uint32(10**digit)
    out[bad] = BCD_INVALID
    return out


def encode_text(text: str, encoding: str, length: int, order: Order = Order.ABCD) -> Words:
    """`text` in `length` bytes, padded with NUL, two bytes per register; shape (ceil(length / 2),).

    Raises UnicodeEncodeError where the encoding lacks a character, ValueError where the text is too long.
    """
    data = text.encode(encoding)
    if len(data) > length:
        raise ValueError(len(data))
    words = np.frombuffer(data.ljust(2 * ((length + 1) // 2), b"\0"), ">u2")
    return words.byteswap() if order.bytes_swapped else words.copy()
