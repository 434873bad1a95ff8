"""The application: all operations under /api/v1, their description as OpenAPI 3.1, the console beside them,
and the shield around everything."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, Reference, SecurityScheme, Tag
from litestar.types import ASGIApp

from headrace.api import problems
from headrace.api.context import Context
from headrace.api.problems import MEDIA_TYPE, ProblemDocument, Refused
from headrace.api.queries import Cancelled
from headrace.api.routes import alarms, gateway, machines, screens, series, session, stream, system, writes
from headrace.api.routes.operation import WHY
from headrace.api.shield import BASE, OPEN, Shield

MAX_BODY = 1 << 20

_TAGS = {
    "session": "Signing in and out.",
    "screens": "What the console shows, as data.",
    "machines": "Machines and the plant in a few figures.",
    "tags": "Tags and their newest values.",
    "history": "Stored points: curves, exact rows, gaps.",
    "alarms": "Alarms and what people do about them (ISA-18.2).",
    "gateway": "The health of what carries values.",
    "writes": "Writing to machines, and the audit of it.",
    "stream": "Live events.",
    "system": "Health and metrics.",
}


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    if isinstance(error, Cancelled):  # nobody is there to read it
        return Response(problems.document("api.busy", 503), status_code=503, media_type=MEDIA_TYPE)
    found = problems.of_exception(
        error,
        lang=problems.language(request.headers.get("accept-language", "")),
        method=request.method,
        path=request.url.path,
    )
    headers = {"vary": "accept-language"}
    if found.retry_after:
        headers["retry-after"] = str(found.retry_after)
    if found.status == 405 and (allow := getattr(error, "headers", None)):
        headers.update({k.lower(): v for k, v in allow.items()})
    return Response(found, status_code=found.status, media_type=MEDIA_TYPE, headers=headers)


def _known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The shield decides by the path; this decides by the operation, whatever path led to it."""
    if connection.scope.get("user") is None and not handler.opt.get("open"):
        raise Refused("api.not_signed_in", 401)


def _operations() -> Router:
    return Router(
        BASE,
        guards=[_known],
        route_handlers=[
            *session.HANDLERS,
            *screens.HANDLERS,
            *machines.HANDLERS,
            *series.HANDLERS,
            *alarms.HANDLERS,
            *gateway.HANDLERS,
            *writes.HANDLERS,
            *stream.HANDLERS,
            *system.HANDLERS,
        ],
    )


def build(ctx: Context) -> ASGIApp:
    """The whole application over `ctx`."""
    ctx.description = cache(partial(_describe, ctx))
    app = Litestar(
        [_operations(), *system.CONSOLE_HANDLERS],
        dependencies={"ctx": Provide(lambda: ctx, sync_to_thread=False)},
        exception_handlers={Exception: _failed},
        openapi_config=None,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        debug=False,
    )
    return Shield(
        app,
        settings=ctx.settings,
        gate=ctx.gate,
        brake=ctx.brake,
        cookie=ctx.cookie,
        tls=ctx.tls,
        timed=ctx.metrics.timed,
    )


def _describe(ctx: Context) -> dict[str, Any]:
    """The OpenAPI 3.1 document. Made by an application of its own, because litestar's own routes for it would
    answer other paths of the API, with pages."""
    app = Litestar(
        [_operations()],
        dependencies={"ctx": Provide(lambda: ctx, sync_to_thread=False)},
        openapi_config=_openapi(ctx),
        logging_config=None,
    )
    found: dict[str, Any] = msgspec.to_builtins(app.openapi_schema.to_schema())  # defaults may be structs
    for path, item in found["paths"].items():
        for method, told in item.items():
            if (method.upper(), path.removeprefix(BASE)) in OPEN:
                told["security"] = []  # litestar leaves an empty list out, which would mean the default
            if "400" in told["responses"]:  # litestar describes its own form of a validation error
                told["responses"]["400"] = told["responses"]["500"] | {"description": WHY[400]}
    return found


def _openapi(ctx: Context) -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme | Reference] = {
        "session": SecurityScheme(
            type="apiKey",
            security_scheme_in="cookie",
            name=ctx.cookie,
            description="The cookie that POST /session sets. Writes also send `X-Headrace: 1`.",
        ),
        "token": SecurityScheme(
            type="http", scheme="bearer", description="The owner's token: run/owner.token below --data."
        ),
    }
    return OpenAPIConfig(
        title="Headrace",
        version=ctx.node.version,
        summary="Machines, values, alarms and history of one node",
        description=(
            "Times are RFC 3339 with nine decimals; in series and events float milliseconds since the epoch "
            "(`times=ns`: integer nanoseconds). A value is a number, boolean, text or null; NaN and the "
            'infinities are the texts "NaN", "Infinity", "-Infinity", integers beyond 2^53 - 1 are decimal '
            "texts. `quality` is the high word of an OPC UA StatusCode: good below 0x4000, bad from 0x8000. "
            "Errors are RFC 9457 problem documents with a code and a text in Chinese and English."
        ),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(security_schemes=schemes),
        security=[{"session": []}, {"token": []}],
        use_handler_docstrings=True,
    )
