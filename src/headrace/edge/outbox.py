"""The outbox: from reported values to messages that the bus has acknowledged.

Values of all lines wait a moment (`linger`) for each other and leave as one batch per kind; each batch is
made durable in the buffer, then published with several in flight. After an outage live messages go first and
the backlog drains beside them at a bounded rate, in at most half of the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from headrace.edge.buffer import Buffer
from headrace.edge.segment import Record
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock
from headrace.kernel.errors import HeadraceError, InputError
from headrace.kernel.model import Batch, Header, Kind, concat, encode
from headrace.kernel.ports import Bus

log = structlog.get_logger(__name__)

_ROWS = 40_000  # a message's most: about 1 MB before compression
_WINDOW = 16  # messages in flight
_BACKLOG_WINDOW = 8
_RETRY_S, _RETRY_LONGEST_S = 0.25, 5.0


class Outbox:
    """One per edge. `run` publishes until it is cancelled."""

    def __init__(
        self,
        *,
        node: str,
        source: str,
        buffer: Buffer,
        bus: Bus,
        clock: Clock,
        linger: int,
        replay_rate: int,
    ) -> None:
        self.published = 0
        self.up = True
        self._node = node
        self._source = source
        self._subject = f"data.{node}.{source}"
        self._buffer = buffer
        self._bus = bus
        self._clock = clock
        self._linger = linger / NS_PER_S
        self._rate = replay_rate
        self._parts: dict[Kind, list[Batch]] = {}
        self._rows: dict[Kind, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._landing = asyncio.Event()  # a message has been acknowledged, or not
        self._flying: dict[asyncio.Task[None], bool] = {}  # task → is backlog
        self._retry = _RETRY_S
        self._retry_at = 0.0
        self._tokens = 0.0
        self._tokens_at = 0.0
        self._lag = 0  # ns, of the newest acknowledged live message
        buffer.ready = self._ready.set

    # --- in ---

    def add(self, batches: Sequence[Batch]) -> None:
        """Values to be sent within a linger."""
        for batch in batches:
            if not len(batch):
                continue
            self._parts.setdefault(batch.kind, []).append(batch)
            rows = self._rows[batch.kind] = self._rows.get(batch.kind, 0) + len(batch)
            if rows >= _ROWS:
                self._seal(batch.kind)
        if self._parts and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger, self.flush)

    def flush(self) -> None:
        """Send what lingers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for kind in list(self._parts):
            self._seal(kind)

    def _seal(self, kind: Kind) -> None:
        whole = concat(self._parts.pop(kind))
        self._rows[kind] = 0
        for at in range(0, len(whole), _ROWS):
            part = whole if len(whole) <= _ROWS else Batch(kind, whole.data.slice(at, _ROWS))
            sequence = self._buffer.sequence()
            payload = encode(Header(self._node, self._source, sequence), part)
            self._buffer.append(sequence, self._subject, payload)

    async def event(self, subject: str, payload: bytes) -> bool:
        """A durable event, to be published like the values; True once it is safe on disk."""
        return await self._buffer.append(self._buffer.sequence(), subject, payload, urgent=True)

    # --- out ---

    @property
    def lag_ms(self) -> float:
        """From the making of a message to its acknowledgement: of the newest acknowledged, or of the oldest
        that still waits, whichever is longer."""
        oldest = self._buffer.depth().oldest
        waited = self._clock.now() - oldest if oldest else 0
        return round(max(self._lag, waited, 0) / NS_PER_MS, 3)

    async def run(self) -> None:
        """Publish for ever; end by cancelling."""
        try:
            while True:
                self._ready.clear()
                wait = await self._fill()
                if wait is None:
                    await self._ready.wait()
                    continue
                timer = asyncio.get_running_loop().call_later(wait, self._ready.set)
                await self._ready.wait()
                timer.cancel()
        finally:
            for task in list(self._flying):
                task.cancel()

    async def drain(self, seconds: float) -> None:
        """Wait until the bus has everything, or it is down, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                while self.up and self._buffer.depth().messages:
                    self._landing.clear()
                    await self._landing.wait()
        except TimeoutError:
            log.info("messages_left_for_the_next_start", count=self._buffer.depth().messages)

    async def _fill(self) -> float | None:
        """Launch what may fly; seconds until there may be more to do (None: when something is ready)."""
        loop = asyncio.get_running_loop()
        while len(self._flying) < (_WINDOW if self.up else 1):
            if not self.up and (wait := self._retry_at - loop.time()) > 0:
                return wait
            record, is_backlog = self._buffer.take_live(), False
            if record is None:
                if not self._buffer.backlog or sum(self._flying.values()) >= _BACKLOG_WINDOW:
                    return None
                if (wait := self._token(loop.time())) > 0:
                    return wait
                record, is_backlog = await self._buffer.take_backlog(), True
                if record is None:
                    return None
            task = loop.create_task(self._publish(record, live=not is_backlog))
            self._flying[task] = is_backlog
            task.add_done_callback(self._landed)
        return None

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._flying[task]
        self._ready.set()
        self._landing.set()

    def _token(self, now: float) -> float:
        """Seconds until the backlog may send its next message; 0 where it may now."""
        burst = max(self._rate / 10, 1.0)
        self._tokens = min(self._tokens + (now - self._tokens_at) * self._rate, burst)
        self._tokens_at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return max((1.0 - self._tokens) / self._rate, 0.001)

    async def _publish(self, record: Record, *, live: bool) -> None:
        key = f"{self._node}/{self._source}/{record.sequence}"
        try:
            await self._bus.publish(record.subject, record.payload, key=key)
        except InputError as error:
            # no bus will ever take it: it must not block the others
            log.error("message_refused", sequence=record.sequence, reason=str(error))
            self._buffer.ack(record.sequence)
        except HeadraceError as error:
            self._buffer.release(record.sequence)
            self._fail(error)
        except asyncio.CancelledError:
            self._buffer.release(record.sequence)
            raise
        else:
            self._buffer.ack(record.sequence)
            self.published += 1
            if live:
                self._lag = self._clock.now() - record.time
            if not self.up:
                log.info("bus_back", backlog=self._buffer.backlog)
                self.up, self._retry = True, _RETRY_S

    def _fail(self, error: HeadraceError) -> None:
        if self.up:
            log.warning("bus_down", reason=str(error))
            self.up = False
        self._buffer.demote()
        self._retry_at = asyncio.get_running_loop().time() + self._retry
        self._retry = min(self._retry * 2, _RETRY_LONGEST_S)
