"""The workshop's six controllers as real Modbus servers: `python -m headrace.demo.devices --data DIR`.

One process steps the models and serves them. It writes below DIR/demo:
  devices.json   process id, ports by device, seed, speed; present once every device listens
  faults.jsonl   what truly happened: a line for each begin and each end of a fault (`faults.Event`)
  probe.jsonl    each value of the probe signal that was served, with the time, for the check of the path
It ends at SIGTERM, SIGINT, or when the process that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from headrace.demo.faults import Cell, Event, FaultPlan
from headrace.demo.files import PROBE, Record, Served, faults_file, probe_file, read_record, record_file
from headrace.demo.maps import DEVICES
from headrace.demo.physics import STEP, Workshop
from headrace.demo.signals import Device, Registers
from headrace.drivers.modbus.simulator import Fault, Simulator
from headrace.kernel.clock import NS_PER_S, Clock, SystemClock
from headrace.kernel.errors import Conflict

_log = structlog.get_logger(__name__)

PROBE_BYTES = 1 << 20  # a longer probe file is begun anew
TICK = 0.1  # s of wall time between two updates
_SLIP = 5.0  # s of simulated time that may be caught up; after a longer pause time is dropped


class Controller:
    """One device: its registers and the server in front of them."""

    def __init__(self, device: Device, cell: Cell, seed: int) -> None:
        self.device = device
        self.registers = Registers(device)
        self.registers.broken = cell.broken
        self._cell = cell
        self._silence = Fault("drop")
        self._refusal = Fault("exception")
        self.simulator = Simulator(
            units={device.unit: self.registers.memory},
            latency_s=device.latency_s,
            jitter_s=device.jitter_s,
            illegal=device.illegal,
            max_registers=device.max_registers,
            max_bits=device.max_bits,
            on_write=self._written,
            seed=seed,
        )

    def refresh(self) -> None:
        """Registers and faults as the cell has them now."""
        self.registers.refresh(self._cell.shop)
        faults = []
        if self.device.name in self._cell.silent:
            faults.append(self._silence)
        if self.device.name in self._cell.refusing:
            faults.append(self._refusal)
        self.simulator.faults = faults

    def _written(self, unit: int, area: str, first: int, count: int) -> None:
        done = self.registers.accept(area, first, count, self._cell.shop)
        _log.info("device_written", device=self.device.name, signals=done)


class Devices:
    """All controllers on one workshop. `speed`: simulated seconds per second."""

    def __init__(
        self,
        shop: Workshop,
        plan: FaultPlan,
        data: Path,
        clock: Clock,
        *,
        speed: float = 1.0,
        host: str = "127.0.0.1",
    ) -> None:
        self.cell = Cell(shop)
        self.plan = plan
        self.speed = speed
        self.host = host
        self.data = data
        self.clock = clock
        self.controllers = {
            d.name: Controller(d, self.cell, shop.seed * 101 + n) for n, d in enumerate(DEVICES)
        }
        self.ports: dict[str, int] = {}
        self._signal = next(s for d in DEVICES for s in d.signals if s.name == PROBE)
        self._probe: BinaryIO | None = None
        self._truth: BinaryIO | None = None

    async def start(self, ports: dict[str, int] | None = None) -> None:
        """Listen on `ports`, or on free ones. Raises Conflict where a port is taken."""
        (self.data / "demo").mkdir(parents=True, exist_ok=True)
        self._probe = probe_file(self.data).open("ab", buffering=0)
        self._truth = faults_file(self.data).open("ab", buffering=0)
        for name, controller in self.controllers.items():
            controller.refresh()
            wanted = (ports or {}).get(name, 0)
            try:
                self.ports[name] = await controller.simulator.start(
                    self.host, wanted, controller.device.framing
                )
            except OSError as error:
                await self.stop()
                raise Conflict("demo.port_taken", port=wanted, device=name) from error
        self.controllers[PROBE.partition("/")[0]].simulator.on_read = self._read
        record = Record(os.getpid(), self.ports, self.cell.shop.seed, self.speed, self.host, self.clock.now())
        _replace(record_file(self.data), msgspec.json.encode(record))
        _log.info("devices_started", ports=self.ports)

    async def run(self, stop: asyncio.Event) -> None:
        """Step models and faults in step with the clock until `stop`, or until the parent is gone."""
        parent = os.getppid()
        shop = self.cell.shop
        origin = self.clock.monotonic() - round(shop.time / self.speed * NS_PER_S)
        while not stop.is_set() and os.getppid() == parent:
            due = (self.clock.monotonic() - origin) / NS_PER_S * self.speed
            if due - shop.time > _SLIP * max(1.0, self.speed):
                origin += round((due - shop.time) / self.speed * NS_PER_S)
                due = shop.time
            stepped = False
            while shop.time + STEP <= due:
                shop.step(STEP)
                self._note(self.plan.step(self.cell))
                stepped = True
            if stepped:
                for controller in self.controllers.values():
                    controller.refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TICK)

    async def stop(self) -> None:
        for controller in self.controllers.values():
            await controller.simulator.stop()
        for file in (self._probe, self._truth):
            if file is not None:
                file.close()

    def _note(self, events: list[Event]) -> None:
        for event in events:
            _log.info("fault", fault=event.fault, target=event.target, what=event.event)
            line = msgspec.structs.replace(event, time=self.clock.now())
            assert self._truth is not None
            self._truth.write(msgspec.json.encode(line) + b"\n")

    def _read(self, link: int, unit: int, area: str, first: int, count: int) -> None:
        signal_ = self._signal
        if area != signal_.area or not first <= signal_.address < first + count:
            return
        controller = self.controllers[PROBE.partition("/")[0]]
        if controller.simulator.faults or self._probe is None:
            return
        memory = controller.registers.memory
        value = int(memory.get(area, signal_.address, signal_.type, signal_.order)[0])
        if self._probe.tell() > PROBE_BYTES:
            self._probe.truncate(0)
        self._probe.write(msgspec.json.encode(Served(self.clock.now(), value)) + b"\n")


def _replace(path: Path, content: bytes) -> None:
    """Write so that a reader sees the old file or the whole new one."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


async def serve(
    data: Path, *, seed: int, speed: float, faults: bool, host: str = "127.0.0.1", minutes: float = 40.0
) -> None:
    """Everything until a signal. Ports of an earlier start below `data` are taken again, so that a
    configuration that names them stays right."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    earlier = read_record(data)
    record_file(data).unlink(missing_ok=True)
    shop = Workshop.at_work(seed, minutes=minutes)
    plan = FaultPlan(seed, script=faults, randomly=faults)
    devices = Devices(shop, plan, data, SystemClock(), speed=speed, host=host)
    try:
        await devices.start(earlier.ports if earlier else None)
    except Conflict:
        if earlier is None:
            raise
        devices = Devices(shop, plan, data, SystemClock(), speed=speed, host=host)
        await devices.start()
    try:
        await devices.run(stop)
    finally:
        await devices.stop()


def main(argv: list[str] | None = None) -> int:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(
        prog="headrace.demo.devices", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--no-faults", action="store_true")
    args = parser.parse_args(argv)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(serve(args.data, seed=args.seed, speed=args.speed, faults=not args.no_faults, host=args.host))
    return 0


if __name__ == "__main__":
    sys.exit(main())
