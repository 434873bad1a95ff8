"""Writes: a request from the bus, checked, sent down its line, read back, told as an event, answered.

Request (JSON): {"id", "by", "writes": [{"tag": name, "value": v}], "reason"?}. Reply: {"results": [{"tag",
"ok", "readback", "time", "code", "params"}]} in the order of the writes, `time` in UTC ns. A request whose id
has been seen returns the results of the first one, also while that is still under way.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
import structlog

from headrace.edge.line import Line
from headrace.kernel.clock import Clock
from headrace.kernel.errors import HeadraceError, InputError
from headrace.kernel.model import Kind, Tag
from headrace.kernel.ports import Write, WriteResult

log = structlog.get_logger(__name__)

_TIMEOUT_S = 4.0  # below the five seconds that a bus request waits
_REMEMBERED = 10_000  # requests

Value = float | int | bool | str


class Item(msgspec.Struct, frozen=True):
    """One value for one tag."""

    tag: str
    value: Value


class WriteRequest(msgspec.Struct, frozen=True):
    """What a client asks."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    by: str
    writes: list[Item]
    reason: str = ""


class Result(msgspec.Struct, frozen=True):
    """What became of one write; `code` is a row of the message table where it is not ok."""

    tag: str
    ok: bool
    readback: Value | None = None
    time: int = 0
    code: str = ""
    params: dict[str, Any] = {}


class Results(msgspec.Struct, frozen=True):
    results: list[Result]


class WriteEvent(msgspec.Struct, frozen=True):
    """The audit record of one write, published on `event.<node>.write`. Times are UTC ns; `before` is what
    was last read of the tag before the write."""

    id: str
    by: str
    tag: str
    value: Value
    before: Value | None
    ok: bool
    readback: Value | None
    code: str
    params: dict[str, Any]
    time: int
    reason: str


class Writes:
    """The write service of one edge. `tell` makes an event durable."""

    def __init__(
        self,
        lines: Mapping[str, Line],
        tags: Mapping[str, Tag],
        clock: Clock,
        tell: Callable[[WriteEvent], Awaitable[Any]],
    ) -> None:
        self._lines = lines  # by tag name
        self._tags = tags
        self._clock = clock
        self._tell = tell
        self._seen: OrderedDict[str, asyncio.Future[Results]] = OrderedDict()

    async def handle(self, payload: bytes) -> bytes:
        """Request in, reply out; what cannot be read is answered with {"error": {"code", "params"}}."""
        try:
            request = msgspec.json.decode(payload, type=WriteRequest)
        except msgspec.DecodeError as error:
            return error_reply(InputError("edge.bad_request", reason=str(error)))
        seen = self._seen.get(request.id)
        if seen is None:
            # the work goes on where its caller has gone away: what is written must be told
            seen = self._seen[request.id] = asyncio.ensure_future(self._execute(request))
            if len(self._seen) > _REMEMBERED:
                self._forget()
        return msgspec.json.encode(await asyncio.shield(seen))

    def _forget(self) -> None:
        for key, future in list(self._seen.items())[: len(self._seen) - _REMEMBERED]:
            if future.done():
                del self._seen[key]

    async def _execute(self, request: WriteRequest) -> Results:
        results: list[Result | None] = [None] * len(request.writes)
        before: list[Value | None] = [None] * len(request.writes)
        by_line: dict[Line, list[tuple[int, Write]]] = {}
        for n, item in enumerate(request.writes):
            tag, line = self._tags.get(item.tag), self._lines.get(item.tag)
            try:
                if tag is None or line is None:
                    raise InputError("edge.write_unknown_tag", tag=item.tag)
                write = Write(tag.id, typed(tag, item.value))
            except InputError as error:
                results[n] = Result(item.tag, False, None, self._clock.now(), error.code, error.params)
                continue
            before[n] = line.last_value(tag.id)
            by_line.setdefault(line, []).append((n, write))
        answers = await asyncio.gather(
            *(line.write([w for _, w in part], timeout_s=_TIMEOUT_S) for line, part in by_line.items())
        )
        for part, answer in zip(by_line.values(), answers, strict=True):
            for (n, _), r in zip(part, answer, strict=True):
                results[n] = self._result(request.writes[n].tag, r)
        whole = [r for r in results if r is not None]
        events = [
            WriteEvent(
                request.id, request.by, item.tag, item.value, old, r.ok, r.readback, r.code, r.params,
                r.time or self._clock.now(), request.reason,
            )
            for item, old, r in zip(request.writes, before, whole, strict=True)
        ]  # fmt: skip
        await asyncio.gather(*(self._tell(event) for event in events))
        log.info("written", id=request.id, by=request.by, writes=len(whole), ok=sum(r.ok for r in whole))
        return Results(whole)

    def _result(self, tag: str, result: WriteResult) -> Result:
        time = result.time or self._clock.now()
        return Result(tag, result.ok, result.readback, time, result.code, result.params)


def typed(tag: Tag, value: Value) -> Value:
    """`value` as the tag's kind takes it. 64-bit integers may come as text, because JSON readers round them.
    Raises InputError."""
    if not tag.writable:
        raise InputError("edge.write_not_writable", tag=tag.name)
    number: float | int
    if tag.kind is Kind.BOOL and isinstance(value, bool):
        return value
    if tag.kind is Kind.TEXT and isinstance(value, str):
        return value
    if tag.kind is Kind.F64 and isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if not math.isfinite(number):
            raise _wrong(tag, value)
    elif tag.kind in (Kind.I64, Kind.U64) and not isinstance(value, bool):
        try:
            number = int(value)
        except (ValueError, OverflowError):
            raise _wrong(tag, value) from None
        least, most = (-(2**63), 2**63 - 1) if tag.kind is Kind.I64 else (0, 2**64 - 1)
        if (isinstance(value, float) and number != value) or not least <= number <= most:
            raise _wrong(tag, value)
    else:
        raise _wrong(tag, value)
    if (tag.low is not None and number < tag.low) or (tag.high is not None and number > tag.high):
        low, high = (("-" if b is None else b) for b in (tag.low, tag.high))
        raise InputError("edge.write_out_of_range", tag=tag.name, value=value, low=low, high=high)
    return number


def _wrong(tag: Tag, value: Value) -> InputError:
    return InputError("edge.write_wrong_type", tag=tag.name, value=value, kind=tag.kind.value)


def error_reply(error: HeadraceError) -> bytes:
    """The error form of every reply on the bus."""
    return msgspec.json.encode({"error": {"code": error.code, "params": error.params}})
