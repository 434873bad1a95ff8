"""The role `rules`: batches from the bus through the engine into records, and out again as events."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import structlog

from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock
from headrace.kernel.errors import BusUnavailable, HeadraceError, InputError, NotFound
from headrace.kernel.expr import Point, Step, explain, symbols_of
from headrace.kernel.model import Tag, decode
from headrace.kernel.ports import Bus, Message
from headrace.records import Records
from headrace.rules import machine
from headrace.rules.definitions import Alarm, Compiled, compile_alarm
from headrace.rules.engine import Engine, Happened
from headrace.rules.machine import Cause, Move, State, Status
from headrace.rules.settling import Settling
from headrace.rules.store import AlarmEvent, AlarmState, Store, Transition, explain_alarm

log = structlog.get_logger(__name__)

_STREAM = "DATA"
_SETTLE = 50 * NS_PER_MS  # samples of one cycle come within this
_GRACE = 500 * NS_PER_MS  # what a sample may take from the device to here
_CHECKPOINT = 5 * NS_PER_S  # how often the place in the stream is kept when no alarm moves
_RETRY_S = 1.0
_POLL_S = 0.5
_BATCHES = 256


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `cmd.<node>.rules` takes. `until`: the end of shelving, UTC ns. The reply is the AlarmState, of
    "explain" an Explanation."""

    op: Literal["acknowledge", "shelve", "unshelve", "explain"]
    alarm: str
    by: str = ""
    note: str = ""
    until: int = 0


async def run(
    *,
    node: str,
    definitions: Sequence[Alarm],
    tags: Sequence[Tag],
    bus: Bus,
    records: Records,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Judge every batch of the node until `stop` is set. An alarm that does not fit the tags is left out and
    said so in the log; the others run."""
    service = _Service(node, _compiled(definitions, tags), tags, bus, records, clock)
    await service.start()
    log.info("rules_started", alarms=len(service.alarms), position=service.position)
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.publish(done))
        group.create_task(service.work(stop, done))
    log.info("rules_stopped", position=service.position)


def _compiled(definitions: Sequence[Alarm], tags: Sequence[Tag]) -> list[Compiled]:
    symbols = symbols_of(tags)
    found = []
    for alarm in definitions:
        try:
            found.append(compile_alarm(alarm, symbols))
        except InputError as error:
            log.error("alarm_left_out", alarm=alarm.id, code=error.code, error=error.text())
    return found


class _Service:
    def __init__(
        self,
        node: str,
        alarms: Sequence[Compiled],
        tags: Sequence[Tag],
        bus: Bus,
        records: Records,
        clock: Clock,
    ) -> None:
        self.alarms = alarms
        self._node = node
        self._tags = tags
        self._bus = bus
        self._clock = clock
        self._records = records
        self._store = Store(records, _STREAM)
        self._engine: Engine
        self._states: dict[str, AlarmState] = {}
        self._settling = Settling(_SETTLE)
        self._next = 1
        self._changed: set[str] = set()
        self._found: list[Transition] = []  # not yet in records
        self._seen: list[AlarmEvent] = []  # not yet on the bus, and not in records because nothing moved
        self._to_publish = asyncio.Event()
        self._saved_position = 0
        self._saved_at = 0
        self._lock = asyncio.Lock()  # the engine's state and the transaction that keeps it go together

    @property
    def position(self) -> int:
        return self._settling.position

    async def start(self) -> None:
        now = self._clock.now()
        saved = await asyncio.to_thread(self._store.start, self.alarms, now)
        self._states = saved.states
        statuses = {id_: saved.statuses.get(id_, Status(since=now)) for id_ in saved.states}
        self._engine = Engine(self.alarms, self._tags, statuses, saved.latest, self._clock.monotonic())
        position = saved.sequence or 0
        self._settling = Settling(_SETTLE, position)
        self._next = position + 1
        self._saved_position = position
        self._to_publish.set()  # what an earlier life could not publish
        await self._bus.serve(f"cmd.{self._node}.rules", self._answer)

    # --- samples -----------------------------------------------------------------------------------------

    async def work(self, stop: asyncio.Event, done: asyncio.Event) -> None:
        """Until `stop`; sets `done` when nothing more will come to be published."""
        found = False  # our place in the stream
        while not stop.is_set():
            try:
                if not found:
                    await self._resume()
                    found = True
                messages = await self._bus.read(
                    _STREAM, self._next, limit=_BATCHES, timeout_s=self._patience(), filter=self._filter
                )
            except BusUnavailable as error:
                log.warning("bus_unavailable", error=error.text())
                messages, found = [], False
                await _pause(stop, _RETRY_S)
            async with self._lock:
                self._take(messages)
                await self._keep()
        async with self._lock:
            self._take([])
            await self._keep(at_end=True)
        done.set()

    async def _resume(self) -> None:
        """A stream that ends before our place is a new one: its folder was replaced. Start at its start."""
        state = await self._bus.state(_STREAM)
        if state.last + 1 < self._next:
            log.warning("stream_is_new", position=self.position, last=state.last)
            self._settling = Settling(_SETTLE, state.first - 1)
            self._next = max(1, state.first)

    @property
    def _filter(self) -> str:
        return f"data.{self._node}.*"

    def _patience(self) -> float:
        """Seconds for which nothing needs doing but to wait for messages."""
        now = self._clock.monotonic()
        waits = [self._settling.left(now), self._engine.wait(now, self._clock.now(), _GRACE)]
        return max(0.001, min([_POLL_S, *(wait / NS_PER_S for wait in waits if wait is not None)]))

    def _take(self, messages: Sequence[Message]) -> None:
        """Messages in, what the alarms did out (`_changed`, `_found`)."""
        now = self._clock.monotonic()
        for message in messages:
            self._next = message.sequence + 1
            try:
                _, batch = decode(message.payload)
            except HeadraceError as error:
                log.error("batch_refused", sequence=message.sequence, code=error.code, error=error.text())
                self._settling.add(message.sequence, None, now)
                continue
            rows = np.flatnonzero(self._engine.reads(batch) >= 0)
            matters = batch if len(rows) == len(batch) else batch.take(rows) if len(rows) else None
            self._settling.add(message.sequence, matters, now)
        batches = self._settling.release(now)
        if batches:
            for happened in self._engine.feed(batches, now):
                self._note(happened)
        if len(messages) < _BATCHES:  # with more still to come, silence means nothing
            for happened in self._engine.timeouts(now, self._clock.now(), _GRACE):
                self._note(happened)

    def _note(self, happened: Happened) -> None:
        alarm = happened.alarm
        for moment in happened.moments:
            self._found.append(self._transition(alarm, moment.move, moment.points))
            self._states[alarm] = _moved(self._states[alarm], moment.move, self._value(alarm, moment.points))
        status = happened.status
        self._states[alarm] = msgspec.structs.replace(
            self._states[alarm],
            value=self._value(alarm, happened.points),
            known=status.known,
            active=status.active,
            shelved_until=status.until,
        )
        self._changed.add(alarm)
        if not happened.moments:
            self._seen.append(AlarmEvent(self._states[alarm]))

    def _transition(
        self, alarm: str, move: Move, points: dict[str, Point], by: str = "", note: str = ""
    ) -> Transition:
        compiled = self._engine.compiled(alarm)
        assert compiled is not None
        return Transition(
            alarm=alarm,
            number=move.number,
            time=move.time,
            before=move.before,
            after=move.after,
            cause=move.cause,
            version=self._states[alarm].version,
            by=by,
            note=note,
            value=self._value(alarm, points),
            because=_finite(explain(compiled.trigger, points)),
        )

    def _value(self, alarm: str, points: dict[str, Point]) -> Any:
        return _plain(points[self._states[alarm].tag].value)

    # --- records -----------------------------------------------------------------------------------------

    async def _keep(self, *, at_end: bool = False) -> None:
        """What has happened, and the place in the stream, into records. Where they refuse, everything is
        kept in memory and tried again with what comes next."""
        moved = self._changed or self._found
        now = self._clock.monotonic()
        due = self.position != self._saved_position and (now - self._saved_at >= _CHECKPOINT or at_end)
        if not moved and not due:
            return
        changed = {alarm: (self._states[alarm], self._engine.statuses[alarm]) for alarm in self._changed}
        position = self.position
        try:
            await asyncio.to_thread(
                self._store.save, changed, list(self._found), position, self._engine.latest()
            )
        except HeadraceError as error:
            log.error("alarms_not_kept", code=error.code, error=error.text(), waiting=len(self._found))
            return
        self._saved_position, self._saved_at = position, now
        for transition in self._found:
            log.info(
                "alarm",
                alarm=transition.alarm,
                number=transition.number,
                before=transition.before.value,
                after=transition.after.value,
                cause=transition.cause.value,
            )
        if self._found or self._seen:
            self._to_publish.set()
        self._changed.clear()
        self._found.clear()

    # --- events ------------------------------------------------------------------------------------------

    async def publish(self, done: asyncio.Event) -> None:
        """Every transition in records reaches the bus, after a crash too; its key keeps it from counting
        twice."""
        while True:
            try:
                async with asyncio.timeout(0 if done.is_set() else _POLL_S):
                    await self._to_publish.wait()
            except TimeoutError:
                if done.is_set():
                    return
                continue
            self._to_publish.clear()
            try:
                await self._publish_all()
            except HeadraceError as error:
                log.warning("events_not_published", code=error.code, error=error.text())
                if done.is_set():
                    return
                self._to_publish.set()
                await _pause(done, _RETRY_S)

    async def _publish_all(self) -> None:
        subject = f"event.{self._node}.alarm"
        while self._seen:
            await self._bus.publish(subject, msgspec.json.encode(self._seen[0], enc_hook=int))
            self._seen.pop(0)
        waiting = await asyncio.to_thread(self._store.unpublished)
        for transition in waiting:
            state = self._states.get(transition.alarm)
            if state is None:  # retired since
                continue
            event = AlarmEvent(_as_of(state, transition), transition)
            key = f"alarm/{self._node}/{transition.alarm}/{transition.number}"
            await self._bus.publish(subject, msgspec.json.encode(event, enc_hook=int), key=key)
        if waiting:
            await asyncio.to_thread(self._store.published, waiting)

    # --- requests ----------------------------------------------------------------------------------------

    async def _answer(self, payload: bytes) -> bytes:
        try:
            request = msgspec.json.decode(payload, type=Request)
        except msgspec.MsgspecError as error:
            raise InputError("alarm.bad_request", reason=str(error)) from None
        compiled = self._engine.compiled(request.alarm)
        if compiled is None:
            raise NotFound("alarm.unknown", alarm=request.alarm)
        if request.op == "explain":
            alarm = compiled.alarm
            because = _finite(explain(compiled.trigger, self._engine.points(alarm.id)))
            kept = await asyncio.to_thread(explain_alarm, self._records, alarm.id)
            now = msgspec.structs.replace(kept, alarm=self._states[alarm.id], because=because)
            return msgspec.json.encode(now, enc_hook=int)
        async with self._lock:
            return msgspec.json.encode(await self._do(request, compiled.alarm), enc_hook=int)

    async def _do(self, request: Request, alarm: Alarm) -> AlarmState:
        """An operator's action: answered only once it is in records."""
        now = self._clock.now()
        before, expired = machine.expire(self._engine.statuses[alarm.id], now)
        match request.op:
            case "acknowledge":
                status, moves = machine.acknowledge(before, now)
            case "unshelve":
                status, moves = machine.unshelve(before, now)
            case _:
                if request.until - now > alarm.shelve_max:
                    hours = f"{alarm.shelve_max / (3600 * NS_PER_S):g}"
                    raise InputError("alarm.shelf_too_long", hours=hours)
                status, moves = machine.shelve(before, now, request.until)
        points = self._engine.points(alarm.id)
        state = self._states[alarm.id]
        transitions = [self._transition(alarm.id, move, points) for move in expired]
        for move in expired:
            state = _moved(state, move, state.value)
        for move in moves:
            transitions.append(self._transition(alarm.id, move, points, request.by, request.note))
            state = _moved(state, move, state.value, request.by, request.note)
        state = msgspec.structs.replace(state, active=status.active, shelved_until=status.until)
        changed = {id_: (self._states[id_], self._engine.statuses[id_]) for id_ in self._changed}
        changed[alarm.id] = (state, status)
        position, latest = self.position, self._engine.latest()
        await asyncio.to_thread(self._store.save, changed, [*self._found, *transitions], position, latest)
        self._saved_position, self._saved_at = position, self._clock.monotonic()
        self._changed.clear()
        self._found.clear()
        self._states[alarm.id] = state
        self._engine.set(alarm.id, status, self._clock.monotonic())
        self._to_publish.set()
        log.info("alarm_request", op=request.op, alarm=alarm.id, by=request.by)
        return state


def _moved(state: AlarmState, move: Move, value: Any, by: str = "", note: str = "") -> AlarmState:
    """The state after a move: who acknowledged and who shelved stand as long as that lasts."""
    state = msgspec.structs.replace(
        state, state=move.after, since=move.time, number=move.number, value=value, note=note or state.note
    )
    if move.cause is Cause.ACKNOWLEDGE:
        return msgspec.structs.replace(state, acknowledged_by=by, acknowledged_at=move.time, note=note)
    if move.cause is Cause.SHELVE:
        return msgspec.structs.replace(state, shelved_by=by, note=note)
    if move.after in (State.ACTIVE_UNACK, State.NORMAL):
        return msgspec.structs.replace(
            state, acknowledged_by="", acknowledged_at=None, shelved_by="", shelved_until=None, note=""
        )
    return state


def _as_of(state: AlarmState, transition: Transition) -> AlarmState:
    """What goes out with a transition: the alarm as it is, unless it has moved on since."""
    if state.number == transition.number:
        return state
    return msgspec.structs.replace(
        state,
        state=transition.after,
        since=transition.time,
        number=transition.number,
        value=transition.value,
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinities; they travel as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _finite(step: Step) -> Step:
    return msgspec.structs.replace(
        step, value=_plain(step.value), parts=tuple(_finite(part) for part in step.parts)
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
