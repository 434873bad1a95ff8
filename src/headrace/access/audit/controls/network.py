"""Probes that knock at the node's own doors, at the addresses its processes have written to `DIR/run`.

They send nothing but what a stranger would: a request without credentials.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from headrace.access.audit.controls.probes import Finding, Node, Probe, Seen

_WAIT_S = 2.0
_HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")


def _address(node: Node, name: str) -> SplitResult | None:
    """The URL in `DIR/run/<name>.json`, None where that process is not running or never was."""
    path: Path = node.data / "run" / f"{name}.json"
    try:
        url = msgspec.json.decode(path.read_bytes()).get("url", "")
        found = urlsplit(str(url))
        return found if found.hostname and found.port else None
    except (OSError, ValueError, AttributeError):
        return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _get(at: SplitResult, path: str) -> http.client.HTTPResponse:
    """The answer to a request without credentials. The certificate is judged by `tls`, not here."""
    connection: http.client.HTTPConnection
    if at.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(at.hostname or "", at.port, timeout=_WAIT_S, context=context)
    else:
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=_WAIT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response
    except http.client.HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _missing(what: str) -> Finding:
    return Finding(Seen.UNKNOWN, "control.not_running", {"part": what})


def api_refuses(node: Node) -> Finding:
    """Whether the API gives data to a stranger."""
    at = _address(node, "api")
    if at is None:
        return _missing("api")
    status = _get(at, "/api/v1/tags").status
    return Finding(Seen.YES if status in (401, 403) else Seen.NO, "control.api_refuses", {"status": status})


def api_headers(node: Node) -> Finding:
    """Whether pages come with the headers that keep a browser from being used against them."""
    at = _address(node, "api")
    if at is None:
        return _missing("api")
    response = _get(at, "/")
    missing = [name for name in _HEADERS if response.getheader(name) is None]
    if at.scheme == "https" and response.getheader("strict-transport-security") is None:
        missing.append("strict-transport-security")
    return Finding(
        Seen.NO if missing else Seen.YES, "control.api_headers", {"missing": ", ".join(missing) or "-"}
    )


def api_tls(node: Node) -> Finding:
    """Whether the API speaks TLS 1.2 or later; on loopback alone nothing crosses a wire."""
    at = _address(node, "api")
    if at is None:
        return _missing("api")
    if at.scheme != "https":
        near = _is_loopback(at.hostname or "")
        return Finding(Seen.YES if near else Seen.NO, "control.api_plain", {"host": at.hostname})
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((at.hostname or "", at.port or 0), _WAIT_S) as raw,
        context.wrap_socket(raw, server_hostname=at.hostname) as wrapped,
    ):
        version = wrapped.version() or "?"
    good = version in ("TLSv1.2", "TLSv1.3")
    return Finding(Seen.YES if good else Seen.NO, "control.api_tls", {"version": version})


def _reach(node: Node, name: str) -> Finding:
    at = _address(node, name)
    if at is None:
        return _missing(name)
    near = _is_loopback(at.hostname or "")
    params = {"part": name, "host": at.hostname}
    if near:
        return Finding(Seen.YES, "control.loopback", params)
    return Finding(Seen.UNKNOWN, "control.reachable", params)


def api_loopback(node: Node) -> Finding:
    """From where the API can be reached."""
    return _reach(node, "api")


def bus_loopback(node: Node) -> Finding:
    """From where the bus can be reached."""
    return _reach(node, "bus")


def bus_refuses(node: Node) -> Finding:
    """Whether the bus takes a client that names no user (NATS client protocol: CONNECT, PING)."""
    at = _address(node, "bus")
    if at is None:
        return _missing("bus")
    with socket.create_connection((at.hostname or "", at.port or 0), _WAIT_S) as raw:
        raw.settimeout(_WAIT_S)
        raw.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n')
        answer = b""
        while b"PONG" not in answer and b"-ERR" not in answer:
            part = raw.recv(4096)
            if not part:
                break
            answer += part
    taken = b"PONG" in answer and b"-ERR" not in answer
    return Finding(Seen.NO if taken else Seen.YES, "control.bus_taken" if taken else "control.bus_refuses")


PROBES: dict[str, Probe] = {
    "api.headers": api_headers,
    "api.loopback": api_loopback,
    "api.refuses": api_refuses,
    "api.tls": api_tls,
    "bus.loopback": bus_loopback,
    "bus.refuses": bus_refuses,
}
