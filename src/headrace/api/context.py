"""What the handlers share: one Context a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from headrace.kernel.clock import Clock
from headrace.kernel.errors import Unavailable
from headrace.kernel.messages import Text
from headrace.kernel.ports import Bus

if TYPE_CHECKING:
    from headrace.api.alarms import AlarmBoard
    from headrace.api.audit import Audit
    from headrace.api.auth import Brake, Gate
    from headrace.api.config import ApiSettings
    from headrace.api.gateway import GatewayBoard
    from headrace.api.live import LiveValues
    from headrace.api.metrics import Metrics
    from headrace.api.plans import Plans
    from headrace.api.plant import Plant
    from headrace.api.queries import Queries
    from headrace.api.static import Console
    from headrace.api.stream import Streams
    from headrace.api.views import AlarmView
    from headrace.api.writing import Writing
    from headrace.history import TagCatalog
    from headrace.ui import Screens

_log = structlog.get_logger(__name__)


class NodeInfo(msgspec.Struct, frozen=True):
    """What a node says of itself."""

    name: str
    profile: str  # plant | platform | region
    title: Text
    timezone: str  # IANA name
    version: str


class Context:
    """The parts of a running API. Filled once at start, before the first request; the event loop owns it."""

    settings: ApiSettings
    node: NodeInfo
    clock: Clock
    bus: Bus
    catalog: TagCatalog
    screens: Screens
    console: Console
    cookie: str
    tls: bool
    gate: Gate
    brake: Brake
    live: LiveValues
    alarms: AlarmBoard
    gateway: GatewayBoard
    plant: Plant
    plans: Plans
    queries: Queries
    audit: Audit
    writing: Writing
    streams: Streams
    metrics: Metrics
    description: Callable[[], dict[str, Any]]  # the OpenAPI document

    def __init__(self) -> None:
        self.alarm_changed = asyncio.Event()

    async def refresh_alarms(self) -> None:
        """Bring the alarms up to date, and tell who listens what changed. Records that do not answer leave
        the alarms as they were."""
        try:
            changed = await self.alarms.refresh()
        except Unavailable as error:
            _log.warning("alarms_not_read", code=error.code, reason=str(error))
            return
        for view in changed:
            self.streams.alarms.put(view, name="alarm")

    async def act(
        self, op: str, alarm: str, *, by: str, note: str = "", minutes: float | None = None
    ) -> AlarmView:
        """Do something about an alarm; the answer is its state afterwards."""
        await self.alarms.act(op, alarm, by=by, note=note, minutes=minutes)
        await self.refresh_alarms()
        return self.alarms.get(alarm)
