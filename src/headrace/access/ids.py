"""Identifiers and secrets. An identifier names and may be shown; a secret proves and is stored as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid

SECRET_BYTES = 32


def new_id() -> str:
    """32 hexadecimal digits of a random UUID (RFC 9562 §5.4)."""
    return uuid.uuid4().hex


def new_secret(size: int = SECRET_BYTES) -> str:
    """`size` random bytes as URL-safe base64 without padding."""
    return secrets.token_urlsafe(size)


def hash_secret(secret: str) -> str:
    """SHA-256 in hexadecimal, for secrets of full entropy (128 bits or more), which no dictionary can guess.
    What people choose or type is stretched with argon2id instead."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same_secret(given: str, stored_hash: str) -> bool:
    """Whether `given` hashes to `stored_hash`; takes the same time wherever they differ."""
    return hmac.compare_digest(hash_secret(given).encode(), stored_hash.encode())
