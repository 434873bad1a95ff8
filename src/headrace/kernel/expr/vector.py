"""Whole columns: formulas compiled together into one program of NumPy operations.

Equal sub-expressions of all formulas are computed once, constants are folded, and temporaries are written in
place into buffers that are reused for batches of the same length. Columns without unknown values take a
straight path of ufunc calls; the others a path that carries a mask of what is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.kernel.expr import _masked
from headrace.kernel.expr._columns import Column, Op
from headrace.kernel.expr._straight import Straight
from headrace.kernel.expr.scalar import combine
from headrace.kernel.expr.typed import TAG_OPS, Formula, Term


class Program:
    """Several formulas, compiled once and run on any number of batches. Not to be shared by threads.

    `names`: the tags it reads. `size`: operations left after folding and sharing.
    """

    def __init__(self, formulas: Sequence[Formula]) -> None:
        self._ops: list[Op] = []
        self._index: dict[tuple[Any, ...], int] = {}
        self.names: tuple[str, ...] = tuple(dict.fromkeys(n for f in formulas for n in f.names))
        outputs = [self._add(formula.root) for formula in formulas]
        self._ops, self._outputs = _live(self._ops, outputs)
        self._straight = Straight(self._ops, self._outputs)

    @property
    def size(self) -> int:
        return sum(1 for op in self._ops if op.op != "const" and op.op not in TAG_OPS)

    def run(self, columns: Mapping[str, Column]) -> list[Column]:
        """One Column per formula, in order. `columns` has every name, all of one length n ≥ 0; where a tag
        has no data at all its column is wholly unknown. Results are new arrays."""
        n = len(next(iter(columns.values())).values) if columns else 1
        used = [columns[name] for name in self.names]
        if any(len(column.values) != n for column in used):
            raise ValueError("columns differ in length")
        with np.errstate(all="ignore"):
            if self._straight.can(used, columns):
                return [Column(values) for values in self._straight.run(columns, n)]
            return _masked.run(self._ops, self._outputs, columns, n)

    def _add(self, term: Term) -> int:
        args = tuple([self._add(arg) for arg in term.args])
        simpler = self._simplified(term, args)
        if simpler is not None:
            return simpler
        return self._intern(Op(term.op, term.type.base, args, term.value))

    def _intern(self, op: Op) -> int:
        # repr tells 0.0 from -0.0 and 1 from True, which == does not
        key = (op.op, op.base, op.args, repr(op.value))
        if key not in self._index:
            self._index[key] = len(self._ops)
            self._ops.append(op)
        return self._index[key]

    def _simplified(self, term: Term, args: tuple[int, ...]) -> int | None:
        """The node of a term that is constant, or that a constant operand decides; else None."""
        known = [self._ops[arg] for arg in args]
        if args and all(op.op == "const" for op in known):
            value = combine(term.op, term.value, [op.value for op in known])
            if value is not None:
                return self._intern(Op("const", term.type.base, (), value))
        if term.op in ("and", "or"):
            for op, arg, other in ((known[0], args[0], args[1]), (known[1], args[1], args[0])):
                if op.op == "const":
                    return arg if op.value is (term.op == "or") else other
            if args[0] == args[1]:
                return args[0]
        if term.op == "if" and known[0].op == "const":
            return args[1] if known[0].value else args[2]
        return None


def _live(ops: list[Op], outputs: list[int]) -> tuple[list[Op], list[int]]:
    """Only the operations that an output needs, renumbered."""
    needed = set(outputs)
    for index in range(len(ops) - 1, -1, -1):
        if index in needed:
            needed.update(ops[index].args)
    place = {index: new for new, index in enumerate(sorted(needed))}
    kept = [
        msgspec.structs.replace(ops[index], args=tuple(place[arg] for arg in ops[index].args))
        for index in place
    ]
    return kept, [place[index] for index in outputs]
