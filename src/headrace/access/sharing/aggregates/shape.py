"""The cells of a table and the sums that hold between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property

import msgspec

from headrace.kernel.errors import InputError

TOTAL = "*"
"""The code of the root of every dimension."""

MAX_CELLS = 4000

Code = tuple[str, ...]
"""Where a cell stands: one code per dimension."""


class Dimension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hierarchy of codes. `parents`: (code, parent) pairs, the parent of the topmost being TOTAL."""

    name: str
    parents: tuple[tuple[str, str], ...]


class Contribution(msgspec.Struct, frozen=True):
    """One figure, not negative, at the finest cell it belongs to. Several of one contributor (a holding with
    its firms) count as one."""

    contributor: str
    cell: Code
    value: float


class Shape(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """A table of one or two dimensions, fixed before any figure is known."""

    dimensions: tuple[Dimension, ...]

    def check(self) -> None:
        """Raises InputError: `aggregate.bad_dimensions`, `aggregate.bad_code`, `aggregate.too_large`."""
        if len(self.dimensions) not in (1, 2):
            raise InputError("aggregate.bad_dimensions", count=len(self.dimensions))
        for dimension in self.dimensions:
            parent = dict(dimension.parents)
            if not parent or len(parent) != len(dimension.parents):
                raise InputError("aggregate.bad_code", dimension=dimension.name, at="")
            for code in parent:
                seen, at = {code}, code
                while at != TOTAL:
                    at = parent.get(at, "")
                    if at in seen or not at:
                        raise InputError("aggregate.bad_code", dimension=dimension.name, at=code)
                    seen.add(at)
        if math.prod(len(d.parents) + 1 for d in self.dimensions) > MAX_CELLS:
            raise InputError("aggregate.too_large", most=MAX_CELLS)

    @cached_property
    def cells(self) -> tuple[Code, ...]:
        """Every cell, margins included, in the order of the dimensions' codes, totals first."""
        return tuple(itertools.product(*([TOTAL, *(code for code, _ in d.parents)] for d in self.dimensions)))

    @cached_property
    def sums(self) -> tuple[tuple[Code, tuple[Code, ...]], ...]:
        """(cell, the cells it is the sum of), for every sum that a reader can form."""
        found = []
        for axis, dimension in enumerate(self.dimensions):
            children: dict[str, list[str]] = {}
            for code, parent in dimension.parents:
                children.setdefault(parent, []).append(code)
            others = [[TOTAL, *(code for code, _ in d.parents)] for d in self.dimensions]
            for parent, some in children.items():
                rest = [codes if at != axis else [parent] for at, codes in enumerate(others)]
                for cell in itertools.product(*rest):
                    parts = tuple((*cell[:axis], child, *cell[axis + 1 :]) for child in some)
                    found.append((cell, parts))
        return tuple(found)

    def above(self, cell: Code) -> list[Code]:
        """The cells that a figure at `cell` counts in: itself and every margin of it. Raises InputError
        (`aggregate.bad_cell`) where `cell` is not one of the finest."""
        if len(cell) != len(self.dimensions):
            raise InputError("aggregate.bad_cell", cell=", ".join(cell))
        chains = []
        for code, dimension in zip(cell, self.dimensions, strict=True):
            parent = dict(dimension.parents)
            if code not in parent or code in parent.values():
                raise InputError("aggregate.bad_cell", cell=", ".join(cell))
            chain = [code]
            while chain[-1] != TOTAL:
                chain.append(parent[chain[-1]])
            chains.append(chain)
        return list(itertools.product(*chains))


def tally(shape: Shape, contributions: Sequence[Contribution]) -> dict[Code, dict[str, float]]:
    """By cell, what each contributor has in it. Raises InputError (`aggregate.bad_value`, `.bad_cell`)."""
    found: dict[Code, dict[str, float]] = {cell: {} for cell in shape.cells}
    above: dict[Code, list[Code]] = {}
    for each in contributions:
        if not (math.isfinite(each.value) and each.value >= 0):
            raise InputError("aggregate.bad_value", value=str(each.value), cell=", ".join(each.cell))
        if each.cell not in above:
            above[each.cell] = shape.above(each.cell)
        for cell in above[each.cell]:
            amounts = found[cell]
            amounts[each.contributor] = amounts.get(each.contributor, 0.0) + each.value
    return found
