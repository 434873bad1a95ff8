"""Signing in and out."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.params import JSONBody

from headrace.api.context import Context
from headrace.api.problems import Refused
from headrace.api.routes.operation import Ctx, operation
from headrace.api.shield import client_address
from headrace.api.views import NodeView, SessionView, SignIn
from headrace.kernel.clock import NS_PER_S, iso


def _view(ctx: Context, user: str | None, expires: int | None) -> SessionView:
    node = ctx.node
    return SessionView(
        signed_in=user is not None,
        user=user,
        expires=iso(expires) if expires is not None else None,
        node=NodeView(node.name, node.profile, node.title, node.timezone, node.version),
    )


def _cookie(ctx: Context, secret: str, seconds: int) -> Cookie:
    return Cookie(
        key=ctx.cookie,
        value=secret,
        path="/",
        max_age=seconds,
        secure=ctx.tls,
        httponly=True,
        samesite="strict",
    )


@operation(
    "GET", "/session", "getSession", "Who is signed in, and which node this is", tag="session", open_=True
)
async def get_session(request: Request[Any, Any, Any], ctx: Ctx) -> SessionView:
    """Answers without credentials too, so that the sign-in page can say which node it belongs to."""
    secret = request.scope.get("auth")
    session = ctx.gate.session(secret) if secret and secret != "token" else None
    return _view(ctx, request.scope.get("user"), session.expires if session else None)


@operation(
    "POST",
    "/session",
    "signIn",
    "Trade the owner's token for a session",
    tag="session",
    open_=True,
    errors=(400, 401, 429),
)
async def sign_in(request: Request[Any, Any, Any], ctx: Ctx, data: JSONBody[SignIn]) -> Response[SessionView]:
    """Sets the session cookie: HttpOnly, SameSite=Strict, and Secure where the node serves TLS. Wrong tokens
    are slowed down per address."""
    address = client_address(request.scope)
    if wait := ctx.brake.wait_s(address):
        raise Refused("api.too_many_tries", 429, retry_after=wait, seconds=wait)
    if not ctx.gate.token_is(data.token):
        ctx.brake.failed(address)
        raise Refused("api.wrong_token", 401)
    ctx.brake.passed(address)
    secret, session = await asyncio.to_thread(ctx.gate.sign_in, "owner")
    seconds = (session.expires - ctx.clock.now()) // NS_PER_S
    return Response(_view(ctx, session.user, session.expires), cookies=[_cookie(ctx, secret, seconds)])


@operation("DELETE", "/session", "signOut", "End the session", tag="session", status=200)
async def sign_out(request: Request[Any, Any, Any], ctx: Ctx) -> Response[SessionView]:
    """The cookie is worth nothing afterwards, also to whoever kept a copy."""
    secret = request.scope.get("auth")
    if secret and secret != "token":
        await asyncio.to_thread(ctx.gate.sign_out, secret)
    return Response(_view(ctx, None, None), cookies=[_cookie(ctx, "", 0)])


HANDLERS = [get_session, sign_in, sign_out]
