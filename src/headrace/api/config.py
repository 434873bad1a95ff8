"""The `[api]` section."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from headrace.kernel.config import Duration, Port, Section, Settings

_H = 3600 * 1_000_000_000

Count = Annotated[int, msgspec.Meta(ge=1)]


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the console and the API listen, and what one request may cost.

    Loopback by default. Any other `host` needs a certificate, so that neither token nor cookie crosses a
    network in the clear; `insecure` says that something in front of the node does that.
    """

    host: str = "127.0.0.1"
    port: Port = 8088
    names: tuple[str, ...] = ()  # further host names under which browsers may ask
    certificate: str = ""  # PEM files, relative to the configuration
    key: str = ""
    insecure: bool = False
    session: Duration = Duration(12 * _H)  # how long a browser stays signed in
    max_points: Count = 5_000  # of one curve in one answer of /series
    max_rows: Count = 1_000_000  # of one answer of /history/query
    max_streams: Count = 256  # browsers and programs that listen at once

    @property
    def loopback(self) -> bool:
        """Nothing outside this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(api: ApiSettings, settings: Settings) -> Iterable[tuple[str, str, dict[str, Any]]]:
    if bool(api.certificate) != bool(api.key):
        yield ("key" if api.certificate else "certificate"), "api.certificate_without_key", {}
    for name in ("certificate", "key"):
        given = getattr(api, name)
        if given and not settings.path(given).is_file():
            yield name, "api.no_such_file", {"path": str(settings.path(given))}
    if not api.loopback and not api.certificate and not api.insecure:
        yield "host", "api.needs_certificate", {"host": api.host}
    if api.session < 60_000_000_000:
        yield "session", "api.session_too_short", {}


API: Section[ApiSettings] = Section("api", ApiSettings, check=_check)
