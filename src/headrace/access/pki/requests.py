"""Certificate signing requests (PKCS #10): made by a machine, checked before anything is signed."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.access.pki import keys, names
from headrace.kernel.errors import Denied, InputError

MAX_BYTES = 16_384
_SIGNATURE_HASHES = ("sha256", "sha384", "sha512")


def make(key: ec.EllipticCurvePrivateKey, gateway: str, hosts: tuple[str, ...] = ()) -> bytes:
    """A request in PEM for `key`: subject CN=`gateway`, the hosts as alternative names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, gateway)])
    )
    if hosts:
        wanted = names.alternative_names(names.Identity("", "", names.Usage.SERVER, gateway), hosts)
        builder = builder.add_extension(x509.SubjectAlternativeName(list(wanted)[1:]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def check(pem: bytes, *, gateway: str, hosts: tuple[str, ...]) -> keys.PublicKey:
    """The public key of a request that asks for exactly what was allowed.

    The subject has to be CN=`gateway` and nothing more; alternative names are the only extension, and each is
    one of `hosts`: what is signed is decided by the authority, so a request for more is an attempt or a
    mistake, and either should be seen. Raises InputError (`pki.bad_csr`), Denied (`pki.csr_signature`,
    `pki.csr_subject`, `pki.csr_names`, `pki.csr_extension`, `pki.weak_key`).
    """
    if len(pem) > MAX_BYTES:
        raise InputError("pki.bad_csr", reason=f"> {MAX_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = keys.check(request.public_key())
        sound = request.is_signature_valid
        hash_name = request.signature_hash_algorithm.name if request.signature_hash_algorithm else ""
        extensions = list(request.extensions)
        subject = list(request.subject)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension) as error:
        raise InputError("pki.bad_csr", reason=str(error)[:200]) from None
    if not sound or (hash_name and hash_name not in _SIGNATURE_HASHES):
        raise Denied("pki.csr_signature")
    if len(subject) != 1 or subject[0].oid != x509.NameOID.COMMON_NAME or subject[0].value != gateway:
        raise Denied("pki.csr_subject", expected=f"CN={gateway}", found=_shown(request))
    for extension in extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            raise Denied("pki.csr_extension", found=extension.oid.dotted_string)
        wanted, uris = names.hosts_of(extension.value)
        if extra := sorted(wanted - set(hosts)) + uris:
            raise Denied("pki.csr_names", found=", ".join(extra)[:200])
    return key


def _shown(request: x509.CertificateSigningRequest) -> str:
    try:
        return request.subject.rfc4514_string()[:120]
    except ValueError:
        return ""
