"""Health, metrics, and everything that is not the API: the console."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, route
from litestar.enums import MediaType

from headrace.api import static
from headrace.api.metrics import Family, Sample
from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import HealthView
from headrace.kernel.errors import NotFound


@operation("GET", "/healthz", "getHealth", "Whether the roles of the node speak", tag="system", open_=True)
async def get_health(ctx: Ctx) -> HealthView:
    """Answers 200 as long as the API itself works, so that a supervisor does not restart it for another
    role's silence."""
    roles = ctx.gateway.roles()
    return HealthView(
        status="ok" if all(roles.values()) else "degraded",
        roles={name: "ok" if speaks else "silent" for name, speaks in roles.items()},
    )


@operation(
    "GET",
    "/metrics",
    "getMetrics",
    "Figures for Prometheus",
    tag="system",
    media_type=MediaType.TEXT,
)
async def get_metrics(ctx: Ctx) -> Response[str]:
    summary = ctx.plant.summary()
    alarms = summary.alarms
    tags = {"good": summary.good, "uncertain": summary.uncertain, "bad": summary.bad, "stale": summary.stale}
    active = {"active": alarms.active, "unacknowledged": alarms.unacknowledged, "shelved": alarms.shelved}
    families = [
        Family("headrace_tags", "gauge", "Configured tags by their newest value.", _by("state", tags)),
        Family("headrace_alarms", "gauge", "Alarms by state.", _by("state", active)),
        Family("headrace_machines", "gauge", "Machines by state.", _by("state", summary.machines)),
        Family("headrace_role_up", "gauge", "1 where the role speaks.", _by("role", ctx.gateway.roles())),
        Family("headrace_values_per_second", "gauge", "Values read.", [({}, summary.values_per_s)]),
        Family("headrace_live_points_total", "counter", "Points seen live.", [({}, float(ctx.live.points))]),
        Family("headrace_streams", "gauge", "Open event streams.", [({}, float(ctx.streams.clients))]),
    ]
    return Response(ctx.metrics.text(families), media_type="text/plain; version=0.0.4; charset=utf-8")


def _by(label: str, figures: Mapping[str, int]) -> list[Sample]:
    return [({label: name}, float(figure)) for name, figure in figures.items()]


@operation("GET", "/openapi.json", "getOpenApi", "This description", tag="system")
async def get_openapi(ctx: Ctx) -> Response[dict[str, Any]]:
    return Response(await asyncio.to_thread(ctx.description))  # a second of work, once


@route(["/", "/{path:path}"], http_method=["GET", "HEAD"], include_in_schema=False)
async def get_console(request: Request[Any, Any, Any], ctx: Ctx) -> Response[bytes]:
    path = request.scope["path"]
    if path == "/api" or path.startswith("/api/"):
        raise NotFound("api.no_such_path", path=path)
    asset, status = ctx.console.find(path)
    status, body, headers = static.answer(
        asset,
        status,
        accepts_gzip="gzip" in request.headers.get("accept-encoding", ""),
        if_none_match=request.headers.get("if-none-match", ""),
    )
    return Response(body, status_code=status, headers=headers, media_type=headers["content-type"])


HANDLERS = [get_health, get_metrics, get_openapi]
CONSOLE_HANDLERS = [get_console]
