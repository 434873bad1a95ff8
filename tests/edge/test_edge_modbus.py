"""The edge with the real Modbus driver against the simulator: faults stay with their own tags."""

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest

from headrace import edge
from headrace.bus import MemoryBus
from headrace.drivers.modbus.simulator import Fault, Memory, Simulator
from headrace.edge.config import EDGE, tag_specs
from headrace.kernel import config
from headrace.kernel.clock import SystemClock
from headrace.kernel.errors import ConfigError
from headrace.kernel.model import Quality, Tag, decode


async def test_illegal_addresses_garbage_and_writes(tmp_path: Path):
    memory = Memory()
    memory.set_many("holding", 0, np.arange(200, dtype=np.float32), "f32")
    good = Simulator(units={1: memory}, illegal=[("holding", 40, 43)])
    broken = Simulator(units={1: memory}, faults=[Fault("garbage")])
    ports = {
        "good": await good.start("127.0.0.1", 0),
        "broken": await broken.start("127.0.0.1", 0),
    }
    connections = [
        {
            "name": name,
            "driver": "modbus",
            "every": "100ms",
            "settings": {"host": "127.0.0.1", "port": port, "timeout": "200ms"},
            "tags": [
                {"name": f"{name}/t{n}", "address": f"holding:{2 * n}", "type": "f32", "writable": True}
                for n in range(200)
            ],
        }
        for name, port in ports.items()
    ]
    file = tmp_path / "headrace.toml"
    settings = config.check({"edge": {"connections": connections}}, [EDGE], file=file)[EDGE]
    tags = {
        s.name: Tag(n + 1, s.name, s.kind, writable=s.writable)
        for n, s in enumerate(tag_specs(settings, file))
    }
    names = {t.id: name for name, t in tags.items()}
    bus = MemoryBus()
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 28)
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24)
    stop = asyncio.Event()
    task = asyncio.create_task(
        edge.run(
            node="n", settings=settings, file=file, tags=tags, bus=bus, data_dir=tmp_path,
            clock=SystemClock(), stop=stop,
        )
    )  # fmt: skip
    seen: dict[str, tuple[object, int]] = {}
    at = 1
    deadline = time.monotonic() + 20
    while len(seen) < 400:
        assert time.monotonic() < deadline and not task.done()
        for message in await bus.read("DATA", at, timeout_s=0.2):
            at = message.sequence + 1
            _, batch = decode(message.payload)
            rows = zip(
                batch.tags.tolist(), batch.data.column(2).to_pylist(), batch.qualities.tolist(), strict=True
            )
            for tag, value, quality in rows:
                seen[names[tag]] = (value, quality)
    for n in range(200):
        expected = (None, Quality.BAD_ADDRESS) if n in (20, 21) else (float(n), 0)
        assert seen[f"good/t{n}"] == expected
    assert {quality >> 14 for name, (_, quality) in seen.items() if name.startswith("broken/")} == {2}
    ask = {"id": "1", "by": "li", "writes": [{"tag": "good/t3", "value": 12.5}]}
    reply = json.loads(await bus.request("cmd.n.edge.write", json.dumps(ask).encode()))
    assert reply["results"][0]["ok"] and reply["results"][0]["readback"] == 12.5
    assert memory.get("holding", 6, "f32") == 12.5
    plan = json.loads(await bus.request("cmd.n.edge.plan", b'{"connection": "good"}'))
    assert plan["isolated"] == ["good/t20", "good/t21"] and plan["count"] <= 5
    stop.set()
    await asyncio.wait_for(task, 10)
    await good.stop()
    await broken.stop()
    await bus.close()


@pytest.mark.parametrize(
    ("settings", "address", "key", "code"),
    [
        ("unit = 1", "hodling:1", "tags[0].address", "modbus.bad_address"),
        ("framing = 'rtu'", "holding:1", "settings.device", "modbus.no_device"),
    ],
)
def test_what_the_driver_refuses_is_told_at_its_key(tmp_path, settings, address, key, code):
    file = tmp_path / "headrace.toml"
    file.write_text(
        f"[[edge.connections]]\nname = 'a'\ndriver = 'modbus'\nsettings = {{ {settings} }}\n"
        f"tags = [{{ name = 'a/b', address = '{address}' }}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.load(file, [EDGE])
    assert [(p.key, p.code) for p in caught.value.problems] == [(f"edge.connections[0].{key}", code)]
