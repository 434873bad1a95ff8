"""What an alarm is, as the configuration declares it, and what is wrong with one."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from headrace.kernel.config import Duration, Name, Section, Settings
from headrace.kernel.errors import InputError, Problem
from headrace.kernel.expr import Base, Formula, Symbol, check, parse, parse_unit
from headrace.kernel.messages import Text
from headrace.rules.hysteresis import comparisons, held
from headrace.rules.machine import Delays

_NS_PER_HOUR = 3600 * 1_000_000_000


class Priority(enum.StrEnum):
    """Highest first. ISA-18.2 advises few of the highest and most of the lowest."""

    URGENT = "urgent"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Hysteresis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hysteresis with a unit, for conditions whose limits do not share one."""

    value: Annotated[float, msgspec.Meta(ge=0)]
    unit: str


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of `[[alarms]]`.

    `when`: a condition in the expression language. `hysteresis`: how far a limit must be left again before
    the alarm can end; a number in the unit of the limits, or {value, unit}. `delay_on`, `delay_off`: how long
    the condition must hold, or be gone, without a break. `shelve_max`: the longest time it may be shelved.
    `advice`: what the operator should do.
    """

    id: Name
    when: str
    title: Text
    priority: Priority = Priority.MEDIUM
    hysteresis: Annotated[float, msgspec.Meta(ge=0)] | Hysteresis = 0.0
    delay_on: Duration = Duration(0)
    delay_off: Duration = Duration(0)
    shelve_max: Duration = Duration(24 * _NS_PER_HOUR)
    advice: Text | None = None

    @property
    def delays(self) -> Delays:
        return Delays(int(self.delay_on), int(self.delay_off))


class Compiled(msgspec.Struct, frozen=True):
    """An alarm with the condition that starts it and the one that keeps it (the same without hysteresis)."""

    alarm: Alarm
    trigger: Formula
    hold: Formula

    @property
    def names(self) -> tuple[str, ...]:
        return self.trigger.names

    @property
    def machine(self) -> str:
        """The machine of the first tag that the condition names; "" where it names none."""
        return self.names[0].partition("/")[0] if self.names else ""


class Limit(msgspec.Struct, frozen=True):
    """A constant that an alarm compares a tag with, in the tag's unit. `side`: "high" where the alarm is
    above it."""

    tag: str
    value: float
    side: str
    priority: Priority
    alarm: str


def compile_alarm(alarm: Alarm, symbols: Mapping[str, Symbol]) -> Compiled:
    """Raises ExpressionError or InputError where the condition, or the hysteresis with it, makes no sense."""
    trigger = check(parse(alarm.when), symbols, Base.BOOL)
    if not trigger.names:
        raise InputError("alarm.no_tag")
    if isinstance(alarm.hysteresis, Hysteresis):
        amount, unit = alarm.hysteresis.value, alarm.hysteresis.unit
        if parse_unit(unit) is None:
            raise InputError("alarm.hysteresis_unit", unit=unit)
    else:
        amount, unit = alarm.hysteresis, ""
    if not math.isfinite(amount):
        raise InputError("alarm.hysteresis_finite")
    return Compiled(alarm, trigger, held(trigger, amount, unit) if amount else trigger)


def limits_of(alarms: Iterable[Compiled]) -> list[Limit]:
    """The limits that can be drawn beside a tag's value: a tag compared with a constant, where crossing it is
    enough for the alarm. One that also needs another condition (`&&`) is left out: beyond it all may be well.
    """
    found = []
    for compiled in alarms:
        for comparison in comparisons(compiled.trigger):
            if not comparison.alone:
                continue
            left, right = comparison.term.args
            tag, constant, high = (left, right, comparison.high)
            if left.op == "const":
                tag, constant, high = right, left, not comparison.high
            if tag.op == "tag" and constant.op == "const":
                side = "high" if high else "low"
                found.append(
                    Limit(tag.value, constant.value, side, compiled.alarm.priority, compiled.alarm.id)
                )
    return found


def problems_of(alarms: Sequence[Alarm], symbols: Mapping[str, Symbol], file: str) -> list[Problem]:
    """Everything that is wrong with the alarms of a node that has these tags, as Problems of `file`."""
    return [Problem(file, f"alarms{key}", code, params) for key, code, params in _faults(alarms, symbols)]


def _faults(
    alarms: Sequence[Alarm], symbols: Mapping[str, Symbol] | None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(key below `alarms`, code, params). Without symbols only what needs no knowledge of the tags."""
    seen: dict[str, int] = {}
    for index, alarm in enumerate(alarms):
        if alarm.id in seen:
            yield f"[{index}].id", "alarm.id_twice", {"id": alarm.id, "first": seen[alarm.id]}
        seen.setdefault(alarm.id, index)
        try:
            if symbols is None:
                parse(alarm.when)
            else:
                compile_alarm(alarm, symbols)
        except InputError as error:
            field = "hysteresis" if error.code in _HYSTERESIS_CODES else "when"
            yield f"[{index}].{field}", error.code, dict(error.params)


_HYSTERESIS_CODES = {
    "alarm.no_limit",
    "alarm.mixed_limits",
    "alarm.hysteresis_unit",
    "alarm.hysteresis_finite",
}


def _check(alarms: list[Alarm], settings: Settings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield from _faults(alarms, None)


ALARMS: Section[list[Alarm]] = Section("alarms", list[Alarm], check=_check, default=list)
"""`[[alarms]]`. Its own check knows no tags; the node adds `problems_of` with the tags of all edges."""
