"""The demo's configuration, written from the declarations that the simulator serves: headrace.toml and one
CSV tag table for each device. The same ports give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.demo.alarms import ALARMS
from headrace.demo.maps import DEVICES
from headrace.demo.parts import MACHINES
from headrace.demo.signals import Device, Signal
from headrace.drivers.modbus.codec import BIT_AREAS
from headrace.drivers.modbus.values import Order, Type
from headrace.kernel.messages import Text
from headrace.twin import Machine

NODE = "coating-1"
NODE_TITLE = Text(
    zh="结构件数字化涂装车间（演示，设备为模拟）", en="Digital coating workshop (demo, simulated devices)"
)
HEARTBEAT = "10s"  # of signals with a deadband

HOST_TAGS: tuple[tuple[str, str, Text, str, float | None, float | None], ...] = (
    ("cpu/load", "cpu.percent", Text(zh="处理器占用率", en="Processor load"), "%", 0, 100),
    ("cpu/load-average", "load.1m", Text(zh="1 分钟平均负载", en="Load average, 1 min"), "", None, None),
    ("memory/used", "memory.percent", Text(zh="内存占用率", en="Memory in use"), "%", 0, 100),
    ("memory/available", "memory.available", Text(zh="可用内存", en="Memory available"), "By", None, None),
    ("disk/used", "disk.percent[/]", Text(zh="系统盘占用率", en="Disk in use"), "%", 0, 100),
    ("disk/free", "disk.free[/]", Text(zh="系统盘剩余空间", en="Disk space free"), "By", None, None),
    ("disk/read", "disk.read", Text(zh="磁盘读取速率", en="Disk read rate"), "By/s", None, None),
    ("disk/write", "disk.write", Text(zh="磁盘写入速率", en="Disk write rate"), "By/s", None, None),
    (
        "network/receive",
        "network.receive",
        Text(zh="网络接收速率", en="Network receive rate"),
        "By/s",
        None,
        None,
    ),
    ("network/send", "network.send", Text(zh="网络发送速率", en="Network send rate"), "By/s", None, None),
    ("temperature", "temperature", Text(zh="最高温度", en="Hottest sensor"), "Cel", 0, 110),
    ("processes", "process.count", Text(zh="进程数", en="Processes"), "", None, None),
)
"""What the `host` driver reads of this computer: (name below host/, metric, title, unit, low, high). A sensor
that the computer does not have gives bad quality, never a made-up value."""

COLUMNS = (
    "name", "title.zh", "title.en", "unit", "low", "high", "every", "report.absolute", "report.heartbeat",
    "address", "type", "order", "scale", "offset", "length", "encoding", "writable",
)  # fmt: skip


def tag_row(signal: Signal, device: Device) -> dict[str, str]:
    """One row of a tag table; an empty cell is the default."""
    bit = "" if signal.bit is None else f".{signal.bit}"
    wide = signal.area not in BIT_AREAS and signal.bit is None
    return {
        "name": signal.name,
        "title.zh": signal.title.zh,
        "title.en": signal.title.en,
        "unit": signal.unit,
        "low": _number(signal.low),
        "high": _number(signal.high),
        "every": signal.every if signal.every != device.every else "",
        "report.absolute": _number(signal.deadband) if signal.deadband else "",
        "report.heartbeat": HEARTBEAT if signal.deadband else "",
        "address": f"{signal.area}:{signal.address}{bit}",
        "type": signal.type.value if wide else "",
        "order": signal.order.value if wide and signal.order is not Order.ABCD else "",
        "scale": _number(signal.scale) if signal.scale != 1.0 else "",
        "offset": _number(signal.offset) if signal.offset else "",
        "length": str(signal.length) if signal.length else "",
        "encoding": signal.encoding if signal.type is Type.STRING else "",
        "writable": "true" if signal.put is not None else "",
    }


def tag_table(device: Device) -> str:
    """The device's tag table as CSV text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for signal in device.signals:
        writer.writerow(tag_row(signal, device))
    return out.getvalue()


def toml(
    ports: Mapping[str, int], *, host: str = "127.0.0.1", api_port: int = 8088, bus_port: int = 0
) -> str:
    """headrace.toml for devices on these ports."""
    lines = [
        "# Written by `headrace demo` at each start, from the declarations of the simulated workshop.",
        "# 由 `headrace demo` 根据模拟车间的声明生成，每次启动时重写。",
        "",
        "[node]",
        f"name = {_text(NODE)}",
        'profile = "plant"',
        f"title = {_title(NODE_TITLE)}",
        'timezone = "Asia/Shanghai"',
        "",
        "[api]",
        f"port = {api_port}",
        "",
        "[bus]",
        f"port = {bus_port}",
    ]
    for order, (name, machine) in enumerate(MACHINES.items()):
        lines += ["", *_machine(name, machine, 10 * (order + 1))]
    lines += ["", "[edge]", 'name = "edge"']
    for device in DEVICES:
        lines += ["", *_connection(device, host, ports[device.name])]
    lines += ["", *_host_connection()]
    for alarm in ALARMS:
        lines += [
            "",
            "[[alarms]]",
            f"id = {_text(alarm.id)}",
            f"when = {_text(alarm.when)}",
            f"title = {_title(alarm.title)}",
        ]
        lines += [f"priority = {_text(alarm.priority)}"]
        if alarm.hysteresis:
            lines.append(f"hysteresis = {alarm.hysteresis}")
        lines += [
            f"{key} = {_text(value)}"
            for key in ("delay_on", "delay_off")
            if (value := getattr(alarm, key)) != "0s"
        ]
    return "\n".join(lines) + "\n"


def write(folder: Path, ports: Mapping[str, int], *, host: str = "127.0.0.1", api_port: int = 8088) -> Path:
    """headrace.toml and its tag tables in `folder`; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for device in DEVICES:
        (folder / f"{device.name}.csv").write_text(tag_table(device), encoding="utf-8")
    file = folder / "headrace.toml"
    file.write_text(toml(ports, host=host, api_port=api_port), encoding="utf-8")
    return file


def _machine(name: str, machine: Machine, order: int) -> list[str]:
    lines = [f"[machines.{name}]"]
    lines += [f"title = {_title(machine.title)}"] if machine.title else []
    lines += [f"kind = {_text(machine.kind)}", f"order = {order}"]
    lines += ["beside = true"] if machine.beside else []
    lines += [f"parts.{_text(part)} = {_title(title)}" for part, title in machine.parts.items()]
    return lines


def _connection(device: Device, host: str, port: int) -> list[str]:
    settings = {"host": host, "port": port, "unit": device.unit, "framing": device.framing, "parallel":
    device.parallel,
                "max_registers": device.max_registers, "max_bits": device.max_bits}  # fmt: skip
    return [
        "[[edge.connections]]",
        f"name = {_text(device.name)}",
        'driver = "modbus"',
        f"every = {_text(device.every)}",
        f"title = {_title(device.title)}",
        "settings = { " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in settings.items()) + " }",
        f"tags_file = {_text(f'{device.name}.csv')}",
    ]


def _host_connection() -> list[str]:
    title = Text(zh="运行本节点的计算机", en="The computer this node runs on")
    lines = [
        "[[edge.connections]]",
        'name = "host"',
        'driver = "host"',
        'every = "1s"',
        f"title = {_title(title)}",
    ]
    for name, metric, text, unit, low, high in HOST_TAGS:
        lines += [
            "",
            "[[edge.connections.tags]]",
            f"name = {_text(f'host/{name}')}",
            f"metric = {_text(metric)}",
        ]
        lines += [f"title = {_title(text)}"]
        lines += [f"unit = {_text(unit)}"] if unit else []
        lines += [f"{key} = {_number(v)}" for key, v in (("low", low), ("high", high)) if v is not None]
    return lines


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _title(title: Text) -> str:
    return "{ " + ", ".join(f"{k} = {_text(v)}" for k, v in msgspec.to_builtins(title).items()) + " }"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if value != int(value) else str(int(value))
