"""The event stream."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from headrace.api.problems import Refused
from headrace.api.routes.operation import Ctx, operation
from headrace.api.stream import TOPICS
from headrace.kernel.errors import InputError, NotFound


@operation(
    "GET",
    "/stream",
    "getStream",
    "Live values, alarms and health as server-sent events",
    tag="stream",
    errors=(400, 404, 503),
    responses={
        200: ResponseSpec(
            str, generate_examples=False, description="server-sent events", media_type="text/event-stream"
        )
    },
)
async def get_stream(
    request: Request[Any, Any, Any],
    ctx: Ctx,
    topics: Annotated[str, QueryParameter(max_length=100)] = ",".join(TOPICS),
    machine: FromQuery[str | None] = None,
) -> Stream:
    """`values`: {"t": ms, "v": {tag: [value, quality, ms]}}, first all tags (of `machine`, where given), then
    twice a second those that changed. `alarm`: an AlarmView each time one changes. `gateway`: as GET
    /gateway. `summary`: as GET /summary. `reset`: {"topic"}: too far behind, ask afresh. A comment every 10 s
    keeps the line open. A slow reader gets fewer, larger `values` events."""
    wanted = [topic for topic in topics.split(",") if topic]
    for topic in wanted:
        if topic not in TOPICS:
            raise InputError("api.no_such_topic", topic=topic, known=", ".join(TOPICS))
    if machine is not None and machine not in ctx.plant.machines:
        raise NotFound("api.no_such_machine", machine=machine)
    if ctx.streams.full:
        raise Refused("api.too_many_streams", 503, limit=ctx.settings.max_streams)
    secret = request.scope.get("auth")

    def may_go_on() -> bool:
        return secret == "token" or (bool(secret) and ctx.gate.session(str(secret)) is not None)

    return Stream(
        ctx.streams.listen(list(dict.fromkeys(wanted)), machine, may_go_on),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


HANDLERS = [get_stream]
