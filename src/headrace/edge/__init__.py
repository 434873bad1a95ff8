"""The edge: reads machines on a fixed grid, keeps what it has read until the bus has it, and writes.

Enters: the `[edge]` section, the node's tags, values from drivers, write requests from the bus. Leaves:
batches and write events on the bus, each durable here before it is published; its health once a second.
May import: twin, rules and what lies below them (drivers, history for TagSpec, bus, ui), kernel.

The life of a value here: line (schedule, one task per device) → driver `read` of a plan → report policies →
outbox (linger, encode) → buffer (durable) → bus.
"""

from headrace.edge.config import EDGE, EdgeSettings, resolve, tag_specs
from headrace.edge.explain import PlanReport, plan_report
from headrace.edge.gateway import run
from headrace.edge.views import EdgeView
from headrace.edge.writes import Results, WriteEvent, WriteRequest

__all__ = [
    "EDGE",
    "EdgeSettings",
    "EdgeView",
    "PlanReport",
    "Results",
    "WriteEvent",
    "WriteRequest",
    "plan_report",
    "resolve",
    "run",
    "tag_specs",
]
