"""Changes of access, written with the change itself and heard in every process of the node.

A change opens `Events.begin()`, says what it does with `note`, and commits. The rows stand in `access_event`
in the same transaction, so no change is ever silent; recorders (the audit log) run inside it. After the
commit the listeners of this process run at once; `carry` publishes the rows to `event.<node>.access` and
calls the listeners for those of other processes. A process that misses an event (its bus was cut) is covered
by the short life of what it has cached: see `identity.sessions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
import sqlalchemy as sa
import structlog

from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import BusUnavailable, Unavailable
from headrace.kernel.ports import Bus, Message
from headrace.records import Records

_log = structlog.get_logger(__name__)

_KEPT_S = 7 * 86_400  # the audit log keeps acts for as long as it must; these rows only wake processes
_POLL_S = 0.2  # how soon a change by a process without a bus (a command) is published
_BATCH = 256
_PRUNE_EVERY = 1000  # polls

_event = sa.Table(
    "access_event",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time", sa.BigInteger),
    sa.Column("kind", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("by", sa.Text),
    sa.Column("published", sa.Boolean),
)


class AccessEvent(msgspec.Struct, frozen=True):
    """`kind`, such as "session.ended", befell `subject` (an id); `by`: id of who did it, "" for the node
    itself. `org` and `detail` are for recorders and do not leave the process; no secret stands in them."""

    kind: str
    subject: str
    by: str
    time: int  # UTC ns
    number: int = 0
    org: str = ""
    detail: dict[str, str] = {}


Listener = Callable[[AccessEvent], None]
Recorder = Callable[[sa.Connection, AccessEvent], None]


class Change(Protocol):
    """What `Events.begin` gives: the transaction's connection, its time, and the way to say what changes."""

    connection: sa.Connection
    now: int

    def note(
        self, kind: str, subject: str, *, by: str, org: str = "", detail: dict[str, str] | None = None
    ) -> None: ...


class Events:
    """The events of one process. Thread-safe; listeners run in the thread of whoever commits, or in that of
    `carry`, and must not raise."""

    def __init__(self, records: Records, clock: Clock, *, recorders: Sequence[Recorder] = ()) -> None:
        self.records = records
        self.clock = clock
        self._recorders = tuple(recorders)
        self._listeners: list[Listener] = []
        self._wake: Callable[[], None] | None = None

    def listen(self, listener: Listener) -> None:
        """Call `listener` for every event from now on, at least once each."""
        self._listeners.append(listener)

    @contextmanager
    def begin(self) -> Iterator[Change]:
        """A write transaction in which `note` adds events; they take effect only when it commits."""
        with self.records.begin() as connection:
            change = _Change(connection, self.clock.now(), self._recorders)
            yield change
        for event in change.events:
            self._tell(event)
        if change.events and self._wake is not None:
            self._wake()

    async def carry(self, bus: Bus, node: str, *, stop: asyncio.Event) -> None:
        """Publish what is written here, hear what is written elsewhere, until `stop`. Runs in every process
        that caches; the stream EVENTS must exist. A bus that is down is tried again."""
        loop, grown = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(grown.set)

        self._wake = wake
        hearing = asyncio.create_task(self._hear(bus, node))
        ending = asyncio.create_task(stop.wait())
        polls = 0
        try:
            while not stop.is_set():
                grown.clear()
                try:
                    await self._publish(bus, node)
                    if polls % _PRUNE_EVERY == 0:
                        await asyncio.to_thread(self._prune)
                except (BusUnavailable, Unavailable) as error:
                    _log.warning("access_events_wait", code=error.code)
                polls += 1
                waking = asyncio.create_task(grown.wait())
                await asyncio.wait({waking, ending}, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
        finally:
            self._wake = None
            hearing.cancel()
            ending.cancel()
            await asyncio.gather(hearing, ending, return_exceptions=True)

    async def _publish(self, bus: Bus, node: str) -> None:
        while events := await asyncio.to_thread(self._waiting):
            for event in events:
                # Several processes may publish the same row; the key makes it one message.
                key = f"{node}.access.{event.number}"
                await bus.publish(f"event.{node}.access", msgspec.json.encode(event), key=key)
            await asyncio.to_thread(self._published, [event.number for event in events])

    async def _hear(self, bus: Bus, node: str) -> None:
        while True:
            try:
                async for message in bus.subscribe(f"event.{node}.access"):
                    self._heard(message)
            except BusUnavailable as error:
                _log.warning("access_events_deaf", code=error.code)
            await asyncio.sleep(_POLL_S)

    def _heard(self, message: Message) -> None:
        try:
            event = msgspec.json.decode(message.payload, type=AccessEvent)
        except msgspec.DecodeError as error:
            _log.warning("access_event_unreadable", subject=message.subject, reason=str(error))
            return
        self._tell(event)

    def _tell(self, event: AccessEvent) -> None:
        for listener in list(self._listeners):
            listener(event)

    def _waiting(self) -> list[AccessEvent]:
        query = sa.select(_event).where(sa.not_(_event.c.published)).order_by(_event.c.number).limit(_BATCH)
        with self.records.read() as connection:
            rows = connection.execute(query).all()
        return [AccessEvent(row.kind, row.subject, row.by, row.time, row.number) for row in rows]

    def _published(self, numbers: list[int]) -> None:
        with self.records.begin() as connection:
            connection.execute(sa.update(_event).where(_event.c.number.in_(numbers)).values(published=True))

    def _prune(self) -> None:
        before = self.clock.now() - _KEPT_S * NS_PER_S
        with self.records.begin() as connection:
            connection.execute(sa.delete(_event).where(_event.c.published, _event.c.time < before))


class _Change:
    def __init__(self, connection: sa.Connection, now: int, recorders: Sequence[Recorder]) -> None:
        self.connection = connection
        self.now = now
        self.events: list[AccessEvent] = []
        self._recorders = recorders

    def note(
        self, kind: str, subject: str, *, by: str, org: str = "", detail: dict[str, str] | None = None
    ) -> None:
        row = {"time": self.now, "kind": kind, "subject": subject, "by": by, "published": False}
        number = self.connection.execute(sa.insert(_event).values(**row)).inserted_primary_key
        assert number is not None
        event = AccessEvent(kind, subject, by, self.now, number[0], org, detail or {})
        for record in self._recorders:
            record(self.connection, event)
        self.events.append(event)
