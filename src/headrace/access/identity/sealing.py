"""Secrets at rest. What must be read back (TOTP seeds) is sealed with AES-256-GCM (NIST SP 800-38D); what
must only be recognised (recovery codes) is kept as HMAC-SHA-256. The key lies outside the database, so a copy
of the database alone gives neither."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.access.files import create_once
from headrace.kernel.errors import Corrupt, InputError

KEY_BYTES = 32
KEY_VARIABLE = "HEADRACE_IDENTITY_KEY"  # base64 of the key; wins over the file
_NONCE_BYTES = 12


class Sealer:
    """Seals under one key. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError("identity.bad_key", bytes=KEY_BYTES)
        self._aead = AESGCM(hashlib.sha256(b"headrace identity seal" + key).digest())
        self._mac = hashlib.sha256(b"headrace identity mac" + key).digest()

    def seal(self, plain: bytes, about: str) -> bytes:
        """Nonce and ciphertext. `about` (whose it is) is bound to it: it opens for nobody else."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Raises Corrupt (`identity.cannot_unseal`): another key, another owner, or changed bytes."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise Corrupt("identity.cannot_unseal") from None

    def mac(self, text: str, about: str) -> str:
        """Hexadecimal; the same for the same text and owner under the same key."""
        return hmac.new(self._mac, f"{about}\x00{text}".encode(), hashlib.sha256).hexdigest()


def load_key(path: Path, environ: Mapping[str, str] | None = None) -> bytes:
    """The key from the environment, else from the file, which is made (mode 0600) where there is none.

    Raises InputError (`identity.bad_key`) where either holds something else.
    """
    given = (os.environ if environ is None else environ).get(KEY_VARIABLE, "")
    text = given or create_once(path, lambda: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError("identity.bad_key", bytes=KEY_BYTES)
    return key
