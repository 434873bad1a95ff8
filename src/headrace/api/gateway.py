"""The health of what stands between machines and history: what edges, ingest and bus last said of themselves.

Roles send `status.<node>.<role>` once a second, as JSON objects of their own; this board keeps the newest of
each with the moment it came, so silence shows. It adds what a role cannot say of itself and renders codes in
both languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from headrace.kernel import messages
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock, iso
from headrace.kernel.errors import HeadraceError
from headrace.kernel.ports import Bus, StreamState

SILENT_S = 5.0
"""A role that said nothing for this long is taken for silent; it speaks once a second."""

_log = structlog.get_logger(__name__)


class _Heard(msgspec.Struct, frozen=True):
    said: dict[str, Any]
    wall: int  # UTC ns
    monotonic: int


class GatewayBoard:
    """What was heard, by role. `edges` are the sources that the configuration declares."""

    def __init__(self, edges: Sequence[str], clock: Clock) -> None:
        self.edges = tuple(edges)
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._since = clock.monotonic()
        self._bus: dict[str, Any] = {}
        self.history: dict[str, Any] = {}

    def hear(self, role: str, payload: bytes) -> None:
        """Take one status message; what is not a JSON object is logged and left."""
        try:
            said = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.DecodeError as error:
            _log.warning("status_unreadable", role=role, reason=str(error))
            return
        self._heard[role] = _Heard(said, self._clock.now(), self._clock.monotonic())

    async def look(self, bus: Bus, streams: Sequence[str]) -> None:
        """Ask the bus how full its streams are."""
        found: dict[str, Any] = {}
        try:
            for name in streams:
                state: StreamState = await bus.state(name)
                found[name] = {
                    "messages": state.messages,
                    "bytes": state.bytes,
                    "first": state.first,
                    "last": state.last,
                }
            self._bus = {"ok": True, "streams": found, "error": None}
        except HeadraceError as error:
            self._bus = {"ok": False, "streams": {}, "error": _error(error.code, error.params)}

    def silent(self, role: str) -> bool:
        """True where `role` has not spoken for `SILENT_S`, nor since the start where that is as long ago."""
        heard = self._heard.get(role)
        last = heard.monotonic if heard else self._since
        return self._clock.monotonic() - last > SILENT_S * NS_PER_S

    def roles(self) -> dict[str, bool]:
        """Every role that is expected or was heard; True where it speaks."""
        names = {*self.edges, *self._heard}
        return {name: not self.silent(name) for name in sorted(names)}

    def connections(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By connection name: the edge that serves it, and what that edge says of it."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for edge in self.edges:
            heard = self._heard.get(edge)
            for connection in heard.said.get("connections", []) if heard else []:
                if isinstance(connection, dict) and isinstance(connection.get("name"), str):
                    found[connection["name"]] = (edge, connection)
        return found

    def edge_of(self, connection: str) -> str | None:
        """The edge that serves `connection`; with one edge that one, else None where nobody says so."""
        found = self.connections().get(connection)
        if found:
            return found[0]
        return self.edges[0] if len(self.edges) == 1 else None

    def values_per_s(self) -> float:
        """Read by all connections of the edges that speak."""
        return sum(
            float(connection.get("values_per_s") or 0.0)
            for edge, connection in self.connections().values()
            if not self.silent(edge)
        )

    def view(self) -> dict[str, Any]:
        """GET /gateway."""
        edges = []
        for name in self.edges:
            heard = self._heard.get(name)
            said = dict(heard.said) if heard else {"connections": []}
            said["connections"] = [_rendered(c) for c in said.get("connections", []) if isinstance(c, dict)]
            edges.append({**said, "source": name, **self._stamp(name)})
        ingest = self._heard.get("ingest")
        return {
            "time": iso(self._clock.now()),
            "edges": edges,
            "ingest": {**(ingest.said if ingest else {}), **self._stamp("ingest")},
            "bus": self._bus,
            "history": self.history,
        }

    def _stamp(self, role: str) -> dict[str, Any]:
        heard = self._heard.get(role)
        age = (self._clock.monotonic() - heard.monotonic) / NS_PER_MS if heard else None
        return {
            "updated": iso(heard.wall) if heard else None,
            "age_ms": age,
            "silent": self.silent(role),
        }


def _rendered(connection: Mapping[str, Any]) -> dict[str, Any]:
    """A connection with its error in both languages."""
    error = connection.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return {**connection, "error": None}
    # A text that the edge gives stands: a plugin's codes are in the edge's own table only.
    return {**connection, "error": {**_error(error["code"], error.get("params") or {}), **error}}


def _error(code: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": code, **{lang: messages.render(code, lang, **params) for lang in messages.LANGS}}
