"""A node: which roles a profile needs, one process each, under one supervisor.

Enters: `headrace.toml` and a data directory. Leaves: running roles that find each other through the bus, and
`run/node.json`, which says what runs where. Every room's configuration section is composed here into the one
file. May import: every room but cli and demo; roles import theirs when they start, so that each process
carries only what it needs.
"""

from headrace.node.config import NODE, NodeSettings, load, sections
from headrace.node.supervisor import Progress, Supervisor

__all__ = ["NODE", "NodeSettings", "Progress", "Supervisor", "load", "sections"]
