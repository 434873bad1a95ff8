"""A real recording travels the whole path: replay as a Modbus device, node, history, query.

SKAB valve1 file 0 (1 Hz, 8 sensors and 2 labels) at 50x.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counting_device import wait_until
from running_node import RunningNode

HEADRACE = [sys.executable, "-m", "headrace.cli"]
ENGLISH = {**os.environ, "HEADRACE_LANG": "en", "HEADRACE_API__PORT": "0", "HEADRACE_BUS__PORT": "0"}


def columns_of(path: Path) -> dict[str, list[float]]:
    """The recording read by Python's own csv and float, so that nothing of ours is trusted here."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "datetime"}


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


def query(node: RunningNode, tag: str) -> list[list[Any]]:
    """`headrace history query --json` of everything there is of a tag: [[time_ns, value, quality], …]."""
    command = [*HEADRACE, "history", "query", "--tag", tag, "--from", "0", "--data", str(node.data), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, env=ENGLISH, timeout=60)
    points: list[list[Any]] = json.loads(done.stdout)["points"]
    return points


def replay_and_compare(recording: Path, folder: Path) -> None:
    columns = columns_of(recording)
    rows = len(columns["Pressure"])
    config = folder / "headrace.toml"
    with config.open("w", encoding="utf-8") as printed:
        command = [
            *HEADRACE,
            "replay",
            str(recording),
            "--protocol",
            "modbus",
            "--port",
            "0",
            "--speed",
            "50",
        ]
        device = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, env=ENGLISH)
    node = RunningNode(config, folder / "data")
    try:
        wait_until(lambda: "changepoint" in config.read_text(), 20, "the printed configuration")
        text = config.read_text(encoding="utf-8")
        entry = r'name = "([^"]+/[^"]+)"\ntitle = \{ zh = "[^"]*", en = "([^"]*)" \}'
        titles = {title: name for name, title in re.findall(entry, text)}
        node.start().wait_ready()
        counter = titles["row counter"]
        wait_until(
            lambda: max((v for _, v, q in node.points(counter) if q == 0), default=0) >= rows,
            60 + rows / 50,
            f"the arrival of {rows} rows",
        )
        for title, expected in columns.items():
            points = query(node, titles[title])
            good = [(time, value) for time, value, quality in points if quality == 0]
            assert [bits(value) for _, value in good] == [bits(value) for value in expected], title
            times = [time for time, _ in good]
            assert times == sorted(set(times)), f"{title}: in order, no time twice"
            assert len(points) == len(good) == rows, f"{title}: every value good"
        assert [v for _, v, _ in query(node, counter)] == list(range(1, rows + 1))
        assert not any(math.isnan(v) for values in columns.values() for v in values)
    finally:
        node.stop()
        device.terminate()
        device.wait(10)


def test_the_first_rows_of_a_recording(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    whole = shared_data("data/ad/skab/data/valve1/0.csv").read_text(encoding="utf-8").splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join(whole[:251]) + "\n", encoding="utf-8")
    replay_and_compare(part, tmp_path)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_whole_recording(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    replay_and_compare(shared_data("data/ad/skab/data/valve1/0.csv"), tmp_path)
