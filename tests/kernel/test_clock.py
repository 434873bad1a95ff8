"""Time: nanoseconds in and out of text, and a clock that tests own."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kernel.clock import NS_PER_S, ManualClock, SystemClock, iso, parse_time


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T08:00:00+08:00", 0),
        ("1970-01-01T08:00:00.5+08:00", 500_000_000),
        ("2026-01-31 12:00:00.25", 1_769_860_800_250_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
        (" 1700000000000000000 ", 1_700_000_000_000_000_000),
        ("-5", -5),
    ],
)
def test_times_are_exact_to_the_nanosecond(text: str, ns: int) -> None:
    assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


def test_iso_shows_all_nine_decimals() -> None:
    assert iso(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"
    assert iso(-1) == "1969-12-31T23:59:59.999999999Z"


@given(st.integers(-(2**62), 2**63 - 1))
def test_iso_and_parse_are_inverse(ns: int) -> None:
    assert parse_time(iso(ns)) == ns


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5 * NS_PER_S)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (6_500_000_000, 1_500_000_000)
    clock.set(7)  # a step of the wall clock leaves monotonic time alone
    assert (clock.now(), clock.monotonic()) == (7, 1_500_000_000)


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert abs(clock.now() - time.time_ns()) < 60 * NS_PER_S
    assert clock.monotonic() >= before
