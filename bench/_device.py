"""A simulated plant device for benchmarks: N f32 tags on contiguous registers, new values each second.

Run as a process of its own, so that its CPU is not ours:
    python bench/_device.py --tags 10000 --port-file /tmp/port
The signals are those of a plant, not random bits: quantised sensors, noisy floats, set-points, counters and
binary states, seeded.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import numpy as np

from headrace.drivers.modbus.simulator import Memory, Simulator

PER_UNIT = 30_000
"""Tags of one unit: 65,536 registers hold 32,768 f32 values."""

SHARES = {"quantised": 0.40, "noisy": 0.30, "setpoint": 0.10, "counter": 0.10, "binary": 0.10}


class Signals:
    """`step()` gives the next second's values, float32 of shape (n,)."""

    def __init__(self, n: int, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        names = list(SHARES)
        self._kind = self._random.choice(len(names), n, p=list(SHARES.values()))
        self._masks = {name: self._kind == i for i, name in enumerate(names)}
        self._values = self._random.uniform(10, 200, n).round(1)
        self._means = self._values.copy()
        self._values[self._masks["counter"]] = self._random.integers(0, 100_000, self._masks["counter"].sum())
        self._values[self._masks["binary"]] = self._random.integers(0, 2, self._masks["binary"].sum())

    def step(self) -> np.ndarray:
        random, values, masks = self._random, self._values, self._masks
        mask = masks["quantised"]
        moves = random.choice([-0.1, 0.0, 0.1], mask.sum(), p=[0.15, 0.7, 0.15])
        values[mask] = (values[mask] + moves).round(1)
        mask = masks["noisy"]
        values[mask] = self._means[mask] + random.normal(0, 0.5, mask.sum())
        mask = masks["setpoint"]
        values[mask] = np.where(random.random(mask.sum()) < 0.001, values[mask] + 5, values[mask])
        mask = masks["counter"]
        values[mask] += random.integers(0, 3, mask.sum())
        mask = masks["binary"]
        values[mask] = np.where(random.random(mask.sum()) < 0.01, 1 - values[mask], values[mask])
        return values.astype(np.float32)


async def serve(tags: int, latency_s: float, port_file: Path) -> None:
    signals = Signals(tags)
    units = {1 + i: Memory() for i in range(-(-tags // PER_UNIT))}
    simulator = Simulator(units=units, latency_s=latency_s)
    port = await simulator.start("127.0.0.1", 0)
    port_file.write_text(str(port), encoding="ascii")
    while True:
        values = signals.step()
        for i, memory in enumerate(units.values()):
            memory.set_many("holding", 0, values[i * PER_UNIT : (i + 1) * PER_UNIT], "f32")
        await asyncio.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tags", type=int, required=True)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per answer")
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    runner(serve(options.tags, options.latency, options.port_file))


if __name__ == "__main__":
    main()
