"""Modbus TCP, RTU over TCP and RTU over a serial line.

Enters: settings, addresses such as `holding:100`, bytes of a device. Leaves: Batches and write results.
May import: kernel, and `drivers.manifest` for its own manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headrace.drivers.manifest import read_manifest
from headrace.drivers.modbus import points
from headrace.drivers.modbus.driver import ModbusDriver
from headrace.drivers.modbus.points import Encoding, Framing, Parity, Point, Settings
from headrace.drivers.modbus.values import Order, Type
from headrace.kernel.clock import Clock
from headrace.kernel.ports import Layout, Limits

__all__ = ["DRIVER", "Encoding", "Framing", "ModbusDriver", "Order", "Parity", "Point", "Settings", "Type"]


class _Modbus:
    """Fulfils kernel.ports.DriverType."""

    manifest = read_manifest(Path(__file__).parent, Settings, Point)

    def layout(self, settings: Settings, point: Point) -> Layout:
        return points.layout(settings, point)

    def limits(self, settings: Settings) -> Limits:
        return points.limits(settings)

    def create(self, settings: Settings, points: Sequence[tuple[int, Point]], clock: Clock) -> ModbusDriver:
        return ModbusDriver(settings, points, clock)


DRIVER = _Modbus()
