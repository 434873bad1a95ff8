"""The outermost layer: what every request passes before anything else sees it.

1. The Host header must be a name of ours, or a page of another site could reach a loopback service by
   rebinding its own name to 127.0.0.1.
2. Below /api/v1 only what `OPEN` lists is answered without credentials; everything else, also what does not
   exist, needs a session cookie or the bearer token. A handler cannot forget this.
3. A write that comes with a cookie must carry `X-Headrace: 1`, which another origin cannot set, and an
   Origin, where the browser sends one, that is our own.
4. Every answer carries the security headers.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from headrace.api.auth import Brake, Gate
from headrace.api.config import ApiSettings, is_loopback
from headrace.api.problems import MEDIA_TYPE, ProblemDocument, document, language

BASE = "/api/v1"
OPEN = frozenset({("POST", "/session"), ("GET", "/session"), ("GET", "/healthz")})
"""(method, path below the base) of what needs no credentials."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), usb=(), serial=()"),
]
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Timed = Callable[[str, int, float], None]
"""Told of each answer: method, status, seconds."""


class Shield:
    """Wraps the application. `cookie` is the name of the session cookie."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ApiSettings,
        gate: Gate,
        brake: Brake,
        cookie: str,
        tls: bool,
        timed: Timed,
    ) -> None:
        self._app = app
        self._gate = gate
        self._brake = brake
        self._cookie = cookie
        self._timed = timed
        self._any_address = not settings.loopback
        self._names = {settings.host.lower(), *(name.lower() for name in settings.names)}
        self._scheme = "https" if tls else "http"
        self._headers = list(_HEADERS)
        if tls:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # neither WebSockets nor lifespan events are served
            return
        began = time.perf_counter()
        status = 500

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message.get("headers", [])}
                extra = [pair for pair in self._headers if pair[0] not in given]
                if b"cache-control" not in given:
                    extra.append((b"cache-control", b"no-store"))
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        try:
            refused = self._decide(scope)
            if refused is None:
                await self._app(scope, receive, dressed)
            else:
                await _answer(refused, dressed, method=scope["method"])
        finally:
            self._timed(scope["method"], status, time.perf_counter() - began)

    def _decide(self, scope: HTTPScope) -> ProblemDocument | None:
        """None lets the request pass; the scope then says who asks (`auth`, `user`)."""
        headers = _headers(scope)
        lang = language(headers.get("accept-language", ""))
        host = headers.get("host", "")
        if not self._ours(host):
            return document("api.wrong_host", 421, lang=lang, params={"host": host})
        scope["user"], scope["auth"] = None, None
        path = scope["path"]
        if not (path == BASE or path.startswith(BASE + "/")):
            return None
        method = scope["method"]
        secret = _cookie(headers.get("cookie", ""), self._cookie)
        session = self._gate.session(secret) if secret else None
        bearer = _bearer(headers.get("authorization", ""))
        address = client_address(scope)
        if bearer is not None:
            # the right token passes at any time: one misconfigured program must not lock the owner out
            if not self._gate.token_is(bearer):
                if wait := self._brake.wait_s(address):
                    return too_many(lang, wait)
                self._brake.failed(address)
                return document("api.wrong_token", 401, lang=lang)
            self._brake.passed(address)
            scope["user"], scope["auth"] = "owner", "token"
        elif session is not None:
            scope["user"], scope["auth"] = session.user, secret
        if (
            method not in _SAFE
            and (bearer is None or (method, path) == ("POST", BASE + "/session"))
            and (refused := self._forged(headers, host, lang, with_cookie=session is not None))
        ):
            return refused
        if scope["user"] is None and (method, path.removeprefix(BASE)) not in OPEN:
            return document("api.not_signed_in", 401, lang=lang)
        return None

    def _forged(
        self, headers: dict[str, str], host: str, lang: str, *, with_cookie: bool
    ) -> ProblemDocument | None:
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{self._scheme}://{host.lower()}":
            return document("api.other_origin", 403, lang=lang, params={"origin": origin})
        if with_cookie and headers.get("x-headrace") != "1":
            return document("api.no_csrf_header", 403, lang=lang)
        return None

    def _ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif ":" in name:
            name = name.rpartition(":")[0]
        if name in self._names or is_loopback(name):
            return True
        if not self._any_address:
            return False
        try:  # an address cannot be rebound
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def client_address(scope: Any) -> str:
    """Whoever is at the other end of the connection; a proxy's headers are not believed."""
    client = scope.get("client")
    return str(client[0]) if client else "?"


def too_many(lang: str, wait_s: int) -> ProblemDocument:
    return document("api.too_many_tries", 429, lang=lang, params={"seconds": wait_s}, retry_after=wait_s)


def _headers(scope: HTTPScope) -> dict[str, str]:
    """By lower-case name; of a header that stands twice the first, save cookies, which join."""
    out: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "cookie" and name in out:
            out[name] += "; " + value
        else:
            out.setdefault(name, value)
    return out


def _cookie(header: str, name: str) -> str | None:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return found.value if found else None


def _bearer(header: str) -> str | None:
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None


async def _answer(problem: ProblemDocument, send: Send, *, method: str) -> None:
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"accept-language"),
    ]
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="headrace"'))
    if problem.retry_after:
        headers.append((b"retry-after", str(problem.retry_after).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body, "more_body": False})
