"""The fast path: no row is unknown, so a program is a list of ufunc calls into reused buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.kernel.expr._columns import DTYPE, Column, Op
from headrace.kernel.expr.typed import TAG_OPS, Base

Array = npt.NDArray[Any]
_BLOCK = 8192  # rows at a time, so that temporaries stay in the processor's cache
_CACHED = 4  # batch lengths for which buffers are kept

UFUNCS: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "not": np.logical_not,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "mod": np.fmod,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "abs": np.absolute,
    "min": np.minimum,
    "max": np.maximum,
    "floor": np.floor,
    "ceil": np.ceil,
    "sqrt": np.sqrt,
    "isnan": np.isnan,
    "isinf": np.isinf,
}


def rounded(x: Array) -> Array:
    """Ties away from zero."""
    whole = np.trunc(x)
    made: Array = whole + np.copysign(np.abs(x - whole) >= 0.5, x)
    return made


def scaled(x: Any, factors: tuple[float, float]) -> Any:
    made = x * factors[0]
    if factors[1]:
        made += factors[1]
    return made


def _minimum(x: Any, y: Any, out: Array) -> None:
    np.minimum(x, y, out=out)  # NumPy takes its output only by name


def _maximum(x: Any, y: Any, out: Array) -> None:
    np.maximum(x, y, out=out)


_INTO = UFUNCS | {"min": _minimum, "max": _maximum}


def _choose(args: list[Any], _value: Any, out: Array) -> None:
    np.copyto(out, args[2])
    np.copyto(out, args[1], where=args[0])


def _clamp(args: list[Any], _value: Any, out: Array) -> None:
    np.maximum(args[0], args[1], out=out)
    np.minimum(out, args[2], out=out)


def _is_in(args: list[Any], _value: Any, out: Array) -> None:
    np.equal(args[0], args[1], out)
    for item in args[2:]:
        np.logical_or(out, np.equal(args[0], item), out)


def _round(args: list[Any], _value: Any, out: Array) -> None:
    out[:] = rounded(args[0])


def _scale(args: list[Any], value: Any, out: Array) -> None:
    np.multiply(args[0], value[0], out)
    if value[1]:
        np.add(out, value[1], out)


def _seconds(args: list[Any], _value: Any, out: Array) -> None:
    np.divide(args[0], 1e9, out)


_OTHERS: dict[str, Callable[[list[Any], Any, Array], None]] = {
    "if": _choose,
    "clamp": _clamp,
    "in": _is_in,
    "round": _round,
    "scale": _scale,
    "seconds": _seconds,
}
_PAIR, _SINGLE, _OTHER = 0, 1, 2


def constant(op: Op) -> Any:
    """A constant as an operand: texts as 0-d object arrays, so that NumPy compares them as objects."""
    return np.array(op.value, dtype=object) if op.base is Base.TEXT else op.value


class Straight:
    """The instructions of one program. Registers: constants, inputs, then one per operation."""

    def __init__(self, ops: Sequence[Op], outputs: Sequence[int]) -> None:
        self._ops = ops
        self._outputs = outputs
        # an operation on whole nanoseconds may be out of range, which is unknown
        self._possible = all(op.op == "const" or op.op in TAG_OPS or _known(op.op) for op in ops)
        self._timed = [op.value for op in ops if op.op == "time"]
        self._inputs = [(n, op) for n, op in enumerate(ops) if op.op in TAG_OPS]
        self._registers = [constant(op) if op.op == "const" else None for op in ops]
        self._computed = {n for n in outputs if ops[n].op != "const" and ops[n].op not in TAG_OPS}
        self._all_bool = all(ops[n].base is Base.BOOL for n in outputs)
        self._code: list[tuple[int, Any, Any, Any, int]] = []
        self._buffer: dict[int, int] = {}  # operation: its buffer
        self._buffers: list[Any] = []  # dtype of each buffer
        self._made: dict[int, list[Array]] = {}
        if self._possible:
            self._compile()

    def can(self, used: Sequence[Column], columns: Mapping[str, Column]) -> bool:
        """Whether this path gives the right result for these inputs."""
        return (
            self._possible
            and all(column.unknown is None for column in used)
            and all(columns[name].times is not None for name in self._timed)
        )

    def run(self, columns: Mapping[str, Column], n: int) -> list[Array]:
        """One new array of length n per output."""
        if self._all_bool:
            results: list[Array] = list(np.empty((len(self._outputs), n), np.bool_))
        else:
            results = [np.empty(n, DTYPE[self._ops[o].base]) for o in self._outputs]
        if n <= _BLOCK:
            self._block(columns, slice(0, n), n, results)
            return results
        for start in range(0, n, _BLOCK):
            rows = slice(start, min(start + _BLOCK, n))
            self._block(columns, rows, rows.stop - start, [result[rows] for result in results])
        return results

    def _compile(self) -> None:
        last = {arg: n for n, op in enumerate(self._ops) for arg in op.args}
        free: dict[Any, list[int]] = {}
        for n, op in enumerate(self._ops):
            if op.op == "const" or op.op in TAG_OPS:
                continue
            in_place = op.op in UFUNCS
            dying = [a for a in dict.fromkeys(op.args) if last[a] == n and a in self._buffer]
            if in_place:
                self._release(dying, free)
            if n not in self._computed:
                dtype = DTYPE[op.base]
                if free.get(dtype):
                    self._buffer[n] = free[dtype].pop()
                else:
                    self._buffer[n] = len(self._buffers)
                    self._buffers.append(dtype)
            if not in_place:
                self._release(dying, free)
                self._code.append((_OTHER, _OTHERS[op.op], op.args, op.value, n))
            elif len(op.args) == 2:
                self._code.append((_PAIR, _INTO[op.op], op.args[0], op.args[1], n))
            else:
                self._code.append((_SINGLE, _INTO[op.op], op.args[0], None, n))

    def _release(self, dying: list[int], free: dict[Any, list[int]]) -> None:
        for arg in dying:
            free.setdefault(DTYPE[self._ops[arg].base], []).append(self._buffer[arg])

    def _block(self, columns: Mapping[str, Column], rows: slice, n: int, results: list[Array]) -> None:
        registers = list(self._registers)
        for place, op in self._inputs:
            registers[place] = _input(op, columns[op.value], rows, n)
        buffers = self._temporaries(n)
        for place, buffer in self._buffer.items():
            registers[place] = buffers[buffer]
        for place, result in zip(self._outputs, results, strict=True):
            if place in self._computed:
                registers[place] = result
        for shape, function, a, b, out in self._code:
            if shape == _PAIR:
                function(registers[a], registers[b], registers[out])
            elif shape == _SINGLE:
                function(registers[a], registers[out])
            else:
                function([registers[arg] for arg in a], b, registers[out])
        for place, result in zip(self._outputs, results, strict=True):
            if registers[place] is not result:  # an input, a constant, or the same output twice
                result[:] = registers[place]

    def _temporaries(self, n: int) -> list[Array]:
        made = self._made.get(n)
        if made is None:
            if len(self._made) >= _CACHED:
                self._made.pop(next(iter(self._made)))
            made = self._made[n] = [np.empty(n, dtype) for dtype in self._buffers]
        return made


def _known(op: str) -> bool:
    return op in UFUNCS or op in _OTHERS


def _input(op: Op, column: Column, rows: slice, n: int) -> Any:
    match op.op:
        case "tag":
            return column.values[rows]
        case "time":
            assert column.times is not None
            return column.times[rows]
        case "has":
            return np.ones(n, np.bool_)
        case "bad":
            return np.zeros(n, np.bool_)
    if column.quality is None:
        return np.ones(n, np.bool_) if op.op == "good" else np.zeros(n)
    quality = column.quality[rows]
    return quality < 0x4000 if op.op == "good" else quality.astype(np.float64)
