"""The life of one alarm, pure: ANSI/ISA-18.2-2016 §5 (alarm state transition diagram), IEC 62682.

States: normal, active and unacknowledged, active and acknowledged, cleared (returned to normal) but
unacknowledged, shelved. The condition is debounced on the way in: `trigger` starts it, `hold` keeps it (the
same with the hysteresis added), and only after `on` (or `off`) nanoseconds without a break does it count.
A move made by a delay or by the end of shelving has the time at which it fell due, not at which it was seen.

While the condition is unknown (bad quality) the alarm keeps its state, says so (`known`), and a delay that
was running is dropped: it starts again when the condition is known again.
"""

from __future__ import annotations

import enum

import msgspec

from headrace.kernel.errors import Conflict, InputError
from headrace.kernel.messages import Text


class State(enum.StrEnum):
    NORMAL = "normal"
    ACTIVE_UNACK = "active-unack"
    ACTIVE_ACK = "active-ack"
    CLEARED_UNACK = "cleared-unack"
    SHELVED = "shelved"


_WORDS = {
    State.NORMAL: Text("正常", "normal"),
    State.ACTIVE_UNACK: Text("活动，待确认", "active and not acknowledged"),
    State.ACTIVE_ACK: Text("活动，已确认", "active and acknowledged"),
    State.CLEARED_UNACK: Text("已恢复，待确认", "cleared and not acknowledged"),
    State.SHELVED: Text("已搁置", "shelved"),
}


class Cause(enum.StrEnum):
    CONDITION = "condition"
    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    SHELF_EXPIRED = "shelf-expired"


class Delays(msgspec.Struct, frozen=True):
    """Nanoseconds for which the condition must hold before it counts, and be gone before it is over."""

    on: int = 0
    off: int = 0


class Status(msgspec.Struct, frozen=True):
    """Everything that is remembered of one alarm. All times are UTC ns.

    `latched`: the condition with hysteresis, before the delays; `active`: after them; `waiting`: since when
    the two differ. `known`: the condition could be judged when it was last looked at. `until`: the end of
    shelving. `number` counts the moves; a move's number is its identity.
    """

    state: State = State.NORMAL
    since: int = 0
    number: int = 0
    latched: bool = False
    active: bool = False
    known: bool = False
    waiting: int | None = None
    until: int | None = None


class Move(msgspec.Struct, frozen=True):
    """One transition of the diagram. Times of an alarm's moves never go back."""

    number: int
    time: int
    before: State
    after: State
    cause: Cause


Moved = tuple[Status, tuple[Move, ...]]

_BEGUN = {State.NORMAL: State.ACTIVE_UNACK, State.CLEARED_UNACK: State.ACTIVE_UNACK}
_OVER = {State.ACTIVE_UNACK: State.CLEARED_UNACK, State.ACTIVE_ACK: State.NORMAL}
_ACKNOWLEDGED = {State.ACTIVE_UNACK: State.ACTIVE_ACK, State.CLEARED_UNACK: State.NORMAL}


def observe(status: Status, delays: Delays, time: int, trigger: bool | None, hold: bool | None) -> Moved:
    """The condition at `time` (not before the last one); None is unknown."""
    status, before = elapse(status, delays, time - 1)
    condition = hold if status.latched else trigger
    if condition is None:
        status = msgspec.structs.replace(status, known=False, latched=status.active, waiting=None)
    else:
        waiting = status.waiting
        if condition != status.latched:
            waiting = time if condition != status.active else None
        status = msgspec.structs.replace(status, known=True, latched=condition, waiting=waiting)
    status, after = elapse(status, delays, time)
    return status, before + after


def elapse(status: Status, delays: Delays, time: int) -> Moved:
    """What falls due up to and including `time`: a delay, the end of shelving, in the order of their time."""
    moves: tuple[Move, ...] = ()
    while True:
        due = condition_due(status, delays)
        if due is not None and due <= time and (status.until is None or due <= status.until):
            status = msgspec.structs.replace(status, active=status.latched, waiting=None)
            after = (_BEGUN if status.active else _OVER).get(status.state)
            if after is not None:
                status, move = _moved(status, after, due, Cause.CONDITION)
                moves += (move,)
        elif status.until is not None and status.until <= time:
            status, move = _unshelved(status, status.until, Cause.SHELF_EXPIRED)
            moves += (move,)
        else:
            return status, moves


def condition_due(status: Status, delays: Delays) -> int | None:
    """When the delay that is running ends, None where none is."""
    if status.waiting is None:
        return None
    return status.waiting + (delays.on if status.latched else delays.off)


def expire(status: Status, time: int) -> Moved:
    """The end of shelving, where it has come by `time`; delays are left alone."""
    if status.until is None or status.until > time:
        return status, ()
    status, move = _unshelved(status, status.until, Cause.SHELF_EXPIRED)
    return status, (move,)


def acknowledge(status: Status, time: int) -> Moved:
    """Raises Conflict (`alarm.nothing_to_acknowledge`) unless the state is an unacknowledged one."""
    after = _ACKNOWLEDGED.get(status.state)
    if after is None:
        raise Conflict("alarm.nothing_to_acknowledge", state=_WORDS[status.state])
    status, move = _moved(status, after, time, Cause.ACKNOWLEDGE)
    return status, (move,)


def shelve(status: Status, time: int, until: int) -> Moved:
    """Out of sight until `until`, from any state; shelving again sets a new end. Raises InputError."""
    if until <= time:
        raise InputError("alarm.shelf_in_past")
    status, move = _moved(status, State.SHELVED, time, Cause.SHELVE)
    return msgspec.structs.replace(status, until=until), (move,)


def unshelve(status: Status, time: int) -> Moved:
    """Back to normal, or to active and unacknowledged where the condition holds. Raises Conflict."""
    if status.state is not State.SHELVED:
        raise Conflict("alarm.not_shelved", state=_WORDS[status.state])
    status, move = _unshelved(status, time, Cause.UNSHELVE)
    return status, (move,)


def _unshelved(status: Status, time: int, cause: Cause) -> tuple[Status, Move]:
    after = State.ACTIVE_UNACK if status.active else State.NORMAL
    status, move = _moved(status, after, time, cause)
    return msgspec.structs.replace(status, until=None), move


def _moved(status: Status, after: State, time: int, cause: Cause) -> tuple[Status, Move]:
    time = max(time, status.since)
    number = status.number + 1
    move = Move(number, time, status.state, after, cause)
    return msgspec.structs.replace(status, state=after, since=time, number=number), move
