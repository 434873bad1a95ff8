"""Requests of ours to services that are configured: bounded in time and size, encrypted, never redirected."""

from __future__ import annotations

import base64
import ipaddress
import ssl
from collections.abc import Mapping
from urllib.parse import quote_plus, urlsplit

import httpx2
import structlog

from headrace.kernel.errors import Corrupt, Denied, Unavailable

_log = structlog.get_logger(__name__)

MAX_BYTES = 1 << 20
TIMEOUT_S = 10.0


def check_url(url: str) -> str:
    """`url` where it is https, or http to this very machine. Raises Denied (`federation.not_https`)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise Denied("federation.not_https", url=url[:200]) from None
    if parts.scheme == "https" and host and not parts.username:
        return url
    if parts.scheme == "http" and not parts.username:
        try:
            if host == "localhost" or ipaddress.ip_address(host).is_loopback:
                return url
        except ValueError:
            pass
    raise Denied("federation.not_https", url=url[:200])


class Http:
    """One service's requests. `ca_file`: PEM of the authorities to trust, "" for the system's."""

    def __init__(self, ca_file: str = "") -> None:
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise Corrupt("federation.bad_ca_file", path=ca_file) from error
        self._client = httpx2.AsyncClient(
            verify=context, timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
        )

    async def get(self, url: str, *, params: Mapping[str, str] | None = None) -> bytes:
        """The body of a 200. Raises Unavailable (`federation.no_answer`), Denied (`federation.not_https`),
        Corrupt (`federation.bad_answer`)."""
        return (await self._send(self._client.build_request("GET", check_url(url), params=params)))[1]

    async def post(
        self, url: str, form: Mapping[str, str], *, basic: tuple[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status (below 500) and body. Raises as `get`."""
        headers = {"accept": "application/json"}
        if basic is not None:
            # Form-encoded before base64, RFC 6749 §2.3.1.
            pair = ":".join(quote_plus(part) for part in basic)
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        request = self._client.build_request("POST", check_url(url), data=dict(form), headers=headers)
        return await self._send(request, accept_errors=True)

    async def _send(self, request: httpx2.Request, *, accept_errors: bool = False) -> tuple[int, bytes]:
        host = request.url.host
        try:
            response = await self._client.send(request, stream=True)
            try:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_BYTES:
                        raise Corrupt("federation.bad_answer", host=host, reason=f"> {MAX_BYTES} bytes")
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            _log.warning("federation_no_answer", host=host, reason=repr(error))
            raise Unavailable("federation.no_answer", host=host) from error
        if response.status_code >= 500:
            raise Unavailable("federation.no_answer", host=host)
        if response.status_code != 200 and not accept_errors:
            raise Corrupt("federation.bad_answer", host=host, reason=f"HTTP {response.status_code}")
        return response.status_code, bytes(body)

    async def close(self) -> None:
        await self._client.aclose()
