"""CAS 2.0 and 3.0 as a client: a service ticket, validated by a request of ours.

Source: CAS Protocol 3.0 Specification §2.1 (/login), §2.5-2.6 (validation), §2.8 (/p3/serviceValidate), §3.1
(service tickets).
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import structlog
from lxml import etree

from headrace.access.federation import _xml, external
from headrace.access.federation._http import Http
from headrace.access.federation.config import CasProvider
from headrace.access.federation.flows import LIFE_S, Flow, Flows
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import Denied

_log = structlog.get_logger(__name__)

_C = "{http://www.yale.edu/tp/cas}"
_TICKET = re.compile(r"^ST-[\x21-\x7e]{1,253}$")


class Cas:
    """One service. `callback`: where it sends browsers back to; with the flow's state it is the `service`
    that the ticket is bound to."""

    def __init__(
        self, id: str, provider: CasProvider, flows: Flows, http: Http, clock: Clock, *, callback: str
    ) -> None:
        self.id = id
        self.provider = provider
        self._flows = flows
        self._http = http
        self._clock = clock
        self._callback = callback

    def begin(self, flow: Flow) -> str:
        """The address to send the browser to."""
        query = {"service": self._service(flow.state)}
        if self.provider.renew:
            query["renew"] = "true"
        return f"{self.provider.base.rstrip('/')}/login?{urlencode(query)}"

    async def finish(self, query: dict[str, str], *, browser: str) -> tuple[external.External, Flow]:
        """Who came back with `query`. Raises Denied (`federation.no_flow`, `federation.provider_refused`,
        `federation.bad_xml`, `federation.replay`, `federation.no_subject`, `federation.bad_attribute`),
        Unavailable, Corrupt."""
        flow = self._flows.take(query.get("state", ""), self.id, browser=browser)
        ticket = query.get("ticket", "")
        if not _TICKET.match(ticket):
            raise Denied("federation.provider_refused", reason="ticket")
        now = self._clock.now()
        self._flows.once(self.id, ticket, until=now + LIFE_S * NS_PER_S)
        path = "/p3/serviceValidate" if self.provider.version == "3.0" else "/serviceValidate"
        ask = {"service": self._service(flow.state), "ticket": ticket}
        if self.provider.renew:
            ask["renew"] = "true"
        body = await self._http.get(self.provider.base.rstrip("/") + path, params=ask)
        subject, said = self._read(body)
        found = external.read(self.id, self.provider, said, subject=subject, method="cas", time=now)
        return found, flow

    def _read(self, body: bytes) -> tuple[str, dict[str, tuple[str, ...]]]:
        root = _xml.parse(body)
        successes = list(root.iter(f"{_C}authenticationSuccess"))
        failure = root.find(f"{_C}authenticationFailure")
        if failure is not None:
            code = failure.get("code", "")[:80]
            _log.warning("cas_ticket_refused", provider=self.id, reason=code)
            raise Denied("federation.provider_refused", reason=code)
        if root.tag != f"{_C}serviceResponse" or len(successes) != 1 or successes[0].getparent() is not root:
            raise Denied("federation.bad_xml", reason="serviceResponse")
        success = successes[0]
        if len(success.findall(f"{_C}proxies/{_C}proxy")) or len(success.findall(f"{_C}user")) != 1:
            # A proxied ticket was asked for by another service in the person's name, not by the person.
            raise Denied("federation.provider_refused", reason="proxy")
        said: dict[str, tuple[str, ...]] = {}
        for attribute in success.findall(f"{_C}attributes/*"):
            name = etree.QName(attribute).localname
            said[name] = (*said.get(name, ()), _xml.text(attribute))
        return _xml.text(success.find(f"{_C}user")), said

    def _service(self, state: str) -> str:
        return f"{self._callback}{'&' if '?' in self._callback else '?'}{urlencode({'state': state})}"

    async def close(self) -> None:
        await self._http.close()
