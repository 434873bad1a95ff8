"""A Modbus device for demos, benches and tests: a real server over TCP, RTU over TCP, or a serial
pseudo-terminal, with registers in numpy and with every fault a field device has.

    memory = Memory()
    memory.set_many("holding", 0, np.arange(100, dtype=np.float32), "f32")
    simulator = Simulator(units={1: memory})
    port = await simulator.start("127.0.0.1", 0)
    ...
    await simulator.stop()
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.memory import Memory, answer, touched

__all__ = ["Fault", "Memory", "Simulator"]

_log = structlog.get_logger(__name__)

Action = Literal[
    "drop",  # no answer
    "delay",  # the answer `seconds` later
    "garbage",  # random bytes instead of the answer
    "half",  # the first half of the answer
    "exception",  # an exception reply with `code`
    "wrong_transaction",  # TCP only; over RTU as "wrong_unit"
    "wrong_unit",
    "wrong_function",
    "wrong_count",  # a read reply with one register (or 8 bits) too few
    "close",  # half the answer, then the connection is closed
    "flood",  # the answer, then 64 KiB of frames nobody asked for
]


@dataclass
class Fault:
    """What goes wrong with which requests. It strikes requests that touch [first, last] of `area` (None:
    any), each with `probability`, the first `after` matches spared, at most `limit` times (None: always).
    `hits` counts its strikes. Of several faults the first that strikes is taken."""

    action: Action
    area: str | None = None
    first: int = 0
    last: int = codec.ADDRESSES - 1
    unit: int | None = None
    writes: bool | None = None  # only writes, only reads, or both
    probability: float = 1.0
    after: int = 0
    limit: int | None = None
    seconds: float = 0.0
    code: int = int(codec.ExceptionCode.SERVER_DEVICE_FAILURE)
    hits: int = 0
    seen: int = field(default=0, repr=False)

    def strikes(self, unit: int, pdu: bytes, chance: random.Random) -> bool:
        """Whether it strikes this request; counts where it does."""
        if self.unit is not None and unit != self.unit:
            return False
        where = touched(pdu)
        if where is None:
            if self.area is not None or self.writes is not None:
                return False
        else:
            area, start, count, writes = where
            if self.area is not None and (
                area != self.area or start > self.last or start + count <= self.first
            ):
                return False
            if self.writes is not None and writes != self.writes:
                return False
        if self.limit is not None and self.hits >= self.limit:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.probability < 1 and chance.random() >= self.probability):
            return False
        self.hits += 1
        return True


OnWrite = Callable[[int, str, int, int], None]
"""(unit, area, first address, count), called after a client's write has changed the memory."""

OnRead = Callable[[int, int, str, int, int], None]
"""(connection number, unit, area, first address, count), called before a client's read is answered, so that
the memory may still be changed; no request of another client comes between the call and the answer."""


class Simulator:
    """A device (or a gateway with several units) that answers Modbus.

    `units`: memory by unit id. `latency_s`, `jitter_s`: each answer comes that long after its request, plus a
    uniform share of the jitter; answers of one connection keep their order. `illegal`: (area, first, last)
    ranges of every unit that do not exist, `last` included. `parallel`: requests of one connection that may
    wait at once, further ones are dropped as small PLCs do (0: no limit). `faults` may be changed at any
    time. `unsupported`: function codes answered by exception 1. Deterministic by `seed`, but for timing.

    Counts: `requests` (all), `functions` (by function code), `dropped`, `connections` (open now), `accepted`.
    """

    def __init__(
        self,
        units: Mapping[int, Memory] | None = None,
        *,
        latency_s: float = 0.0,
        jitter_s: float = 0.0,
        illegal: Sequence[tuple[str, int, int]] = (),
        max_registers: int = codec.MAX_READ_REGISTERS,
        max_bits: int = codec.MAX_READ_BITS,
        parallel: int = 0,
        faults: Sequence[Fault] = (),
        unsupported: Sequence[int] = (),
        on_write: OnWrite | None = None,
        on_read: OnRead | None = None,
        seed: int = 0,
    ) -> None:
        self.units: dict[int, Memory] = dict(units) if units is not None else {1: Memory()}
        self.latency_s = latency_s
        self.jitter_s = jitter_s
        self.illegal = list(illegal)
        self.max_registers = max_registers
        self.max_bits = max_bits
        self.parallel = parallel
        self.faults = list(faults)
        self.unsupported = frozenset(unsupported)
        self.on_write = on_write
        self.on_read = on_read
        self.requests = 0
        self.functions: Counter[int] = Counter()
        self.dropped = 0
        self.accepted = 0
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._serial: list[_PtyTransport] = []

    @property
    def connections(self) -> int:
        return len(self._links)

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, framing: Literal["tcp", "rtu-tcp"] = "tcp"
    ) -> int:
        """Listen; returns the port (a free one for 0). Raises OSError where the port is taken."""
        if self._server is not None:
            raise RuntimeError("the simulator runs")
        link = _TcpLink if framing == "tcp" else _RtuLink
        self._server = await asyncio.get_running_loop().create_server(lambda: link(self), host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def start_serial(self) -> str:
        """Serve RTU on a new pseudo-terminal; returns the path of the side a client opens."""
        transport = _PtyTransport(_RtuLink(self), asyncio.get_running_loop())
        self._serial.append(transport)
        return transport.path

    def disconnect(self) -> None:
        """Close every client's connection, as a device that restarts; the server goes on listening."""
        for link in list(self._links):
            link.close()

    async def stop(self) -> None:
        """Idempotent; the simulator can be started again."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.disconnect()
        for transport in self._serial:
            transport.close()
        self._serial.clear()
        if server is not None:
            await server.wait_closed()

    def answer(self, link: _Link, unit: int, pdu: bytes) -> bytes | None:
        """The reply PDU, or None where a unit of that number does not answer here."""
        self.requests += 1
        self.functions[pdu[0]] += 1
        memory = self.units.get(unit)
        if memory is None:
            return link.no_unit(pdu)
        if self.on_read is not None and pdu[0] in codec.FUNCTION_AREA and len(pdu) == 5:
            start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
            self.on_read(link.number, unit, codec.FUNCTION_AREA[pdu[0]], start, count)
        reply = answer(
            memory,
            pdu,
            illegal=self.illegal,
            max_registers=self.max_registers,
            max_bits=self.max_bits,
            unsupported=self.unsupported,
        )
        if self.on_write is not None and pdu[0] > codec.READ_INPUT and reply[0] < 0x80:
            where = touched(pdu)
            if where is not None:
                area, first, count, _ = where
                self.on_write(unit, area, first, count)
        return reply

    def fault(self, unit: int, pdu: bytes) -> Fault | None:
        """The fault that strikes this request."""
        return next((f for f in self.faults if f.strikes(unit, pdu, self._chance)), None)

    def delay(self) -> float:
        return self.latency_s + (self._chance.random() * self.jitter_s if self.jitter_s else 0.0)

    def noise(self, size: int) -> bytes:
        return self._chance.randbytes(size)


class _Link(asyncio.Protocol, ABC):
    """One client: cuts the stream into requests, and sends the answers in their order."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._transport: asyncio.WriteTransport | _PtyTransport | None = None
        self._rest = b""
        self._waiting = 0
        self._free_at = 0.0
        simulator.accepted += 1
        self.number = simulator.accepted

    def connection_made(self, transport: object) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._simulator._links.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._simulator._links.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @abstractmethod
    def no_unit(self, pdu: bytes) -> bytes | None:
        """The reply PDU to a request for a unit that is not here; None: silence."""

    @abstractmethod
    def frame(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """The PDU as it goes over this line."""

    def take(self, transaction: int, unit: int, pdu: bytes, out: list[bytes]) -> None:
        """Handle one request: the answer goes to `out`, or is sent later, or never."""
        simulator = self._simulator
        if simulator.parallel and self._waiting >= simulator.parallel:
            simulator.dropped += 1
            return
        fault = simulator.fault(unit, pdu) if simulator.faults else None
        reply = simulator.answer(self, unit, pdu)
        if reply is None:
            return
        delay = simulator.delay() if simulator.latency_s or simulator.jitter_s else 0.0
        frame = self.frame(transaction, unit, reply)
        if fault is not None:
            if fault.action == "drop":
                simulator.dropped += 1
                return
            if fault.action == "delay":
                delay += fault.seconds
            frame = self._spoil(fault, transaction, unit, pdu, reply)
        closes = fault is not None and fault.action == "close"
        if delay <= 0 and not self._waiting and not closes:
            out.append(frame)
            return
        loop = asyncio.get_running_loop()
        self._free_at = max(loop.time() + delay, self._free_at)  # answers keep their order
        self._waiting += 1
        loop.call_at(self._free_at, self._send, frame, closes)

    def _send(self, frame: bytes, closes: bool) -> None:
        self._waiting -= 1
        if self._transport is not None:
            self._transport.write(frame)
            if closes:
                self._transport.close()

    def _spoil(self, fault: Fault, transaction: int, unit: int, pdu: bytes, reply: bytes) -> bytes:
        good = self.frame(transaction, unit, reply)
        match fault.action:
            case "garbage":
                return self._simulator.noise(len(good))
            case "half" | "close":
                return good[: len(good) // 2]
            case "exception":
                return self.frame(transaction, unit, codec.exception_reply(pdu[0], fault.code))
            case "wrong_transaction":
                return self.frame((transaction + 4096) & 0xFFFF, unit ^ self.wrong_unit_mask, reply)
            case "wrong_unit":
                return self.frame(transaction, unit ^ 0x55, reply)
            case "wrong_function":
                return self.frame(transaction, unit, bytes((reply[0] ^ 0x07,)) + reply[1:])
            case "wrong_count":
                return self.frame(transaction, unit, _shorter(reply))
            case "flood":
                stray = self.frame((transaction + 4096) & 0xFFFF, unit ^ 0x55, reply)
                return good + stray * (65_536 // len(stray) + 1)
        return good

    wrong_unit_mask = 0


def _shorter(reply: bytes) -> bytes:
    if reply[0] > codec.READ_INPUT or reply[1] < 2:
        return reply[:-1]
    less = 1 if reply[0] in (codec.READ_COILS, codec.READ_DISCRETE) else 2
    return bytes((reply[0], reply[1] - less)) + reply[2:-less]


class _TcpLink(_Link):
    def no_unit(self, pdu: bytes) -> bytes | None:
        return codec.exception_reply(pdu[0], codec.ExceptionCode.GATEWAY_TARGET_FAILED)

    def frame(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        return codec.tcp_frame(transaction, unit, pdu)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        out: list[bytes] = []
        at = 0
        try:
            while True:
                frame, size = codec.tcp_parse(data[at : at + 260])
                if frame is None:
                    break
                at += size
                self.take(frame.transaction, frame.unit, frame.pdu, out)
        except codec.FrameError as error:
            _log.info("simulator_request_garbled", reason=str(error))
            self.close()
        self._rest = data[at:]
        if out and self._transport is not None:
            self._transport.write(b"".join(out))


class _RtuLink(_Link):
    wrong_unit_mask = 0x55

    def no_unit(self, pdu: bytes) -> bytes | None:
        return None  # on a line nobody answers for another

    def frame(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        return codec.rtu_frame(unit, pdu)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        out: list[bytes] = []
        at = 0
        try:
            while True:
                size = codec.rtu_request_size(data[at : at + 7])
                if size is None or len(data) - at < size:
                    break
                frame = codec.rtu_check(data[at : at + size])
                at += size
                self.take(0, frame.unit, frame.pdu, out)
        except codec.FrameError as error:
            # SL §2.5.1.1: a frame with an error is not answered; what came with it is dropped.
            _log.info("simulator_request_garbled", reason=str(error))
            at = len(data)
        self._rest = data[at:]
        if out and self._transport is not None:
            self._transport.write(b"".join(out))


class _PtyTransport:
    """The device's side of a pseudo-terminal pair, fed to a protocol; the client opens `path`."""

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._loop = loop
        # The client's side stays open here too, or the device's side would see an end when a client leaves.
        self._fd, self._client_fd = os.openpty()
        tty.setraw(self._client_fd)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._client_fd)
        self._out = b""
        self._open = True
        loop.add_reader(self._fd, self._readable)
        protocol.connection_made(self)  # type: ignore[arg-type]

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("simulator_serial_lost", reason=str(error))
            self.close()
            return
        self._protocol.data_received(data)

    def write(self, data: bytes) -> None:
        self._out += data
        self._flush()

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._out)
        except BlockingIOError:
            sent = 0
        self._out = self._out[sent:]
        if self._out:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        os.close(self._client_fd)
        self._protocol.connection_lost(None)
