"""Which requests a scan of a connection takes: asked of the edge that does it, else worked out from the
configuration as the edge would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from headrace.api.views import PlanRequest, PlanView
from headrace.edge import EdgeSettings, PlanReport, plan_report
from headrace.kernel.errors import BusUnavailable, NotFound
from headrace.kernel.ports import Bus

_TIMEOUT_S = 2.0


class Plans:
    """The plans of one edge."""

    def __init__(self, edge: EdgeSettings | None, file: Path, node: str, bus: Bus) -> None:
        self._edge = edge
        self._file = file
        self._node = node
        self._bus = bus
        self._configured: dict[str, PlanReport] | None = None
        self._lock = asyncio.Lock()

    async def of(self, connection: str) -> PlanView:
        """Raises NotFound `api.no_such_connection`."""
        if self._edge is None or connection not in {c.name for c in self._edge.connections}:
            raise NotFound("api.no_such_connection", connection=connection)
        report = await self._ask(self._edge.name, connection)
        if report is None:
            async with self._lock:
                if self._configured is None:
                    made = await asyncio.to_thread(plan_report, self._edge, self._file)
                    self._configured = {report.name: report for report in made}
            report = self._configured[connection]
        return PlanView(
            requests=[msgspec.convert(r, PlanRequest, from_attributes=True) for r in report.requests],
            tags=report.tags,
            one_per_tag=report.one_per_tag,
            ratio=report.ratio,
            isolated=list(report.isolated),
        )

    async def _ask(self, edge: str, connection: str) -> PlanReport | None:
        """None where the edge does not answer, or not with a plan."""
        question = msgspec.json.encode({"connection": connection})
        try:
            raw = await self._bus.request(f"cmd.{self._node}.{edge}.plan", question, timeout_s=_TIMEOUT_S)
            return msgspec.json.decode(raw, type=PlanReport)
        except (BusUnavailable, msgspec.DecodeError):
            return None
