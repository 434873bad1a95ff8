"""The role whole: from batches on the bus to records and events, requests, restarts, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.bus import MemoryBus
from headrace.kernel.clock import NS_PER_S, SystemClock
from headrace.kernel.config import Duration
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Header, Kind, Quality, Tag, encode
from headrace.records import Records, open_records
from headrace.rules import (
    Alarm,
    AlarmEvent,
    AlarmState,
    Explanation,
    Priority,
    State,
    alarm_history,
    count_alarms,
    explain_alarm,
    get_alarm,
    list_alarms,
    run,
)

TAGS = [
    Tag(1, "oven/zone1/temperature", Kind.F64, unit="Cel"),
    Tag(2, "oven/door/open", Kind.BOOL),
    Tag(9, "bath/tank/level", Kind.F64, unit="%"),
]
HOT = Alarm("oven-hot", "oven/zone1/temperature > 220", Text("炉温高", "Oven hot"), Priority.HIGH, 2.0)
OPEN = Alarm(
    "door-open",
    "oven/door/open && oven/zone1/temperature > 60",
    Text("炉门开", "Door open"),
    Priority.URGENT,
    delay_on=Duration(NS_PER_S // 5),
)
LOW = Alarm("level-low", "bath/tank/level < 20", Text("液位低", "Level low"), Priority.LOW)


class Plant:
    """A node with only the rules running."""

    def __init__(self, records: Records, bus: MemoryBus, alarms: list[Alarm]) -> None:
        self.records, self.bus, self.alarms = records, bus, alarms
        self.clock = SystemClock()
        self.events: list[AlarmEvent] = []
        self.sequence = 0
        self.t0 = self.clock.now()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen(bus.subscribe("event.n.alarm")))

    async def _listen(self, messages: AsyncIterator[Any]) -> None:
        async for message in messages:
            self.events.append(msgspec.json.decode(message.payload, type=AlarmEvent))

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            run(
                node="n",
                definitions=self.alarms,
                tags=TAGS,
                bus=self.bus,
                records=self.records,
                clock=self.clock,
                stop=self._stop,
            )
        )
        await self.until(lambda: self.bus._served)

    async def stop(self) -> None:
        self._stop.set()
        assert self._task
        await self._task

    async def crash(self) -> None:
        """As after kill -9: nothing is finished, nothing kept."""
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.bus._served.clear()

    async def send(
        self, kind: Kind, tag: int, values: list[Any], at: list[float], quality: int = Quality.GOOD
    ) -> None:
        self.sequence += 1
        times = [self.t0 + round(t * NS_PER_S) for t in at]
        missing = None
        if quality >= Quality.BAD:
            import numpy as np

            missing = np.ones(len(values), bool)
        batch = Batch.of(kind, [tag] * len(values), times, values, [quality] * len(values), missing=missing)
        await self.bus.publish("data.n.edge", encode(Header("n", "edge", self.sequence), batch))

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110  what is waited for is in a database
                await asyncio.sleep(0.01)

    def state(self, alarm: str) -> State:
        return get_alarm(self.records, alarm).state

    async def request(self, **fields: Any) -> Any:
        reply = await self.bus.request("cmd.n.rules", msgspec.json.encode(fields))
        return msgspec.json.decode(reply)

    def moves(self, alarm: str | None = None) -> list[tuple[str, str, str, float]]:
        found, _ = alarm_history(self.records, alarm=alarm)
        return [
            (t.alarm, t.after.value, t.cause.value, round((t.time - self.t0) / NS_PER_S, 3))
            for t in reversed(found)
        ]

    async def close(self) -> None:
        self._listening.cancel()


@pytest.fixture
def records(tmp_path: Path):
    opened = open_records(tmp_path / "records.sqlite")
    opened.migrate(["rules"])
    yield opened
    opened.close()


@pytest.fixture
async def plant(records: Records):
    bus = MemoryBus()
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 24)
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24, discard_old=True)
    made = Plant(records, bus, [HOT, OPEN, LOW])
    await made.start()
    yield made
    if made._task and not made._task.done():
        await made.stop()
    await made.close()


async def test_an_alarm_comes_is_acknowledged_and_goes(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [200.0, 221.5], [0, 1])
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    state = AlarmState(**msgspec.structs.asdict(get_alarm(plant.records, "oven-hot")))
    assert (state.value, state.unit, state.machine, state.since) == (
        221.5,
        "Cel",
        "oven",
        plant.t0 + NS_PER_S,
    )
    assert state.known and state.active and state.version == 1 and state.number == 1

    reply = await plant.request(op="acknowledge", alarm="oven-hot", by="ann", note="seen")
    assert reply["state"] == "active-ack" and reply["acknowledged_by"] == "ann" and reply["note"] == "seen"
    again = await plant.request(op="acknowledge", alarm="oven-hot", by="ann")
    state = {"zh": "活动，已确认", "en": "active and acknowledged"}
    assert again == {"error": {"code": "alarm.nothing_to_acknowledge", "params": {"state": state}}}

    await plant.send(Kind.F64, 1, [219.0, 217.9], [2, 3])  # within the hysteresis, then below it
    await plant.until(lambda: plant.state("oven-hot") is State.NORMAL)
    ack = plant.moves()[1]
    assert [m[:3] for m in plant.moves()] == [
        ("oven-hot", "active-unack", "condition"),
        ("oven-hot", "active-ack", "acknowledge"),
        ("oven-hot", "normal", "condition"),
    ]
    assert plant.moves()[2][3] == max(3.0, ack[3])
    await plant.until(lambda: len([e for e in plant.events if e.transition]) == 3)
    sent = [e for e in plant.events if e.transition]
    assert [e.alarm.state for e in sent] == [State.ACTIVE_UNACK, State.ACTIVE_ACK, State.NORMAL]
    assert sent[0].transition and sent[0].transition.because
    assert "oven/zone1/temperature = 221.5 Cel" in sent[0].transition.because.render("en")


async def test_values_of_one_moment_are_judged_together(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [50.0, 100.0, 50.0], [0, 1, 2])
    await plant.send(Kind.BOOL, 2, [True, False, True], [0, 1, 2])  # never open while hot
    await plant.send(Kind.F64, 9, [10.0], [3])
    await plant.until(lambda: plant.state("level-low") is State.ACTIVE_UNACK)
    assert plant.moves("door-open") == []


async def test_a_silent_tag_times_out_by_the_clock(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [100.0], [0])
    await plant.send(Kind.BOOL, 2, [True], [0])
    await plant.until(lambda: plant.state("door-open") is State.ACTIVE_UNACK)
    assert plant.moves("door-open") == [("door-open", "active-unack", "condition", 0.2)]


async def test_bad_quality_keeps_the_state_and_says_so(plant: Plant) -> None:
    await plant.send(Kind.F64, 9, [10.0], [0])
    await plant.until(lambda: plant.state("level-low") is State.ACTIVE_UNACK)
    await plant.send(Kind.F64, 9, [0.0], [1], Quality.BAD_COMMUNICATION)
    await plant.until(lambda: not get_alarm(plant.records, "level-low").known)
    state = get_alarm(plant.records, "level-low")
    assert state.state is State.ACTIVE_UNACK and state.active and state.value is None
    await plant.until(lambda: plant.events and not plant.events[-1].alarm.known)
    await plant.send(Kind.F64, 9, [50.0], [2])
    await plant.until(lambda: plant.state("level-low") is State.CLEARED_UNACK)
    assert len(plant.moves()) == 2


async def test_shelving_hides_and_ends_by_the_clock(plant: Plant) -> None:
    await plant.send(Kind.F64, 9, [10.0], [0])
    await plant.until(lambda: plant.state("level-low") is State.ACTIVE_UNACK)
    until = plant.clock.now() + NS_PER_S // 5
    reply = await plant.request(op="shelve", alarm="level-low", by="bo", until=until, note="pump out")
    assert (reply["state"], reply["shelved_by"], reply["shelved_until"]) == ("shelved", "bo", until)
    await plant.until(lambda: plant.state("level-low") is State.ACTIVE_UNACK)
    state = get_alarm(plant.records, "level-low")
    assert state.since == until and state.shelved_until is None and state.shelved_by == ""

    far = plant.clock.now() + 25 * 3600 * NS_PER_S
    for fields, code in (
        ({"op": "shelve", "until": far}, "alarm.shelf_too_long"),
        ({"op": "shelve", "until": 5}, "alarm.shelf_in_past"),
        ({"op": "unshelve"}, "alarm.not_shelved"),
        ({"op": "acknowledge", "alarm": "no"}, "alarm.unknown"),
        ({"op": "dance"}, "alarm.bad_request"),
    ):
        reply = await plant.request(**{"alarm": "level-low", "by": "bo"} | fields)
        assert reply["error"]["code"] == code

    await plant.request(op="shelve", alarm="level-low", by="bo", until=plant.clock.now() + NS_PER_S * 60)
    reply = await plant.request(op="unshelve", alarm="level-low", by="bo")
    assert reply["state"] == "active-unack"


async def test_an_alarm_explains_itself(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [230.0, 240.0], [0, 1])
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    kept = explain_alarm(plant.records, "oven-hot")
    assert kept.definition == HOT and kept.because and kept.because.parts[0].value == 230.0
    assert kept.defined <= plant.clock.now()
    assert "= 230 Cel" in kept.render("zh") and "质量好" in kept.render("zh")
    live = msgspec.convert(await plant.request(op="explain", alarm="oven-hot"), Explanation,
                           dec_hook=lambda t, v: t(v))  # fmt: skip
    assert live.because and live.because.parts[0].value == 240.0 and live.definition == HOT


async def test_a_crash_loses_nothing_and_finds_nothing_twice(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [230.0], [0])
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    await plant.request(op="acknowledge", alarm="oven-hot", by="ann")
    await plant.crash()
    await plant.send(Kind.F64, 1, [100.0], [1])  # while nobody looks
    await plant.send(Kind.F64, 1, [225.0], [2])
    await plant.start()
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    assert [m[1] for m in plant.moves()] == ["active-unack", "active-ack", "normal", "active-unack"]
    await plant.crash()
    await plant.start()
    await plant.send(Kind.F64, 9, [10.0], [3])
    await plant.until(lambda: plant.state("level-low") is State.ACTIVE_UNACK)
    assert len(plant.moves("oven-hot")) == 4
    await plant.until(lambda: len({e.transition.number for e in plant.events if e.transition}) == 4)


async def test_what_was_not_published_before_a_crash_is_published_after_it(plant: Plant) -> None:
    await plant.stop()
    plant.bus._streams.pop("EVENTS")
    plant.bus._served.clear()
    await plant.start()
    await plant.send(Kind.F64, 1, [230.0], [0])
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    await plant.crash()
    assert plant.events == []
    await plant.bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24, discard_old=True)
    await plant.start()
    await plant.until(lambda: plant.events)
    assert plant.events[0].transition and plant.events[0].transition.number == 1


async def test_definitions_have_versions_and_retire(plant: Plant) -> None:
    await plant.send(Kind.F64, 1, [230.0], [0])
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    await plant.stop()
    plant.bus._served.clear()
    plant.alarms = [msgspec.structs.replace(HOT, when="oven/zone1/temperature > 225"), OPEN,
                    msgspec.structs.replace(LOW, id="broken", when="bath/tank/levle < 20")]  # fmt: skip
    await plant.start()
    await plant.until(lambda: get_alarm(plant.records, "oven-hot").version == 2)
    assert plant.state("oven-hot") is State.ACTIVE_UNACK  # the state outlives the change
    listed, total = list_alarms(plant.records)
    assert [a.id for a in listed] == ["oven-hot", "door-open"] and total == 2
    assert count_alarms(plant.records)[State.ACTIVE_UNACK] == 1
    assert get_alarm(plant.records, "level-low").id == "level-low"  # retired, with its history
    assert list_alarms(plant.records, states=["normal"])[0][0].id == "door-open"
    assert list_alarms(plant.records, priorities=[Priority.HIGH], machine="oven", limit=1)[1] == 1
    assert list_alarms(plant.records, machine="bath") == ([], 0)


async def test_garbage_and_full_records_are_survived(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    await plant.bus.publish("data.n.edge", b"no batch at all")
    with plant.records.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE alarm_position RENAME TO away")
    from headrace.kernel.errors import Unavailable
    from headrace.rules.store import Store

    whole = Store.save
    refusals = []

    def full(self: Store, *args: Any) -> None:
        refusals.append(args)
        raise Unavailable("records.disk_full", database="x", reason="full")

    monkeypatch.setattr(Store, "save", full)
    await plant.send(Kind.F64, 1, [230.0], [0])
    await plant.until(lambda: refusals)
    with plant.records.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO alarm_position")
    monkeypatch.setattr(Store, "save", whole)
    await plant.until(lambda: plant.state("oven-hot") is State.ACTIVE_UNACK)
    assert len(plant.moves()) == 1


KILLED = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[2])
import test_service as t
from headrace.bus import MemoryBus
from headrace.kernel.model import Kind
from headrace.records import open_records

async def main():
    records = open_records(sys.argv[1])
    records.migrate(["rules"])
    bus = MemoryBus()
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 24)
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24, discard_old=True)
    plant = t.Plant(records, bus, [t.HOT, t.LOW])
    await plant.start()
    await plant.send(Kind.F64, 1, [230.0], [0])
    await plant.until(lambda: plant.state("oven-hot") is t.State.ACTIVE_UNACK)
    reply = await plant.request(op="acknowledge", alarm="oven-hot", by="ann", note="seen")
    print(reply["state"], flush=True)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


@pytest.mark.fault
def test_an_acknowledgement_that_was_answered_survives_kill(tmp_path: Path) -> None:
    file = tmp_path / "records.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
    )
    assert done.returncode == -9 and done.stdout.endswith("\nactive-ack\n"), done.stderr
    records = open_records(file)
    state = get_alarm(records, "oven-hot")
    assert (state.state, state.acknowledged_by, state.note) == (State.ACTIVE_ACK, "ann", "seen")
    assert [t.number for t in alarm_history(records)[0]] == [2, 1]
    records.close()
