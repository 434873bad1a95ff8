"""Against pymodbus, both ways: our client on its server, its client on our simulator, in each framing."""

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.datastore import (
    ModbusDeviceContext,
    ModbusSequentialDataBlock,
    ModbusServerContext,
)
from pymodbus.server import ModbusSerialServer, ModbusTcpServer

from headrace.drivers.modbus import DRIVER, Framing, ModbusDriver, Parity, Point, Settings, Type
from headrace.drivers.modbus.decode import Plan
from headrace.drivers.modbus.simulator import Memory, Simulator
from headrace.drivers.modbus.values import encode
from headrace.kernel.clock import SystemClock
from headrace.kernel.config import duration
from headrace.kernel.model import Quality
from headrace.kernel.ports import Reading, Write

PlanOf = Callable[..., Plan]
ByTag = Callable[[Reading], dict[int, tuple[Any, int]]]

UNIT = 3
REGISTERS = (
    [0] * 10 + encode(np.array([1.5, -2.25, 1e-40], np.float32), Type.F32).ravel().tolist() + [0] * 200
)


def _store() -> ModbusServerContext:
    # pymodbus's sequential block is addressed from 1 for the device's address 0.
    def registers() -> ModbusSequentialDataBlock:
        return ModbusSequentialDataBlock(1, list(REGISTERS))

    def bits() -> ModbusSequentialDataBlock:
        return ModbusSequentialDataBlock(1, [i % 3 == 0 for i in range(300)])

    context = ModbusDeviceContext(di=bits(), co=bits(), hr=registers(), ir=registers())
    return ModbusServerContext(devices={UNIT: context}, single=False)


@asynccontextmanager
async def pymodbus_server(framing: str) -> AsyncIterator[dict[str, Any]]:
    """Settings by which our client reaches a pymodbus server."""
    if framing == "rtu":
        async with pty_cable() as (device_side, client_side):
            server: Any = ModbusSerialServer(
                _store(), framer=FramerType.RTU, port=device_side, baudrate=115200
            )
            await server.serve_forever(background=True)
            try:
                yield {
                    "framing": Framing.RTU,
                    "device": client_side,
                    "parity": Parity.NONE,
                    "baudrate": 115200,
                }
            finally:
                await server.shutdown()
        return
    framer = FramerType.SOCKET if framing == "tcp" else FramerType.RTU
    server = ModbusTcpServer(_store(), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        port = server.transport.sockets[0].getsockname()[1]
        yield {"framing": Framing(framing), "port": port}
    finally:
        await server.shutdown()


@asynccontextmanager
async def pty_cable() -> AsyncIterator[tuple[str, str]]:
    """Two pseudo-terminals joined like a null-modem cable."""
    loop = asyncio.get_running_loop()
    pairs = [os.openpty() for _ in range(2)]
    for _, slave in pairs:
        tty.setraw(slave)

    def pump(source: int, target: int) -> None:
        os.write(target, os.read(source, 4096))

    loop.add_reader(pairs[0][0], pump, pairs[0][0], pairs[1][0])
    loop.add_reader(pairs[1][0], pump, pairs[1][0], pairs[0][0])
    try:
        yield os.ttyname(pairs[0][1]), os.ttyname(pairs[1][1])
    finally:
        for master, slave in pairs:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)


@pytest.mark.parametrize("framing", ["tcp", "rtu-tcp", "rtu"])
async def test_our_client_on_pymodbus_server(framing: str, plan_of: PlanOf, by_tag: ByTag) -> None:
    points = [
        Point(address="holding:10", type=Type.F32, writable=True),
        Point(address="input:12", type=Type.F32),
        Point(address="holding:14", type=Type.F32),
        Point(address="coil:9", writable=True),
        Point(address="discrete:10"),
        Point(address="holding:20.7", writable=True),
        Point(address="holding:30", writable=True),
        Point(address="holding:5000"),
    ]
    spans = [
        ("holding", 0, 100),
        ("input", 12, 2),
        ("coil", 0, 99),
        ("discrete", 3, 17),
        ("holding", 5000, 1),
    ]
    async with pymodbus_server(framing) as settings:
        driver: ModbusDriver = DRIVER.create(
            Settings(unit=UNIT, timeout=duration("1s"), **settings), list(enumerate(points, 1)), SystemClock()
        )
        await driver.connect()
        try:
            reading = await driver.read(plan_of(driver, points, spans))
            assert by_tag(reading) == {
                1: (1.5, 0),
                2: (-2.25, 0),
                3: (float(np.float32(1e-40)), 0),
                4: (True, 0),
                5: (False, 0),
                6: (False, 0),
                7: (0.0, 0),
                8: (None, Quality.BAD_ADDRESS),
            }
            assert [(f.block, f.address) for f in reading.faults] == [(4, True)]
            results = await driver.write([Write(1, -7.5), Write(4, False), Write(6, True), Write(7, 65535)])
            assert [(r.ok, r.readback) for r in results] == [
                (True, -7.5),
                (True, False),
                (True, True),
                (True, 65535.0),
            ]
        finally:
            await driver.close()


Client = Callable[[Simulator], Awaitable[Any]]


@pytest.mark.parametrize("framing", ["tcp", "rtu-tcp", "rtu"])
async def test_pymodbus_client_on_our_simulator(framing: str) -> None:
    memory = Memory()
    memory.set_many("holding", 100, np.arange(300), "u16")
    memory.set_many("input", 0, np.array([3.25], np.float32), "f32")
    memory.set_many("coil", 0, np.arange(2000) % 7 == 0)
    simulator = Simulator({UNIT: memory}, illegal=[("holding", 1000, 1999)])
    client: Any
    if framing == "rtu":
        client = AsyncModbusSerialClient(await simulator.start_serial(), framer=FramerType.RTU, timeout=1)
    else:
        framer = FramerType.SOCKET if framing == "tcp" else FramerType.RTU
        port = await simulator.start("127.0.0.1", 0, framing)  # type: ignore[arg-type]
        client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=1)
    assert await client.connect()
    try:
        read = await client.read_holding_registers(100, count=125, device_id=UNIT)
        assert read.registers == list(range(125))
        read = await client.read_input_registers(0, count=2, device_id=UNIT)
        assert client.convert_from_registers(read.registers, client.DATATYPE.FLOAT32) == 3.25
        read = await client.read_coils(0, count=2000, device_id=UNIT)
        assert read.bits[:2000] == [i % 7 == 0 for i in range(2000)]
        read = await client.read_discrete_inputs(5, count=3, device_id=UNIT)
        assert read.bits[:3] == [False] * 3
        refused = await client.read_holding_registers(999, count=2, device_id=UNIT)
        assert refused.isError() and refused.exception_code == 2
        assert not (await client.write_register(7, 77, device_id=UNIT)).isError()
        assert not (await client.write_registers(8, [1, 2, 3], device_id=UNIT)).isError()
        assert not (await client.write_coil(1, True, device_id=UNIT)).isError()
        assert not (await client.write_coils(10, [True, False, True], device_id=UNIT)).isError()
        masked = await client.mask_write_register(address=7, and_mask=0xFFF0, or_mask=0x0005, device_id=UNIT)
        assert not masked.isError()
        assert memory.holding[7:11].tolist() == [77 & 0xFFF0 | 5, 1, 2, 3]
        assert memory.coil[[1, 10, 11, 12]].tolist() == [1, 1, 0, 1]
    finally:
        client.close()
        await simulator.stop()
