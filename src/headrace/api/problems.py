"""Errors as RFC 9457 problem documents, in both languages, never with a traceback."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from headrace.kernel import messages
from headrace.kernel.errors import ConfigError, HeadraceError, Unavailable

_log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class Fault(msgspec.Struct, frozen=True):
    """One of several faults of a request: where it stands and what it is."""

    at: str  # a query parameter, or a JSON path of the body such as writes[2].value
    code: str
    zh: str
    en: str
    params: dict[str, Any] = {}


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong. `code` is a row of the message table; `zh` and `en` say what, why and how to mend;
    `detail` is the one of them that the request's Accept-Language prefers. `incident` names the log entry
    of an error that should not have happened."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    zh: str
    en: str
    params: dict[str, Any] = {}
    errors: tuple[Fault, ...] = ()
    incident: str = ""
    retry_after: int = 0  # seconds


def language(accept: str) -> str:
    """ "zh" or "en": what Accept-Language (RFC 9110 §12.5.4) prefers; English where it says neither."""
    best, best_q = "en", 0.0
    for part in accept.lower().split(","):
        tag, _, rest = part.strip().partition(";")
        try:
            q = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            continue
        name = tag.split("-")[0]
        if name in ("zh", "en") and q > best_q:
            best, best_q = name, q
    return best


def fault(at: str, code: str, **params: Any) -> Fault:
    zh, en = (messages.render(code, lang, **params) for lang in messages.LANGS)
    return Fault(at, code, zh, en, _plain(params))


def document(
    code: str,
    status: int,
    *,
    lang: str = "en",
    params: dict[str, Any] | None = None,
    errors: tuple[Fault, ...] = (),
    incident: str = "",
    retry_after: int = 0,
) -> ProblemDocument:
    params = params or {}
    zh, en = (messages.render(code, name, **params) for name in messages.LANGS)
    return ProblemDocument(
        type=f"urn:headrace:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=zh if lang == "zh" else en,
        code=code,
        zh=zh,
        en=en,
        params=_plain(params),
        errors=errors,
        incident=incident,
        retry_after=retry_after,
    )


class Refused(HeadraceError):
    """A request with several faults, or one that has to wait; carries what a plain HeadraceError cannot."""

    def __init__(
        self, code: str, status: int, *, errors: tuple[Fault, ...] = (), retry_after: int = 0, **params: Any
    ) -> None:
        super().__init__(code, **params)
        self.status = status
        self.errors = errors
        self.retry_after = retry_after


def of_exception(error: Exception, *, lang: str, method: str, path: str) -> ProblemDocument:
    """The document of anything that a handler may raise."""
    if isinstance(error, Refused):
        return document(
            error.code,
            error.status,
            lang=lang,
            params=error.params,
            errors=error.errors,
            retry_after=error.retry_after,
        )
    if isinstance(error, ConfigError):
        faults = tuple(fault(p.key, p.code, **p.params) for p in error.problems)
        return document(error.code, error.status, lang=lang, params=error.params, errors=faults)
    if isinstance(error, HeadraceError):
        if error.status >= 500 and not isinstance(error, Unavailable):
            return _incident(error, error.code, error.status, lang, method, path, error.params)
        return document(error.code, error.status, lang=lang, params=error.params)
    if isinstance(error, ValidationException):
        return document("api.bad_request", 400, lang=lang, errors=_faults(error))
    if isinstance(error.__cause__, SerializationException):  # litestar says so by a ClientException
        return document("api.not_json", 400, lang=lang, params={"reason": _reason(error)})
    if isinstance(error, RecursionError) and "deserializing" in str(error):  # msgspec, of the body
        return document("api.nested_too_deep", 400, lang=lang)
    if isinstance(error, NotFoundException):
        return document("api.no_such_path", 404, lang=lang, params={"path": path})
    if isinstance(error, MethodNotAllowedException):
        return document("api.method_not_allowed", 405, lang=lang, params={"method": method, "path": path})
    if isinstance(error, HTTPException) and error.status_code < 500:
        code = "api.too_large" if error.status_code == 413 else "api.bad_request"
        errors = () if error.status_code == 413 else (fault("", "api.bad_value", reason=error.detail),)
        return document(code, error.status_code, lang=lang, errors=errors)
    return _incident(error, "api.incident", 500, lang, method, path, {})


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error)


def _faults(error: ValidationException) -> tuple[Fault, ...]:
    extra = error.extra if isinstance(error.extra, list) else []
    found = [
        fault(str(item.get("key", "")), "api.bad_value", reason=str(item.get("message", "")))
        for item in extra
        if isinstance(item, dict)
    ]
    return tuple(found) or (fault("", "api.bad_value", reason=error.detail),)


def _incident(
    error: Exception, code: str, status: int, lang: str, method: str, path: str, params: dict[str, Any]
) -> ProblemDocument:
    incident = secrets.token_hex(6)
    _log.error("request_failed", incident=incident, method=method, path=path, code=code, exc_info=error)
    return document(code, status, lang=lang, params={**params, "incident": incident}, incident=incident)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Params as JSON can carry them."""
    return {
        k: v if isinstance(v, str | int | float | bool | type(None) | messages.Text) else str(v)
        for k, v in params.items()
    }
