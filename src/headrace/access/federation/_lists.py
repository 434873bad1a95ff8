"""Revocation lists of the authorities behind USB keys.

OpenSSL's own check cannot be told the user identity that an SM2 list was signed with, so it refuses every
list that follows GB/T 35276. Here each list's signature is checked on its own, then its times, then its
entries. Source: RFC 5280 §6.3.3, for complete lists of the certificate's own issuer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from headrace.access.federation import sm2
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Denied

_MAX_CHAIN = 8


async def check(
    leaf: x509.Certificate, *, trust: Sequence[Path], lists: Sequence[Path], now: int, distid: str
) -> None:
    """That nothing from `leaf` up to its root is revoked at `now` (UTC ns); its chain has been verified. Each
    certificate needs a fresh list of its issuer. Raises Denied (`federation.bad_chain`), Unavailable
    (`federation.no_openssl`)."""
    try:
        authorities = [c for path in trust for c in x509.load_pem_x509_certificates(path.read_bytes())]
        held = [crl for path in lists for crl in _load(path.read_bytes())]
    except (OSError, ValueError):
        raise Denied("federation.bad_chain", reason="unreadable file") from None
    certificate = leaf
    for _ in range(_MAX_CHAIN):
        if certificate.issuer == certificate.subject:
            return
        found = [a for a in authorities if a.subject == certificate.issuer]
        for authority in found:
            if await _covers(certificate, authority, held, now, distid):
                certificate = authority
                break
        else:
            raise Denied("federation.bad_chain", reason="no valid revocation list")
    raise Denied("federation.bad_chain", reason="chain too long")


async def _covers(
    certificate: x509.Certificate,
    authority: x509.Certificate,
    held: Sequence[x509.CertificateRevocationList],
    now: int,
    distid: str,
) -> bool:
    """Whether a fresh list of `authority` speaks of `certificate` and does not revoke it. Raises Denied where
    it does revoke it, whichever of several lists says so."""
    covered = False
    for crl in held:
        if crl.issuer != authority.subject or not await _signed(crl, authority, distid):
            continue
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise Denied("federation.bad_chain", reason="revoked")
        end = crl.next_update_utc
        started = crl.last_update_utc.timestamp() * NS_PER_S <= now
        covered |= started and end is not None and end.timestamp() * NS_PER_S > now
    return covered


async def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate, distid: str) -> bool:
    if not sm2.is_sm2(authority):
        try:
            return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return False
    pem = authority.public_bytes(serialization.Encoding.PEM)
    try:
        await sm2.verify(pem, crl.tbs_certlist_bytes, crl.signature, distid=distid)
    except Denied:
        return False
    return True


def _load(data: bytes) -> list[x509.CertificateRevocationList]:
    """The lists in a file: PEM, one after another, or one in DER."""
    if b"-----BEGIN" not in data:
        return [x509.load_der_x509_crl(data)]
    end = b"-----END X509 CRL-----"
    parts = data.split(end)[:-1]
    return [x509.load_pem_x509_crl(part[part.index(b"-----BEGIN") :] + end + b"\n") for part in parts]
