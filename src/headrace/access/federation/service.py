"""All configured services behind one door: begin a sign-in, finish it, and see whose account it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from cryptography import x509

from headrace.access.events import Events
from headrace.access.federation._http import Http
from headrace.access.federation.cas import Cas
from headrace.access.federation.certificate import CertificateSlot, Challenge
from headrace.access.federation.config import (
    CasProvider,
    CertificateProvider,
    OidcProvider,
    Provider,
    SamlProvider,
    completed,
)
from headrace.access.federation.external import External
from headrace.access.federation.flows import Flow, Flows
from headrace.access.federation.links import Link, Links
from headrace.access.federation.oidc import Oidc
from headrace.access.federation.saml import Saml
from headrace.kernel.errors import Corrupt, InputError, NotFound
from headrace.kernel.messages import Text

_Client = Oidc | Saml | Cas | CertificateSlot


class Choice(msgspec.Struct, frozen=True):
    """A way to sign in, for the sign-in page."""

    id: str
    kind: str  # oidc | saml | cas | certificate
    title: Text


class Started(msgspec.Struct, frozen=True):
    """Where the browser goes next (`url`), or what its USB key has to sign (`challenge`)."""

    url: str = ""
    challenge: Challenge | None = None


class Arrival(msgspec.Struct, frozen=True):
    """Who arrived and what is known of them. Only where `link.state` is "linked" does `link.account` sign in,
    with `external.method` and `external.strength`; in every other state it is told to wait."""

    external: External
    link: Link
    return_to: str


class Federation:
    """The providers of a configuration. `base_url`: the address of this node as browsers see it."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        events: Events,
        *,
        base_url: str,
        path: Callable[[str], Path],
    ) -> None:
        """`path` resolves file names of the configuration. Raises Corrupt (`federation.bad_ca_file`,
        `federation.bad_file`)."""
        self._events = events
        self._base = base_url.rstrip("/")
        self._path = path
        self._flows = Flows(events.records, events.clock)
        self._providers = {i: completed(p) for i, p in providers.items() if p.active}
        self.links = Links(events)
        self._clients = {i: self._client(i, p) for i, p in self._providers.items()}

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What may be offered on the sign-in page."""
        return tuple(
            Choice(id, str(provider.__struct_config__.tag), provider.title)
            for id, provider in self._providers.items()
        )

    def callback(self, id: str) -> str:
        """Where the service sends or posts browsers back to; also our SAML entity ID's base."""
        return f"{self._base}/api/v1/federation/{id}/callback"

    async def begin(
        self, id: str, *, browser: str, return_to: str = "/", account: str | None = None
    ) -> Started:
        """Begin with service `id`. `browser`: the secret of this browser's cookie; `account`: who is signed
        in and adds an identity. Raises NotFound (`federation.no_provider`), Unavailable, Corrupt."""
        client = self._get(id)
        flow = await asyncio.to_thread(
            self._flows.begin, id, browser=browser, return_to=return_to, account=account
        )
        if isinstance(client, Oidc):
            return Started(await client.begin(flow))
        if isinstance(client, CertificateSlot):
            return Started(challenge=client.begin(flow))
        return Started(client.begin(flow))

    async def finish(self, id: str, given: Mapping[str, str], *, browser: str) -> Arrival:
        """What came back: the query (OIDC, CAS), the posted form (SAML), or `state`, `certificate` and
        `signature` (the last in hexadecimal). Raises what the clients raise, and Denied
        (`federation.refused`, `federation.ended`, `federation.account_gone`)."""
        client = self._get(id)
        found: External
        flow: Flow
        if isinstance(client, Saml):
            found, flow = await asyncio.to_thread(client.finish, dict(given), browser=browser)
        elif isinstance(client, CertificateSlot):
            try:
                signature = bytes.fromhex(given.get("signature", ""))
            except ValueError:
                raise InputError("federation.bad_certificate") from None
            certificate = given.get("certificate", "").encode()
            found, flow = await client.finish(given.get("state", ""), certificate, signature, browser=browser)
        else:
            found, flow = await client.finish(dict(given), browser=browser)
        link = await asyncio.to_thread(self.links.arrive, found, self._providers[id], wish=flow.account)
        return Arrival(found, link, flow.return_to)

    def metadata(self, id: str) -> bytes:
        """Our SAML metadata for service `id`. Raises NotFound."""
        client = self._get(id)
        if not isinstance(client, Saml):
            raise NotFound("federation.no_provider", id=id)
        return client.metadata()

    async def close(self) -> None:
        for client in self._clients.values():
            if isinstance(client, Oidc | Cas):
                await client.close()

    def _get(self, id: str) -> _Client:
        client = self._clients.get(id)
        if client is None:
            raise NotFound("federation.no_provider", id=id[:63])
        return client

    def _client(self, id: str, provider: Provider) -> _Client:
        clock, callback = self._events.clock, self.callback(id)
        if isinstance(provider, CertificateProvider):
            return CertificateSlot(
                id,
                provider,
                self._flows,
                clock,
                origin=self._base,
                trust=[self._authorities(name) for name in provider.trust],
                revocation=[self._path(name) for name in provider.revocation],
            )
        if isinstance(provider, SamlProvider):
            entity_id = f"{self._base}/api/v1/federation/{id}/metadata"
            certificates = [self._certificate(name) for name in provider.certificates]
            return Saml(id, provider, certificates, self._flows, clock, entity_id=entity_id, acs=callback)
        http = Http(str(self._path(provider.ca_file)) if provider.ca_file else "")
        if isinstance(provider, CasProvider):
            return Cas(id, provider, self._flows, http, clock, callback=callback)
        return Oidc(
            id, provider, self._flows, http, clock, redirect_uri=callback, secret=self._secret(provider)
        )

    def _secret(self, provider: OidcProvider) -> str:
        if not provider.client_secret_file:
            return provider.client_secret
        path = self._path(provider.client_secret_file)
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Corrupt("federation.bad_file", path=str(path)) from error

    def _authorities(self, name: str) -> Path:
        path = self._path(name)
        try:
            x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            raise Corrupt("federation.bad_file", path=str(path)) from error
        return path

    def _certificate(self, name: str) -> x509.Certificate:
        path = self._path(name)
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise Corrupt("federation.bad_file", path=str(path)) from error
