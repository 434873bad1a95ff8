"""The asset tree: machines and the tags bound to them.

Enters: the `[machines]` table of the configuration and the tags of the node. Leaves: machines in the order
of the line. May import: history, records, kernel. Tag names bind by path: the first segment is the machine.
"""

from headrace.twin.assets import MACHINES, Machine, machines_of, part_of

__all__ = ["MACHINES", "Machine", "machines_of", "part_of"]
