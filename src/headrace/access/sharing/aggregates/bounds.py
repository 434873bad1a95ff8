"""What an outsider can compute of a published table: for each hidden cell, the least and the largest value
that agrees with all published cells and with no hidden one being negative."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import numpy as np

from headrace.access.sharing.aggregates.shape import Code, Shape
from headrace.access.sharing.aggregates.simplex import Floats, Program


class Interval(msgspec.Struct, frozen=True):
    """The values that cannot be excluded; `high` may be infinite."""

    low: float
    high: float


def intervals(shape: Shape, values: Mapping[Code, float], hidden: Collection[Code]) -> dict[Code, Interval]:
    """The interval of each hidden cell. `values`: the true ones of the hidden cells, which are what all the
    tables that agree are reached from; they do not change the answer."""
    cells = [cell for cell in shape.cells if cell in hidden]
    true = np.array([values[cell] for cell in cells])
    scale = max(1e-300, float(true.max(initial=0.0)))
    n = len(cells)
    matrix = relations(shape, {cell: at for at, cell in enumerate(cells)})
    program = changes(matrix, np.full(n, np.inf), true / scale)
    found = {}
    for at, cell in enumerate(cells):
        goal = np.zeros(2 * n)
        goal[at], goal[n + at] = 1.0, -1.0
        up, _ = program.maximise(goal)
        down, _ = program.maximise(-goal)
        low, high = float(true[at]) - down * scale, float(true[at]) + up * scale
        found[cell] = Interval(max(0.0, low), high)
    return found


def changes(matrix: Floats, more: Floats, less: Floats) -> Program:
    """The program of all changes of n cells that keep the sums of `matrix`, shape (sums, n): variables are
    the n increases, at most `more`, and then the n decreases, at most `less`."""
    return Program(np.hstack([matrix, -matrix]), np.concatenate([more, less]))


def relations(shape: Shape, at: Mapping[Code, int]) -> Floats:
    """The sums of the table as rows over the cells of `at`, shape (sums, cells): total −1, parts 1; sums
    without any of these cells are left out, and so are repetitions."""
    rows: dict[tuple[tuple[int, float], ...], None] = {}
    for total, parts in shape.sums:
        row = [(at[cell], 1.0) for cell in parts if cell in at]
        if total in at:
            row.append((at[total], -1.0))
        if row:
            rows[tuple(sorted(row))] = None
    matrix = np.zeros((len(rows), len(at)))
    for n, entries in enumerate(rows):
        for column, sign in entries:
            matrix[n, column] = sign
    return matrix
