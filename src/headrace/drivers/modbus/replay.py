"""A recording served as a real Modbus device, so that recorded input travels the whole path.

The device has one unit and a block of holding registers: a row counter (u64), the row's time (i64) and its
values (f64). It latches: a row changes only when the counter is read, so that whoever reads the counter first
and the values after it, in one request or in several, has them all from one row.

Each row comes into the history once because the row counter reports on change and every other tag has it as
its `trigger`: unchanged counter, nothing reported; a new counter, every tag of the row. None is missed as
the device holds a row (`hold`) until a client has read all of it and then asks again, which tells that the
answers arrived; a client that connects anew is given the row at hand first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.memory import Memory
from headrace.drivers.modbus.recording import (
    ROW_AT,
    TIME_AT,
    VALUES_AT,
    Column,
    Recording,
    load,
    row_registers,
)
from headrace.drivers.modbus.simulator import Simulator
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from headrace.kernel.errors import InputError
from headrace.kernel.messages import os_reason

__all__ = ["Column", "Progress", "Recording", "Replay", "configuration", "load", "scan_interval_ns", "serve"]

_log = structlog.get_logger(__name__)

UNIT: Final = 1
_LEAST_SCAN_NS: Final = 5 * NS_PER_MS
_MOST_SCAN_NS: Final = NS_PER_S
_WATCH_S: Final = 0.02
_ON_CHANGE: Final = '{ absolute = 0, heartbeat = "0s" }'


class Progress(msgspec.Struct, frozen=True):
    """`served`: rows published so far. `held`: rows that waited longer than a row lasts, because the row
    before had not been read yet. `missed`: rows that nobody read (0 with hold)."""

    rows: int
    served: int
    held: int
    missed: int
    finished: bool


class Replay:
    """The device behind a Simulator: give `on_read` to it and `memory` as its unit.

    Rows keep the recording's own distances, divided by `speed`; the first is published at the first read. A
    distance that is not above zero counts as the usual one, and none lasts longer than `longest_s`.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float = 1.0,
        loop: bool = False,
        hold: bool = True,
        longest_s: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        if not speed > 0 or speed == float("inf"):
            raise InputError("replay.bad_speed", speed=speed)
        self.memory = Memory()
        self.held = 0
        self.missed = 0
        self.published = 0  # rows published, over all rounds
        self._recording = recording
        self._loop = loop
        self._hold = hold
        self._clock = clock or SystemClock()
        self._row_ns = max(round(recording.period_ns / speed), 1)
        steps = np.diff(recording.times)
        steps = np.where(steps > 0, steps, recording.period_ns) / speed
        due = np.minimum(np.concatenate(([0], steps)), longest_s * NS_PER_S).cumsum()
        self._due: npt.NDArray[np.int64] = due.astype(np.int64)
        self._round_ns = int(self._due[-1]) + self._row_ns
        self._began = 0
        self._unread: dict[int, npt.NDArray[np.bool_]] = {}  # registers of the row at hand, by connection

    @property
    def finished(self) -> bool:
        """The last row has been read completely."""
        return not self._loop and self.published == self._recording.rows and self._was_read()

    @property
    def progress(self) -> Progress:
        return Progress(self._recording.rows, self.published, self.held, self.missed, self.finished)

    def on_read(self, connection: int, unit: int, area: str, start: int, count: int) -> None:
        """Simulator's hook: latch the next row where it is due and may come, then note what is being read."""
        if area != "holding":
            return
        end = start + count
        if start < TIME_AT and end > ROW_AT:
            self._latch(connection)
        if connection not in self._unread:
            self._unread[connection] = np.ones(self._recording.registers, np.bool_)
        self._unread[connection][start:end] = False

    def _was_read(self) -> bool:
        return any(not unread.any() for unread in self._unread.values())

    def _latch(self, connection: int) -> None:
        now = self._clock.monotonic()
        if self.published == 0:
            self._began = now
            self._publish(0)
            return
        unread = self._unread.get(connection)
        if self._hold and (unread is None or unread.any()):
            return
        newest = self._newest_due(now)
        if newest < self.published:
            return
        if self._hold:
            newest = self.published
            if now - self._due_at(newest) > self._row_ns:
                self.held += 1
        else:
            self.missed += newest - self.published + int(not self._was_read())
        self._publish(newest)

    def _due_at(self, number: int) -> int:
        """Monotonic ns at which row `number`, counted over all rounds from 0, is due."""
        round_, row = divmod(number, self._recording.rows)
        return self._began + round_ * self._round_ns + int(self._due[row])

    def _newest_due(self, now: int) -> int:
        """The newest row that is due; less than 0 for none."""
        round_, into = divmod(now - self._began, self._round_ns)
        row = int(np.searchsorted(self._due, into, side="right")) - 1
        if not self._loop and round_ > 0:
            return self._recording.rows - 1
        return round_ * self._recording.rows + row

    def _publish(self, number: int) -> None:
        words = row_registers(self._recording, number % self._recording.rows)
        self.memory.holding[: len(words)] = words
        self.memory.set("holding", ROW_AT, number + 1, "u64")
        self.published = number + 1
        self._unread.clear()


def scan_interval_ns(recording: Recording, speed: float = 1.0) -> int:
    """A quarter of the time a row lasts, from 5 ms to 1 s, in whole milliseconds."""
    quarter = recording.period_ns / speed / 4
    return max(min(int(quarter) // NS_PER_MS * NS_PER_MS, _MOST_SCAN_NS), _LEAST_SCAN_NS)


def configuration(recording: Recording, port: int, speed: float = 1.0, *, host: str = "127.0.0.1") -> str:
    """A complete headrace.toml for a node that reads `recording` served on `port`."""
    name = recording.name
    trigger = _quote(recording.tag("row"))
    tags = [
        ("row", "row counter", "行计数", ROW_AT, "u64"),
        ("row-time", "recorded time of the row, UTC ns", "该行的记录时刻（UTC 纳秒）", TIME_AT, "i64"),
        *(
            (column.segment, column.title, column.title, VALUES_AT + 4 * i, "f64")
            for i, column in enumerate(recording.columns)
        ),
    ]
    entries = "".join(
        f"""
[[edge.connections.tags]]
name = {_quote(recording.tag(segment))}
title = {{ zh = {_quote(zh)}, en = {_quote(en)} }}
address = "holding:{address}"
type = "{type_}"
report = {_ON_CHANGE if segment == "row" else f"{{ trigger = {trigger} }}"}
"""
        for segment, en, zh, address, type_ in tags
    )
    return f"""\
# {_comment(recording.file)}: {recording.rows} rows of {len(recording.columns)} columns, at {speed:g}x.
# Every row is read about four times; each tag is reported when the row counter changes, so once a row.
[node]
name = "replay"
profile = "plant"

[machines.{name}]
title = {{ zh = {_quote(recording.file)}, en = {_quote(recording.file)} }}

[[edge.connections]]
name = {_quote(name)}
driver = "modbus"
every = "{scan_interval_ns(recording, speed) // NS_PER_MS}ms"
title = {{ zh = {_quote("重放 " + recording.file)}, en = {_quote("replay of " + recording.file)} }}
settings = {{ host = {_quote(host)}, port = {port}, unit = {UNIT} }}
{entries}"""


def _quote(text: str) -> str:
    """A TOML basic string, which JSON's are where no DEL occurs."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


async def serve(
    recording: Recording,
    port: int,
    speed: float = 1.0,
    loop: bool = False,
    *,
    hold: bool = True,
    host: str = "127.0.0.1",
    stop: asyncio.Event | None = None,
    linger_s: float | None = None,
    started: Callable[[int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
) -> Progress:
    """Serve `recording` until `stop` is set, or until `linger_s` after its last row was read (None: only
    `stop` ends it, and the last row stays to be read).

    `started` gets the port once it listens (0 takes a free one); `on_progress` is called about 50 times a
    second while rows are being published. Raises InputError where the port is taken or may not be used.
    """
    replay = Replay(recording, speed=speed, loop=loop, hold=hold, clock=clock)
    missing = [("holding", recording.registers, codec.ADDRESSES - 1)]
    simulator = Simulator({UNIT: replay.memory}, illegal=missing, on_read=replay.on_read)
    try:
        bound = await simulator.start(host, port)
    except OSError as error:
        raise InputError("replay.cannot_listen", host=host, port=port, reason=os_reason(error)) from error
    stop = stop or asyncio.Event()
    last: Progress | None = None
    try:
        if started is not None:
            started(bound)
        while not stop.is_set():
            if on_progress is not None and replay.progress != last:
                last = replay.progress
                on_progress(last)
            if replay.finished and linger_s is not None:
                await _wait(stop, linger_s)
                break
            await _wait(stop, _WATCH_S)
    finally:
        await simulator.stop()
    result = replay.progress
    _log.info("replay_ended", served=result.served, rows=result.rows, held=result.held, missed=result.missed)
    return result


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
