"""Writing to machines: checked whole, noted before, done by the edge, noted after.

A request is checked as a whole before anything is written. Then every write has its row in the audit; only
then does the edge get the command. An edge that does not answer in time leaves "unanswered" in the audit,
which does not claim that nothing was done.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec
import structlog

from headrace.api.audit import Audit, Intent, Outcome
from headrace.api.gateway import GatewayBoard
from headrace.api.live import LiveValues
from headrace.api.problems import Fault, Refused, fault
from headrace.api.values import to_json, written
from headrace.api.views import WriteAnswer, WriteOutcome, WriteRequest
from headrace.kernel import messages
from headrace.kernel.clock import Clock, iso
from headrace.kernel.errors import BusUnavailable, HeadraceError, InputError
from headrace.kernel.model import Tag
from headrace.kernel.ports import Bus

MOST = 100
"""Writes in one request."""

TIMEOUT_S = 6.0
"""More than the edge itself gives a device."""

_log = structlog.get_logger(__name__)


class _Result(msgspec.Struct, frozen=True):
    """One result as the edge answers it."""

    tag: str
    ok: bool
    readback: float | int | bool | str | None = None
    time: int = 0
    code: str = ""
    params: dict[str, Any] = {}


class _Reply(msgspec.Struct, frozen=True):
    results: list[_Result] = []
    error: dict[str, Any] | None = None


class Writing:
    """Carries out writes on behalf of whoever asks."""

    def __init__(
        self,
        node: str,
        bus: Bus,
        live: LiveValues,
        gateway: GatewayBoard,
        audit: Audit,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._node = node
        self._bus = bus
        self._live = live
        self._gateway = gateway
        self._audit = audit
        self._clock = clock
        self._timeout_s = timeout_s

    async def write(self, request: WriteRequest, *, by: str, address: str) -> WriteAnswer:
        """Raises Refused (400) with every fault where anything is wrong with the request; then nothing has
        been written and nothing noted."""
        checked = self._check(request)
        id_ = secrets.token_hex(8)
        intents = [
            Intent(tag.name, tag.machine, to_json(value), self._live.value(self._live.by_name[tag.name]))
            for tag, value in checked
        ]
        rows = await asyncio.to_thread(
            self._audit.intend,
            id_,
            intents,
            by=by,
            address=address,
            reason=request.reason,
            time=self._clock.now(),
        )
        # From here on the outcome is noted also where the asker goes away.
        return await asyncio.shield(self._carry_out(id_, checked, rows, by=by, reason=request.reason))

    async def _carry_out(
        self, id_: str, checked: list[tuple[Tag, Any]], rows: list[int], *, by: str, reason: str
    ) -> WriteAnswer:
        by_edge: dict[str | None, list[tuple[Tag, Any]]] = {}
        for tag, value in checked:
            by_edge.setdefault(self._gateway.edge_of(tag.source), []).append((tag, value))
        answered = await asyncio.gather(
            *(self._ask(edge, id_, writes, by=by, reason=reason) for edge, writes in by_edge.items())
        )
        results = {tag: result for part in answered for tag, result in part.items()}
        outcomes = [results[tag.name] for tag, _ in checked]
        await asyncio.to_thread(
            self._audit.complete,
            rows,
            [Outcome(r.ok, to_json(r.readback), r.code, r.params) for r in outcomes],
            time=self._clock.now(),
        )
        _log.info(
            "written",
            request=id_,
            by=by,
            tags=[r.tag for r in outcomes],
            failed=sum(not r.ok for r in outcomes),
        )
        return WriteAnswer(id_, [_outcome(r) for r in outcomes])

    def _check(self, request: WriteRequest) -> list[tuple[Tag, Any]]:
        if not request.writes:
            raise InputError("api.nothing_to_write")
        if len(request.writes) > MOST:
            raise InputError("api.too_many_writes", limit=MOST)
        faults: list[Fault] = []
        checked: list[tuple[Tag, Any]] = []
        seen: set[str] = set()
        for n, item in enumerate(request.writes):
            row = self._live.by_name.get(item.tag)
            at = f"writes[{n}].tag"
            if row is None or not self._live.active[row]:
                faults.append(fault(at, "api.no_such_tag", tag=item.tag))
            elif item.tag in seen:
                faults.append(fault(at, "api.write_twice", tag=item.tag))
            elif not self._live.tags[row].writable:
                faults.append(fault(at, "api.write_not_allowed", tag=item.tag))
            else:
                try:
                    checked.append((self._live.tags[row], written(self._live.tags[row], item.value)))
                except InputError as error:
                    faults.append(fault(f"writes[{n}].value", error.code, **error.params))
            seen.add(item.tag)
        if faults:
            raise Refused("api.bad_request", 400, errors=tuple(faults))
        return checked

    async def _ask(
        self, edge: str | None, id_: str, writes: list[tuple[Tag, Any]], *, by: str, reason: str
    ) -> dict[str, _Result]:
        """A result for each write, whatever happens."""
        names = [tag.name for tag, _ in writes]
        if edge is None:
            return {
                name: _Result(name, ok=False, code="api.write_no_edge", params={"tag": name})
                for name in names
            }
        command = {
            "id": id_,
            "by": by,
            "reason": reason,
            "writes": [{"tag": tag.name, "value": value} for tag, value in writes],
        }
        try:
            raw = await self._bus.request(
                f"cmd.{self._node}.{edge}.write", msgspec.json.encode(command), timeout_s=self._timeout_s
            )
            reply = msgspec.json.decode(raw, type=_Reply)
        except (BusUnavailable, msgspec.DecodeError) as error:
            _log.warning("write_unanswered", request=id_, edge=edge, reason=str(error))
            return {name: _Result(name, ok=False, code="api.write_unanswered") for name in names}
        except HeadraceError as error:
            return {name: _Result(name, ok=False, code=error.code, params=error.params) for name in names}
        if reply.error is not None:
            code, params = str(reply.error.get("code", "")), dict(reply.error.get("params") or {})
            return {name: _Result(name, ok=False, code=code, params=params) for name in names}
        given = {result.tag: result for result in reply.results}
        return {
            name: given.get(name) or _Result(name, ok=False, code="api.write_unanswered") for name in names
        }


def _outcome(result: _Result) -> WriteOutcome:
    code = result.code
    return WriteOutcome(
        tag=result.tag,
        ok=result.ok,
        readback=to_json(result.readback),
        time=iso(result.time) if result.time else None,
        code=code or None,
        params=result.params,
        zh=messages.render(code, "zh", **result.params) if code else "",
        en=messages.render(code, "en", **result.params) if code else "",
    )
