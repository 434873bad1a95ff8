"""The small certification authority: a root, issuers below it, signatures, revocation lists. Files only.

Layout of its folder (mode 0700): `root.pem`, `root.key`, `root.crl.pem`, and `issuing-N.pem`, `issuing-N.key`
for N = 1, 2, … The newest issuer signs certificates; older ones go on signing revocation lists of theirs.
Private keys are mode 0600 and, with a passphrase, encrypted. The root's key is needed only to renew the
issuer: it may be kept elsewhere until then.
Source: RFC 5280 §4.2 (extensions), §5 (revocation lists); validity is counted in whole seconds there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.access.pki import _files, keys, names
from headrace.access.pki.config import PkiSettings
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import Conflict, Corrupt

SKEW_S = 300  # certificates start so long before they are signed, for machines whose clock is behind
_YEAR = dt.timedelta(days=365)
_PEM = serialization.Encoding.PEM


class Revoked(msgspec.Struct, frozen=True):
    """An entry of a revocation list. `time`: UTC ns; `reason`: a name of `x509.ReasonFlags`."""

    serial: str
    time: int
    reason: str


class Issuer(msgspec.Struct, frozen=True):
    """A certificate that signs others, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def name(self) -> str:
        return names.common_name(self.certificate.subject)


class Authority:
    """An opened authority of one node. Thread-safe; files change only in `renew_issuer`."""

    def __init__(
        self,
        folder: Path,
        node: str,
        root: x509.Certificate,
        issuers: Sequence[Issuer],
        clock: Clock,
        settings: PkiSettings,
        passphrase: str | None,
    ) -> None:
        self.folder = folder
        self.node = node
        self.root = root
        self.settings = settings
        self._issuers = tuple(issuers)
        self._clock = clock
        self._passphrase = passphrase

    @classmethod
    def create(
        cls, folder: Path, *, node: str, clock: Clock, settings: PkiSettings, passphrase: str | None = None
    ) -> Authority:
        """A new authority for `node`. Raises Conflict (`pki.exists`) where the folder holds one."""
        names.check_name(node)
        if (folder / "root.pem").exists():
            raise Conflict("pki.exists", path=str(folder))
        key = keys.generate(ec.SECP384R1)
        name = _name(f"Headrace {node} root")
        now = _now(clock)
        builder = _builder(name, name, key.public_key(), now, now + settings.root_years * _YEAR)
        builder = _authority_extensions(builder, key, key.public_key(), path_length=1)
        root = builder.sign(key, hashes.SHA384())
        _files.write(folder / "root.key", keys.dump(key, passphrase), private=True)
        authority = cls(folder, node, root, (), clock, settings, passphrase)
        authority.renew_issuer()
        # Last, so that a folder with root.pem is whole: a crash before it leaves nothing that `open` takes.
        _files.write(folder / "root.pem", root.public_bytes(_PEM), private=False)
        return authority

    @classmethod
    def open(
        cls, folder: Path, *, clock: Clock, settings: PkiSettings, passphrase: str | None = None
    ) -> Authority:
        """Raises NotFound (`pki.no_file`), Conflict (`pki.key_exposed`), Denied (`pki.passphrase_missing`,
        `pki.passphrase_wrong`), Corrupt (`pki.bad_certificate_file`, `pki.bad_key_file`)."""
        root = _certificate(folder / "root.pem")
        issuers: list[Issuer] = []
        while (path := folder / f"issuing-{len(issuers) + 1}.pem").exists():
            secret = path.with_suffix(".key")
            key = keys.load(_files.read_private(secret), passphrase, path=str(secret))
            certificate = _certificate(path)
            if certificate.public_key() != key.public_key():
                raise Corrupt("pki.bad_certificate_file", path=str(path))
            issuers.append(Issuer(certificate, key))
        if not issuers:
            raise Corrupt("pki.bad_certificate_file", path=str(folder / "issuing-1.pem"))
        common = names.common_name(root.subject)
        node = common.removeprefix("Headrace ").removesuffix(" root")
        return cls(folder, names.check_name(node), root, issuers, clock, settings, passphrase)

    @property
    def issuer(self) -> Issuer:
        """The one that signs now."""
        return self._issuers[-1]

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        return self._issuers

    @property
    def trust(self) -> bytes:
        """The root in PEM: what a peer needs to check certificates of this authority."""
        return self.root.public_bytes(_PEM)

    @property
    def root_name(self) -> str:
        return names.common_name(self.root.subject)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root, in hexadecimal: how a person or a gateway tells that it is the right one."""
        return self.root.fingerprint(hashes.SHA256()).hex()

    @property
    def chain(self) -> bytes:
        """The newest issuer in PEM: what a certificate's holder sends after its own."""
        return self.issuer.certificate.public_bytes(_PEM)

    @property
    def root_crl(self) -> bytes:
        """The root's own list, in PEM. It lives as long as the root; a newer one replaces it."""
        return _files.read(self.folder / "root.crl.pem")

    def sign(self, key: keys.PublicKey, identity: names.Identity, hosts: tuple[str, ...]) -> x509.Certificate:
        """A certificate for `key` that names `identity`, from now minus SKEW_S for `settings.life`, never
        beyond the issuer's own end."""
        now = _now(self._clock)
        end = now + dt.timedelta(seconds=self.settings.life // NS_PER_S)
        end = min(end, self.issuer.certificate.not_valid_after_utc)
        builder = _builder(_name(identity.gateway), self.issuer.certificate.subject, key, now, end)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signing=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(identity.usage.purposes), critical=False)
            .add_extension(names.alternative_names(identity, hosts), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_issuer_key(self.issuer.certificate), critical=False)
        )
        return builder.sign(self.issuer.key, hashes.SHA256())

    def crl(
        self, issuer: Issuer, revoked: Sequence[Revoked], *, number: int, after: int
    ) -> x509.CertificateRevocationList:
        """The list `number` of `issuer`. `after`: thisUpdate of the list before, in UTC ns (0: none).

        OpenSSL takes the list with the later thisUpdate, in whole seconds, and refuses one from the future.
        So it starts SKEW_S before now, and always a second after the list before: then a list that is
        signed within the same second still wins.
        """
        now = _now(self._clock)
        start = now - dt.timedelta(seconds=SKEW_S)
        if after:
            start = max(start, _moment(after) + dt.timedelta(seconds=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(start)
            .next_update(max(start, now) + dt.timedelta(seconds=self.settings.crl // NS_PER_S))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(issuer.certificate), critical=False)
        )
        for entry in revoked:
            one = (
                x509.RevokedCertificateBuilder()
                .serial_number(int(entry.serial, 16))
                .revocation_date(_moment(entry.time))
                .add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
                .build()
            )
            builder = builder.add_revoked_certificate(one)
        return builder.sign(issuer.key, hashes.SHA256())

    def issuer_due(self) -> bool:
        """Whether a certificate signed now would end before its time because its issuer does."""
        life = dt.timedelta(seconds=self.settings.life // NS_PER_S)
        return _now(self._clock) + 2 * life >= self.issuer.certificate.not_valid_after_utc

    def renew_issuer(self) -> Issuer:
        """Make the next issuer and the root's list, with the root's key. Raises NotFound (`pki.no_file`)
        where that key is kept elsewhere, and what `open` raises of keys."""
        path = self.folder / "root.key"
        secret = keys.load(_files.read_private(path), self._passphrase, path=str(path))
        number = len(self._issuers) + 1
        key = keys.generate()
        now = _now(self._clock)
        end = min(now + self.settings.issuing_years * _YEAR, self.root.not_valid_after_utc)
        name = _name(f"Headrace {self.node} issuer {number}")
        builder = _builder(name, self.root.subject, key.public_key(), now, end)
        builder = _authority_extensions(builder, secret, key.public_key(), path_length=0)
        certificate = builder.sign(secret, hashes.SHA384())
        self._sign_root_crl(secret, number, now)
        # The certificate last: `open` counts certificates, so a key without one is simply made again.
        _files.write(self.folder / f"issuing-{number}.key", keys.dump(key, self._passphrase), private=True)
        _files.write(self.folder / f"issuing-{number}.pem", certificate.public_bytes(_PEM), private=False)
        self._issuers = (*self._issuers, Issuer(certificate, key))
        return self.issuer

    def _sign_root_crl(self, key: ec.EllipticCurvePrivateKey, number: int, now: dt.datetime) -> None:
        """Checking a whole chain needs a list of the root too, which names no certificate."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.root.subject)
            .last_update(now - dt.timedelta(seconds=SKEW_S))
            .next_update(self.root.not_valid_after_utc)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(self.root), critical=False)
        )
        crl = builder.sign(key, hashes.SHA384())
        _files.write(self.folder / "root.crl.pem", crl.public_bytes(_PEM), private=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: keys.PublicKey, start: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - dt.timedelta(seconds=SKEW_S))
        .not_valid_after(end)
    )


def _authority_extensions(
    builder: x509.CertificateBuilder,
    signer: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signing=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(signer_id, critical=False)
    )


def _usage(*, signing: bool) -> x509.KeyUsage:
    """Of a machine (`signing`: it signs handshakes), or of an authority (it signs certificates and lists)."""
    return x509.KeyUsage(
        digital_signature=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signing,
        crl_sign=not signing,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_files.read(path))
    except ValueError as error:
        raise Corrupt("pki.bad_certificate_file", path=str(path)) from error


def _moment(ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ns // NS_PER_S, dt.UTC)


def _now(clock: Clock) -> dt.datetime:
    return _moment(clock.now())
