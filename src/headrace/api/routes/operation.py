"""One way to declare an operation: id, summary and the errors it can answer, all of them in OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import SkipValidation

from headrace.api.context import Context
from headrace.api.problems import MEDIA_TYPE, ProblemDocument

Ctx = NamedDependency[SkipValidation[Context]]
"""The Context, as the handler argument `ctx`."""

_METHODS: Mapping[str, Callable[..., Any]] = {"GET": get, "POST": post, "DELETE": delete}
WHY = {
    400: "the request has faults; `errors` lists them",
    401: "not signed in",
    403: "a forged write, or not allowed",
    404: "what the address names does not exist",
    409: "not possible in the present state",
    413: "the body is too large",
    429: "too many tries; wait `retry_after` seconds",
    503: "a part of the node does not answer, or is busy; try again",
}
"""What a status means, in the description."""

Handler = Callable[..., Any]


def operation(
    method: str,
    path: str,
    id_: str,
    summary: str,
    *,
    tag: str,
    errors: tuple[int, ...] = (),
    open_: bool = False,
    status: int = 200,
    **more: Any,
) -> Callable[[Handler], HTTPRouteHandler]:
    """Decorates a handler. `errors`: statuses besides 401, which every operation but the open ones has, and
    500; their bodies are ProblemDocuments. The docstring of the handler is its description."""
    statuses = sorted({*errors, 500, *(() if open_ else (401,)), *((403,) if method != "GET" else ())})
    described = {
        code: ResponseSpec(
            ProblemDocument,
            generate_examples=False,
            description=WHY.get(code, HTTPStatus(code).phrase),
            media_type=MEDIA_TYPE,
        )
        for code in statuses
    }
    declared = {**more.pop("responses", {}), **described}

    def decorate(function: Handler) -> HTTPRouteHandler:
        made: HTTPRouteHandler = _METHODS[method](
            path,
            operation_id=id_,
            summary=summary,
            tags=[tag],
            responses=declared,
            status_code=status,
            opt={"open": open_},
            **more,
        )(function)
        return made

    return decorate
