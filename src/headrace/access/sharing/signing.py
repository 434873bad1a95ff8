"""Whose word a grant is: each owner signs with a key of its own, kept in a file on the owner's node.

Ed25519 (RFC 8032) now. A Signature names its algorithm, so SM2 with SM3 (GB/T 32918) takes its place beside
it by `register`; a signature by an algorithm that is not there is refused, never passed over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headrace.access.events import Events
from headrace.access.sharing import _tables as t
from headrace.kernel.errors import Corrupt, InputError, NotFound, Unavailable

ED25519 = "ed25519"
Verifier = Callable[[bytes, bytes, bytes], bool]
"""(public key as DER, signature, message) -> whether it is right; must not raise."""


class Signature(msgspec.Struct, frozen=True):
    """`key` is the SHA-256 of the public key's DER in hexadecimal; `value` base64."""

    algorithm: str
    key: str
    value: str


def _verify_ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        key = serialization.load_der_public_key(public)
        if not isinstance(key, Ed25519PublicKey):
            return False
        key.verify(signature, message)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


_verifiers: dict[str, Verifier] = {ED25519: _verify_ed25519}


def register(algorithm: str, verifier: Verifier) -> None:
    """Take signatures of another algorithm too."""
    _verifiers[algorithm] = verifier


class Keys:
    """The signing keys of the owners on this node: private ones in `folder` (0600), public ones in records.
    Public keys of other nodes' owners come in by `trust`."""

    def __init__(self, events: Events, folder: Path | str, *, passphrase: str | None = None) -> None:
        self._events = events
        self._folder = Path(folder)
        self._passphrase = passphrase.encode() if passphrase else None

    def ensure(self, org: str, *, by: str) -> str:
        """The id of the newest key of `org`, made now where it has none. Raises Unavailable
        (`share.key_unwritable`), Corrupt (`share.key_unreadable`)."""
        if found := self._newest(org):
            return found
        private = Ed25519PrivateKey.generate()
        public = _der(private.public_key())
        id = hashlib.sha256(public).hexdigest()
        self._store(id, private)
        with self._events.begin() as change:
            row = {"id": id, "org": org, "algorithm": ED25519, "public": public, "since": change.now}
            change.connection.execute(sa.insert(t.key).values(**row, retired=None))
            change.note("share.key_made", f"key:{id}", by=by, org=org)
        return id

    def trust(self, org: str, algorithm: str, public: bytes, *, by: str) -> str:
        """Take the public key (DER) of an owner elsewhere. Raises InputError (`share.bad_algorithm`)."""
        if algorithm not in _verifiers:
            raise InputError("share.bad_algorithm", algorithm=algorithm)
        id = hashlib.sha256(public).hexdigest()
        with self._events.begin() as change:
            known = change.connection.scalar(sa.select(t.key.c.org).where(t.key.c.id == id))
            if known is None:
                row = {"id": id, "org": org, "algorithm": algorithm, "public": public, "since": change.now}
                change.connection.execute(sa.insert(t.key).values(**row, retired=None))
                change.note("share.key_trusted", f"key:{id}", by=by, org=org)
            elif known != org:
                raise InputError("share.key_of_another", key=id[:16])
        return id

    def retire(self, id: str, *, by: str) -> None:
        """Sign nothing more with it; what it has signed stays right. Raises NotFound (`share.no_key`)."""
        with self._events.begin() as change:
            org = change.connection.scalar(sa.select(t.key.c.org).where(t.key.c.id == id))
            if org is None:
                raise NotFound("share.no_key", key=id[:16])
            change.connection.execute(sa.update(t.key).where(t.key.c.id == id).values(retired=change.now))
            change.note("share.key_retired", f"key:{id}", by=by, org=org)

    def sign(self, org: str, message: bytes) -> Signature:
        """Raises NotFound (`share.no_key`), Corrupt (`share.key_unreadable`)."""
        id = self._newest(org)
        if id is None:
            raise NotFound("share.no_key", key=org)
        path = self._path(id)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), self._passphrase)
        except (OSError, ValueError, TypeError) as error:
            raise Corrupt("share.key_unreadable", path=str(path)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Corrupt("share.key_unreadable", path=str(path))
        return Signature(ED25519, id, base64.b64encode(key.sign(message)).decode())

    def verify(self, org: str, signature: Signature, message: bytes) -> bool:
        """Whether `org` signed `message`: by a key of its own, of the algorithm the key is for."""
        with self._events.records.read() as connection:
            row = connection.execute(sa.select(t.key).where(t.key.c.id == signature.key)).first()
        if row is None or row.org != org or row.algorithm != signature.algorithm:
            return False
        verifier = _verifiers.get(row.algorithm)
        try:
            value = base64.b64decode(signature.value, validate=True)
        except (binascii.Error, ValueError):
            return False
        return verifier is not None and verifier(bytes(row.public), value, message)

    def _newest(self, org: str) -> str | None:
        """Of the keys whose private half is here."""
        query = sa.select(t.key.c.id).where(t.key.c.org == org, t.key.c.retired.is_(None))
        with self._events.records.read() as connection:
            ids = connection.scalars(query.order_by(t.key.c.since.desc())).all()
        return next((id for id in ids if self._path(id).exists()), None)

    def _path(self, id: str) -> Path:
        return self._folder / f"{id[:32]}.pem"

    def _store(self, id: str, key: Ed25519PrivateKey) -> None:
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self._passphrase:
            protection = serialization.BestAvailableEncryption(self._passphrase)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
        path = self._path(id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, pem)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise Unavailable("share.key_unwritable", path=str(path), reason=str(error)) from error


def _der(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
