"""Whom a certificate names: one SPIFFE ID, and the host names of a server.

Source: SPIFFE-ID and X509-SVID specifications (exactly one URI, in the subject alternative name; the trust
domain is the node whose authority signed). The common name repeats the gateway for people; it proves nothing.
"""

from __future__ import annotations

import enum
import ipaddress
import re

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from headrace.kernel.errors import Denied, InputError

_TOKEN = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_NAME = re.compile(rf"^{_TOKEN}$")
_URI = re.compile(rf"^spiffe://({_TOKEN})/org/([A-Za-z0-9_-]{{1,64}})/(machine|server)/({_TOKEN})$")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123 §2.1
_HOST = re.compile(rf"^(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*$")
_MAX_NAME = 63


class Usage(enum.StrEnum):
    """What a certificate is for. A server may open connections too (leaf to hub), a machine serves none."""

    MACHINE = "machine"
    SERVER = "server"

    @property
    def purposes(self) -> list[x509.ObjectIdentifier]:
        client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
        return [client] if self is Usage.MACHINE else [server, client]


class Identity(msgspec.Struct, frozen=True):
    """`gateway` of organisation `org`, known to the authority of `node`."""

    node: str
    org: str
    usage: Usage
    gateway: str

    @property
    def uri(self) -> str:
        return f"spiffe://{self.node}/org/{self.org}/{self.usage}/{self.gateway}"


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection, as its certificate says. `serial`: lower-case hexadecimal;
    `issuer`: name of the certificate of its authority; times in UTC ns."""

    identity: Identity
    serial: str
    issuer: str
    not_before: int
    not_after: int


def check_name(text: str) -> str:
    """A name of a gateway or node. Raises InputError (`pki.bad_name`)."""
    if len(text) > _MAX_NAME or not _NAME.match(text):
        raise InputError("pki.bad_name", name=text[:80])
    return text


def check_host(text: str) -> str:
    """A DNS name (no wildcard) or IP address, normalised. Raises InputError (`pki.bad_host`)."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        host = text.lower()
        if not _HOST.match(host) or host.replace(".", "").isdigit():
            raise InputError("pki.bad_host", host=text[:80]) from None
        return host


def alternative_names(identity: Identity, hosts: tuple[str, ...]) -> x509.SubjectAlternativeName:
    """The SPIFFE ID, then each host as an address or a DNS name."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def hosts_of(names: x509.SubjectAlternativeName) -> tuple[set[str], list[str]]:
    """The (hosts, URIs) of `names`. Raises Denied (`pki.csr_names`) where there is any other kind."""
    hosts: set[str] = set()
    uris: list[str] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            hosts.add(name.value.lower())
        elif isinstance(name, x509.IPAddress):
            hosts.add(str(name.value))
        elif isinstance(name, x509.UniformResourceIdentifier):
            uris.append(name.value)
        else:
            raise Denied("pki.csr_names", found=type(name).__name__)
    return hosts, uris


def identity_of(uri: str) -> Identity:
    """Raises Denied (`pki.not_ours`) where it is not one that an authority of ours gives."""
    match = _URI.match(uri)
    if match is None:
        raise Denied("pki.not_ours", found=uri[:120])
    return Identity(match[1], match[2], Usage(match[3]), match[4])


def serial_text(number: int) -> str:
    """A serial number as it stands in tables, events and revocation lists."""
    return format(number, "x")


def peer_of(certificate: x509.Certificate) -> Peer:
    """Whom a certificate names; its signature has been checked by TLS. Raises Denied (`pki.not_ours`)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        _, uris = hosts_of(extension.value)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    if len(uris) != 1:
        raise Denied("pki.not_ours", found=certificate.subject.rfc4514_string()[:120])
    return Peer(
        identity=identity_of(uris[0]),
        serial=serial_text(certificate.serial_number),
        issuer=common_name(certificate.issuer),
        not_before=int(certificate.not_valid_before_utc.timestamp()) * 1_000_000_000,
        not_after=int(certificate.not_valid_after_utc.timestamp()) * 1_000_000_000,
    )


def common_name(name: x509.Name) -> str:
    """The common name of `name`; "" where it has none or several."""
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""
