"""Recordings as devices: parsing, the printed configuration, latching, and SKAB at driver level."""

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.drivers.modbus import DRIVER, ModbusDriver, Point, Settings, replay
from headrace.drivers.modbus.recording import slug
from headrace.drivers.modbus.simulator import Simulator
from headrace.kernel.clock import NS_PER_S, ManualClock, SystemClock
from headrace.kernel.errors import DeviceUnavailable, InputError, NotFound
from headrace.kernel.ports import Block, Span


def write(tmp_path: Path, text: str, name: str = "Pump 3.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_semicolons_times_and_labels(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "datetime;Motor Current;Note;label\n2020-03-09 10:14:33;1.5;ok;0\n2020-03-09 10:14:35;;no;1\n",
    )
    recording = replay.load(file)
    assert recording.name == "pump-3" and recording.timed
    assert [(c.title, c.segment) for c in recording.columns] == [
        ("Motor Current", "motor-current"),
        ("label", "label"),
    ]
    assert recording.times.tolist() == [1583748873 * NS_PER_S, 1583748875 * NS_PER_S]
    assert recording.period_ns == 2 * NS_PER_S
    assert recording.values[0].tolist() == [1.5, 0.0] and np.isnan(recording.values[1, 0])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_chinese_headers_and_tabs(tmp_path: Path, encoding: str) -> None:
    text = (
        "采集时间\t1号泵温度(℃)\t温度\t温度\t备用\n"
        "2024年3月9日 10:14:33.5\t20\t30\t40\t50\n"
        "2024/3/9 10:14:34\t1\t2\t3\t4\n"
    )
    recording = replay.load(write(tmp_path, text, "0.csv", encoding))
    assert [c.title for c in recording.columns] == ["1号泵温度(℃)", "温度", "温度", "备用"]
    assert [c.segment for c in recording.columns] == [
        "1-pump-temperature-c",
        "temperature",
        "temperature-2",
        "column-4",
    ]
    assert recording.times[1] - recording.times[0] == NS_PER_S // 2
    assert recording.name.endswith("-0")


def test_no_time_and_epoch_times(tmp_path: Path) -> None:
    assert not replay.load(write(tmp_path, "a,b\n1,2\n3,4\n")).timed
    recording = replay.load(write(tmp_path, "ts,row\n1700000000,2\n1700000001,4\n"))
    assert recording.times[0] == 1_700_000_000 * NS_PER_S
    assert recording.columns[0].segment == "row-2"  # "row" is the counter's
    recording = replay.load(write(tmp_path, "t0,x\n2020-01-01,2\n2020-01-02,4\n"), "t0")
    assert recording.period_ns == 86_400 * NS_PER_S


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a,b\n", "replay.no_rows"),
        ("a,b\n1\n", "replay.ragged"),
        ("a,b\nx,y\n", "replay.no_numbers"),
        ("time,b\n2020-01-01,1\nlater,2\n", "replay.bad_time"),
    ],
)
def test_files_that_are_no_recording(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        replay.load(write(tmp_path, text))
    assert caught.value.code == code


def test_missing_files_columns_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        replay.load(tmp_path / "none.csv")
    with pytest.raises(NotFound):
        replay.load(write(tmp_path, "a\n1\n"), "b")
    (tmp_path / "x.csv").write_bytes(b"\xff\xff\xff\x00")
    with pytest.raises(InputError):
        replay.load(tmp_path / "x.csv")


def test_slug() -> None:
    assert slug("Volume Flow RateRMS") == "volume-flow-raterms"
    assert slug("Température °C") == "temperature-c"
    assert slug("轴承振动") == "bearing-vibration"


def test_configuration_is_toml_and_every_point_fits(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'time,"say ""hi"" \\ 你好",b\n2020-01-01 00:00:00,1,2\n2020-01-01 00:00:01,1,2\n',
        '炉"1.csv',
    )
    recording = replay.load(file)
    table = tomllib.loads(replay.configuration(recording, 5020, 50))
    (connection,) = table["edge"]["connections"]
    assert connection["every"] == "5ms" and connection["driver"] == "modbus"
    assert connection["settings"] == {"host": "127.0.0.1", "port": 5020, "unit": 1}
    assert list(table["machines"]) == [recording.name]
    trigger = f"{recording.name}/row"
    assert connection["tags"][0]["name"] == trigger
    for tag in connection["tags"]:
        name = tag.pop("name")
        on_change = {"absolute": 0, "heartbeat": "0s"}
        assert tag.pop("report") == (on_change if name == trigger else {"trigger": trigger})
        assert name.startswith(f"{recording.name}/")
        assert tag.pop("title")["zh"]
        DRIVER.layout(Settings(), msgspec.convert(tag, Point))
    assert tag["address"] == "holding:12"


@pytest.mark.parametrize(("speed", "expected"), [(1, "250ms"), (50, "5ms"), (0.01, "1000ms"), (10, "25ms")])
def test_scan_interval(tmp_path: Path, speed: float, expected: str) -> None:
    recording = replay.load(write(tmp_path, "a\n1\n2\n"))
    table = tomllib.loads(replay.configuration(recording, 1, speed))
    assert table["edge"]["connections"][0]["every"] == expected


def device(tmp_path: Path, rows: int = 5, columns: int = 2, **keys: Any) -> tuple[replay.Replay, ManualClock]:
    clock = ManualClock()
    head = ",".join(f"c{i}" for i in range(columns))
    body = "\n".join(",".join(str(r * columns + c) for c in range(columns)) for r in range(rows))
    recording = replay.load(write(tmp_path, f"{head}\n{body}\n"))
    return replay.Replay(recording, clock=clock, **keys), clock


def counter(device_: replay.Replay) -> int:
    return int(device_.memory.get("holding", 0, "u64")[0])


def test_a_row_is_held_until_its_reader_comes_back(tmp_path: Path) -> None:
    row, clock = device(tmp_path)
    assert counter(row) == 0
    row.on_read(1, 1, "holding", 0, 16)
    assert counter(row) == 1
    clock.advance(0.5)
    row.on_read(1, 1, "holding", 0, 16)
    assert counter(row) == 1  # not due yet
    clock.advance(5)
    row.on_read(2, 1, "holding", 0, 16)
    assert counter(row) == 1  # a new client sees the row at hand first
    row.on_read(2, 1, "holding", 0, 16)
    assert counter(row) == 2
    assert row.memory.get("holding", 8, "f64", count=2).tolist() == [2.0, 3.0]
    assert row.held == 1
    for expected in (3, 4, 5, 5, 5):
        row.on_read(2, 1, "holding", 0, 16)
        assert counter(row) == expected
    assert row.finished and row.missed == 0


def test_a_row_in_several_requests_is_of_one_piece(tmp_path: Path) -> None:
    row, clock = device(tmp_path)
    row.on_read(1, 1, "holding", 0, 12)
    clock.advance(3)
    row.on_read(1, 1, "holding", 12, 4)
    assert counter(row) == 1  # it latches with the counter only
    row.on_read(1, 1, "holding", 0, 12)
    clock.advance(3)
    row.on_read(1, 1, "holding", 0, 12)
    assert counter(row) == 2  # its second half has not been read
    row.on_read(1, 1, "holding", 12, 4)
    row.on_read(1, 1, "holding", 0, 12)
    assert counter(row) == 3


def test_without_hold_rows_are_missed_and_counted(tmp_path: Path) -> None:
    row, clock = device(tmp_path, rows=10, hold=False, speed=2)
    row.on_read(1, 1, "holding", 0, 16)
    clock.advance(2.1)
    row.on_read(1, 1, "holding", 0, 16)
    assert counter(row) == 5 and row.missed == 3
    clock.advance(100)
    row.on_read(1, 1, "holding", 0, 16)
    assert counter(row) == 10 and row.finished


def test_a_loop_counts_on(tmp_path: Path) -> None:
    row, clock = device(tmp_path, rows=2, loop=True)
    for expected in range(1, 7):
        row.on_read(1, 1, "holding", 0, 16)
        assert counter(row) == expected
        assert row.memory.get("holding", 8, "f64")[0] == 2 * ((expected - 1) % 2)
        clock.advance(1)
    assert not row.finished


def test_a_speed_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        device(tmp_path, speed=0)


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    simulator = Simulator()
    port = await simulator.start()
    with pytest.raises(InputError) as caught:
        await replay.serve(replay.load(write(tmp_path, "a\n1\n")), port)
    assert caught.value.code == "replay.cannot_listen"
    await simulator.stop()


async def _read_all(
    recording: replay.Recording, port: int, every_s: float
) -> list[tuple[int, int, list[int]]]:
    """What a client that scans the printed configuration gets: (row, time, bits of the values) per change of
    the row counter."""
    table = tomllib.loads(replay.configuration(recording, port))
    tags = table["edge"]["connections"][0]["tags"]
    keys = {"name", "title", "report"}
    points = [msgspec.convert({k: v for k, v in t.items() if k not in keys}, Point) for t in tags]
    driver: ModbusDriver = DRIVER.create(Settings(port=port), list(enumerate(points)), SystemClock())
    plan = driver.compile([Block(Span("holding", 0, recording.registers), tuple(range(len(points))))])
    await driver.connect()
    rows: list[tuple[int, int, list[int]]] = []
    try:
        while True:
            try:
                reading = await driver.read(plan)
            except DeviceUnavailable:  # the replay has ended
                return rows
            if reading.faults:
                return rows
            found = {b.kind: b for b in reading.batches}
            row, at = int(found["u64"].values[0]), int(found["i64"].values[0])  # type: ignore[index]
            if not rows or rows[-1][0] != row:
                rows.append((row, at, found["f64"].values.view(np.uint64).tolist()))  # type: ignore[index]
            await asyncio.sleep(every_s)
    finally:
        await driver.close()


async def _replay_whole(recording: replay.Recording, speed: float, every_s: float) -> replay.Progress:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(replay.serve(recording, 0, speed, linger_s=0.05, started=port.set_result))
    rows = await _read_all(recording, await port, every_s)
    progress = await serving
    assert [r[0] for r in rows] == list(range(1, recording.rows + 1))
    assert [r[1] for r in rows] == recording.times.tolist()
    assert [r[2] for r in rows] == recording.values.view(np.uint64).tolist()
    assert progress.missed == 0 and progress.finished
    return progress


async def test_skab_is_read_row_by_row_bit_by_bit(shared_data: Callable[[str], Path]) -> None:
    """The whole of SKAB valve1 file 0, at 500x so that the test is short; hold makes up for late scans."""
    recording = replay.load(shared_data("data/ad/skab/data/valve1/0.csv"))
    assert (recording.rows, len(recording.columns), recording.registers) == (1147, 10, 48)
    progress = await _replay_whole(recording, 500, 0.0005)
    assert progress.served == 1147


async def test_nan_and_signed_zero_travel(tmp_path: Path) -> None:
    recording = replay.load(write(tmp_path, "a,b\n-0.0,1\n,2\n5e-324,inf\n0.1,-inf\n"))
    await _replay_whole(recording, 100, 0.001)
