"""Sign-in by a certificate on a USB key: our challenge, signed by its key, under a chain that we trust.

The browser's part is the key's own middleware, which signs bytes and gives the certificate; its interface
differs by maker and is not ours. SM2 certificates are checked by OpenSSL (see `sm2`), ECDSA and RSA ones
likewise, so that one rule holds for all. Source: GM/T 0015 (certificate format), GM/T 0016 (signature of USB
keys)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headrace.access.federation import _lists, external, sm2
from headrace.access.federation.config import CertificateProvider
from headrace.access.federation.flows import LIFE_S, Flow, Flows
from headrace.access.identity.principal import Strength
from headrace.kernel.clock import NS_PER_S, Clock, iso
from headrace.kernel.errors import Denied

_MAX_CERTIFICATE = 16_384
_MAX_SIGNATURE = 1_024


class Challenge(msgspec.Struct, frozen=True):
    """`text` is what the key has to sign, as UTF-8 bytes; people may read it."""

    state: str
    text: str
    expires: int


class CertificateSlot:
    """One set of trusted authorities. `origin`: the address of this node as people see it, so that a
    signature given to another site is worth nothing here."""

    def __init__(
        self,
        id: str,
        provider: CertificateProvider,
        flows: Flows,
        clock: Clock,
        *,
        origin: str,
        trust: Sequence[Path],
        revocation: Sequence[Path] = (),
    ) -> None:
        self.id = id
        self.provider = provider
        self._flows = flows
        self._clock = clock
        self._origin = origin
        self._trust = tuple(trust)
        self._revocation = tuple(revocation)

    def begin(self, flow: Flow) -> Challenge:
        """What to sign."""
        return Challenge(flow.state, self._text(flow), flow.created + LIFE_S * NS_PER_S)

    async def finish(
        self, state: str, certificate: bytes, signature: bytes, *, browser: str
    ) -> tuple[external.External, Flow]:
        """Whose key signed the challenge of `state`. `certificate`: PEM or DER. Raises Denied
        (`federation.no_flow`, `federation.bad_certificate`, `federation.bad_chain`,
        `federation.bad_signature`, `federation.bad_attribute`), Unavailable (`federation.no_openssl`)."""
        flow = self._flows.take(state, self.id, browser=browser)
        if len(certificate) > _MAX_CERTIFICATE or len(signature) > _MAX_SIGNATURE:
            raise Denied("federation.bad_certificate")
        try:
            pem = certificate.lstrip().startswith(b"-----BEGIN")
            load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
            leaf = load(certificate)
            said = self._said(leaf)
        except ValueError:
            raise Denied("federation.bad_certificate") from None
        alone = leaf.public_bytes(serialization.Encoding.PEM)
        is_sm2, distid, now = sm2.is_sm2(leaf), self.provider.distid, self._clock.now()
        await sm2.verify_chain(alone, trust=self._trust, now=now, distid=distid, sm2=is_sm2)
        if self._revocation:
            await _lists.check(leaf, trust=self._trust, lists=self._revocation, now=now, distid=distid)
        await sm2.verify(alone, self._text(flow).encode(), signature, distid=distid, sm2=is_sm2)
        found = external.read(
            self.id,
            self.provider,
            said,
            subject=leaf.fingerprint(hashes.SHA256()).hex(),
            method="certificate",
            time=now,
            base=Strength.HARDWARE,
        )
        return found, flow

    def _said(self, leaf: x509.Certificate) -> dict[str, tuple[str, ...]]:
        """Attributes by name: those of `attributes_by_oid`, and the common name as "name"."""
        wanted = {"name": x509.NameOID.COMMON_NAME.dotted_string, **self.provider.attributes_by_oid}
        said: dict[str, tuple[str, ...]] = {}
        for name, oid in wanted.items():
            in_subject = [str(a.value) for a in leaf.subject if a.oid.dotted_string == oid]
            in_extensions = [
                _der_text(e.value.value)
                for e in leaf.extensions
                if e.oid.dotted_string == oid and isinstance(e.value, x509.UnrecognizedExtension)
            ]
            if values := in_subject + in_extensions:
                said[name] = tuple(values)
        return said

    def _text(self, flow: Flow) -> str:
        return f"headrace sign-in\n{self._origin}\n{self.id}\n{flow.nonce}\n{iso(flow.created)}\n"


def _der_text(der: bytes) -> str:
    """The text of an extension: a short DER string (UTF8String, PrintableString, IA5String) or bare ASCII,
    both of which authorities write. Raises ValueError."""
    if len(der) > 2 and der[0] in (0x0C, 0x13, 0x16) and der[1] < 0x80 and der[1] == len(der) - 2:
        der = der[2:]
    return der.decode("utf-8")
