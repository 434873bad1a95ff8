"""kill -9 and a full disk against a real ingest process: every message in history exactly once at the end."""

import asyncio
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from headrace.history import Reader, Store, fsck
from headrace.kernel.model import Batch, Header, Kind, encode

FOREVER = (-(2**63), 2**63 - 1)
TAGS = 40

# The child reads a bus that is a folder: message n is the file n, whole once it has its name.
CHILD = """
import asyncio, resource, signal, sys
from pathlib import Path

from headrace import ingest
from headrace.history import HistorySettings
from headrace.kernel.clock import SystemClock
from headrace.kernel.config import duration
from headrace.kernel.ports import Message, StreamState


class FolderBus:
    def __init__(self, folder):
        self.folder = folder
        self.purged = folder / "purged"

    def numbers(self):
        return sorted(int(p.stem) for p in self.folder.glob("*.msg"))

    async def read(self, stream, start, *, limit=256, timeout_s=1.0, filter=""):
        for _ in range(round(timeout_s / 0.01)):
            found = [n for n in self.numbers() if n >= start][: min(limit, 7)]
            if found:
                return [
                    Message("data.plant.edge", (self.folder / f"{n}.msg").read_bytes(), n) for n in found
                ]
            await asyncio.sleep(0.01)
        return []

    async def state(self, stream):
        numbers = self.numbers()
        last = numbers[-1] if numbers else int(self.purged.read_text() or 1) - 1
        return StreamState(numbers[0] if numbers else last + 1, last, len(numbers), 0)

    async def purge(self, stream, before):
        self.purged.write_text(str(before))
        for number in self.numbers():
            if number < before:
                (self.folder / f"{number}.msg").unlink()

    async def send(self, subject, payload):
        pass


async def main(bus, root):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = HistorySettings(seal_every=duration("50ms"), seal_rows=1000, fan_out=3)
    await ingest.run(
        node="plant", bus=FolderBus(bus), store_dir=root, settings=settings, clock=SystemClock(), stop=stop
    )


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@contextmanager
def child(bus: Path, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(bus), str(root)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Publisher:
    """Writes message files; every seventh is a message sent again, every eleventh one that is no message."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "purged").write_text("1")
        self.folder = folder
        self.number = 0
        self.sequence = 0
        self.bad = 0
        self.sent: dict[int, bytes] = {}

    def publish(self) -> None:
        self.number += 1
        if self.number % 11 == 0:
            payload = b"no message at all"
            self.bad += 1
        elif self.number % 7 == 0 and self.sent:
            payload = self.sent[random.choice(list(self.sent))]
        else:
            self.sequence += 1
            tags = np.arange(TAGS)
            times = np.full(TAGS, self.sequence * 1_000_000_000)
            batch = Batch.of(Kind.F64, tags, times, tags / 7 + self.sequence, np.zeros(TAGS))
            payload = self.sent[self.sequence] = encode(Header("plant", "edge", self.sequence), batch)
        temporary = self.folder / f"{self.number}.new"
        temporary.write_bytes(payload)
        temporary.rename(self.folder / f"{self.number}.msg")


def points(root: Path, tag: int) -> list[float]:
    with Reader(root) as reader:
        return reader.raw(tag, *FOREVER).value.tolist()


def wait(true: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.02)


def check(root: Path, publisher: Publisher) -> None:
    for tag in (0, 1, TAGS - 1):
        assert points(root, tag) == [tag / 7 + n for n in range(1, publisher.sequence + 1)]
    with Reader(root) as reader:
        assert reader.stats().points == publisher.sequence * TAGS
        buckets = reader.buckets(range(TAGS), *FOREVER, 3600 * 1_000_000_000, ["count"])
        assert sum(int(b.count.sum()) for b in buckets.values()) == publisher.sequence * TAGS
        assert reader.last([3]).value == [3 / 7 + publisher.sequence]
    report = fsck(root, sample=-1)
    assert report.ok, report.findings


def _kills(tmp_path: Path, times: int) -> None:
    random.seed(times)
    publisher = Publisher(tmp_path / "bus")
    root = tmp_path / "h"
    for _ in range(times):
        with child(publisher.folder, root) as process:
            wait(lambda: (root / "manifest.json").exists())
            end = time.monotonic() + random.uniform(0.0, 0.8) + (0.9 if random.random() < 0.5 else 0.0)
            while time.monotonic() < end:
                publisher.publish()
                time.sleep(0.004)
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        values = points(root, 1)  # and between the lives, too, any process reads a whole prefix
        assert values == [1 / 7 + n for n in range(1, len(values) + 1)]
    with child(publisher.folder, root) as process:
        publisher.publish()
        while publisher.number % 11 in (0, 10) or publisher.number % 7 in (0, 6):
            publisher.publish()
        wait(lambda: len(points(root, 1)) == publisher.sequence)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    check(root, publisher)
    lines = [line for path in (root / "quarantine").iterdir() for line in path.read_bytes().splitlines()]
    assert len(lines) == publisher.bad
    Store.open(root).close()
    assert fsck(root).notes == []


@pytest.mark.fault
def test_kill_9_three_times(tmp_path: Path) -> None:
    _kills(tmp_path, 3)


@pytest.mark.fault
@pytest.mark.full
@pytest.mark.timeout(600)
def test_kill_9_twenty_times(tmp_path: Path) -> None:
    _kills(tmp_path, 20)


@pytest.mark.fault
def test_no_room_for_files_then_room_again(tmp_path: Path) -> None:
    """The process may write no byte more (RLIMIT_FSIZE is lowered to the size of the log): it waits; when it
    may again, everything is there once."""
    publisher = Publisher(tmp_path / "bus")
    root = tmp_path / "h"
    with child(publisher.folder, root) as process:
        for _ in range(20):
            publisher.publish()
        wait(lambda: len(points(root, 1)) == publisher.sequence)
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (64, -1))
        had = publisher.sequence
        for _ in range(40):
            publisher.publish()
        time.sleep(0.2)
        assert process.poll() is None
        assert len(points(root, 1)) == had
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        wait(lambda: len(points(root, 1)) == publisher.sequence)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    check(root, publisher)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.fault
async def test_a_disk_that_is_really_full(small_disk: Path, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "bus")
    root = small_disk / "h"
    with child(publisher.folder, root) as process:
        for _ in range(20):
            publisher.publish()
        wait(lambda: len(points(root, 1)) == publisher.sequence)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        for _ in range(200):
            publisher.publish()
        await asyncio.sleep(0.2)
        assert process.poll() is None
        held = len(points(root, 1))
        assert held < publisher.sequence
        ballast.unlink()
        wait(lambda: len(points(root, 1)) == publisher.sequence)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    check(root, publisher)
