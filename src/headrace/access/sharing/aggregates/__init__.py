"""Aggregates: tables of firms' figures in which no firm can be recognised. Pure; no I/O, no clock.

Enters: the shape of a table (one or two dimensions, each a hierarchy), contributions, a rule. Leaves: the
table with cells published or hidden, and for each hidden cell the interval within which it can be computed
from all that is published. May import: kernel, numpy.

`shape` makes cells and the sums between them, `rules` finds the cells that would give somebody away
(primary suppression), `suppress` and `search` hide others so that those cannot be computed (complementary
suppression), `bounds` computes what an outsider can, by linear programming (`simplex`).

Source: A. Hundepool et al., Statistical Disclosure Control, Wiley 2012, chapter 4.
"""

from headrace.access.sharing.aggregates.bounds import Interval, intervals
from headrace.access.sharing.aggregates.rules import Reason, Rule
from headrace.access.sharing.aggregates.shape import TOTAL, Code, Contribution, Dimension, Shape
from headrace.access.sharing.aggregates.suppress import Cell, Protected, Status, protect

__all__ = [
    "TOTAL",
    "Cell",
    "Code",
    "Contribution",
    "Dimension",
    "Interval",
    "Protected",
    "Reason",
    "Rule",
    "Shape",
    "Status",
    "intervals",
    "protect",
]
