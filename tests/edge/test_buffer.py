"""The buffer through crashes, full disks, damaged files and bus outages."""

import asyncio
import errno
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.edge.buffer import Buffer
from headrace.edge.config import BufferSettings
from headrace.edge.segment import Disk, Record, Segment, frame, scan, unframe
from headrace.kernel.clock import SystemClock
from headrace.kernel.errors import Conflict, Corrupt

SETTINGS = BufferSettings(quota=1 << 20, segment=1 << 16, memory=1 << 20)


def open_buffer(path: Path, disk: Disk | None = None, **changes) -> Buffer:
    values = {f: getattr(SETTINGS, f) for f in SETTINGS.__struct_fields__} | changes
    return Buffer.open(path, BufferSettings(**values), SystemClock(), disk=disk)


async def put(buffer: Buffer, payload: bytes, **options) -> tuple[int, bool]:
    sequence = buffer.sequence()
    return sequence, await buffer.append(sequence, "data.n.edge", payload, **options)


async def drain(buffer: Buffer) -> list[Record]:
    """Everything there is, live first, acked."""
    out = []
    while record := buffer.take_live() or (await buffer.take_backlog() if buffer.backlog else None):
        out.append(record)
        buffer.ack(record.sequence)
    return out


@given(st.integers(0, 2**63), st.integers(0, 2**62), st.text(max_size=30), st.binary(max_size=300))
def test_frame_round_trip(sequence, at, subject, payload):
    record = Record(sequence, at, subject, payload)
    assert unframe(frame(record)) == record


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=12), st.data())
def test_scan_finds_every_record_that_is_whole(tmp_path_factory, payloads, data):
    path = tmp_path_factory.mktemp("s") / "1.seg"
    frames = [frame(Record(n + 1, n, "s", p)) for n, p in enumerate(payloads)]
    raw = bytearray(b"HRBUF\x00\x01\n" + b"".join(frames))
    at = data.draw(st.integers(8, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    begin = 8
    hurt = 0
    for n, f in enumerate(frames):
        if begin <= at < begin + len(f):
            hurt = n + 1
        begin += len(f)
    segment, damage = scan(path)
    assert list(segment.sequences) == [n + 1 for n in range(len(frames)) if n + 1 != hurt]
    assert len(damage) == 1


async def test_append_publish_ack_and_forget(tmp_path):
    buffer = open_buffer(tmp_path)
    sent = [await put(buffer, b"x" * 10_000) for _ in range(30)]
    assert all(durable for _, durable in sent) and buffer.depth().messages == 30
    assert [r.sequence for r in await drain(buffer)] == [s for s, _ in sent]
    assert buffer.depth().messages == buffer.depth().bytes == buffer.backlog == 0
    assert len(list(tmp_path.glob("*.seg"))) == 1  # only the active one is left
    await buffer.close()
    again = open_buffer(tmp_path)
    assert again.depth().messages == 0 and not list(tmp_path.glob("*.seg"))
    await again.close()


async def test_one_sync_serves_all_that_wait(tmp_path):
    class Slow(Disk):
        writes = 0

        def write(self, fd, data, offset):
            self.writes += 1
            time.sleep(0.01)
            super().write(fd, data, offset)

    disk = Slow()
    buffer = open_buffer(tmp_path, disk)
    pending = [buffer.append(buffer.sequence(), "s", b"p") for _ in range(200)]
    assert all(await asyncio.gather(*pending))
    assert disk.writes <= 3
    await buffer.close()


async def test_what_was_not_acked_comes_back_in_order_and_numbers_are_never_reused(tmp_path):
    seen: list[int] = []
    for _ in range(4):
        buffer = open_buffer(tmp_path)
        for _ in range(5):
            sequence, _ = await put(buffer, b"payload")
            assert sequence > max(seen, default=0)
            seen.append(sequence)
        await buffer.close()
    buffer = open_buffer(tmp_path)
    assert [r.sequence for r in await drain(buffer)] == seen
    await buffer.close()
    buffer = open_buffer(tmp_path)  # every segment is gone, the floor is not
    assert buffer.sequence() > seen[-1]
    await buffer.close()


async def test_two_processes_do_not_share_it(tmp_path):
    buffer = open_buffer(tmp_path)
    with pytest.raises(Conflict):
        open_buffer(tmp_path)
    await buffer.close()


async def test_torn_tail_is_cut_and_damage_in_the_middle_is_quarantined(tmp_path):
    buffer = open_buffer(tmp_path)
    sent = [(await put(buffer, bytes([n]) * 100))[0] for n in range(10)]
    await buffer.close()
    (path,) = tmp_path.glob("*.seg")
    segment, _ = scan(path)
    raw = bytearray(path.read_bytes())
    raw[segment.offsets[4] + 40] ^= 0xFF
    path.write_bytes(raw[: segment.offsets[9] + 20])
    buffer = open_buffer(tmp_path)
    assert path.stat().st_size == segment.offsets[9]
    assert len(list((tmp_path / "quarantine").iterdir())) == 1
    (gap,) = buffer.take_gaps()
    assert (gap.reason, gap.count) == ("corrupt", 1) and buffer.dropped == 1
    assert [r.sequence for r in await drain(buffer)] == sent[:4] + sent[5:9]
    await buffer.close()


async def test_record_that_rots_while_it_waits_is_counted(tmp_path):
    buffer = open_buffer(tmp_path)
    sent = [(await put(buffer, bytes([n]) * 100))[0] for n in range(30)]
    buffer.demote()
    (path,) = tmp_path.glob("*.seg")
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0xFF
    path.write_bytes(raw)
    out = sorted(r.sequence for r in await drain(buffer))
    assert len(out) == 29 and set(out) < set(sent) and buffer.dropped == 1
    assert buffer.depth().messages == 0
    await buffer.close()


async def test_quota_drops_the_oldest_and_says_so(tmp_path):
    buffer = open_buffer(tmp_path)
    buffer.demote()
    sent = [(await put(buffer, bytes(20_000)))[0] for _ in range(120)]
    on_disk = sum(p.stat().st_size for p in tmp_path.glob("*.seg"))
    assert on_disk <= SETTINGS.quota
    (gap,) = buffer.take_gaps()
    left = sorted(r.sequence for r in await drain(buffer))
    assert gap.reason == "quota" and gap.count == buffer.dropped == 120 - len(left)
    assert left == sent[-len(left) :] and len(left) >= 45
    await buffer.close()


async def test_quota_can_refuse_the_new(tmp_path):
    buffer = open_buffer(tmp_path, on_full="refuse-new")
    results = [await put(buffer, bytes(20_000)) for _ in range(120)]
    kept = [s for s, durable in results if durable]
    assert kept == [s for s, _ in results][: len(kept)] and buffer.dropped == 120 - len(kept) > 0
    assert (await put(buffer, b"audit", urgent=True))[1]
    assert len(await drain(buffer)) == len(kept) + 1
    assert (await put(buffer, bytes(20_000)))[1]  # there is room again
    await buffer.close()


class FullDisk(Disk):
    """Takes `room` more bytes, then ENOSPC, leaving a part of the write behind as real disks do."""

    def __init__(self) -> None:
        self.room = 1 << 40

    def write(self, fd, data, offset):
        if len(data) > self.room:
            super().write(fd, data[: self.room], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        super().write(fd, data, offset)


async def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.fault
async def test_full_disk_holds_in_memory_and_recovers_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("headrace.edge.buffer._RETRY_S", 0.05)
    disk = FullDisk()
    buffer = open_buffer(tmp_path, disk)
    sent = [await put(buffer, bytes(1000))]
    disk.room = 500
    sent += [await put(buffer, bytes(1000)) for _ in range(20)]
    assert [durable for _, durable in sent] == [True] + [False] * 20
    assert buffer.fault and buffer.depth().held == 20 and buffer.depth().messages == 21
    # the bus may take some of it straight from memory
    early = [buffer.take_live() for _ in range(5)]
    for record in early[:3]:
        buffer.ack(record.sequence)
    disk.room = 1 << 40
    await until(lambda: not buffer.fault and not buffer.depth().held)
    assert (await put(buffer, b"new"))[1]
    for record in early[3:]:
        buffer.release(record.sequence)
    rest = sorted(r.sequence for r in await drain(buffer))
    assert len(rest) == 19 and buffer.dropped == 0 and buffer.depth().messages == 0
    await buffer.close()
    segment = [scan(p) for p in tmp_path.glob("*.seg")]
    assert all(not damage for _, damage in segment)


@pytest.mark.fault
async def test_memory_for_a_full_disk_is_bounded(tmp_path):
    disk = FullDisk()
    buffer = open_buffer(tmp_path, disk)
    disk.room = 0
    sent = [(await put(buffer, bytes(20_000)))[0] for _ in range(100)]
    (gap,) = buffer.take_gaps()
    held = buffer.depth().held
    assert held * 20_000 <= SETTINGS.memory and gap.reason == "memory" and gap.count == 100 - held
    assert sorted(r.sequence for r in await drain(buffer)) == sent[-held:]
    await buffer.close()


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from headrace.edge.buffer import Buffer
from headrace.edge.config import BufferSettings
from headrace.kernel.clock import SystemClock
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
async def main():
    b = Buffer.open(Path(sys.argv[1]), BufferSettings(segment=1 << 16), SystemClock())
    out = [await b.append(b.sequence(), "s", bytes(9_000)) for _ in range(5)]
    assert out == [True, True, True, False, False], out
    assert b.fault and b.depth().messages == 5
asyncio.run(main())
"""


@pytest.mark.fault
def test_kernel_that_refuses_to_grow_the_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    (path,) = tmp_path.glob("*.seg")
    segment, damage = scan(path)
    assert len(segment.sequences) == 3 and not damage


WRITER = """
import asyncio, os, sys
from pathlib import Path
from headrace.edge.buffer import Buffer
from headrace.edge.config import BufferSettings
from headrace.kernel.clock import SystemClock
async def main():
    b = Buffer.open(Path(sys.argv[1]), BufferSettings(quota=1 << 30, segment=1 << 16), SystemClock())
    async def one():
        while True:
            s = b.sequence()
            if await b.append(s, "data.n.edge", s.to_bytes(8, "little") * 200):
                os.write(1, b"%d\\n" % s)
    await asyncio.gather(*(one() for _ in range(8)))
asyncio.run(main())
"""


def kill_writer(path: Path, after: float) -> list[int]:
    """The sequences that a writer reported as committed before it was killed."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().split("\n")
    process.wait()
    return [int(line) for line in lines if line.strip()]


@pytest.mark.fault
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.full)])
async def test_kill_9_loses_nothing_that_was_committed(tmp_path, kills):
    rng = random.Random(5)
    committed: list[int] = []
    for _ in range(kills):
        fresh = await asyncio.to_thread(kill_writer, tmp_path, rng.uniform(0, 0.05))
        assert fresh and min(fresh) > max(committed, default=0)
        committed += fresh
    buffer = open_buffer(tmp_path, quota=1 << 30)
    found = {}
    for record in await drain(buffer):
        assert record.payload == record.sequence.to_bytes(8, "little") * 200
        found[record.sequence] = record
    assert set(committed) <= set(found) and len(committed) == len(set(committed))
    assert buffer.dropped == 0
    await buffer.close()


async def test_after_an_outage_the_newest_goes_first_and_the_rest_oldest_first(tmp_path):
    buffer = open_buffer(tmp_path)
    buffer.demote()
    sent = [(await put(buffer, bytes(100)))[0] for _ in range(100)]
    assert buffer.backlog == 92
    first = buffer.take_live()
    assert first.sequence == sent[92]
    buffer.release(first.sequence)
    buffer.demote()
    order = [r.sequence for r in await drain(buffer)]
    assert order == sent[93:] + sent[:93]
    await buffer.close()


def test_unframe_refuses_damage():
    raw = bytearray(frame(Record(1, 2, "s", b"abc")))
    raw[-1] ^= 1
    for bad in (raw, b"", raw[:5]):
        with pytest.raises(Corrupt):
            unframe(bytes(bad))


def test_segment_acks_move_the_low_mark():
    segment = Segment(Path("x"))
    for n in range(5):
        segment.add(n + 10, n, n * 100, 100)
    assert segment.ack(11) and not segment.ack(11) and not segment.ack(99) and segment.low == 0
    assert segment.ack(10) and segment.low == 2 and not segment.acked
    assert segment.unacked == 3 and segment.unacked_bytes == 300
