"""Complementary suppression: other cells are hidden too, until no sensitive cell can be computed to within
its protection level, neither by an outsider nor by a firm that stands alone in a hidden cell.

For a cell that is not protected, a change of the table is sought that moves the cell by its protection
level while all published cells stay, at the least loss: a linear program whose costs are the values of the
cells that would have to be hidden (Hundepool et al. 2012, §4.4.3; Kelly, Golden and Assad 1992). Then cells
that turn out not to be needed are published again, the largest first. See `search`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import msgspec

from headrace.access.sharing.aggregates.bounds import Interval, intervals
from headrace.access.sharing.aggregates.rules import Reason, Rule, Sensitive, sensitive
from headrace.access.sharing.aggregates.search import Search
from headrace.access.sharing.aggregates.shape import Code, Contribution, Shape, tally
from headrace.kernel.errors import InputError


class Status(enum.StrEnum):
    """What a cell is. Readers are told published, empty or hidden only."""

    PUBLISHED = "published"
    EMPTY = "empty"  # no contributor at all; shown as such
    PRIMARY = "primary"
    COMPLEMENTARY = "complementary"


class Cell(msgspec.Struct, frozen=True):
    """A cell as its publisher knows it. `value` and `contributors` are of the data, hidden or not; `level`:
    the protection level of a sensitive one."""

    code: Code
    status: Status
    value: float
    contributors: int
    reasons: tuple[Reason, ...] = ()
    level: float = 0.0


class PublicCell(msgspec.Struct, frozen=True):
    """A cell as everybody sees it; both None where it is hidden."""

    code: Code
    value: float | None
    contributors: int | None


class Protected(msgspec.Struct, frozen=True):
    """A table that may be published: `public` is what leaves, `cells` stay with the publisher."""

    shape: Shape
    rule: Rule
    cells: tuple[Cell, ...]

    @property
    def hidden(self) -> frozenset[Code]:
        return frozenset(c.code for c in self.cells if c.status in (Status.PRIMARY, Status.COMPLEMENTARY))

    def intervals(self) -> dict[Code, Interval]:
        """What an outsider can compute of each hidden cell, for the publisher to see."""
        return intervals(self.shape, {c.code: c.value for c in self.cells}, self.hidden)

    def public(self) -> tuple[PublicCell, ...]:
        hidden = self.hidden
        return tuple(
            PublicCell(c.code, None, None)
            if c.code in hidden
            else PublicCell(c.code, c.value, c.contributors)
            for c in self.cells
        )


def protect(
    shape: Shape,
    contributions: Sequence[Contribution],
    rule: Rule,
    *,
    keep_hidden: frozenset[Code] = frozenset(),
) -> Protected:
    """The table of `contributions`, protected by `rule`. `keep_hidden`: cells that earlier editions hid.

    Raises InputError: `aggregate.bad_dimensions`, `aggregate.bad_code`, `aggregate.bad_cell`,
    `aggregate.bad_value`, `aggregate.too_large`; Corrupt (`aggregate.not_protected`) rather than give a
    table whose check fails.
    """
    shape.check()
    if unknown := keep_hidden - set(shape.cells):
        raise InputError("aggregate.bad_cell", cell=", ".join(min(unknown)))
    amounts = tally(shape, contributions)
    judged = {cell: sensitive(rule, parts.values()) for cell, parts in amounts.items()}
    primary = {cell: found for cell, found in judged.items() if found is not None}
    search = Search(shape, rule, amounts, primary, keep_hidden)
    search.run()
    hidden = search.hidden
    cells = tuple(
        Cell(
            code=cell,
            status=_status(cell, amounts, primary, hidden),
            value=sum(amounts[cell].values()),
            contributors=len(amounts[cell]),
            reasons=primary[cell].reasons if cell in primary else (),
            level=primary[cell].level if cell in primary else 0.0,
        )
        for cell in shape.cells
    )
    return Protected(shape, rule, cells)


def _status(
    cell: Code,
    amounts: Mapping[Code, Mapping[str, float]],
    primary: Mapping[Code, Sensitive],
    hidden: set[Code],
) -> Status:
    if cell in primary:
        return Status.PRIMARY
    if cell in hidden:
        return Status.COMPLEMENTARY
    return Status.PUBLISHED if amounts[cell] else Status.EMPTY
