"""A small client of the node's HTTP API, as a script of a user would be: standard library only."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headrace.kernel.errors import Unavailable


class Api:
    """Requests with the owner's token. Every method raises Unavailable where the node does not answer, or
    answers with an error (its text is in the `reason` parameter)."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 5.0) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout_s = timeout_s

    def get(self, path: str, **query: Any) -> Any:
        """JSON of GET /api/v1`path`; a list among the query values repeats its key."""
        full = f"/api/v1{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        return json.loads(self._request("GET", full)[1])

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """JSON of POST /api/v1`path`, None where the answer has no content."""
        data = self._request("POST", f"/api/v1{path}", json.dumps(body).encode())[1]
        return json.loads(data) if data else None

    def page(self, path: str) -> tuple[str, bytes]:
        """Content type and body of any address of the node."""
        return self._request("GET", path)

    def events(self, topics: str, wanted: int) -> list[tuple[str, Any]]:
        """The first `wanted` events (name, data) of the live stream."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        found: list[tuple[str, Any]] = []
        try:
            headers = {**self._headers, "Accept": "text/event-stream"}
            connection.request("GET", f"/api/v1/stream?topics={quote(topics)}", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Unavailable("demo.api_refused", path="/stream", reason=f"{answer.status}")
            name, data = "message", ""
            while len(found) < wanted:
                line = answer.readline().decode().rstrip("\r\n")
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line and data:
                    found.append((name, json.loads(data)))
                    name, data = "message", ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable("demo.api_refused", path="/stream", reason=str(error)) from error
        finally:
            connection.close()
        return found

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                "demo.api_silent", path=path, reason=str(error) or type(error).__name__
            ) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise Unavailable("demo.api_refused", path=path, reason=_reason(answer.status, data))
        return answer.headers.get("Content-Type", ""), data


def tag_path(name: str) -> str:
    """A tag's name in an address; its slashes stay."""
    return quote(name, safe="/")


def _reason(status: int, data: bytes) -> str:
    try:
        problem = json.loads(data)
        return f"{status} {problem.get('code', '')} {problem.get('detail', '')}".strip()
    except (ValueError, AttributeError):
        return str(status)
