import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.codec import FrameError
from headrace.drivers.modbus.memory import Memory, answer, touched

units = st.integers(0, 255)
words = st.integers(0, 65535)
pdus = st.binary(min_size=1, max_size=253)


def test_crc_of_known_frames() -> None:
    # MODBUS over Serial Line V1.02 appendix B: 02 07 has CRC 41 12 on the wire.
    assert codec.crc16(bytes((0x02, 0x07))) == 0x1241
    assert codec.rtu_frame(1, bytes.fromhex("0300000001")).hex() == "010300000001840a"


@given(st.binary(max_size=300))
def test_crc_is_the_same_by_gather_and_by_byte(data: bytes) -> None:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    assert codec.crc16(data) == crc


@given(words, units, pdus, st.binary(max_size=20))
def test_tcp_round_trip(transaction: int, unit: int, pdu: bytes, rest: bytes) -> None:
    raw = codec.tcp_frame(transaction, unit, pdu)
    frame, size = codec.tcp_parse(raw + rest)
    assert frame == codec.Frame(unit, pdu, transaction)
    assert size == len(raw)
    for cut in range(len(raw)):
        assert codec.tcp_parse(raw[:cut]) == (None, 0)


@given(units, st.binary(min_size=1, max_size=253))
def test_rtu_round_trip_and_single_bit_errors(unit: int, pdu: bytes) -> None:
    raw = codec.rtu_frame(unit, pdu)
    assert codec.rtu_check(raw) == codec.Frame(unit, pdu)
    for byte in range(len(raw)):
        wrong = bytearray(raw)
        wrong[byte] ^= 0x10
        with pytest.raises(FrameError):
            codec.rtu_check(bytes(wrong))


@given(st.binary(max_size=600))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        frame, size = codec.tcp_parse(data)
        assert (frame is None) == (size == 0) and size <= len(data)
    with contextlib.suppress(FrameError):
        codec.rtu_check(data)
    with contextlib.suppress(FrameError):
        codec.rtu_request_size(data)
    touched(data)
    if 1 <= len(data) <= 253:
        reply = answer(_MEMORY, data)
        assert 2 <= len(reply) <= 253
        assert reply[0] in (data[0], data[0] | 0x80)


_MEMORY = Memory()


@given(st.sampled_from(sorted(codec.AREA_FUNCTION)), st.integers(0, 63000), st.integers(1, 125))
def test_replies_of_a_device_are_as_expected(area: str, start: int, count: int) -> None:
    request = codec.read_request(area, start, count)
    prefix, size = codec.expected_reply(request)
    reply = answer(_MEMORY, request)
    assert reply.startswith(prefix)
    assert len(reply) == len(prefix) + size


@pytest.mark.parametrize(
    "request_",
    [
        codec.write_coil_request(3, True),
        codec.write_register_request(3, 513),
        codec.write_coils_request(3, b"\x05", 3),
        codec.write_registers_request(3, b"\x01\x02\x03\x04"),
        codec.mask_write_request(3, 0xF2, 0x25),
    ],
)
def test_write_replies_echo(request_: bytes) -> None:
    memory = Memory()
    assert answer(memory, request_) == codec.expected_reply(request_)[0]
    assert codec.rtu_request_size(b"\x01" + request_) == len(request_) + 3


def test_mask_write_example_of_the_standard() -> None:
    memory = Memory()
    memory.set("holding", 4, 0x12)
    answer(memory, codec.mask_write_request(4, 0xF2, 0x25))
    assert memory.holding[4] == 0x17  # AP §6.16


@pytest.mark.parametrize(
    ("area", "start", "count"), [("holding", 0, 126), ("coil", 0, 2001), ("input", 65535, 2)]
)
def test_requests_out_of_limits_are_refused(area: str, start: int, count: int) -> None:
    with pytest.raises(ValueError):
        codec.read_request(area, start, count)


def test_device_limits_and_missing_addresses() -> None:
    read = codec.read_request("holding", 198, 4)
    assert answer(_MEMORY, read, illegal=[("holding", 200, 210)]) == b"\x83\x02"
    assert answer(_MEMORY, read, illegal=[("holding", 202, 210), ("input", 0, 999)])[0] == 3
    assert answer(_MEMORY, read, max_registers=3) == b"\x83\x03"
    assert answer(_MEMORY, b"\x03\xff\xff\x00\x02") == b"\x83\x02"
    assert answer(_MEMORY, b"\x2b\x0e\x01\x00\x00") == b"\xab\x01"
