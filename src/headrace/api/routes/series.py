"""History: curves for the eye, rows for programs, gaps, and what is stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter

from headrace.api import queries
from headrace.api.context import Context
from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import GapsAnswer, RowsAnswer, SeriesAnswer
from headrace.kernel.errors import InputError, NotFound
from headrace.kernel.model import Tag

ARROW = "application/vnd.apache.arrow.stream"

Times = Literal["ms", "ns"]
Names = Annotated[list[str] | None, QueryParameter(name="tag", description="a tag's name; may be repeated")]
From = Annotated[
    str, QueryParameter(name="from", description="RFC 3339, epoch ms, or a span back such as -1h")
]
To = Annotated[str, QueryParameter(name="to", description="the same, or now; not included")]


def _tags(ctx: Context, names: list[str] | None) -> tuple[Tag, ...]:
    wanted = list(dict.fromkeys(names or ()))
    if not wanted:
        raise InputError("api.no_tags")
    if len(wanted) > queries.MOST_TAGS:
        raise InputError("api.too_many_tags", limit=queries.MOST_TAGS, count=len(wanted))
    found = []
    for name in wanted:
        row = ctx.live.by_name.get(name)
        if row is None:
            raise NotFound("api.no_such_tag", tag=name)
        found.append(ctx.live.tags[row])
    return tuple(found)


def _gone(request: Request[Any, Any, Any]) -> Callable[[], Any]:
    async def until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return until_gone


@operation("GET", "/series", "getSeries", "Curves of tags over a span", tag="history", errors=(400, 404, 503))
async def get_series(
    request: Request[Any, Any, Any],
    ctx: Ctx,
    tag: Names = None,
    from_: From = "-1h",
    to: To = "now",
    points: Annotated[int, QueryParameter(ge=2, le=1_000_000)] = 1000,
    every: Annotated[str, QueryParameter(description="width of a bucket such as 60s; else chosen")] = "",
    agg: Annotated[
        str, QueryParameter(description="of count, min, max, mean, sum, first, last")
    ] = "min,max,mean",
    times: FromQuery[Times] = "ms",
) -> SeriesAnswer:
    """Every stored point where `points` are enough for them, else buckets whose width lets `points` cover the
    span. Buckets are aligned to the epoch and stamped with their start; those without a point are left out. A
    bucket's quality is 0 where all its points are usable, 0x4000 where some, 0x8000 where none."""
    points = min(points, ctx.queries.max_points)
    start, end = queries.span(from_, to, ctx.clock.now(), ns=times == "ns")
    width = queries.interval(every) if every else 0
    if width and (count := -(-(end - start) // width)) > ctx.queries.max_points:
        raise InputError("api.too_many_points", count=count, limit=ctx.queries.max_points)
    aggregates = tuple(name for name in agg.split(",") if name)
    query = queries.SeriesQuery(_tags(ctx, tag), start, end, points, width, aggregates, times == "ns")
    return await ctx.queries.run(partial(queries.series, query=query), gone=_gone(request))


@operation(
    "GET",
    "/history/query",
    "queryHistory",
    "Stored points exactly as they are stored",
    tag="history",
    errors=(400, 404, 503),
    responses={
        200: ResponseSpec(
            RowsAnswer, generate_examples=False, description="JSON; with format=arrow an Arrow IPC stream"
        )
    },
)
async def get_rows(
    request: Request[Any, Any, Any],
    ctx: Ctx,
    tag: Names = None,
    from_: From = "-1h",
    to: To = "now",
    limit: Annotated[int, QueryParameter(ge=1)] = 100_000,
    format: FromQuery[Literal["json", "arrow"]] = "json",
    times: FromQuery[Times] = "ms",
) -> Response[Any]:
    """At most `limit` points of each tag; `next` is the `from` of the next page. Times are RFC 3339 with nine
    decimals, or integer nanoseconds with `times=ns`, which `from` and `to` then are too."""
    ns = times == "ns"
    start, end = queries.span(from_, to, ctx.clock.now(), ns=ns)
    tags = _tags(ctx, tag)
    limit = min(limit, ctx.queries.max_rows // len(tags) or 1)
    gone = _gone(request)
    if format == "arrow":
        body = await ctx.queries.run(
            partial(queries.arrow, tags=tags, start=start, end=end, limit=limit), gone=gone
        )
        return Response(body, media_type=ARROW)
    answer = await ctx.queries.run(
        partial(queries.rows, tags=tags, start=start, end=end, limit=limit, ns=ns), gone=gone
    )
    return Response(answer)


@operation(
    "GET", "/history/gaps", "listGaps", "Times without a usable point", tag="history", errors=(400, 404, 503)
)
async def get_gaps(
    request: Request[Any, Any, Any],
    ctx: Ctx,
    tag: Names = None,
    from_: From = "-1h",
    to: To = "now",
    longer: Annotated[str, QueryParameter(description="a duration such as 90s")] = "60s",
    times: FromQuery[Times] = "ms",
) -> GapsAnswer:
    """Of one tag. A usable point has a value and a quality that is not bad."""
    ns = times == "ns"
    start, end = queries.span(from_, to, ctx.clock.now(), ns=ns)
    tags = _tags(ctx, tag)
    if len(tags) > 1:
        raise InputError("api.too_many_tags", limit=1, count=len(tags))
    ask = partial(queries.gaps, tag=tags[0], start=start, end=end, longer=queries.interval(longer), ns=ns)
    return await ctx.queries.run(ask, gone=_gone(request))


@operation(
    "GET", "/history/stats", "getHistoryStats", "How much is stored, and how", tag="history", errors=(503,)
)
async def get_stats(ctx: Ctx) -> dict[str, Any]:
    return await ctx.queries.run(queries.stats)


HANDLERS = [get_series, get_rows, get_gaps, get_stats]
