"""A small client of a running node's HTTP API: DIR/run/api.json says where, DIR/run/owner.token lets in."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from headrace.kernel.errors import HeadraceError, Unavailable

_TIMEOUT_S = 60.0


class ApiProblem(HeadraceError):
    """The API answered with an RFC 9457 problem; its code is a row of the same message table."""


class NodeApi:
    """Requests to one node."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self.url = url

    def get(self, path: str, query: list[tuple[str, str]] | None = None) -> Any:
        """The JSON of GET /api/v1<path>. Raises Unavailable (cli.node_silent) or ApiProblem."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            target = f"/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
            connection.request("GET", target, headers=self._headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable("cli.node_silent", url=self.url, reason=str(error)) from None
        finally:
            connection.close()
        if answer.status >= 400:
            params = body.get("params") or {}
            if "code" not in body:
                raise ApiProblem("cli.node_refused", status=answer.status, reason=body.get("detail", ""))
            raise ApiProblem(body["code"], **params)
        return body


def find_node(data: Path) -> NodeApi | None:
    """The node that runs on `data`, None where none answers."""
    try:
        url = json.loads((data / "run" / "api.json").read_text(encoding="utf-8"))["url"]
        token = (data / "run" / "owner.token").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, KeyError):
        return None
    node = NodeApi(url, token)
    try:
        node.get("/session")
    except (Unavailable, ApiProblem):
        return None
    return node


def running_node(data: Path) -> NodeApi:
    """The same; raises Unavailable (cli.no_node) where there is none."""
    node = find_node(data)
    if node is None:
        raise Unavailable("cli.no_node", data=str(data))
    return node
