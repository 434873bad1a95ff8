"""The control table of level 3 (等保三级), pre-filled from what runs. It is a working paper for an operator
who prepares an assessment; it assesses nothing, and says so.

Enters: the node as it runs (records, settings, data folder, its own addresses). Leaves: the table, by control
point what was seen. May import: every part of access, records, kernel; nothing imports it but rooms above.
Rooms above add what they can see with `register`.
"""

from headrace.access.audit.controls.probes import Finding, Node, Probe, Seen, all_probes, register
from headrace.access.audit.controls.table import Control, ControlState, ControlTable, fill

__all__ = [
    "Control",
    "ControlState",
    "ControlTable",
    "Finding",
    "Node",
    "Probe",
    "Seen",
    "all_probes",
    "fill",
    "register",
]
