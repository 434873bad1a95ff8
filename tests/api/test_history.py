"""Curves, rows and gaps out of a real history."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from headrace.api import queries
from headrace.api.problems import Refused
from headrace.api.queries import Queries, interval, moment, span, width
from headrace.history import HistorySettings, Store
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, SystemClock, iso, parse_time
from headrace.kernel.errors import InputError
from headrace.kernel.model import Batch, Header, Kind

in_module = pytest.mark.asyncio(loop_scope="module")

START = parse_time("2026-01-05T00:00:00Z")
DAY = 86_400 * NS_PER_S
TEMPERATURE, TOTAL, NAME = "oven/zone1/temperature", "bath/pieces/total", "bath/recipe/name"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(shared: Any) -> Any:
    """A day of temperature each 10 s, with a hole of an hour and a bad stretch; a few totals and names."""
    times = START + np.arange(0, DAY, 10 * NS_PER_S)
    times = times[(times < START + 6 * 3600 * NS_PER_S) | (times >= START + 7 * 3600 * NS_PER_S)]
    values = 180 + 5 * np.sin((times - START) / DAY * 2 * np.pi)
    values[3] = np.nan
    quality = np.zeros(len(times), np.uint16)
    quality[100:110] = 0x8005
    ids = shared.id
    batches = [
        Batch.of(Kind.F64, np.full(len(times), ids[TEMPERATURE]), times, values, quality),
        Batch.of(
            Kind.U64,
            [ids[TOTAL]] * 3,
            [START + 1, START + 2, START + 2],
            np.array([1, 2**64 - 1, 3], np.uint64),
            [0, 0, 0],
        ),
        Batch.of(Kind.TEXT, [ids[NAME]] * 2, [START, START + 1], ["浅灰", "blue"], [0, 0]),
    ]

    def fill() -> None:
        store = Store.open(shared.data / "history", clock=SystemClock(), settings=HistorySettings())
        store.append("DATA", [(n + 1, Header("n", "e", n + 1), b) for n, b in enumerate(batches)])
        store.seal()
        store.close()

    await asyncio.to_thread(fill)
    shared.times, shared.values, shared.quality = times, values, quality
    return shared


async def curve(node: Any, **params: Any) -> Any:
    given = {"tag": TEMPERATURE, "from": iso(START), "to": iso(START + DAY), **params}
    return await node.get("/series", **given)


@in_module
async def test_raw_where_points_are_enough(stored: Any) -> None:
    answer = await curve(stored, to=iso(START + 600 * NS_PER_S), points=100)
    assert answer["every_ms"] is None
    assert (answer["from"], answer["to"]) == (START / 1e6, START / 1e6 + 600_000)
    [one] = answer["series"]
    assert one["raw"] is True
    assert one["time"] == (stored.times[:60] / NS_PER_MS).tolist()
    assert one["value"][:3] == stored.values[:3].tolist()
    assert one["value"][3] == "NaN"
    assert "min" not in one


@in_module
async def test_buckets_where_they_are_not(stored: Any) -> None:
    answer = await curve(stored, points=50)
    assert answer["every_ms"] == 30 * 60 * 1000
    [one] = answer["series"]
    assert one["raw"] is False
    assert len(one["time"]) == 46, "48 half hours, two of them in the hole"
    assert sum(one["count"]) == len(stored.times) - 10 - 1, "neither the bad ones nor NaN"
    first = stored.values[:180][~np.isnan(stored.values[:180])]
    usable = np.concatenate((first[:99], first[109:]))
    assert one["min"][0] == pytest.approx(usable.min(), abs=0)
    assert one["max"][0] == usable.max()
    assert one["mean"][0] == pytest.approx(usable.mean(), rel=1e-12)
    assert one["quality"][:2] == [0x4000, 0], "the first has bad points in it"
    hole = one["time"].index(START / 1e6 + 5.5 * 3600e3)
    assert one["time"][hole + 1] - one["time"][hole] == 1.5 * 3600e3, "the hole is a hole"


@in_module
async def test_width_and_aggregates_are_chosen(stored: Any) -> None:
    answer = await curve(stored, every="1h", agg="last,count,sum")
    assert answer["every_ms"] == 3_600_000
    [one] = answer["series"]
    assert len(one["time"]) == 23
    assert set(one) >= {"last", "sum", "count"}
    assert "min" not in one
    fine = await curve(stored, to=iso(START + 60 * NS_PER_S), every="20s")
    assert [len(s["time"]) for s in fine["series"]] == [3]


@in_module
async def test_raw_and_bucketed_side_by_side(stored: Any) -> None:
    answer = await curve(stored, tag=[NAME, TEMPERATURE, TOTAL, "oven/fan/on"], points=60)
    name, temperature, total, fan = answer["series"]
    assert [s["raw"] for s in answer["series"]] == [True, False, True, True]
    assert name["value"] == ["浅灰", "blue"]
    assert total["value"] == [1, str(2**64 - 1), 3]
    assert fan["time"] == []
    assert answer["every_ms"] == temperature["every_ms"]
    forced = await curve(stored, tag=[NAME, TOTAL], every="1h")
    assert forced["series"][0]["last"] == ["blue"]
    assert forced["series"][1]["max"] == [str(2**64 - 1)]


@in_module
async def test_nanoseconds(stored: Any) -> None:
    answer = await curve(stored, tag=TOTAL, times="ns", **{"from": START, "to": START + 3})
    assert answer["series"][0]["time"] == [START + 1, START + 2, START + 2]
    assert (answer["from"], answer["to"]) == (START, START + 3)


@in_module
async def test_rows_are_exact_and_paged(stored: Any) -> None:
    where: Any = START
    times: list[int] = []
    values: list[Any] = []
    pages = 0
    while where is not None:
        params = {"tag": TEMPERATURE, "from": where, "to": START + DAY, "limit": 3000, "times": "ns"}
        [one] = (await stored.get("/history/query", **params))["series"]
        times += one["time"]
        values += [float(v) for v in one["value"]]
        where = one["next"]
        pages += 1
    assert pages == 3
    assert times == stored.times.tolist()
    assert np.array_equal(np.array(values), stored.values, equal_nan=True)
    [one] = (await stored.get("/history/query", tag=TOTAL, **{"from": iso(START), "to": iso(START + 9)}))[
        "series"
    ]
    assert one["time"] == [iso(START + 1), iso(START + 2), iso(START + 2)]
    assert one["value"] == [1, str(2**64 - 1), 3]


@in_module
async def test_points_of_one_time_are_on_one_page(stored: Any) -> None:
    params = {"tag": TOTAL, "from": START, "to": START + 9, "times": "ns"}
    [one] = (await stored.get("/history/query", limit=2, **params))["series"]
    assert (one["time"], one["next"]) == ([START + 1], START + 2)
    [one] = (await stored.get("/history/query", limit=1, **{**params, "from": START + 2}))["series"]
    assert (one["value"], one["next"]) == ([str(2**64 - 1), 3], None)


@in_module
async def test_arrow_is_a_batch(stored: Any) -> None:
    params = {"tag": TEMPERATURE, "from": START, "to": START + DAY, "times": "ns", "format": "arrow"}
    answer = await stored.client.get("/history/query", params=params)
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    with pa.ipc.open_stream(answer.content) as reader:
        table = reader.read_all()
    assert table.schema.names == ["tag", "time", "value", "quality"]
    assert table.column("time").cast(pa.int64()).to_pylist() == stored.times.tolist()
    assert np.array_equal(table.column("value").to_numpy(), stored.values, equal_nan=True)
    assert table.column("quality").to_pylist() == stored.quality.tolist()
    assert table.schema.metadata[b"tags"] == f'{{"{stored.id[TEMPERATURE]}":"{TEMPERATURE}"}}'.encode()
    assert table.schema.metadata[b"next"] == b"{}"
    mixed = await stored.client.get("/history/query", params={**params, "tag": [TEMPERATURE, NAME]})
    assert mixed.json()["code"] == "api.mixed_kinds"


@in_module
async def test_gaps(stored: Any) -> None:
    params = {"tag": TEMPERATURE, "from": iso(START), "to": iso(START + DAY)}
    found = (await stored.get("/history/gaps", longer="10m", **params))["gaps"]
    assert [(g["from"], g["seconds"], g["quality"]) for g in found] == [
        (iso(START + (6 * 3600 - 10) * NS_PER_S), 3610.0, None)
    ]
    found = (await stored.get("/history/gaps", longer="90s", **params))["gaps"]
    assert [(g["seconds"], g["quality"]) for g in found] == [(110.0, 0x8005), (3610.0, None)]


@in_module
async def test_stats(stored: Any) -> None:
    found = await stored.get("/history/stats")
    assert found["points"] == len(stored.times) + 5
    assert found["first_time"] == iso(START)
    assert found["bytes_per_point"] > 0


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/series", {}, "api.no_tags"),
        ("/series", {"tag": "no/such"}, "api.no_such_tag"),
        ("/series", {"tag": [f"t{n}/x" for n in range(51)]}, "api.too_many_tags"),
        ("/series", {"tag": TEMPERATURE, "from": "yesterday"}, "api.bad_time"),
        ("/series", {"tag": TEMPERATURE, "from": "-1h", "to": "-2h"}, "api.bad_span"),
        ("/series", {"tag": TEMPERATURE, "every": "1"}, "api.bad_every"),
        ("/series", {"tag": TEMPERATURE, "every": "10us"}, "api.bad_every"),
        ("/series", {"tag": TEMPERATURE, "from": "-365d", "every": "1s"}, "api.too_many_points"),
        ("/series", {"tag": TEMPERATURE, "every": "1m", "agg": "median"}, "api.bad_aggregate"),
        ("/series", {"tag": TEMPERATURE, "points": 1}, "api.bad_request"),
        ("/history/query", {"tag": TEMPERATURE, "format": "xml"}, "api.bad_request"),
        ("/history/query", {"tag": TEMPERATURE, "from": "1e400"}, "api.bad_time"),
        ("/history/query", {"tag": TEMPERATURE, "from": "9" * 30}, "api.bad_time"),
        ("/history/gaps", {"tag": [TEMPERATURE, NAME]}, "api.too_many_tags"),
    ],
)
@in_module
async def test_what_cannot_be_asked(stored: Any, path: str, params: dict[str, Any], code: str) -> None:
    answer = await stored.client.get(path, params=params)
    assert answer.json()["code"] == code, answer.text
    assert answer.status_code in (400, 404)


@in_module
async def test_live_points_are_in_the_curve_within_a_second(stored: Any) -> None:
    """The head of the log, which is not sealed yet, joins without a seam."""
    now = SystemClock().now()

    def add() -> None:
        store = Store.open(stored.data / "history", clock=SystemClock(), settings=HistorySettings())
        batch = Batch.of(Kind.BOOL, [stored.id["oven/fan/on"]], [now], [True], [0])
        store.append("DATA", [(10, Header("n", "e", 10), batch)])
        store.close()

    await asyncio.to_thread(add)
    [one] = (await stored.get("/series", tag="oven/fan/on", **{"from": "-1m"}))["series"]
    assert (one["time"], one["value"]) == ([now / 1e6], [True])


# --- by themselves ---------------------------------------------------------------------------------------


@given(st.integers(0, 2**61), st.integers(1, 2**60), st.integers(2, 5000))
def test_width_is_the_least_that_fits(start: int, length: int, points: int) -> None:
    end = start + length
    found = width(start, end, points)
    assert (end - 1) // found - start // found + 1 <= points or found % queries.STEPS[-1] == 0
    narrower = [step for step in queries.STEPS if step < found]
    if narrower and found in queries.STEPS:
        step = narrower[-1]
        assert (end - 1) // step - start // step + 1 > points


def test_wide_buckets_are_made_of_minutes_and_hours() -> None:
    minute, hour = 60 * NS_PER_S, 3600 * NS_PER_S
    assert all(step % minute == 0 for step in queries.STEPS if step >= minute)
    assert all(step % hour == 0 for step in queries.STEPS if step >= hour)
    assert list(queries.STEPS) == sorted(queries.STEPS)


def test_times() -> None:
    now = START
    assert moment("now", now) == now
    assert moment("-1.5h", now) == now - 5400 * NS_PER_S
    assert moment("+1ms", now) == now + NS_PER_MS
    assert moment("1500.5", now) == 1_500_500_000
    assert moment("1500", now, ns=True) == 1500
    assert moment("2026-01-05T08:00:00+08:00", now) == START
    assert moment("2026-01-05T08:00:00 08:00", now) == START, "a plus sign that became a space"
    assert moment(iso(START + 1), now) == START + 1
    assert span("-1s", "now", now) == (now - NS_PER_S, now)
    assert interval("250ms") == 250 * NS_PER_MS
    with pytest.raises(InputError):
        moment("", now)


async def test_few_at_a_time_and_no_endless_queue(tmp_path: Path) -> None:
    asked = Queries(tmp_path, max_points=10, max_rows=10, workers=1, waiting=1, timeout_s=5)
    gate, running = threading.Event(), threading.Event()

    def slow(*_: Any) -> int:
        running.set()
        gate.wait(5)
        return 1

    first = asyncio.create_task(asked.run(slow))
    await asyncio.to_thread(running.wait, 5)
    second = asyncio.create_task(asked.run(lambda *_: 2))
    await asyncio.sleep(0)
    with pytest.raises(Refused) as caught:
        await asked.run(lambda *_: 3)
    assert (caught.value.code, caught.value.status) == ("api.busy", 503)
    gate.set()
    assert (await first, await second) == (1, 2)
    assert await asked.run(lambda *_: 4) == 4
    asked.close()


async def test_given_up_when_it_takes_too_long_or_nobody_waits(tmp_path: Path) -> None:
    asked = Queries(tmp_path, max_points=10, max_rows=10, workers=1, timeout_s=0.1)
    begun, ended = threading.Event(), threading.Event()

    def endless(_: Any, cancel: queries.Cancel) -> None:
        begun.set()
        try:
            while True:
                cancel.check()
        finally:
            ended.set()

    with pytest.raises(Refused) as caught:
        await asked.run(endless)
    assert caught.value.code == "api.query_too_slow"
    assert await asyncio.to_thread(ended.wait, 5), "the thread is free again"
    asked.close()
    begun.clear()
    ended.clear()
    asked = Queries(tmp_path, max_points=10, max_rows=10, workers=1)

    async def gone() -> None:
        await asyncio.to_thread(begun.wait, 5)

    with pytest.raises(queries.Cancelled):
        await asked.run(endless, gone=gone)
    assert await asyncio.to_thread(ended.wait, 5)
    asked.close()


@in_module
async def test_a_client_that_hangs_up_ends_its_query(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, begun = threading.Event(), threading.Event()

    def endless(_: Any, cancel: queries.Cancel, **__: Any) -> None:
        begun.set()
        try:
            while True:
                cancel.check()
        finally:
            ended.set()

    monkeypatch.setattr(queries, "gaps", endless)
    async with stored.connect(headers={"authorization": f"Bearer {stored.token}"}) as client:
        asking = asyncio.create_task(client.get("/history/gaps", params={"tag": TEMPERATURE}))
        await asyncio.to_thread(begun.wait, 5)
        asking.cancel()
        with pytest.raises((asyncio.CancelledError, httpx.HTTPError)):
            await asking
    assert await asyncio.to_thread(ended.wait, 5)
