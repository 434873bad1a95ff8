"""The bus: durable streams, live subjects and requests between the processes of a node.

Enters: encoded batches, events and commands as bytes under dotted subjects. Leaves: the same bytes in stream
order, acknowledged only once they are on disk. Two fulfilments of `kernel.ports.Bus`: `MemoryBus` within one
process, `NatsBus` on a NATS JetStream server; `NatsServer` runs that server as a child process.
May import: kernel.
"""

from headrace.bus.config import BUS, BusSettings
from headrace.bus.memory import MemoryBus
from headrace.bus.nats import NatsBus
from headrace.bus.server import NatsServer

__all__ = ["BUS", "BusSettings", "MemoryBus", "NatsBus", "NatsServer"]
