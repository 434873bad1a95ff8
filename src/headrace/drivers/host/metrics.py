"""The metrics of this computer: their names, and one sample of all of them from psutil.

A metric is a name, for some followed by what it is of in brackets: `cpu.percent`, `cpu.percent[0]`,
`disk.percent[/var]`, `network.receive[eth0]`, `temperature[coretemp/Core 0]`. Rates and percentages of time
come from two samples, so the first cycle has none.
"""

from __future__ import annotations

import difflib
import os
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
import psutil

from headrace.kernel.errors import InputError
from headrace.kernel.messages import Text
from headrace.kernel.model import Kind, Quality
from headrace.kernel.ports import Span

AREA: Final = "host"


class Metric(msgspec.Struct, frozen=True):
    """One family. `instances`: "none" (one value), "may" (a total, and single ones in brackets), "must"."""

    name: str
    title: Text
    unit: str
    instances: str = "none"
    kind: Kind = Kind.F64


METRICS: Final = {
    m.name: m
    for m in (
        Metric("cpu.percent", Text("处理器占用率", "processor load"), "%", "may"),
        Metric("cpu.count", Text("逻辑处理器数", "logical processors"), "1"),
        Metric("load.1m", Text("1 分钟平均负载", "load average, 1 min"), "1"),
        Metric("load.5m", Text("5 分钟平均负载", "load average, 5 min"), "1"),
        Metric("load.15m", Text("15 分钟平均负载", "load average, 15 min"), "1"),
        Metric("memory.percent", Text("内存占用率", "memory in use"), "%"),
        Metric("memory.used", Text("已用内存", "memory used"), "By"),
        Metric("memory.available", Text("可用内存", "memory available"), "By"),
        Metric("memory.total", Text("内存总量", "memory in all"), "By"),
        Metric("swap.percent", Text("交换区占用率", "swap in use"), "%"),
        Metric("swap.used", Text("已用交换区", "swap used"), "By"),
        Metric("disk.percent", Text("磁盘占用率", "disk in use"), "%", "must"),
        Metric("disk.free", Text("磁盘剩余空间", "disk space free"), "By", "must"),
        Metric("disk.read", Text("磁盘读取速率", "disk read rate"), "By/s", "may"),
        Metric("disk.write", Text("磁盘写入速率", "disk write rate"), "By/s", "may"),
        Metric("network.receive", Text("网络接收速率", "network receive rate"), "By/s", "may"),
        Metric("network.send", Text("网络发送速率", "network send rate"), "By/s", "may"),
        Metric("temperature", Text("温度", "temperature"), "Cel", "may"),
        Metric("boot.time", Text("开机时刻（Unix 秒）", "time of start, Unix seconds"), "s"),
        Metric("process.count", Text("进程数", "processes"), "1"),
    )
}

_FORM: Final = re.compile(r"^([a-z0-9.]+)(?:\[(.+)\])?$")


def parse(metric: str) -> tuple[Metric, str]:
    """Family and instance ("" for none) of a metric's name. Raises InputError."""
    match = _FORM.match(metric)
    family = METRICS.get(match[1]) if match else None
    if match is None or family is None:
        near = difflib.get_close_matches(metric.partition("[")[0], METRICS, n=1, cutoff=0.6)
        code = "host.unknown_metric_near" if near else "host.unknown_metric"
        raise InputError(code, key="metric", metric=metric, near="".join(near), known=", ".join(METRICS))
    instance = match[2] or ""
    if instance and family.instances == "none":
        raise InputError("host.no_instance", key="metric", metric=family.name)
    if not instance and family.instances == "must":
        raise InputError("host.needs_instance", key="metric", metric=family.name, example=f"{family.name}[/]")
    return family, instance


_SLOTS: Final = 1 << 16


def span(metric: str) -> Span:
    """One unit of area "host": the family's number and a hash of the instance. Raises InputError. Two
    instances may share a unit, which does no harm: a unit is not an address, only a place in the plan."""
    family, instance = parse(metric)
    number = list(METRICS).index(family.name)
    return Span(AREA, number * _SLOTS + (zlib.crc32(instance.encode()) % _SLOTS if instance else 0), 1)


UNITS: Final = len(METRICS) * _SLOTS

Values = dict[str, float]


class Sampler:
    """Samples the families asked for; keeps the counters of the sample before, for rates."""

    def __init__(self) -> None:
        self._counters: dict[str, tuple[float, float]] = {}  # metric: (counter, seconds)
        self._cpu: dict[str, tuple[float, float]] = {}  # metric: (busy, all) seconds

    def sample(self, families: frozenset[str], seconds: float) -> tuple[Values, set[str]]:
        """Values by metric of what this computer has, and the metrics that exist but need a second sample.

        `seconds` is a monotonic time. May take milliseconds, and longer where a network disk hangs.
        """
        values: Values = {}
        waiting: set[str] = set()
        if "cpu.percent" in families:
            self._sample_cpu(values, waiting)
        if families & {"load.1m", "load.5m", "load.15m"} and hasattr(os, "getloadavg"):
            values.update(zip(("load.1m", "load.5m", "load.15m"), os.getloadavg(), strict=True))
        if any(f.startswith("memory.") for f in families):
            memory = psutil.virtual_memory()
            for name in ("percent", "used", "available", "total"):
                values[f"memory.{name}"] = float(getattr(memory, name))
        if any(f.startswith("swap.") for f in families):
            swap = psutil.swap_memory()
            values["swap.percent"] = float(swap.percent)
            values["swap.used"] = float(swap.used)
        if families & {"disk.percent", "disk.free"}:
            for mount in mounts():
                usage = _or_none(psutil.disk_usage, mount)
                if usage is not None:
                    values[f"disk.percent[{mount}]"] = float(usage.percent)
                    values[f"disk.free[{mount}]"] = float(usage.free)
        if families & {"disk.read", "disk.write"}:
            for name, io in _each(psutil.disk_io_counters, "perdisk").items():
                self._rate(f"disk.read{name}", io.read_bytes, seconds, values, waiting)
                self._rate(f"disk.write{name}", io.write_bytes, seconds, values, waiting)
        if families & {"network.receive", "network.send"}:
            for name, io in _each(psutil.net_io_counters, "pernic").items():
                self._rate(f"network.receive{name}", io.bytes_recv, seconds, values, waiting)
                self._rate(f"network.send{name}", io.bytes_sent, seconds, values, waiting)
        if "temperature" in families:
            _sample_temperatures(values)
        if "cpu.count" in families:
            values["cpu.count"] = float(psutil.cpu_count() or 0)
        if "boot.time" in families:
            values["boot.time"] = float(psutil.boot_time())
        if "process.count" in families:
            values["process.count"] = float(len(psutil.pids()))
        return values, waiting

    def _sample_cpu(self, values: Values, waiting: set[str]) -> None:
        times = {"cpu.percent": psutil.cpu_times()}
        times.update({f"cpu.percent[{i}]": t for i, t in enumerate(psutil.cpu_times(percpu=True))})
        for metric, t in times.items():
            # Linux counts guest time within user and nice as well.
            all_ = sum(t) - getattr(t, "guest", 0.0) - getattr(t, "guest_nice", 0.0)
            busy = all_ - t.idle - getattr(t, "iowait", 0.0)
            before = self._cpu.get(metric)
            if before is not None and all_ > before[1]:
                values[metric] = min(max(100.0 * (busy - before[0]) / (all_ - before[1]), 0.0), 100.0)
            else:
                waiting.add(metric)
            self._cpu[metric] = (busy, all_)

    def _rate(self, metric: str, counter: float, seconds: float, values: Values, waiting: set[str]) -> None:
        before = self._counters.get(metric)
        self._counters[metric] = (counter, seconds)
        if before is None or seconds <= before[1] or counter < before[0]:  # a counter that began anew
            waiting.add(metric)
        else:
            values[metric] = (counter - before[0]) / (seconds - before[1])


def _each(counters: Callable[..., Any], per: str) -> dict[str, Any]:
    """Counters by suffix: "" for the total and "[name]" for each; empty where the computer has none."""
    total = counters(nowrap=True)
    single = counters(**{per: True}, nowrap=True) or {}
    return ({"": total} if total is not None else {}) | {f"[{name}]": io for name, io in single.items()}


def _sample_temperatures(values: Values) -> None:
    """All sensors, and the hottest as the total; nothing where the computer shows no sensor."""
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return
    found: Values = {}
    for chip, sensors in read().items():
        for number, sensor in enumerate(sensors):
            if sensor.current is not None:
                found[f"temperature[{chip}/{sensor.label or number}]"] = float(sensor.current)
    if found:
        values["temperature"] = max(found.values())
        values.update(found)


def mounts() -> list[str]:
    """Mount points of real disks; the root always, also where it is an overlay."""
    found = {p.mountpoint for p in psutil.disk_partitions(all=False)}
    return sorted({"/", *found} if os.name == "posix" else found)


def _or_none(call: Callable[[str], Any], argument: str) -> Any:
    try:
        return call(argument)
    except OSError:  # the disk was unmounted, or we may not look
        return None


def quality_of(metric: str, values: Values, waiting: set[str]) -> Quality:
    """Why a metric has a value or none."""
    if metric in values:
        return Quality.GOOD
    return Quality.BAD_WAITING if metric in waiting else Quality.BAD_NOT_CONNECTED
