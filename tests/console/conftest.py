"""A plant node with a simulated device, and a browser that looks at it.

`HEADRACE_CONSOLE_URL` (an address with `#token=`) points the page tests at a node that already runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from headrace.api.static import CONSOLE
from headrace.drivers.modbus.simulator import Memory, Simulator
from headrace.history import Store, TagCatalog, TagSpec
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.model import Batch, Header, Kind
from headrace.records import open_records

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
START_S = 60
PATIENCE_MS = 20_000  # of every wait in the browser: a busy machine is slow, not wrong

CONFIG = """
[node]
name = "console-test"
title = {{ zh = "控制台测试", en = "Console test" }}
timezone = "Asia/Shanghai"

[api]
port = 0

[bus]
port = 0

[machines.oven]
title = {{ zh = "固化炉", en = "Curing oven" }}
kind = "curing-oven"
order = 10
parts.zone2 = {{ zh = "二区", en = "Zone 2" }}
parts.zone1 = {{ zh = "一区", en = "Zone 1" }}

[machines.washer]
title = {{ zh = "前处理", en = "Pretreatment" }}
kind = "pretreatment-line"
order = 5

[edge]
name = "edge"

[[edge.connections]]
name = "plc"
driver = "modbus"
every = "500ms"
title = {{ zh = "炉控制器", en = "Oven controller" }}
settings = {{ host = "127.0.0.1", port = {port}, unit = 1 }}
{tags}

[[edge.connections]]
name = "missing"
driver = "modbus"
every = "1s"
title = {{ zh = "不存在的设备", en = "A device that is not there" }}
settings = {{ host = "127.0.0.1", port = {closed}, unit = 1 }}

[[edge.connections.tags]]
name = "washer/bath/temperature"
title = {{ zh = "槽液温度", en = "Bath temperature" }}
unit = "Cel"
address = "holding:0"
type = "f32"

[[alarms]]
id = "oven-overheat"
when = "oven/zone1/temperature > 220"
title = {{ zh = "炉温过高", en = "Oven too hot" }}
priority = "high"
"""
TAG = """
[[edge.connections.tags]]
name = "oven/zone{n}/{what}"
title = {{ zh = "{n} 区{zh}", en = "Zone {n} {what}" }}
unit = "Cel"
low = 0
high = 300
address = "holding:{address}"
type = "f32"
writable = {writable}
"""
DAY_S = 86_400
PAST_DAYS, PAST_GAP = 380, (200, 230)  # days of history before the start, and the days that are missing in it
PAST_STEP_S = 600
SETPOINT = 100  # address of the first set-point; temperatures start at 0
ZONES = 4


class Device:
    """A Modbus oven in a thread of its own: temperatures that wander, set-points that can be written."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.base = 180.0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Device:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self.memory.set_many("holding", SETPOINT, np.full(ZONES, 180, np.float32), "f32")
        simulator = Simulator(units={1: self.memory})
        self.port = await simulator.start("127.0.0.1", 0)
        step = 0
        while not self._stop.is_set():
            step += 1
            wave = self.base + 3 * np.sin(step / 10 + np.arange(ZONES))
            self.memory.set_many("holding", 0, wave.astype(np.float32), "f32")
            self._ready.set()
            try:
                await asyncio.wait_for(self._stop.wait(), 0.1)
            except TimeoutError:
                continue
        await simulator.stop()


def write_past(data: Path) -> None:
    """History of the oven's first temperature before the node ever ran: a point each ten minutes, a daily
    wave of 20 degrees around 150, and `PAST_GAP` without any."""
    data.mkdir(mode=0o700)
    records = open_records(data / "records.sqlite")
    catalog = TagCatalog(records)
    catalog.migrate()
    (tag,) = catalog.sync([TagSpec("oven/zone1/temperature", Kind.F64, unit="Cel", source="plc")])
    records.close()
    end = time.time_ns() // NS_PER_S - 3600
    seconds = np.arange(end - PAST_DAYS * DAY_S, end, PAST_STEP_S)
    days = (seconds - seconds[0]) / DAY_S
    seconds = seconds[(days < PAST_GAP[0]) | (days >= PAST_GAP[1])]
    values = 150 + 20 * np.sin(2 * np.pi * seconds / DAY_S)
    store = Store.open(data / "history")
    try:
        for number, rows in enumerate(np.array_split(np.arange(len(seconds)), 10), 1):
            batch = Batch.of(
                Kind.F64,
                np.full(len(rows), tag.id),
                seconds[rows] * NS_PER_S,
                values[rows],
                np.zeros(len(rows), np.uint16),
            )
            store.append("past", [(number, Header("console-test", "past", number), batch)])
    finally:
        store.close()


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    with Device() as device:
        yield device


@pytest.fixture(scope="session")
def console_url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a running node's console with its token, as `headrace up` prints it."""
    if given := os.environ.get("HEADRACE_CONSOLE_URL"):
        yield given
        return
    if not (CONSOLE / "index.html").exists():
        pytest.skip("the console is not built: run scripts/setup")
    device: Device = request.getfixturevalue("device")
    folder = tmp_path_factory.mktemp("console-node")
    tags = "".join(
        TAG.format(n=n + 1, what=what, zh=zh, address=first + 2 * n, writable=writable)
        for what, zh, first, writable in (
            ("temperature", "温度", 0, "false"),
            ("setpoint", "设定", SETPOINT, "true"),
        )
        for n in range(ZONES)
    )
    config = folder / "headrace.toml"
    config.write_text(CONFIG.format(port=device.port, closed=_closed_port(), tags=tags), "utf-8")
    data = folder / "data"
    write_past(data)
    log = (folder / "up.log").open("wb")
    node = subprocess.Popen(
        [sys.executable, "-m", "headrace.cli.main", "up", "-c", config, "--data", data],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        url, token = _wait_for(node, data, folder / "up.log")
        yield f"{url}/#token={token}"
    finally:
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        log.close()


def _wait_for(node: subprocess.Popen[bytes], data: Path, log: Path) -> tuple[str, str]:
    """Until the oven's tags have live values."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert node.poll() is None, log.read_text("utf-8", errors="replace")
        try:
            url = json.loads((data / "run" / "api.json").read_text("utf-8"))["url"].rstrip("/")
            token = (data / "run" / "owner.token").read_text("utf-8").strip()
            headers = {"Authorization": f"Bearer {token}"}
            tags = httpx.get(f"{url}/api/v1/machines/oven", headers=headers, timeout=5).json()["tags"]
            if tags and all(tag["quality"] == 0 and tag["value"] is not None for tag in tags):
                return url, token
        except (OSError, httpx.HTTPError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    raise AssertionError(
        f"no live values within {START_S} s\n{log.read_text('utf-8', errors='replace')[-4000:]}"
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, console_url: str) -> Iterator[Open]:
    """Opens a console path, signed in by the address. After the test: the browser reported no error, no
    violated policy, and asked nothing of another origin. `faults`: the test makes requests fail
    itself; `script` runs before the page's own."""
    origin, _, token = console_url.partition("/#")
    contexts = []
    complaints: list[str] = []

    def open_(
        path: str = "/",
        *,
        lang: str = "en",
        theme: str = "light",
        signed_in: bool = True,
        faults: bool = False,
        script: str = "",
    ) -> Page:
        context = browser.new_context(
            viewport={"width": 1440, "height": 900},
            locale="zh-CN" if lang == "zh" else "en-GB",
            color_scheme=theme,
        )
        contexts.append(context)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda said: (
                said.type in ("error", "warning")
                and not (faults and "Failed to load resource" in said.text)
                and complaints.append(f"{said.type}: {said.text}")
            ),
        )
        page.on(
            "request",
            lambda asked: (
                asked.url.startswith((origin, "blob:", "data:"))
                or complaints.append(f"left the machine: {asked.url}")
            ),
        )
        page.goto(origin + path + (f"#{token}" if signed_in else ""))
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
