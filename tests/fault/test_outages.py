"""A full disk, and a bus that is away: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from counting_device import CountingDevice, wait_until, write_node
from running_node import RunningNode


@pytest.fixture
def device() -> Iterator[CountingDevice]:
    started = CountingDevice(payload=58).start()
    yield started
    started.stop()


def stored(node: RunningNode) -> list[int]:
    return [value for _, value, quality in node.points("counter/count") if quality == 0]


def holes(node: RunningNode, upto: int) -> list[int]:
    """Counter values up to `upto` not in history yet: live data come first, the backlog follows."""
    found = stored(node)
    return sorted(set(range(found[0], upto + 1)) - set(found))


def assert_whole(node: RunningNode, upto: int) -> None:
    """Every counter value from the first to `upto` exactly once, in order."""
    found = stored(node)
    assert found[: found.index(upto) + 1] == list(range(found[0], upto + 1))
    assert len(found) == len(set(found))


def bus_away(folder: Path, device: CountingDevice, seconds: float) -> None:
    node = RunningNode(write_node(folder, device.configuration()), folder / "data").start().wait_ready()
    try:
        wait_until(lambda: len(stored(node)) > 5, 20, "the first rows")
        # A server that hangs is worse than one that is gone: its connections stay open. The supervisor starts
        # it anew after a while; that one is made to hang as well.
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
                psutil.Process(node.pid("bus")).suspend()
            time.sleep(0.05)
        during = max(device.served)
        with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
            psutil.Process(node.pid("bus")).resume()
        wait_until(lambda: max(stored(node)) >= during, 30, "live data")
        after = max(device.served)
        wait_until(lambda: holes(node, after) == [], 60 + seconds, "the backlog's arrival")
    finally:
        node.stop()
    assert_whole(node, after)


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_bus_away_for_a_moment(tmp_path: Path, device: CountingDevice) -> None:
    bus_away(tmp_path, device, 6)


@pytest.mark.fault
@pytest.mark.full
@pytest.mark.timeout(400)
def test_bus_away_for_a_minute(tmp_path: Path, device: CountingDevice) -> None:
    bus_away(tmp_path, device, 60)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"this system does not mount a tmpfs: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def full_disk(folder: Path, disk: Path, device: CountingDevice, seconds: float) -> None:
    node = RunningNode(write_node(folder, device.configuration()), disk / "data").start().wait_ready()
    ballast = disk / "ballast"
    try:
        wait_until(lambda: len(stored(node)) > 5, 20, "the first rows")
        with ballast.open("wb") as file, contextlib.suppress(OSError):  # until the disk is full
            while True:
                file.write(bytes(65536))
                file.flush()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # keep it full: whatever a role frees is taken again
            with contextlib.suppress(OSError), ballast.open("ab") as file:
                file.write(bytes(4096))
            time.sleep(0.1)
        filled = max(device.served)
        ballast.unlink()
        wait_until(lambda: max(stored(node)) > filled, 90, "rows after the disk has room again")
        after = max(device.served)
        wait_until(lambda: holes(node, after) == [], 60 + seconds, "the arrival of what memory held")
    finally:
        node.stop()
    assert_whole(node, after)


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_full_disk_for_a_moment(tmp_path: Path, small_disk: Path, device: CountingDevice) -> None:
    full_disk(tmp_path, small_disk, device, 6)


@pytest.mark.fault
@pytest.mark.full
@pytest.mark.timeout(400)
def test_full_disk_for_a_minute(tmp_path: Path, small_disk: Path, device: CountingDevice) -> None:
    full_disk(tmp_path, small_disk, device, 60)


@pytest.mark.fault
@pytest.mark.timeout(300)
def test_a_node_that_is_killed_starts_again_at_once(tmp_path: Path, device: CountingDevice) -> None:
    node = RunningNode(write_node(tmp_path, device.configuration()), tmp_path / "data").start().wait_ready()
    family = node.pids()
    try:
        node.kill("node")
        wait_until(lambda: not any(psutil.pid_exists(p) for p in family), 10, "the end of its children")
        node.start().wait_ready()
    finally:
        status = node.stop()
    assert status in (0, -signal.SIGTERM)
