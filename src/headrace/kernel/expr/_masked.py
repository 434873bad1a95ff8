"""The general path: every value travels with a mask of the rows in which it is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.kernel.expr._columns import DTYPE, NO_TIME, Column, Op
from headrace.kernel.expr._straight import UFUNCS, constant, rounded, scaled
from headrace.kernel.expr.typed import Base
from headrace.kernel.model import Quality

Array = npt.NDArray[Any]
Masked = tuple[Any, Any]  # values, and a mask or None where all are known
_INT64 = float(2**63)


def run(ops: Sequence[Op], outputs: Sequence[int], columns: Mapping[str, Column], n: int) -> list[Column]:
    """One Column per output."""
    registers: list[Masked] = []
    for op in ops:
        registers.append(_step(op, [registers[arg] for arg in op.args], columns, n))
    return [_column(registers[o], DTYPE[ops[o].base], n) for o in outputs]


def _column(made: Masked, dtype: Any, n: int) -> Column:
    values = np.empty(n, dtype)
    values[:] = made[0]
    unknown = made[1]
    if unknown is None or not np.any(unknown):
        return Column(values)
    return Column(values, np.array(np.broadcast_to(unknown, n)))


def _step(op: Op, args: list[Masked], columns: Mapping[str, Column], n: int) -> Masked:
    values = [arg[0] for arg in args]
    match op.op:
        case "const":
            return constant(op), None
        case "tag" | "has" | "good" | "bad" | "quality" | "time":
            return _input(op, columns[op.value], n)
        case "and":
            return np.logical_and(*values), _undecided(args, False)
        case "or":
            return np.logical_or(*values), _undecided(args, True)
        case "if":
            return _choose(args)
        case "in":
            return _is_in(args)
    unknown = _either(*(arg[1] for arg in args))
    match op.op:
        case "scale":
            return scaled(values[0], op.value), unknown
        case "round":
            return rounded(values[0]), unknown
        case "clamp":
            return np.minimum(np.maximum(values[0], values[1]), values[2]), unknown
        case "seconds":
            return np.divide(values[0], 1e9), unknown
        case "span.add" | "span.sub":
            made, outside = _span_sum(op.op == "span.add", *values)
            return made, _either(unknown, outside)
        case "span.mul":
            exact = np.asarray(values[0], np.float64) * values[1]
            outside = ~((exact >= -_INT64) & (exact < _INT64))  # NaN is outside too
            return np.where(outside, 0.0, exact).astype(np.int64), _either(unknown, outside)
        case "span.div":
            left, right = (np.asarray(v, np.float64) for v in values)
            return np.divide(left, right), unknown
    return UFUNCS[op.op](*values), unknown


def _input(op: Op, column: Column, n: int) -> Masked:
    unknown = column.unknown
    match op.op:
        case "tag":
            if op.base is Base.TEXT and unknown is not None:
                return np.where(unknown, "", column.values), unknown
            return column.values, unknown
        case "has":
            return (True if unknown is None else ~unknown), None
        case "bad":
            return (False if unknown is None else unknown), None
        case "time":
            return (0, True) if column.times is None else (column.times, column.times == NO_TIME)
        case "good":
            good = True if column.quality is None else column.quality < 0x4000
            return (good if unknown is None else np.logical_and(good, ~unknown)), None
    if column.quality is not None:
        return column.quality.astype(np.float64), None
    return (0.0 if unknown is None else np.where(unknown, float(Quality.BAD_NO_DATA), 0.0)), None


def _either(*masks: Any) -> Any:
    found = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else np.logical_or(found, mask)
    return found


def _undecided(args: list[Masked], decisive: bool) -> Any:
    """Unknown rows of `and` (decisive False) and `or` (True): one side unknown, none decides."""
    unknown = _either(args[0][1], args[1][1])
    if unknown is None:
        return None
    for values, mask in args:
        decides = np.equal(values, decisive)
        if mask is not None:
            decides = np.logical_and(decides, np.logical_not(mask))
        unknown = np.logical_and(unknown, np.logical_not(decides))
    return unknown


def _choose(args: list[Masked]) -> Masked:
    (condition, unknown), (then, then_unknown), (other, other_unknown) = args
    values = np.where(condition, then, other)
    if then_unknown is not None or other_unknown is not None:
        chosen = np.where(
            condition,
            False if then_unknown is None else then_unknown,
            False if other_unknown is None else other_unknown,
        )
        unknown = _either(unknown, chosen)
    return values, unknown


def _is_in(args: list[Masked]) -> Masked:
    values, unknown = args[0]
    found: Any = False
    doubtful = None
    for item, mask in args[1:]:
        same = np.equal(values, item)
        if mask is not None:
            same = np.logical_and(same, np.logical_not(mask))
        found = np.logical_or(found, same)
        doubtful = _either(doubtful, mask)
    if doubtful is not None:
        doubtful = np.logical_and(doubtful, np.logical_not(found))
    return found, _either(unknown, doubtful)


def _span_sum(add: bool, left: Any, right: Any) -> Masked:
    """int64 sums wrap; a wrapped one has the wrong sign."""
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    if add:
        made = left + right
        return made, ((left ^ made) & (right ^ made)) < 0
    made = left - right
    return made, ((left ^ right) & (left ^ made)) < 0
