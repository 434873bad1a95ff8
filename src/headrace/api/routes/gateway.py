"""The gateway: health of edges, ingest, bus and history, and the plan of a connection."""

from __future__ import annotations

from typing import Any

from litestar.params import FromPath

from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import PlanView


@operation("GET", "/gateway", "getGateway", "Health of what carries values to history", tag="gateway")
async def get_gateway(ctx: Ctx) -> dict[str, Any]:
    """`edges`: what each edge last said, with `updated`, `age_ms` and `silent`; `ingest` likewise; `bus`: how
    full its streams are; `history`: what is stored. The same as the `gateway` event."""
    return ctx.gateway.view()


@operation(
    "GET",
    "/gateway/connections/{name:str}/plan",
    "getPlan",
    "Which requests one scan of a connection takes",
    tag="gateway",
    errors=(404, 503),
)
async def get_plan(ctx: Ctx, name: FromPath[str]) -> PlanView:
    """As the edge does it now: addresses that the device turned out not to have are left out (`isolated`).
    While no edge answers, as the configuration comes to."""
    return await ctx.plans.of(name)


HANDLERS = [get_gateway, get_plan]
