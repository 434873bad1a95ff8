"""The alarms as the API shows them: a copy of what rules keeps in records, brought up to date on each event.

Records are the truth; an event only says that there is something new. So the board never has to agree with
rules about what an event means, and an event that was lost costs at most `REFRESH_S` of delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from headrace.api.problems import Refused
from headrace.api.values import to_json
from headrace.api.views import (
    AlarmCounts,
    AlarmExplanation,
    AlarmHistory,
    AlarmMove,
    AlarmPage,
    AlarmView,
    Limit,
)
from headrace.kernel.clock import NS_PER_S, Clock, iso
from headrace.kernel.errors import HeadraceError, InputError, NotFound
from headrace.kernel.expr import symbols_of
from headrace.kernel.model import Tag
from headrace.kernel.ports import Bus
from headrace.records import Records
from headrace.rules import (
    Alarm,
    AlarmState,
    Priority,
    State,
    Transition,
    alarm_history,
    compile_alarm,
    explain_alarm,
    limits_of,
    list_alarms,
)

REFRESH_S = 10.0
"""How often records are read where no event came."""

SHELVE_LEAST, SHELVE_MOST = 1.0, 60.0 * 24 * 7
"""Minutes that an alarm may be shelved for; each alarm's own limit may be less, never is there none."""

_NEEDS_HAND = (State.ACTIVE_UNACK, State.ACTIVE_ACK, State.CLEARED_UNACK)
_RANK = {priority: rank for rank, priority in enumerate(Priority)}
_PAGE = 1000


class AlarmBoard:
    """All configured alarms in the order of rules: what needs a hand first. The event loop owns it; records
    are asked in threads."""

    def __init__(self, node: str, records: Records, bus: Bus, clock: Clock) -> None:
        self._node = node
        self._records = records
        self._bus = bus
        self._clock = clock
        self._alarms: dict[str, AlarmView] = {}
        self._lock = asyncio.Lock()

    async def refresh(self) -> list[AlarmView]:
        """Read records anew; the alarms that changed, in order of the change's time. Raises Unavailable."""
        async with self._lock:
            found = await asyncio.to_thread(self._load)
            changed = [view for id_, view in found.items() if self._alarms.get(id_) != view]
            self._alarms = found
        return sorted(changed, key=lambda view: view.since or "")

    def _load(self) -> dict[str, AlarmView]:
        views: dict[str, AlarmView] = {}
        while True:
            states, total = list_alarms(self._records, limit=_PAGE, offset=len(views))
            views.update((state.id, _view(state)) for state in states)
            if len(views) >= total or not states:
                return views

    def get(self, id_: str) -> AlarmView:
        """Raises NotFound `api.no_such_alarm`."""
        found = self._alarms.get(id_)
        if found is None:
            raise NotFound("api.no_such_alarm", alarm=id_)
        return found

    def counts(self) -> AlarmCounts:
        """Shelved alarms are neither active nor unacknowledged."""
        states = [view.state for view in self._alarms.values()]
        return AlarmCounts(
            active=states.count(State.ACTIVE_UNACK) + states.count(State.ACTIVE_ACK),
            unacknowledged=states.count(State.ACTIVE_UNACK) + states.count(State.CLEARED_UNACK),
            shelved=states.count(State.SHELVED),
        )

    def of_machine(self, machine: str) -> tuple[int, Priority | None]:
        """How many alarms of the machine need a hand, and the worst priority among the active ones."""
        mine = [v for v in self._alarms.values() if v.machine == machine and v.state in _NEEDS_HAND]
        active = [v.priority for v in mine if v.state is not State.CLEARED_UNACK]
        return len(mine), min(active, key=_RANK.__getitem__, default=None)

    def page(
        self,
        *,
        states: Sequence[State] = (),
        priorities: Sequence[Priority] = (),
        machine: str | None = None,
        limit: int,
        offset: int,
    ) -> AlarmPage:
        """Those that fit; an empty choice leaves all."""
        found = [
            view
            for view in self._alarms.values()
            if (not states or view.state in states)
            and (not priorities or view.priority in priorities)
            and (machine is None or view.machine == machine)
        ]
        return AlarmPage(found[offset : offset + limit], len(found), self.counts())

    async def history(self, id_: str, *, limit: int, offset: int) -> AlarmHistory:
        """The transitions of one alarm, newest first. Raises NotFound."""
        self.get(id_)
        moves, total = await asyncio.to_thread(
            alarm_history, self._records, alarm=id_, limit=limit, offset=offset
        )
        return AlarmHistory([_move(move) for move in moves], total)

    async def explain(self, id_: str) -> AlarmExplanation:
        """Why the alarm is as it is. Raises NotFound."""
        self.get(id_)
        found = await asyncio.to_thread(explain_alarm, self._records, id_)
        return AlarmExplanation(
            alarm=_view(found.alarm),
            version=found.alarm.version,
            defined=_iso(found.defined),
            because=msgspec.to_builtins(found.because, enc_hook=str),
            zh=found.render("zh"),
            en=found.render("en"),
        )

    async def act(self, op: str, id_: str, *, by: str, note: str = "", minutes: float | None = None) -> None:
        """Acknowledge, shelve or unshelve: done by rules, in force when this returns.

        Raises NotFound, InputError `api.bad_shelving`, Unavailable, or Refused with rules' own code.
        """
        self.get(id_)
        command: dict[str, Any] = {"op": op, "alarm": id_, "by": by, "note": note}
        if minutes is not None:
            if not SHELVE_LEAST <= minutes <= SHELVE_MOST:
                raise InputError("api.bad_shelving", least=f"{SHELVE_LEAST:g}", most=f"{SHELVE_MOST:g}")
            command["until"] = self._clock.now() + round(minutes * 60 * NS_PER_S)
        raw = await self._bus.request(f"cmd.{self._node}.rules", msgspec.json.encode(command))
        try:
            reply = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError:
            raise HeadraceError("api.rules_refused") from None
        if isinstance(error := reply.get("error"), dict):
            code = str(error.get("code", "api.rules_refused"))
            raise Refused(code, 404 if code == "alarm.unknown" else 409, **(error.get("params") or {}))


def limits(alarms: Sequence[Alarm], tags: Sequence[Tag]) -> dict[str, list[Limit]]:
    """By tag name: the constants that alarms compare tags with, for bars and trends. An alarm whose condition
    does not fit the tags has none; rules says what is wrong with it."""
    symbols = symbols_of(tags)
    compiled = []
    for alarm in alarms:
        with suppress(InputError):
            compiled.append(compile_alarm(alarm, symbols))
    found: dict[str, list[Limit]] = {}
    for limit in limits_of(compiled):
        side: Literal["high", "low"] = "high" if limit.side == "high" else "low"
        found.setdefault(limit.tag, []).append(Limit(limit.value, side, limit.priority, limit.alarm))
    return found


def _view(state: AlarmState) -> AlarmView:
    return AlarmView(
        id=state.id,
        title=state.title,
        advice=state.advice,
        priority=state.priority,
        state=state.state,
        when=state.when,
        machine=state.machine or None,
        tag=state.tag or None,
        value=to_json(state.value),
        unit=state.unit,
        known=state.known,
        active=state.active,
        since=_iso(state.since),
        acknowledged_by=state.acknowledged_by or None,
        acknowledged_at=_iso(state.acknowledged_at),
        shelved_until=_iso(state.shelved_until),
        shelved_by=state.shelved_by or None,
        note=state.note,
    )


def _move(move: Transition) -> AlarmMove:
    return AlarmMove(
        time=iso(move.time),
        before=move.before,
        after=move.after,
        cause=move.cause,
        by=move.by or None,
        note=move.note,
        value=to_json(move.value),
    )


def _iso(ns: int | None) -> str | None:
    return iso(ns) if ns else None
