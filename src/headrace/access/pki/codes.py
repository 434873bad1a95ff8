"""Enrolment codes: what an administrator hands to whoever installs a gateway, once.

A code is 140 random bits in Crockford's base 32, seven groups of four: `7Q2M-…`. Case, spaces and hyphens do
not matter; I and L are read as 1, O as 0. It is stored as a hash, works once, within its time, for one
gateway."""

from __future__ import annotations

import re
import secrets

from headrace.access.ids import hash_secret

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ = str.maketrans({"I": "1", "L": "1", "O": "0"})
_GROUPS, _SIZE = 7, 4
_FORM = re.compile(rf"^[{_ALPHABET}]{{{_GROUPS * _SIZE}}}$")


def new_code() -> str:
    """A fresh code, grouped for reading."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_SIZE)) for _ in range(_GROUPS))
    return "-".join(groups)


def code_hash(text: str) -> str | None:
    """What a typed code is looked up by; None where it cannot be a code."""
    if len(text) > 200:
        return None
    plain = re.sub(r"[\s-]", "", text).upper().translate(_READ)
    return hash_secret(plain) if _FORM.match(plain) else None
