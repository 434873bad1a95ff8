"""Machines, tags and the plant in a few figures: live values, no history."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar.params import FromPath, FromQuery, QueryParameter

from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import MachineDetail, MachineView, Summary, TagPage, TagView
from headrace.kernel.errors import NotFound


@operation("GET", "/summary", "getSummary", "The plant in a few figures", tag="machines")
async def get_summary(ctx: Ctx) -> Summary:
    return ctx.plant.summary()


@operation("GET", "/machines", "listMachines", "All machines in the order of the line", tag="machines")
async def list_machines(ctx: Ctx) -> list[MachineView]:
    return ctx.plant.machine_list()


@operation(
    "GET", "/machines/{id:str}", "getMachine", "One machine with its tags", tag="machines", errors=(404,)
)
async def get_machine(ctx: Ctx, id: FromPath[str]) -> MachineDetail:
    found = ctx.plant.machine_detail(id)
    if found is None:
        raise NotFound("api.no_such_machine", machine=id)
    return found


@operation("GET", "/tags", "listTags", "Search the tags of the node", tag="tags", errors=(400, 503))
async def list_tags(
    ctx: Ctx,
    search: Annotated[str, QueryParameter(max_length=200)] = "",
    machine: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=5000)] = 100,
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
) -> TagPage:
    """Every word of `search` must stand in name, title (either language) or unit. Tags that are no longer
    configured are found too, for their history; they say `active: false`."""
    tags, total = await asyncio.to_thread(
        ctx.catalog.search, search, machine=machine or None, limit=limit, offset=offset
    )
    return TagPage([ctx.plant.tag(tag) for tag in tags], total)


@operation("GET", "/tags/{name:path}", "getTag", "One tag with its newest value", tag="tags", errors=(404,))
async def get_tag(ctx: Ctx, name: FromPath[str]) -> TagView:
    row = ctx.live.by_name.get(name.lstrip("/"))
    if row is None:
        raise NotFound("api.no_such_tag", tag=name.lstrip("/"))
    return ctx.plant.tag(ctx.live.tags[row])


HANDLERS = [get_summary, list_machines, get_machine, list_tags, get_tag]
