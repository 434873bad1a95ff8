"""The ingest role: read, decode, append, and only then let the bus forget.

One task reads the stream from history's own position and appends; one ticks each second: it tells the
status, has the store seal and merge in a thread when that is due, and purges the bus behind what is sealed.
A disk that is full or a bus that is down makes it wait and try again; it never drops and never runs ahead.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from headrace.history import HistorySettings, Store, check_tags
from headrace.ingest.quarantine import Quarantine, Quarantined, entry
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock
from headrace.kernel.errors import BusUnavailable, Corrupt, HeadraceError, InputError, Unavailable
from headrace.kernel.model import Batch, Header, decode
from headrace.kernel.ports import Bus, Message

_log = structlog.get_logger(__name__)

STREAM = "DATA"
_LIMIT = 64  # messages per append: one fdatasync for all of them
_PAUSES_S = (0.1, 0.2, 0.5, 1.0)


class IngestStatus(msgspec.Struct, frozen=True):
    """`status.<node>.ingest`, once per second. `values_total`, `messages_total`, `duplicates` count since the
    role started, `quarantine` all there is; `append_ms` is the slowest append of the last second;
    `lag_messages` is None while the bus does not answer. `error` is what it waits for, by message code."""

    updated: int
    position: int
    lag_messages: int | None
    values_total: int
    messages_total: int
    values_per_s: float
    append_ms: float
    duplicates: int
    quarantine: int
    head_rows: int
    segments: int
    points: int
    bytes: int
    error: str | None = None


async def run(
    *,
    node: str,
    bus: Bus,
    store_dir: Path,
    settings: HistorySettings,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Until `stop`. Raises Conflict, Corrupt or Unavailable where the store cannot be opened."""
    store = await asyncio.to_thread(Store.open, store_dir, clock=clock, settings=settings)
    try:
        quarantine = await asyncio.to_thread(Quarantine, Path(store_dir) / "quarantine")
        ingest = _Ingest(node, bus, store, quarantine, clock, stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(ingest.read())
            group.create_task(ingest.tick())
    except* HeadraceError as failed:
        raise failed.exceptions[0] from failed
    finally:
        await asyncio.to_thread(store.close)


class _Ingest:
    def __init__(
        self,
        node: str,
        bus: Bus,
        store: Store,
        quarantine: Quarantine,
        clock: Clock,
        stop: asyncio.Event,
    ) -> None:
        self._node = node
        self._bus = bus
        self._store = store
        self._quarantine = quarantine
        self._clock = clock
        self._stop = stop
        self._key = _current_key(store.streams())
        self._checked = False  # whether the bus still has the stream that our position is of
        self._lag: int | None = None
        self._values = 0
        self._messages = 0
        self._duplicates = 0
        self._append_ns = 0
        self._purged = 0
        self._waits: dict[str, str] = {}  # what is waited for: bus, disk, maintenance → message code

    # --- reading -------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Bus to log."""
        while not self._stop.is_set():
            if not self._checked and not await self._look():
                await self._pause(0)
                continue
            key = self._key
            start = self._store.position(key) + 1
            try:
                found = await self._bus.read(STREAM, start, limit=_LIMIT, timeout_s=1.0)
            except BusUnavailable as error:
                self._wait_for("bus", error)
                self._checked = False
                await self._pause(1)
                continue
            self._go_on("bus")
            if found and key == self._key:
                await self._take(key, found)

    async def _take(self, key: str, found: Sequence[Message]) -> None:
        items: list[tuple[int, Header, Batch]] = []
        payloads: list[bytes] = []
        refused: list[Quarantined] = []
        refused_payloads: list[bytes] = []
        for message in found:
            try:
                header, batch = decode(message.payload)
                check_tags(batch)
            except (Corrupt, InputError) as error:
                refused.append(self._refuse(key, message, error))
                refused_payloads.append(message.payload)
                continue
            items.append((message.sequence, header, batch))
            payloads.append(message.payload)
        for attempt in itertools.count():
            try:
                if refused:
                    await asyncio.to_thread(self._quarantine.add, refused, refused_payloads)
                    refused, refused_payloads = [], []
                before = self._clock.monotonic()
                done = await asyncio.to_thread(
                    self._store.append, key, items, payloads, upto=found[-1].sequence
                )
            except Unavailable as error:
                self._wait_for("disk", error)
                await self._pause(attempt)
                if self._stop.is_set():
                    return
                continue
            self._append_ns = max(self._append_ns, self._clock.monotonic() - before)
            self._go_on("disk")
            self._values += done.points
            self._messages += done.messages
            self._duplicates += done.duplicates
            return

    def _refuse(self, key: str, message: Message, error: HeadraceError) -> Quarantined:
        _log.error(
            "message_quarantined",
            sequence=message.sequence,
            subject=message.subject,
            code=error.code,
            reason=error.text(),
        )
        return entry(
            time=self._clock.now(),
            stream=key,
            sequence=message.sequence,
            subject=message.subject,
            code=error.code,
            reason=error.text(),
            payload=message.payload,
        )

    async def _look(self) -> bool:
        """Ask how far the stream is. A stream that ends before our position is another one than we read (the
        bus was set up anew): it is read from its start, under a new name; what history has of it already is
        known by the headers. False where the bus does not answer."""
        key = self._key
        position = self._store.position(key)
        try:
            state = await self._bus.state(STREAM)
        except BusUnavailable as error:
            self._lag = None
            self._wait_for("bus", error)
            return False
        if key == self._key and state.last < position:
            self._key = _next_key(self._key)
            self._purged = 0
            _log.warning(
                "bus_stream_new", stream=STREAM, last=state.last, position=position, known_as=self._key
            )
        self._lag = max(state.last - self._store.position(self._key), 0)
        self._checked = True
        return True

    # --- each second ---------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Status, maintenance, purge."""
        maintenance: asyncio.Task[None] | None = None
        before, values = self._clock.monotonic(), 0
        while not self._stop.is_set():
            await self._sleep(1.0)
            await self._look()
            if maintenance is not None and maintenance.done():
                maintenance.result()
                maintenance = None
            if maintenance is None and self._store.due():
                maintenance = asyncio.create_task(self._maintain())
            await self._purge()
            now = self._clock.monotonic()
            rate = (self._values - values) * NS_PER_S / max(now - before, 1)
            before, values = now, self._values
            await self._tell(rate)
        if maintenance is not None:
            await maintenance

    async def _maintain(self) -> None:
        try:
            while not self._stop.is_set() and await asyncio.to_thread(self._store.maintain):
                self._go_on("maintenance")
        except (Unavailable, Corrupt) as error:
            self._wait_for("maintenance", error)
        else:
            self._go_on("maintenance")

    async def _purge(self) -> None:
        sealed = self._store.purgeable(self._key)
        if sealed <= self._purged:
            return
        try:
            await self._bus.purge(STREAM, sealed + 1)
        except BusUnavailable as error:
            self._wait_for("bus", error)
        else:
            self._purged = sealed

    async def _tell(self, rate: float) -> None:
        state = self._store.state()
        status = IngestStatus(
            updated=self._clock.now(),
            position=self._store.position(self._key),
            lag_messages=self._lag,
            values_total=self._values,
            messages_total=self._messages,
            values_per_s=round(rate, 1),
            append_ms=round(self._append_ns / NS_PER_MS, 3),
            duplicates=self._duplicates,
            quarantine=len(self._quarantine),
            head_rows=state.head_rows,
            segments=state.segments,
            points=state.points,
            bytes=state.bytes,
            error=next(iter(self._waits.values()), None),
        )
        self._append_ns = 0
        try:
            await self._bus.send(f"status.{self._node}.ingest", msgspec.json.encode(status))
        except BusUnavailable as error:
            self._wait_for("bus", error)

    # --- waiting -------------------------------------------------------------------------------------------

    def _wait_for(self, what: str, error: HeadraceError) -> None:
        if self._waits.get(what) != error.code:
            self._waits[what] = error.code
            _log.warning("ingest_waits", what=what, code=error.code, reason=error.text())

    def _go_on(self, what: str) -> None:
        if self._waits.pop(what, None) is not None:
            _log.info("ingest_goes_on", what=what)

    async def _pause(self, attempt: int) -> None:
        await self._sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])

    async def _sleep(self, seconds: float) -> None:
        """Until `stop`, at most `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


def _current_key(streams: Sequence[str]) -> str:
    """The name under which history knows the stream that was read last: DATA, then DATA.2, DATA.3, …"""
    numbers = [_number(key) for key in streams if key.split(".")[0] == STREAM]
    newest = max(numbers, default=1)
    return STREAM if newest == 1 else f"{STREAM}.{newest}"


def _next_key(key: str) -> str:
    return f"{STREAM}.{_number(key) + 1}"


def _number(key: str) -> int:
    _, _, number = key.partition(".")
    return int(number) if number else 1
