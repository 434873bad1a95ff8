"""A Modbus device that knows exactly what it served: each read of its first block answers the next number."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headrace.drivers.modbus.simulator import Memory, Simulator


class CountingDevice:
    """Serves on a thread of its own until `stop`.

    Holding registers 0-3 hold a u64 counter that rises by one with every read that begins at 0; `payload` f32
    values follow from register 4 on, all equal to the counter modulo 2**20, so that a torn row would show.
    `served[n]` is the UTC time in ns at which the counter value n was answered.
    """

    def __init__(self, payload: int = 50) -> None:
        self.payload = payload
        self.served: dict[int, int] = {}
        self._memory = Memory()
        self._simulator = Simulator(units={1: self._memory}, on_read=self._on_read)
        self._count = 0
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def start(self) -> CountingDevice:
        self._thread.start()
        assert self._started.wait(10), "the device did not start"
        return self

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.port = await self._simulator.start("127.0.0.1", 0)
        self._started.set()
        await self._stop.wait()
        await self._simulator.stop()

    def _on_read(self, _link: int, _unit: int, area: str, start: int, _count: int) -> None:
        if area != "holding" or start != 0:
            return
        self._count += 1
        self._memory.set("holding", 0, self._count, "u64")
        row = np.full(self.payload, self._count % 2**20, np.float32)
        self._memory.set_many("holding", 4, row, "f32")
        self.served[self._count] = time.time_ns()

    def configuration(self, every: str = "50ms", machine: str = "counter") -> str:
        """The part of a headrace.toml that connects this device; one block holds all of it."""
        rows = [("count", 0, "u64"), *((f"v{i}", 4 + 2 * i, "f32") for i in range(self.payload))]
        tags = [
            f'[[edge.connections.tags]]\nname = "{machine}/{name}"\n'
            f'address = "holding:{address}"\ntype = "{type_}"\n'
            for name, address, type_ in rows
        ]
        return (
            f'[[edge.connections]]\nname = "{machine}"\ndriver = "modbus"\nevery = "{every}"\n'
            f'settings = {{ host = "127.0.0.1", port = {self.port}, timeout = "2s" }}\n' + "\n".join(tags)
        )


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Returns once `condition()` is true; fails the test when it is not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.02)


def write_node(folder: Path, *devices: str, extra: str = "") -> Path:
    """A headrace.toml with free ports and the given connections."""
    path = folder / "headrace.toml"
    path.write_text(
        '[node]\nname = "test"\n\n[bus]\nport = 0\n\n[api]\nport = 0\n\n' + extra + "\n" + "\n".join(devices),
        encoding="utf-8",
    )
    return path
