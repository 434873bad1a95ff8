"""Modbus frames and protocol data units as pure functions on bytes; no I/O, no state.

Sources: MODBUS Application Protocol Specification V1.1b3 (called AP), MODBUS over Serial Line V1.02 (SL),
MODBUS Messaging on TCP/IP Implementation Guide V1.0b (TG).
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import msgspec
import numpy as np

READ_COILS: Final = 1  # AP §6.1
READ_DISCRETE: Final = 2  # AP §6.2
READ_HOLDING: Final = 3  # AP §6.3
READ_INPUT: Final = 4  # AP §6.4
WRITE_COIL: Final = 5  # AP §6.5
WRITE_REGISTER: Final = 6  # AP §6.6
WRITE_COILS: Final = 15  # AP §6.11
WRITE_REGISTERS: Final = 16  # AP §6.12
MASK_WRITE: Final = 22  # AP §6.16

AREA_FUNCTION: Final = {
    "coil": READ_COILS,
    "discrete": READ_DISCRETE,
    "holding": READ_HOLDING,
    "input": READ_INPUT,
}
FUNCTION_AREA: Final = {function: area for area, function in AREA_FUNCTION.items()}
BIT_AREAS: Final = frozenset({"coil", "discrete"})

MAX_PDU: Final = 253  # AP §4.1: RS-485 ADU 256 = address 1 + PDU 253 + CRC 2
MAX_READ_REGISTERS: Final = 125  # AP §6.3, §6.4
MAX_READ_BITS: Final = 2000  # AP §6.1, §6.2
MAX_WRITE_REGISTERS: Final = 123  # AP §6.12
MAX_WRITE_BITS: Final = 1968  # AP §6.11
MBAP_SIZE: Final = 7  # TG §3.1.3
ADDRESSES: Final = 65536  # AP §4.4


class ExceptionCode(enum.IntEnum):
    """AP §7."""

    ILLEGAL_FUNCTION = 0x01
    ILLEGAL_DATA_ADDRESS = 0x02
    ILLEGAL_DATA_VALUE = 0x03
    SERVER_DEVICE_FAILURE = 0x04
    ACKNOWLEDGE = 0x05
    SERVER_DEVICE_BUSY = 0x06
    MEMORY_PARITY_ERROR = 0x08
    GATEWAY_PATH_UNAVAILABLE = 0x0A
    GATEWAY_TARGET_FAILED = 0x0B


class FrameError(ValueError):
    """Bytes that are not the frame they were taken for; the text says why. `length`: what a TCP header gives
    for its length, where it is that which cannot be."""

    length: int | None = None


class Frame(msgspec.Struct, frozen=True):
    """One application data unit. `transaction` is 0 in RTU frames, which have none."""

    unit: int
    pdu: bytes
    transaction: int = 0


# --- requests ----------------------------------------------------------------------------------------------


def read_request(area: str, start: int, count: int) -> bytes:
    """PDU that reads `count` bits or registers of `area` (AP §6.1-6.4). Raises ValueError out of limits."""
    most = MAX_READ_BITS if area in BIT_AREAS else MAX_READ_REGISTERS
    if not (1 <= count <= most and start >= 0 and start + count <= ADDRESSES):
        raise ValueError(f"{area} {start}+{count}")
    return struct.pack(">BHH", AREA_FUNCTION[area], start, count)


def read_payload_size(area: str, count: int) -> int:
    """Data bytes that answer a read of `count` bits or registers."""
    return (count + 7) // 8 if area in BIT_AREAS else 2 * count


def write_coil_request(address: int, on: bool) -> bytes:
    """AP §6.5: FF00 is on, 0000 is off."""
    return struct.pack(">BHH", WRITE_COIL, address, 0xFF00 if on else 0)


def write_register_request(address: int, word: int) -> bytes:
    """AP §6.6."""
    return struct.pack(">BHH", WRITE_REGISTER, address, word)


def write_coils_request(address: int, bits: bytes, count: int) -> bytes:
    """AP §6.11; `bits` packed with the first coil in the lowest bit of the first byte."""
    if not 1 <= count <= MAX_WRITE_BITS or len(bits) != (count + 7) // 8:
        raise ValueError(f"{count} coils in {len(bits)} bytes")
    return struct.pack(">BHHB", WRITE_COILS, address, count, len(bits)) + bits


def write_registers_request(address: int, words: bytes) -> bytes:
    """AP §6.12; `words` big-endian, two bytes per register."""
    count = len(words) // 2
    if not 1 <= count <= MAX_WRITE_REGISTERS or len(words) % 2:
        raise ValueError(f"{len(words)} bytes")
    return struct.pack(">BHHB", WRITE_REGISTERS, address, count, len(words)) + words


def mask_write_request(address: int, and_mask: int, or_mask: int) -> bytes:
    """AP §6.16: the register becomes (old AND and_mask) OR (or_mask AND NOT and_mask)."""
    return struct.pack(">BHHH", MASK_WRITE, address, and_mask, or_mask)


def expected_reply(request: bytes) -> tuple[bytes, int]:
    """What a normal answer to `request` must begin with, and how many data bytes follow.

    A read is answered with function and byte count, then data; a write with an echo of its first bytes.
    Raises ValueError for a function this module does not send.
    """
    function = request[0]
    if function in FUNCTION_AREA:
        count = int.from_bytes(request[3:5], "big")
        size = read_payload_size(FUNCTION_AREA[function], count)
        return bytes((function, size)), size
    if function in (WRITE_COIL, WRITE_REGISTER, MASK_WRITE):
        return request, 0
    if function in (WRITE_COILS, WRITE_REGISTERS):
        return request[:5], 0
    raise ValueError(f"function {function}")


def exception_reply(function: int, code: int) -> bytes:
    """AP §7: the function with its top bit set, then the code."""
    return bytes((function | 0x80, code))


# --- Modbus TCP (TG §3.1.3) ---------------------------------------------------------------------------------


def tcp_frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """MBAP header and PDU."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def tcp_parse(data: bytes) -> tuple[Frame | None, int]:
    """The first frame of `data` and the bytes it took; (None, 0) where more bytes are needed.

    Raises FrameError where the header cannot be one: the stream has lost step and cannot be followed on.
    """
    if len(data) < 6:
        if data[2:4].strip(b"\0"):
            raise FrameError("protocol id is not 0")
        return None, 0
    transaction, protocol, length = struct.unpack_from(">HHH", data)
    if protocol != 0:
        raise FrameError("protocol id is not 0")
    if not 2 <= length <= MAX_PDU + 1:
        error = FrameError(f"length {length} is not possible")
        error.length = length
        raise error
    if len(data) < 6 + length:
        return None, 0
    return Frame(data[6], bytes(data[7 : 6 + length]), transaction), 6 + length


# --- Modbus RTU (SL §2.5.1) ---------------------------------------------------------------------------------


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC: Final = _crc_table()


def _crc_positions() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Row d, column b: what byte b contributes to the CRC when d more bytes follow it (the CRC is linear)."""
    single = np.array(_CRC, np.uint16)
    rows = np.empty((256, 256), np.uint16)
    rows[0] = single
    for d in range(1, 256):
        rows[d] = (rows[d - 1] >> 8) ^ single[rows[d - 1] & 0xFF]
    return rows


_CRC_AT: Final = _crc_positions().ravel()
_CRC_BASE: Final = np.arange(255, -1, -1, dtype=np.int32) * 256


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial A001 reflected, start FFFF (SL §2.5.1.2, appendix B). At most 256 bytes go
    through one gather, which costs a fifth of the byte loop for a full frame."""
    if 24 <= len(data) <= 256:
        raw = np.frombuffer(data, np.uint8).astype(np.int32)
        raw[:2] ^= 0xFF  # the start value FFFF
        return int(np.bitwise_xor.reduce(_CRC_AT[raw + _CRC_BASE[256 - len(data) :]]))
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def rtu_frame(unit: int, pdu: bytes) -> bytes:
    """Address, PDU and CRC, low byte of the CRC first."""
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def rtu_check(frame: bytes) -> Frame:
    """Raises FrameError where `frame` is not one whole RTU frame with a right CRC."""
    if not 4 <= len(frame) <= MAX_PDU + 3:
        raise FrameError(f"{len(frame)} bytes are no RTU frame")
    if crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
        raise FrameError("CRC differs")
    return Frame(frame[0], bytes(frame[1:-2]))


def rtu_request_size(data: bytes) -> int | None:
    """Bytes of the request frame that `data` begins with, as its function says; None where more bytes are
    needed to know. Raises FrameError for a function this module does not know."""
    if len(data) < 2:
        return None
    function = data[1]
    if function in FUNCTION_AREA or function in (WRITE_COIL, WRITE_REGISTER):
        return 8
    if function in (WRITE_COILS, WRITE_REGISTERS):
        return 9 + data[6] if len(data) >= 7 else None
    if function == MASK_WRITE:
        return 10
    raise FrameError(f"function {function} is not known")
