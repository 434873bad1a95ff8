"""Questions to history: in threads, a few at a time, with a limit on time and size, given up when the asker
goes away.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.api.problems import Refused
from headrace.api.values import column
from headrace.api.views import GapsAnswer, GapView, Rows, RowsAnswer, SeriesAnswer, SeriesView
from headrace.history import AGGREGATES, Buckets, Reader, Series
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, iso, parse_time
from headrace.kernel.config import duration
from headrace.kernel.errors import InputError
from headrace.kernel.model import Batch, Kind, Quality, Tag

T = TypeVar("T")

MOST_TAGS = 50
"""Tags in one query."""

_M, _H, _D = 60 * NS_PER_S, 3600 * NS_PER_S, 86_400 * NS_PER_S
STEPS = (
    *(n * NS_PER_MS for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * NS_PER_S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _M for n in (1, 2, 5, 10, 15, 30)),
    *(n * _H for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * _D for n in (1, 2, 7, 14, 28, 56, 112, 224, 448)),
)
"""Widths of buckets in ns, all at home in minutes and hours, so that rollups serve the wide ones."""

_ROLLED = _M
"""From this width on buckets come from rollups, without touching raw points."""

_RELATIVE = re.compile(r"^([+-])(\d+(?:\.\d+)?(?:us|ms|s|m|h|d))$")


class Cancelled(Exception):
    """Whoever asked has gone or has waited too long."""


class Cancel:
    """Tells a query in a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises Cancelled."""
        if self._event.is_set():
            raise Cancelled


def moment(text: str, now: int, *, ns: bool = False) -> int:
    """UTC ns of "now", a span back ("-1h"), epoch milliseconds (nanoseconds where `ns`), or RFC 3339.

    Raises InputError `api.bad_time`.
    """
    text = text.strip()
    if text == "now":
        return now
    try:
        if match := _RELATIVE.match(text):
            return now + (1 if match[1] == "+" else -1) * duration(match[2])
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            found = int(text) if ns and "." not in text else round(float(text) * (1 if ns else NS_PER_MS))
        else:
            # a "+" of an offset that was not percent-encoded has become a space
            found = parse_time(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
    except (ValueError, OverflowError):
        raise InputError("api.bad_time", value=text) from None
    if not -(2**63) <= found < 2**63:
        raise InputError("api.bad_time", value=text)
    return found


def span(from_: str, to: str, now: int, *, ns: bool = False) -> tuple[int, int]:
    """[start, end) in UTC ns. Raises InputError `api.bad_time`, `api.bad_span`."""
    start, end = moment(from_, now, ns=ns), moment(to, now, ns=ns)
    if start >= end:
        raise InputError("api.bad_span")
    return start, end


def interval(text: str) -> int:
    """Ns of "60s". Raises InputError `api.bad_every`."""
    try:
        found = int(duration(text))
    except ValueError:
        raise InputError("api.bad_every", value=text) from None
    if found < NS_PER_MS:
        raise InputError("api.bad_every", value=text)
    return found


def width(start: int, end: int, points: int) -> int:
    """The least width of STEPS of which `points` buckets, aligned to the epoch, cover [start, end)."""
    for step in STEPS:
        if (end - 1) // step - start // step + 1 <= points:
            return step
    return math.ceil((end - start) / (points * STEPS[-1]) + 1) * STEPS[-1]


class SeriesQuery(msgspec.Struct, frozen=True):
    """What /series asks. `every` 0: as wide as `points` needs, or raw where that is enough."""

    tags: tuple[Tag, ...]
    start: int
    end: int
    points: int
    every: int
    aggregates: tuple[str, ...]
    ns: bool


class Queries:
    """`workers` at a time, `waiting` more in line; the next is told to come back."""

    def __init__(
        self,
        directory: Path,
        *,
        max_points: int,
        max_rows: int,
        workers: int = 2,
        waiting: int = 32,
        timeout_s: float = 30.0,
    ) -> None:
        self._reader = Reader(directory)
        self.max_points = max_points
        self.max_rows = max_rows
        self._most = workers + waiting
        self._timeout_s = timeout_s
        self._under_way = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="history")

    def close(self) -> None:
        """Queries that wait are dropped; those that run end first, as nobody waits for them any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    async def run(self, ask: Callable[[Reader, Cancel], T], *, gone: Callable[[], Any] | None = None) -> T:
        """`ask` in a thread. `gone`: a coroutine function that returns once nobody waits any more.

        Raises Refused `api.busy` (503), `api.query_too_slow` (503), and whatever `ask` raises.
        """
        if self._under_way >= self._most:
            raise Refused("api.busy", 503, retry_after=1)
        self._under_way += 1
        cancel = Cancel()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, lambda: self._ask(ask, cancel))
        work.add_done_callback(lambda _: self._done())
        watch = asyncio.ensure_future(gone()) if gone is not None else None
        try:
            waiting = [work] if watch is None else [work, watch]
            await asyncio.wait(waiting, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if watch is not None and watch.done():
                raise Cancelled
            raise Refused("api.query_too_slow", 503, seconds=round(self._timeout_s))
        finally:
            cancel.set()
            if not work.done():
                work.add_done_callback(_look_at)
                work.cancel()
            if watch is not None:
                watch.cancel()

    def _done(self) -> None:
        self._under_way -= 1

    def _ask(self, ask: Callable[[Reader, Cancel], T], cancel: Cancel) -> T:
        cancel.check()
        self._reader.refresh()
        return ask(self._reader, cancel)


def _look_at(work: asyncio.Future[Any]) -> None:
    """Take the exception of a query that nobody waits for, so that asyncio does not report it as lost."""
    if not work.cancelled():
        work.exception()


# --- what is asked: plain functions, run in a thread -----------------------------------------------------


def series(reader: Reader, cancel: Cancel, query: SeriesQuery) -> SeriesAnswer:
    """Raw where `query.points` are enough for all points, else buckets."""
    every = query.every or width(query.start, query.end, query.points)
    curves: dict[int, SeriesView] = {}
    rest: list[Tag] = []
    for tag in query.tags:
        cancel.check()
        found = None
        if not query.every and every < _ROLLED:
            found = reader.raw(tag.id, query.start, query.end, limit=query.points + 1, kind=tag.kind)
        if found is not None and len(found) <= query.points:
            curves[tag.id] = _raw(tag, found, ns=query.ns)
        else:
            rest.append(tag)
    start = query.start // every * every
    for kind in dict.fromkeys(tag.kind for tag in rest):
        cancel.check()
        wanted = _aggregates(kind, query.aggregates)
        tags = [tag for tag in rest if tag.kind is kind]
        found_all = reader.buckets([tag.id for tag in tags], start, query.end, every, wanted)
        for tag in tags:
            cancel.check()
            buckets = found_all.get(tag.id)
            few = buckets is None or int((buckets.count + buckets.bad).sum()) <= query.points
            if not query.every and few:
                curves[tag.id] = _raw(
                    tag, reader.raw(tag.id, query.start, query.end, kind=tag.kind), ns=query.ns
                )
            else:
                curves[tag.id] = _bucketed(tag, buckets, every, query.aggregates, ns=query.ns)
    out = [curves[tag.id] for tag in query.tags]
    scale = 1 if query.ns else NS_PER_MS
    return SeriesAnswer(
        from_=query.start if query.ns else query.start / scale,
        to=query.end if query.ns else query.end / scale,
        every_ms=None if all(c.raw for c in out) else every / NS_PER_MS,
        series=out,
    )


def rows(
    reader: Reader, cancel: Cancel, tags: Sequence[Tag], start: int, end: int, limit: int, *, ns: bool
) -> RowsAnswer:
    """Stored points exactly, at most `limit` of each tag."""
    out = []
    for tag in tags:
        cancel.check()
        found, more = _page(reader, tag, start, end, limit)
        times = found.time.tolist()
        out.append(
            Rows(
                tag=tag.name,
                unit=tag.unit,
                kind=tag.kind,
                time=times if ns else [iso(t) for t in times],
                value=column(found.value, found.missing),
                quality=found.quality.tolist(),
                next=None if more is None else more if ns else iso(more),
            )
        )
    return RowsAnswer(from_=start if ns else iso(start), to=end if ns else iso(end), series=out)


def arrow(reader: Reader, cancel: Cancel, tags: Sequence[Tag], start: int, end: int, limit: int) -> bytes:
    """The same as an Arrow IPC stream: the columns of a Batch, tag by tag; the schema's metadata `tags` names
    the ids as JSON {id: name} and `next` the `from` of the next page by tag, where there is one.

    Raises InputError `api.mixed_kinds`.
    """
    kinds = {tag.kind for tag in tags}
    if len(kinds) > 1:
        raise InputError("api.mixed_kinds", kinds=", ".join(sorted(kinds)))
    kind = next(iter(kinds))
    batches: list[pa.RecordBatch] = []
    following: dict[str, int] = {}
    for tag in tags:
        cancel.check()
        found, more = _page(reader, tag, start, end, limit)
        if more is not None:
            following[tag.name] = more
        ids = np.full(len(found), tag.id, np.int32)
        values = found.value
        missing = found.missing if found.missing.any() else None
        batches.append(Batch.of(kind, ids, found.time, values, found.quality, missing=missing).data)
    names = {str(tag.id): tag.name for tag in tags}
    meta = {"tags": msgspec.json.encode(names), "next": msgspec.json.encode(following)}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema.with_metadata(meta)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def gaps(
    reader: Reader, cancel: Cancel, tag: Tag, start: int, end: int, longer: int, *, ns: bool
) -> GapsAnswer:
    """Times without a usable point."""
    cancel.check()
    found = reader.gaps(tag.id, start, end, longer)
    return GapsAnswer(
        tag.name,
        [
            GapView(
                from_=gap.start if ns else iso(gap.start),
                to=gap.end if ns else iso(gap.end),
                seconds=(gap.end - gap.start) / NS_PER_S,
                quality=gap.quality,
            )
            for gap in found
        ],
    )


def stats(reader: Reader, cancel: Cancel) -> dict[str, Any]:
    """What is stored; its times as RFC 3339."""
    cancel.check()
    found = reader.stats()
    said: dict[str, Any] = msgspec.to_builtins(found)
    for name in ("first_time", "last_time"):
        said[name] = iso(said[name]) if said[name] is not None else None
    return said


def _page(reader: Reader, tag: Tag, start: int, end: int, limit: int) -> tuple[Series, int | None]:
    """At most `limit` points, and the time at which the next page starts, None at the end.

    Points of one time are never divided between pages, so that no page repeats or misses one; should a page
    hold nothing else, it grows until they all fit."""
    found = reader.raw(tag.id, start, end, limit=limit + 1, kind=tag.kind)
    if len(found) <= limit:
        return found, None
    following = int(found.time[limit])
    keep = int(np.searchsorted(found.time, following, side="left"))
    if keep == 0:
        return _page(reader, tag, start, end, 2 * limit)
    cut = Series(
        found.tag,
        found.kind,
        found.time[:keep],
        found.value[:keep],
        found.quality[:keep],
        found.missing[:keep],
    )
    return cut, following


def _aggregates(kind: Kind, asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in AGGREGATES:
            raise InputError("api.bad_aggregate", name=name, known=", ".join(AGGREGATES))
    if kind is Kind.TEXT:
        return [name for name in asked if name in ("first", "last", "count")] or ["last"]
    return list(asked)


def _stamps(times: npt.NDArray[np.int64], *, ns: bool) -> list[float | int]:
    stamps: list[float | int] = times.tolist() if ns else (times / NS_PER_MS).tolist()
    return stamps


def _raw(tag: Tag, found: Series, *, ns: bool) -> SeriesView:
    return SeriesView(
        tag=tag.name,
        unit=tag.unit,
        kind=tag.kind,
        raw=True,
        time=_stamps(found.time, ns=ns),
        value=column(found.value, found.missing),
        quality=found.quality.tolist(),
    )


def _bucketed(tag: Tag, found: Buckets | None, every: int, asked: Sequence[str], *, ns: bool) -> SeriesView:
    if found is None:
        return SeriesView(tag=tag.name, unit=tag.unit, kind=tag.kind, raw=True, time=[], value=[], quality=[])
    empty = found.count == 0
    # One quality a bucket: bad where nothing in it is usable, uncertain where something is not.
    quality = np.where(empty, Quality.BAD, np.where(found.bad > 0, Quality.UNCERTAIN, Quality.GOOD))
    columns = {
        name: column(values, empty)
        for name in _aggregates(tag.kind, asked)
        if name not in ("count", "bad") and (values := getattr(found, name)) is not None
    }
    return SeriesView(
        tag=tag.name,
        unit=tag.unit,
        kind=tag.kind,
        raw=False,
        every_ms=every / NS_PER_MS,
        time=_stamps(found.time, ns=ns),
        quality=quality.tolist(),
        count=found.count.tolist(),
        **columns,
    )
