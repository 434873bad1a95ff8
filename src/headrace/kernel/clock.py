"""Time as UTC nanoseconds, injected wherever it is needed so that tests own it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What a room may ask of time."""

    def now(self) -> int:
        """Wall time, UTC nanoseconds since the Unix epoch; may step when the system clock is set."""
        ...

    def monotonic(self) -> int:
        """Nanoseconds from an arbitrary origin; never steps. For intervals and time-outs."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when told to; wall and monotonic time advance together."""

    def __init__(self, now: int = 1_700_000_000 * NS_PER_S) -> None:
        self._now = now
        self._monotonic = 0

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        step = round(seconds * NS_PER_S)
        self._now += step
        self._monotonic += step

    def set(self, now: int) -> None:
        """Step the wall clock, as NTP or an operator would; monotonic time does not move."""
        self._now = now


def iso(ns: int) -> str:
    """`ns` as an RFC 3339 UTC string with all nine decimals, so that nothing is rounded away."""
    seconds, rest = divmod(ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def parse_time(text: str) -> int:
    """UTC nanoseconds from RFC 3339 text (up to nine decimals; without an offset it is UTC) or from digits.

    Raises ValueError where the text is neither.
    """
    text = text.strip()
    if text.lstrip("-").isdigit():
        return int(text)
    head, dot, tail = text.partition(".")
    if not dot:
        moment = datetime.fromisoformat(text)
        return _epoch_ns(moment)
    digits = len(tail) - len(tail.lstrip("0123456789"))
    if not 1 <= digits <= 9:
        raise ValueError(text)
    moment = datetime.fromisoformat(head + tail[digits:])
    return _epoch_ns(moment) + int(tail[:digits].ljust(9, "0"))


def _epoch_ns(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000
