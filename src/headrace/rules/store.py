"""Alarms in records: their definitions by version, their states, their transitions, the place in the stream.

The place is committed together with the transitions that were found up to it: after a crash the rules go on
from exactly there, and find nothing twice and miss nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel.errors import NotFound
from headrace.kernel.expr.scalar import Step
from headrace.kernel.messages import Text
from headrace.records import Records
from headrace.rules.definitions import Alarm, Compiled, Priority
from headrace.rules.engine import Latest
from headrace.rules.machine import Cause, State, Status

_meta = sa.MetaData()
_alarm = sa.Table(
    "alarm",
    _meta,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer),
    sa.Column("retired", sa.Boolean),
    sa.Column("state", sa.Text),
    sa.Column("state_rank", sa.Integer),
    sa.Column("priority", sa.Text),
    sa.Column("priority_rank", sa.Integer),
    sa.Column("machine", sa.Text),
    sa.Column("since", sa.BigInteger),
    sa.Column("status", sa.Text),
    sa.Column("view", sa.Text),
)
_definition = sa.Table(
    "alarm_definition",
    _meta,
    sa.Column("alarm", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("since", sa.BigInteger),
    sa.Column("body", sa.Text),
)
_transition = sa.Table(
    "alarm_transition",
    _meta,
    sa.Column("alarm", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time", sa.BigInteger),
    sa.Column("cause", sa.Text),
    sa.Column("published", sa.Boolean),
    sa.Column("body", sa.Text),
)
_position = sa.Table(
    "alarm_position",
    _meta,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("latest", sa.LargeBinary),  # msgpack, because JSON has no NaN
)
_STATE_RANK = {
    State.ACTIVE_UNACK: 0,
    State.CLEARED_UNACK: 1,
    State.ACTIVE_ACK: 2,
    State.SHELVED: 3,
    State.NORMAL: 4,
}
_PRIORITY_RANK = {priority: rank for rank, priority in enumerate(Priority)}


class AlarmState(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as it is. Times are UTC ns.

    `value`: of the first tag of the condition, in `unit`, when the alarm last moved or lost sight; `known`:
    False where the condition cannot be judged, because a tag is of bad quality or has not come yet;
    `active`: the condition holds, also while shelved; `number` counts the transitions.
    """

    id: str
    title: Text
    priority: Priority
    state: State
    when: str
    machine: str
    version: int
    advice: Text | None = None
    tag: str = ""
    unit: str = ""
    value: float | bool | str | None = None
    known: bool = False
    active: bool = False
    since: int = 0
    number: int = 0
    acknowledged_by: str = ""
    acknowledged_at: int | None = None
    shelved_by: str = ""
    shelved_until: int | None = None
    note: str = ""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of an alarm; (alarm, number) is its identity. `because`: what the condition was,
    part by part, under definition `version`."""

    alarm: str
    number: int
    time: int
    before: State
    after: State
    cause: Cause
    version: int
    by: str = ""
    note: str = ""
    value: float | bool | str | None = None
    because: Step | None = None


class AlarmEvent(msgspec.Struct, frozen=True):
    """What is published to `event.<node>.alarm`: the alarm as it is after `transition`, or after it has lost
    or regained sight of its condition (`transition` None)."""

    alarm: AlarmState
    transition: Transition | None = None


class Explanation(msgspec.Struct, frozen=True):
    """Why an alarm is as it is: since when, under which version of which definition, and by which values.
    `because` is of the transition into the present condition, or of now where a running node answers."""

    alarm: AlarmState
    definition: Alarm | None
    defined: int  # UTC ns
    because: Step | None

    def render(self, lang: str) -> str:
        head = f"{self.alarm.title.get(lang)} [{self.alarm.id}] {self.alarm.state.value}"
        if self.because is None:
            return head
        return f"{head}\n{self.because.render(lang)}"


class Saved(msgspec.Struct, frozen=True):
    """What was in records when the rules started."""

    states: dict[str, AlarmState]
    statuses: dict[str, Status]
    sequence: int | None  # None: the rules never ran here
    latest: dict[str, Latest]


_enc = msgspec.json.Encoder(enc_hook=int)
_state = msgspec.json.Decoder(AlarmState)
_body = msgspec.json.Decoder(Transition)


def _json(value: Any) -> str:
    return _enc.encode(value).decode()


class Store:
    """The tables, for the one process that writes them."""

    def __init__(self, records: Records, stream: str) -> None:
        self._records = records
        self._stream = stream

    def start(self, alarms: Sequence[Compiled], now: int) -> Saved:
        """Bring the definitions up to these, and read what was kept. A definition that differs from its
        newest version becomes the next one; one that is no longer configured is retired, with its history."""
        with self._records.begin() as connection:
            rows = {row.id: row for row in connection.execute(sa.select(_alarm))}
            states = {c.alarm.id: self._defined(connection, c, rows.get(c.alarm.id), now) for c in alarms}
            gone = [id_ for id_, row in rows.items() if id_ not in states and not row.retired]
            if gone:
                connection.execute(sa.update(_alarm).where(_alarm.c.id.in_(gone)).values(retired=True))
            position = connection.execute(
                sa.select(_position).where(_position.c.stream == self._stream)
            ).one_or_none()
        statuses = {id_: msgspec.json.decode(rows[id_].status, type=Status) for id_ in states if id_ in rows}
        return Saved(
            states,
            statuses,
            None if position is None else position.sequence,
            {} if position is None else msgspec.msgpack.decode(position.latest, type=dict[str, Latest]),
        )

    def save(
        self,
        changed: Mapping[str, tuple[AlarmState, Status]],
        transitions: Sequence[Transition],
        sequence: int,
        latest: Mapping[str, Latest],
    ) -> None:
        """All of it or nothing. Transitions that are there already stay as they are."""
        with self._records.begin() as connection:
            for state, status in changed.values():
                connection.execute(_put(connection, _alarm, _row(state, status), ["id"]))
            for transition in transitions:
                row = {
                    "alarm": transition.alarm,
                    "number": transition.number,
                    "time": transition.time,
                    "cause": transition.cause.value,
                    "published": False,
                    "body": _json(transition),
                }
                connection.execute(_put(connection, _transition, row, ["alarm", "number"], replace=False))
            row = {"stream": self._stream, "sequence": sequence, "latest": msgspec.msgpack.encode(latest)}
            connection.execute(_put(connection, _position, row, ["stream"]))

    def unpublished(self) -> list[Transition]:
        """Transitions that may not have reached the bus, oldest first."""
        query = sa.select(_transition.c.body).where(_transition.c.published.is_(sa.false()))
        with self._records.read() as connection:
            bodies = connection.scalars(query.order_by(_transition.c.time, _transition.c.number)).all()
        return [_body.decode(body) for body in bodies]

    def published(self, transitions: Sequence[Transition]) -> None:
        """They have."""
        with self._records.begin() as connection:
            for transition in transitions:
                connection.execute(
                    sa.update(_transition)
                    .where(_transition.c.alarm == transition.alarm, _transition.c.number == transition.number)
                    .values(published=True)
                )

    def _defined(self, connection: sa.Connection, compiled: Compiled, row: Any, now: int) -> AlarmState:
        alarm = compiled.alarm
        body = _json(alarm)
        newest = connection.execute(
            sa.select(_definition)
            .where(_definition.c.alarm == alarm.id)
            .order_by(_definition.c.version.desc())
            .limit(1)
        ).one_or_none()
        version = 1 if newest is None else newest.version
        if newest is None or newest.body != body:
            version = 1 if newest is None else newest.version + 1
            connection.execute(
                sa.insert(_definition).values(alarm=alarm.id, version=version, since=now, body=body)
            )
        kept = None if row is None else _state.decode(row.view)
        tag = compiled.names[0]
        state = AlarmState(
            id=alarm.id,
            title=alarm.title,
            priority=alarm.priority,
            state=State.NORMAL,
            when=alarm.when,
            machine=compiled.machine,
            version=version,
            advice=alarm.advice,
            tag=tag,
            unit=_unit(compiled, tag),
            since=now,
        )
        status = Status(since=now)
        if kept is not None:
            status = msgspec.json.decode(row.status, type=Status)
            fields = ("state", "value", "known", "active", "since", "number", "acknowledged_by",
                      "acknowledged_at", "shelved_by", "shelved_until", "note")  # fmt: skip
            state = msgspec.structs.replace(state, **{name: getattr(kept, name) for name in fields})
        connection.execute(_put(connection, _alarm, _row(state, status), ["id"]))
        return state


def _unit(compiled: Compiled, tag: str) -> str:
    def find(term: Any) -> str | None:
        if term.op == "tag" and term.value == tag:
            return term.type.unit.name if term.type.unit else ""
        return next((found for arg in term.args if (found := find(arg)) is not None), None)

    return find(compiled.trigger.root) or ""


def _row(state: AlarmState, status: Status) -> dict[str, Any]:
    return {
        "id": state.id,
        "version": state.version,
        "retired": False,
        "state": state.state.value,
        "state_rank": _STATE_RANK[state.state],
        "priority": state.priority.value,
        "priority_rank": _PRIORITY_RANK[state.priority],
        "machine": state.machine,
        "since": state.since,
        "status": _json(status),
        "view": _json(state),
    }


def _put(
    connection: sa.Connection, table: sa.Table, row: dict[str, Any], key: list[str], *, replace: bool = True
) -> Any:
    """INSERT … ON CONFLICT, which SQLite and PostgreSQL spell alike."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table).values(row)
    if not replace:
        return insert.on_conflict_do_nothing(index_elements=key)
    return insert.on_conflict_do_update(
        index_elements=key, set_={name: value for name, value in row.items() if name not in key}
    )


# --- for whoever reads ------------------------------------------------------------------------------------


def list_alarms(
    records: Records,
    *,
    states: Sequence[State | str] | None = None,
    priorities: Sequence[Priority | str] | None = None,
    machine: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[AlarmState], int]:
    """The configured alarms that fit, and how many there are in all: what needs a hand first (state, then
    priority), the newest of equals first."""
    query = sa.select(_alarm.c.view).where(_alarm.c.retired.is_(sa.false()))
    if states is not None:
        query = query.where(_alarm.c.state.in_([str(state) for state in states]))
    if priorities is not None:
        query = query.where(_alarm.c.priority.in_([str(priority) for priority in priorities]))
    if machine is not None:
        query = query.where(_alarm.c.machine == machine)
    order = (_alarm.c.state_rank, _alarm.c.priority_rank, _alarm.c.since.desc(), _alarm.c.id)
    with records.read() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
        views = connection.scalars(query.order_by(*order).limit(limit).offset(offset)).all()
    return [_state.decode(view) for view in views], total


def count_alarms(records: Records) -> dict[State, int]:
    """How many configured alarms are in each state."""
    query = sa.select(_alarm.c.state, sa.func.count()).where(_alarm.c.retired.is_(sa.false()))
    with records.read() as connection:
        found = {State(state): count for state, count in connection.execute(query.group_by(_alarm.c.state))}
    return {state: found.get(state, 0) for state in State}


def get_alarm(records: Records, alarm: str) -> AlarmState:
    """Raises NotFound (`alarm.unknown`). A retired alarm is found too."""
    with records.read() as connection:
        view = connection.scalar(sa.select(_alarm.c.view).where(_alarm.c.id == alarm))
    if view is None:
        raise NotFound("alarm.unknown", alarm=alarm)
    return _state.decode(view)


def alarm_history(
    records: Records,
    *,
    alarm: str | None = None,
    start: int | None = None,
    end: int | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[Transition], int]:
    """Transitions of one alarm or of all, with `start` ≤ time < `end` (UTC ns), the newest first; and how
    many there are in all."""
    query = sa.select(_transition.c.body)
    if alarm is not None:
        query = query.where(_transition.c.alarm == alarm)
    if start is not None:
        query = query.where(_transition.c.time >= start)
    if end is not None:
        query = query.where(_transition.c.time < end)
    order = (_transition.c.time.desc(), _transition.c.number.desc(), _transition.c.alarm)
    with records.read() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
        bodies = connection.scalars(query.order_by(*order).limit(limit).offset(offset)).all()
    return [_body.decode(body) for body in bodies], total


def explain_alarm(records: Records, alarm: str) -> Explanation:
    """From records alone, so also while the node is down. Raises NotFound (`alarm.unknown`)."""
    state = get_alarm(records, alarm)
    query = sa.select(_transition.c.body).where(
        _transition.c.alarm == alarm, _transition.c.cause == Cause.CONDITION.value
    )
    with records.read() as connection:
        body = connection.scalar(query.order_by(_transition.c.number.desc()).limit(1))
        row = connection.execute(
            sa.select(_definition).where(_definition.c.alarm == alarm, _definition.c.version == state.version)
        ).one_or_none()
    return Explanation(
        state,
        None if row is None else msgspec.convert(msgspec.json.decode(row.body), Alarm, dec_hook=_duration),
        0 if row is None else row.since,
        None if body is None else _body.decode(body).because,
    )


def _duration(type_: type, value: Any) -> Any:
    return type_(value)
