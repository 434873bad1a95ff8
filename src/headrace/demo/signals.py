"""What a device shows: each Signal is one declaration from which come the simulator's registers, the driver's
address, and the tag with its titles, so that the three cannot disagree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec
import numpy as np

from headrace.demo.physics import Workshop
from headrace.drivers.modbus.codec import BIT_AREAS, MAX_READ_BITS, MAX_READ_REGISTERS
from headrace.drivers.modbus.simulator import Memory
from headrace.drivers.modbus.values import REGISTERS, Order, Type, integer_range
from headrace.kernel.messages import Text

Value = float | int | bool | str
Get = Callable[[Workshop], Value]

WIRE_BREAK = 32767
"""What an analogue card reports in a 16-bit integer when the sensor's wire is broken (Siemens: 7FFF hex)."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity of a device. `get` takes it from the model in `unit`; `put` changes the model, where it
    can be written. The register holds round((value - offset) / scale) for integers, the value itself for
    floats.

    `bit`: the bit of the 16-bit word at `address` (0 the least significant); None for whole registers.
    `length`: bytes of a text. `deadband`: absolute, in `unit`; 0 reports each change.
    """

    name: str
    title: Text
    area: Literal["holding", "input", "coil", "discrete"]
    address: int
    get: Get
    put: Callable[[Workshop, Any], None] | None = None
    unit: str = ""
    type: Type = Type.F32
    order: Order = Order.ABCD
    scale: float = 1.0
    offset: float = 0.0
    length: int = 0
    encoding: str = "ascii"
    bit: int | None = None
    low: float | None = None
    high: float | None = None
    every: str = ""
    deadband: float = 0.0

    @property
    def registers(self) -> int:
        """Registers, or bits of a bit area, that it takes."""
        if self.area in BIT_AREAS or self.bit is not None:
            return 1
        return (self.length + 1) // 2 if self.type is Type.STRING else REGISTERS[self.type]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated controller: how it speaks, what it refuses, and its signals."""

    name: str
    title: Text
    model: str  # what kind of controller it stands for
    signals: tuple[Signal, ...]
    framing: Literal["tcp", "rtu-tcp"] = "tcp"
    unit: int = 1
    every: str = "1s"
    latency_s: float = 0.008
    jitter_s: float = 0.004
    max_registers: int = MAX_READ_REGISTERS
    max_bits: int = MAX_READ_BITS
    parallel: int = 1
    illegal: tuple[tuple[str, int, int], ...] = ()


class Registers:
    """The memory of one device, filled from the model and read back into it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.memory = Memory()
        self.broken: set[str] = set()  # names of the signals whose sensor is cut off
        self._texts = [s for s in device.signals if s.type is Type.STRING]
        self._bits = [s for s in device.signals if s.bit is not None]
        groups: dict[tuple[str, Type, Order], list[Signal]] = {}
        for signal in device.signals:
            if signal.type is not Type.STRING and signal.bit is None:
                groups.setdefault((signal.area, signal.type, signal.order), []).append(signal)
        self._groups = [
            (area, type_, order, np.array([s.address for s in signals]), signals)
            for (area, type_, order), signals in groups.items()
        ]

    def refresh(self, shop: Workshop) -> None:
        """Bring every register up to the model's present state."""
        for area, type_, order, at, signals in self._groups:
            raw = [self.raw(signal, shop) for signal in signals]
            self.memory.set_at(area, at, np.array(raw, _column(type_)), type_, order)
        words: dict[tuple[str, int], int] = {}
        for signal in self._bits:
            assert signal.bit is not None
            key = (signal.area, signal.address)
            words[key] = words.get(key, 0) | (bool(signal.get(shop)) << signal.bit)
        for (area, address), word in words.items():
            self.memory.set(area, address, word)
        for signal in self._texts:
            self._write_text(signal, shop)

    def raw(self, signal: Signal, shop: Workshop) -> float | int | bool:
        """What the register of a number or bit holds for the model's present value."""
        value = signal.get(shop)
        if signal.area in BIT_AREAS:
            return bool(value)
        limits = integer_range(signal.type)
        broken = signal.name in self.broken
        if limits is None:
            return math.nan if broken else float(value)
        if broken:
            return WIRE_BREAK
        if signal.scale == 1.0 and signal.offset == 0.0 and isinstance(value, int):
            return min(max(value, limits[0]), limits[1])
        raw = round((float(value) - signal.offset) / signal.scale)
        return min(max(raw, limits[0]), limits[1])

    def accept(self, area: str, first: int, count: int, shop: Workshop) -> list[str]:
        """A client has written `count` cells: hand what they mean to the model, and show at once what the
        model made of it (a controller clamps a set-point to its range, and drops a write to a measurement).
        Names of the signals that were set."""
        done = []
        for signal in self.device.signals:
            hit = (
                signal.area == area
                and signal.address < first + count
                and first < signal.address + signal.registers
            )
            if hit and signal.put is not None:
                signal.put(shop, self._meaning(signal))
                done.append(signal.name)
        self.refresh(shop)
        return done

    def _meaning(self, signal: Signal) -> Value:
        if signal.area in BIT_AREAS:
            return bool(self.memory.get(signal.area, signal.address)[0])
        raw = self.memory.get(signal.area, signal.address, signal.type, signal.order)[0]
        if integer_range(signal.type) is None or signal.scale != 1.0 or signal.offset != 0.0:
            return float(raw) * signal.scale + signal.offset
        return int(raw)

    def _write_text(self, signal: Signal, shop: Workshop) -> None:
        text = str(signal.get(shop))
        while len(text.encode(signal.encoding)) > signal.length:
            text = text[:-1]
        self.memory.set(
            signal.area,
            signal.address,
            text,
            order=signal.order,
            length=signal.length,
            encoding=signal.encoding,
        )


def _column(type_: Type) -> Any:
    if type_ is Type.BOOL:
        return np.bool_
    if type_ in (Type.U64, Type.I64):
        return np.uint64 if type_ is Type.U64 else np.int64
    return np.float64 if type_ in (Type.F32, Type.F64) else np.int64


def overlaps(device: Device) -> Iterator[tuple[Signal, Signal]]:
    """Pairs of signals that share a register without being bits of one word; there are none in a sound
    map."""
    whole = sorted((s for s in device.signals), key=lambda s: (s.area, s.address))
    for before, after in itertools.pairwise(whole):
        bits = before.bit is not None and after.bit is not None
        if before.area == after.area and after.address < before.address + before.registers and not bits:
            yield before, after
