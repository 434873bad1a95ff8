"""Private keys, and which public keys a certificate may carry."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes, PrivateKeyTypes

from headrace.kernel.errors import Corrupt, Denied

CURVES = ("secp256r1", "secp384r1")
RSA_BITS = range(3072, 8193)  # the upper bound keeps a hostile request from costing seconds of CPU

PublicKey = CertificateIssuerPublicKeyTypes


def generate(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA key: P-256 for machines and issuers of them, P-384 for a root."""
    return ec.generate_private_key(curve())


def dump(key: ec.EllipticCurvePrivateKey, passphrase: str | None = None) -> bytes:
    """PKCS #8 in PEM; encrypted (PBES2, AES-256) where there is a passphrase."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def load(pem: bytes, passphrase: str | None, *, path: str) -> ec.EllipticCurvePrivateKey:
    """The key of `path`. Raises Denied (`pki.passphrase_missing`, `pki.passphrase_wrong`), Corrupt
    (`pki.bad_key_file`)."""
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise Denied("pki.passphrase_missing", path=path)
    try:
        secret = passphrase.encode() if encrypted and passphrase else None
        key: PrivateKeyTypes = serialization.load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise Denied("pki.passphrase_wrong", path=path) from None
        raise Corrupt("pki.bad_key_file", path=path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Corrupt("pki.bad_key_file", path=path)
    return key


def check(key: object) -> PublicKey:
    """`key` where it is strong enough: ECDSA P-256 or P-384, Ed25519, RSA of 3072 bits or more (SP 800-57
    part 1, 128 bits of strength). Raises Denied (`pki.weak_key`)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in CURVES:
            return key
        found = f"ECDSA {key.curve.name}"
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size in RSA_BITS and key.public_numbers().e >= 65537:
            return key
        found = f"RSA {key.key_size}"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        return key
    else:
        found = type(key).__name__.removesuffix("PublicKey").lstrip("_")
    raise Denied("pki.weak_key", found=found)


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, in hexadecimal: the same key always has the same one."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
