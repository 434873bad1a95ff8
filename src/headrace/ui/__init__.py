"""Screens as data: what a page of the console shows, declared in Python by the room that knows it.

Enters: the `SCREENS` that rooms and apps declare. Leaves: one checked set of screens, which the API hands to
the console as JSON; the console renders each widget type once. May import: kernel.
"""

from headrace.ui.screens import Param, Row, Screen, Screens
from headrace.ui.widgets import (
    AlarmList,
    Cell,
    GatewayHealth,
    HistoryStats,
    LineMimic,
    MachineCards,
    MachineHeader,
    Query,
    Stat,
    Stats,
    TagTable,
    TextBlock,
    Trend,
    Widget,
    WriteAudit,
    WriteControl,
)

__all__ = [
    "AlarmList",
    "Cell",
    "GatewayHealth",
    "HistoryStats",
    "LineMimic",
    "MachineCards",
    "MachineHeader",
    "Param",
    "Query",
    "Row",
    "Screen",
    "Screens",
    "Stat",
    "Stats",
    "TagTable",
    "TextBlock",
    "Trend",
    "Widget",
    "WriteAudit",
    "WriteControl",
]
