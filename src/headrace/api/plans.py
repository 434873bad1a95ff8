"""Which requests a scan of a connection takes, worked out from the configuration as the edge does it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from headrace.api.views import PlanRequest, PlanView
from headrace.edge.config import EdgeSettings
from headrace.edge.explain import PlanReport, plan_report
from headrace.kernel.errors import NotFound


class Plans:
    """The plans of one edge's configuration, made once."""

    def __init__(self, edge: EdgeSettings | None, file: Path) -> None:
        self._edge = edge
        self._file = file
        self._reports: dict[str, PlanReport] | None = None
        self._lock = asyncio.Lock()

    async def of(self, connection: str) -> PlanView:
        """Raises NotFound `api.no_such_connection`."""
        async with self._lock:
            if self._reports is None:
                self._reports = await asyncio.to_thread(self._make)
        report = self._reports.get(connection)
        if report is None:
            raise NotFound("api.no_such_connection", connection=connection)
        return PlanView(
            requests=[msgspec.convert(r, PlanRequest, from_attributes=True) for r in report.requests],
            tags=report.tags,
            one_per_tag=report.one_per_tag,
            ratio=report.ratio,
        )

    def _make(self) -> dict[str, PlanReport]:
        if self._edge is None:
            return {}
        return {report.name: report for report in plan_report(self._edge, self._file)}
