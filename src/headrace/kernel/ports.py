"""The seams: what a driver fulfils for the edge, and what a bus fulfils for everyone.

A driver is a folder with codec, client, simulator, manifest and strings. It says where each point lies in
its address space (`layout`); the shared planner of room `edge` groups the points into Blocks by cost; the
driver compiles blocks once into a Plan of its own and executes it every cycle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from headrace.kernel.clock import Clock
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Kind

# --- drivers ---------------------------------------------------------------------------------------------


class Span(msgspec.Struct, frozen=True):
    """Where a point lies: `length` units from `start` in `area`. Units are the driver's (register, bit,
    byte, item); spans of different areas can never share a request."""

    area: str
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


class Layout(msgspec.Struct, frozen=True):
    """What the driver makes of one configured point."""

    span: Span
    kind: Kind
    writable: bool = False


class Limits(msgspec.Struct, frozen=True):
    """What a device allows and what a request costs, as data for the planner.

    `max_units`: the longest request per area. `request_cost`: what one more request costs, in units of
    transfer, so that a gap of fewer units is cheaper to read through than to split at. `parallel`: requests
    that may be in flight at once. `gaps`: False where reading between configured points is not allowed.
    """

    max_units: dict[str, int]
    request_cost: float
    parallel: int = 1
    gaps: bool = True


class Block(msgspec.Struct, frozen=True):
    """One request of a plan: `span` covers the points at these indexes of the driver's point list."""

    span: Span
    points: tuple[int, ...]


class BlockFault(msgspec.Struct, frozen=True):
    """A block that gave no values this cycle; its points are in the batches all the same, with `quality`
    and null values. `address`: the device says that part of the span does not exist, so the planner
    should bisect it."""

    block: int  # index in the plan's block list
    quality: int
    address: bool = False
    detail: str = ""


class Reading(msgspec.Struct, frozen=True):
    """One cycle: every point of the plan exactly once, by kind; and which blocks failed."""

    batches: tuple[Batch, ...]
    faults: tuple[BlockFault, ...] = ()


class Write(msgspec.Struct, frozen=True):
    """A value for one point, in engineering units."""

    tag: int
    value: float | int | bool | str


class WriteResult(msgspec.Struct, frozen=True):
    """What became of a Write. `ok` only where the read-back equals what was written (within the encoding's
    own resolution). `code` is a row of the message table where it is not ok."""

    tag: int
    ok: bool
    readback: float | int | bool | str | None = None
    time: int = 0  # UTC ns of the read-back
    code: str = ""
    params: dict[str, Any] = {}


class Found(msgspec.Struct, frozen=True):
    """One thing that `browse` found: `options` are the driver's keys for a tag entry."""

    name: str
    kind: Kind
    options: dict[str, Any]
    writable: bool = False
    title: Text | None = None


class Driver(Protocol):
    """One connection to one device. Methods are called by one task at a time, except `close`."""

    limits: Limits

    async def connect(self) -> None:
        """Raises DeviceUnavailable. Called again after a loss; must leave nothing behind when it fails."""
        ...

    def compile(self, blocks: Sequence[Block]) -> Any:
        """The driver's own plan for these blocks; pure, called when the plan changes, not per cycle."""
        ...

    async def read(self, plan: Any) -> Reading:
        """One cycle. Raises DeviceUnavailable where the connection is lost; faults of single blocks are in
        the Reading."""
        ...

    async def write(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Write, then read back. One result per write, in order. Raises DeviceUnavailable."""
        ...

    def browse(self) -> AsyncIterator[Found]:
        """What the device says it has; empty where the protocol cannot tell."""
        ...

    async def close(self) -> None:
        """Idempotent."""
        ...


class Manifest(msgspec.Struct, frozen=True):
    """What a driver says of itself. `settings` and `point` are msgspec Structs (forbid_unknown_fields) for
    the connection's `settings` table and for the driver's own keys of a tag entry."""

    id: str
    title: Text
    summary: Text
    settings: type[Any]
    point: type[Any]
    standard: str = ""
    docs: str = ""  # file under docs/drivers


class DriverType(Protocol):
    """What an entry point of `headrace.drivers` names."""

    manifest: Manifest

    def layout(self, settings: Any, point: Any) -> Layout:
        """Raises InputError (code, params) where the point makes no sense."""
        ...

    def limits(self, settings: Any) -> Limits: ...

    def create(self, settings: Any, points: Sequence[tuple[int, Any]], clock: Clock) -> Driver:
        """A driver for these (tag id, point struct) pairs; does no I/O."""
        ...


# --- bus -------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True):
    """A message as delivered. `sequence` is its place in the stream (1, 2, …; 0 outside a stream)."""

    subject: str
    payload: bytes
    sequence: int = 0
    time: int = 0  # UTC ns at which the bus stored it
    reply: str = ""


class StreamState(msgspec.Struct, frozen=True):
    """`first`..`last` are the sequences held (first = last + 1 where the stream is empty)."""

    first: int
    last: int
    messages: int
    bytes: int


class Bus(Protocol):
    """Durable streams, live subjects and requests. Subjects are dot-separated tokens [a-z0-9-]; in filters
    `*` stands for one token and a final `>` for the rest. Every method raises BusUnavailable when the bus
    does not answer in time."""

    async def ensure_stream(
        self,
        name: str,
        subjects: Sequence[str],
        *,
        max_bytes: int,
        max_age_s: float = 0,
        discard_old: bool = False,
    ) -> None:
        """Create the stream, or bring its settings up to these. A full stream refuses new messages
        (`discard_old` False), so that nothing accepted is dropped; publishers keep theirs."""
        ...

    async def publish(self, subject: str, payload: bytes, *, key: str = "") -> int:
        """Durable: returns the stream sequence once the message is on disk. A `key` seen within the
        stream's duplicate window returns the first message's sequence."""
        ...

    async def read(
        self, stream: str, start: int, *, limit: int = 256, timeout_s: float = 1.0, filter: str = ""
    ) -> list[Message]:
        """Messages from sequence `start` on, in order, without gaps other than sequences the stream no
        longer holds (or `filter` passes over); [] where none came in time. Repeated calls with advancing
        `start` are cheap. The position is the caller's own to keep."""
        ...

    async def purge(self, stream: str, before: int) -> None:
        """Forget the messages with a sequence lower than `before`: the reader's acknowledgement."""
        ...

    async def state(self, stream: str) -> StreamState: ...

    async def send(self, subject: str, payload: bytes) -> None:
        """Not durable: reaches whoever subscribes now."""
        ...

    def subscribe(self, subject: str, *, pending: int = 1024) -> AsyncIterator[Message]:
        """Live messages (durable publishes too) from now on; a slow reader loses the oldest."""
        ...

    async def request(self, subject: str, payload: bytes, *, timeout_s: float = 5.0) -> bytes:
        """One answer from whoever serves the subject; BusUnavailable where nobody does."""
        ...

    async def serve(self, subject: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer requests on `subject` until the bus is closed."""
        ...

    async def close(self) -> None: ...
