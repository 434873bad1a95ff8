"""Writing to machines, and the audit of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Request
from litestar.params import FromQuery, JSONBody, QueryParameter

from headrace.api.routes.operation import Ctx, operation
from headrace.api.shield import client_address
from headrace.api.views import WriteAnswer, WritePage, WriteRequest


@operation("POST", "/writes", "writeValues", "Write values to machines", tag="writes", errors=(400, 413, 503))
async def post_writes(request: Request[Any, Any, Any], ctx: Ctx, data: JSONBody[WriteRequest]) -> WriteAnswer:
    """Nothing is written unless the whole request is right. Each result says what was read back; `ok` only
    where that is what was written."""
    user = str(request.scope.get("user"))
    return await ctx.writing.write(data, by=user, address=client_address(request.scope))


@operation("GET", "/writes", "listWrites", "Who wrote what, newest first", tag="writes", errors=(400, 503))
async def list_writes(
    ctx: Ctx,
    machine: FromQuery[str | None] = None,
    tag: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
) -> WritePage:
    items, total = await asyncio.to_thread(
        ctx.audit.page, machine=machine or None, tag=tag or None, limit=limit, offset=offset
    )
    return WritePage(items, total)


HANDLERS = [post_writes, list_writes]
