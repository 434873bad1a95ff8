"""What the models have is what our Modbus driver reads over a socket, and what it writes moves the models."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import drivers
from headrace.demo import files
from headrace.demo.configuration import tag_row
from headrace.demo.devices import Devices
from headrace.demo.faults import KINDS, Event, FaultPlan
from headrace.demo.maps import DEVICES
from headrace.demo.physics import Workshop
from headrace.demo.signals import Device
from headrace.drivers.modbus.points import Framing, Point, Settings
from headrace.kernel.clock import ManualClock, SystemClock
from headrace.kernel.config import Duration
from headrace.kernel.errors import DeviceUnavailable
from headrace.kernel.model import Quality
from headrace.kernel.ports import Block, Reading, Write

MODBUS = drivers.load("modbus")


def point(signal: Any, device: Device) -> Point:
    """The driver's point of a tag table's row, decoded as the edge decodes it."""
    row = tag_row(signal, device)
    keys = ("address", "type", "order", "scale", "offset", "length", "encoding", "writable")
    return msgspec.convert({k: row[k] for k in keys if row[k]}, Point, strict=False)


class Client:
    """Our driver on one device; reads one block per point, so that no gap is touched."""

    def __init__(self, device: Device, port: int, *, timeout_ms: int = 2000) -> None:
        settings = Settings(
            port=port,
            unit=device.unit,
            framing=Framing(device.framing),
            max_registers=device.max_registers,
            max_bits=device.max_bits,
            parallel=device.parallel,
            timeout=Duration(timeout_ms * 1_000_000),
        )
        self.points = [(n, point(s, device)) for n, s in enumerate(device.signals)]
        self.names = [s.name for s in device.signals]
        self.driver = MODBUS.create(settings, self.points, SystemClock())
        blocks = [Block(MODBUS.layout(settings, p).span, (n,)) for n, (_, p) in enumerate(self.points)]
        self.plan = self.driver.compile(blocks)

    async def read(self) -> tuple[dict[str, Any], Reading]:
        reading = await self.driver.read(self.plan)
        values = {}
        for batch in reading.batches:
            for tag, value, missing in zip(batch.tags, batch.values, batch.missing, strict=True):
                values[self.names[tag]] = None if missing else value
        return values, reading


@pytest.fixture
async def devices(shop: Workshop, tmp_path: Path) -> AsyncIterator[Devices]:
    plan = FaultPlan(1, script=False, randomly=False)
    served = Devices(shop, plan, tmp_path, ManualClock())
    for controller in served.controllers.values():  # answers at once; latency is not under test
        controller.simulator.latency_s = controller.simulator.jitter_s = 0.0
    await served.start()
    yield served
    await served.stop()


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
async def test_round_trip_of_the_whole_map(devices: Devices, device: Device) -> None:
    client = Client(device, devices.ports[device.name])
    await client.driver.connect()
    for _ in range(3):
        devices.cell.shop.run(30.0, step=0.5)
        devices.controllers[device.name].refresh()
        values, reading = await client.read()
        assert reading.faults == ()
        for signal in device.signals:
            model, read = signal.get(devices.cell.shop), values[signal.name]
            if isinstance(model, str):
                assert read == model
            elif signal.type.value in ("f32", "f64"):
                assert read == pytest.approx(model, rel=1e-6), signal.name
            elif isinstance(model, bool) or (signal.scale == 1.0 and isinstance(model, int)):
                assert read == model, signal.name
            else:
                assert abs(float(read) - float(model)) <= signal.scale / 2 + 1e-9, signal.name
    await client.driver.close()


async def test_text_is_chinese_where_the_device_is(devices: Devices) -> None:
    device = next(d for d in DEVICES if d.name == "powder")
    client = Client(device, devices.ports["powder"])
    await client.driver.connect()
    values, _ = await client.read()
    assert values["powder/cycle/recipe"] in ("标准件-单色", "重型件-大面")
    await client.driver.close()


async def test_written_set_points_reach_the_models_and_are_clamped(devices: Devices) -> None:
    shop = devices.cell.shop
    for name, wanted, attribute in (
        ("ecoat/rectifier/setpoint", 310.0, lambda: shop.ecoat.rectifier.setpoint),
        ("oven/zone2/setpoint", 205.5, lambda: shop.oven.zones[1].setpoint),
        ("conveyor/chain/setpoint", 12.25, lambda: shop.line.setpoint),
        ("powder/guns/voltage", 72.5, lambda: shop.booth.voltage_setpoint),
        ("pretreatment/rinse1/pump", False, lambda: shop.pretreatment.tanks["rinse1"].pump),
    ):
        device = next(d for d in DEVICES if any(s.name == name for s in d.signals))
        client = Client(device, devices.ports[device.name])
        await client.driver.connect()
        (result,) = await client.driver.write([Write(client.names.index(name), wanted)])
        assert result.ok, (name, result)
        assert attribute() == pytest.approx(wanted)
        await client.driver.close()
    oven = Client(DEVICES[4], devices.ports["oven"])
    await oven.driver.connect()
    (result,) = await oven.driver.write([Write(oven.names.index("oven/zone2/setpoint"), 900.0)])
    assert not result.ok
    assert shop.oven.zones[1].setpoint == 230.0
    await oven.driver.close()


async def test_broken_wires_arrive_as_7fff_and_nan(devices: Devices) -> None:
    cell = devices.cell
    KINDS["sensor-break"].begin(cell, "oven/zone2/temperature")
    KINDS["sensor-break"].begin(cell, "ecoat/bath/probe2")
    for name, tag in (("oven", "oven/zone2/temperature"), ("ecoat", "ecoat/bath/probe2")):
        devices.controllers[name].refresh()
        client = Client(next(d for d in DEVICES if d.name == name), devices.ports[name])
        await client.driver.connect()
        values, _ = await client.read()
        if name == "oven":
            assert values[tag] == pytest.approx(3276.7)
        else:
            assert math.isnan(values[tag])
        await client.driver.close()


async def test_refusing_device_gives_faults_not_values(devices: Devices) -> None:
    KINDS["exceptions"].begin(devices.cell, "blast")
    devices.controllers["blast"].refresh()
    client = Client(DEVICES[0], devices.ports["blast"])
    await client.driver.connect()
    values, reading = await client.read()
    assert len(reading.faults) == len(DEVICES[0].signals)
    assert {f.quality for f in reading.faults} == {int(Quality.BAD_DEVICE_FAILURE)}
    assert set(values.values()) == {None}
    await client.driver.close()


async def test_silent_device_is_lost_and_the_others_are_not(devices: Devices) -> None:
    KINDS["silence"].begin(devices.cell, "powder")
    for name in ("powder", "ecoat"):
        devices.controllers[name].refresh()
    silent = Client(DEVICES[3], devices.ports["powder"], timeout_ms=50)
    lively = Client(DEVICES[2], devices.ports["ecoat"])
    await silent.driver.connect()
    await lively.driver.connect()
    with pytest.raises(DeviceUnavailable):
        for _ in range(3):
            values, _ = await silent.read()
            assert set(values.values()) == {None}
    values, _ = await lively.read()
    assert None not in values.values()
    await silent.driver.close()
    await lively.driver.close()


async def test_record_probe_and_truth_are_kept(devices: Devices, tmp_path: Path) -> None:
    record = files.read_record(tmp_path)
    assert record is not None
    assert record.ports == devices.ports and len(set(record.ports.values())) == 6
    device = DEVICES[5]
    client = Client(device, devices.ports["utilities"])
    await client.driver.connect()
    seen = []
    for _ in range(4):
        values, _ = await client.read()
        seen.append(int(values[files.PROBE]))
        devices.cell.shop.run(1.0)
        devices.controllers["utilities"].refresh()
    await client.driver.close()
    assert [s.value for s in files.read_served(tmp_path, 0)] == seen
    assert len(set(seen)) == 4


async def test_running_keeps_time_and_writes_the_truth(shop: Workshop, tmp_path: Path) -> None:
    served = Devices(shop, FaultPlan(1, randomly=False), tmp_path, SystemClock(), speed=100.0)
    await served.start()
    stop = asyncio.Event()
    running = asyncio.create_task(served.run(stop))
    async with asyncio.timeout(10):
        while shop.time < 20.0:  # noqa: ASYNC110 the models have no event to wait for
            await asyncio.sleep(0.02)
    stop.set()
    await running
    await served.stop()
    lines = files.faults_file(tmp_path).read_bytes().splitlines()
    event = msgspec.json.decode(lines[0], type=Event)
    assert (event.fault, event.target, event.event, event.simulated) == (
        "burner-trip",
        "zone3",
        "begin",
        12.0,
    )
    assert event.time > 0


async def test_restart_takes_the_same_ports(shop: Workshop, tmp_path: Path) -> None:
    plan = FaultPlan(1, script=False, randomly=False)
    first = Devices(shop, plan, tmp_path, ManualClock())
    await first.start()
    await first.stop()
    second = Devices(shop, plan, tmp_path, ManualClock())
    await second.start(first.ports)
    assert second.ports == first.ports
    await second.stop()
