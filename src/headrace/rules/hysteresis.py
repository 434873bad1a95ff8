"""From the condition that starts an alarm to the one that keeps it: every limit moved by the hysteresis.

A comparison that must become true moves so that it stays true longer: `x > limit` is kept while
`x > limit - h`, `x < limit` while `x < limit + h`; below a `!` the other way round. `==`, `!=`, `in` and the
condition of `?:` are no limits and stay. The hysteresis is in the unit of the comparison it moves (of a
temperature, a difference), so all limits of one alarm must share a unit, or the hysteresis names one.
"""

from __future__ import annotations

import msgspec

from headrace.kernel.errors import InputError
from headrace.kernel.expr import Base, Formula, Term, Type, Unit, parse_unit
from headrace.kernel.expr.units import factor

_UP = {"gt", "ge"}  # true when the left side is high
_DOWN = {"lt", "le"}


class Comparison(msgspec.Struct, frozen=True):
    """One limit of a condition. `high`: crossing it upwards makes the condition true."""

    term: Term
    high: bool
    positive: bool  # not below an odd number of `!`
    alone: bool  # crossing it makes the condition true whatever the rest says

    @property
    def unit(self) -> Unit | None:
        return self.term.args[0].type.unit or self.term.args[1].type.unit


def comparisons(formula: Formula) -> list[Comparison]:
    """The limits of a condition, in the order of the text."""
    found: list[Comparison] = []

    def walk(term: Term, positive: bool, alone: bool) -> None:
        if term.op in _UP | _DOWN and term.args[0].type.base is Base.NUMBER:
            found.append(Comparison(term, (term.op in _UP) == positive, positive, alone))
        elif term.op in ("and", "or"):
            # below a `!` the two change places: !(a || b) needs both to be false
            alone = alone and (term.op == "or") == positive
            for arg in term.args:
                walk(arg, positive, alone)
        elif term.op == "not":
            walk(term.args[0], not positive, alone)
        elif term.op == "if":
            for arg in term.args[1:]:
                walk(arg, positive, False)

    walk(formula.root, True, True)
    return found


def held(formula: Formula, amount: float, unit: str = "") -> Formula:
    """The condition that keeps the alarm. `amount` ≥ 0 in `unit`, or where that is "" in the unit of the
    limits. Raises InputError: no limit to move (`alarm.no_limit`), limits in several units
    (`alarm.mixed_limits`), a unit that none of them has (`alarm.hysteresis_unit`)."""
    limits = comparisons(formula)
    if not limits:
        raise InputError("alarm.no_limit")
    if unit:
        limits = [limit for limit in limits if _shift(limit, amount, unit) is not None]
        if not limits:
            raise InputError("alarm.hysteresis_unit", unit=unit)
    else:
        units = {_name(limit.unit) for limit in limits}
        if len(units) > 1:
            raise InputError("alarm.mixed_limits", units=", ".join(sorted(units)))
    moved = {id(limit.term): limit for limit in limits}

    def rebuilt(term: Term) -> Term:
        limit = moved.get(id(term))
        if limit is not None:
            return _moved(limit, amount, unit)
        if term.op not in ("and", "or", "not", "if"):
            return term
        return msgspec.structs.replace(term, args=tuple(rebuilt(arg) for arg in term.args))

    return msgspec.structs.replace(formula, root=rebuilt(formula.root))


def _name(unit: Unit | None) -> str:
    return unit.difference.name if unit else "1"


def _shift(limit: Comparison, amount: float, unit: str) -> float | None:
    """`amount` in the unit of this limit, None where it cannot be."""
    if not unit:
        return amount
    given, wanted = parse_unit(unit), limit.unit
    if given is None or wanted is None or not given.agrees(wanted):
        return None
    return float(amount) * float(factor(given, wanted, difference=True)[0])


def _moved(limit: Comparison, amount: float, unit: str) -> Term:
    term = limit.term
    shift = _shift(limit, amount, unit)
    assert shift is not None
    # a positive x > y is kept by x > y - h; x < y by x < y + h; negated ones the other way
    sign = -1.0 if (term.op in _UP) == limit.positive else 1.0
    left, right = term.args
    by = Term("const", Type(Base.NUMBER), (), sign * shift, right.at, right.end, True)
    if right.op == "const":
        right = msgspec.structs.replace(right, value=right.value + sign * shift)
    else:
        right = Term("add", right.type, (right, by), None, right.at, right.end, True)
    return msgspec.structs.replace(term, args=(left, right))
