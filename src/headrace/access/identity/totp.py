"""Time-based one-time codes: RFC 6238 over RFC 4226, with SHA-1, six digits and 30 seconds, which is what the
authenticator apps in use understand. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from typing import Literal
from urllib.parse import quote, urlencode

from headrace.kernel.clock import NS_PER_S

SECRET_BYTES = 20  # RFC 4226 §4 R6
STEP_S = 30
DIGITS = 6
WINDOW = 1  # steps to either side that are accepted, for clocks and fingers (RFC 6238 §5.2)


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def step_at(now: int) -> int:
    """The step that UTC ns `now` lies in."""
    return now // (STEP_S * NS_PER_S)


def code_at(
    secret: bytes,
    step: int,
    *,
    digits: int = DIGITS,
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha1",
) -> str:
    """The code of one step (RFC 4226 §5.3)."""
    digest = hmac.new(secret, struct.pack(">Q", step), getattr(hashlib, algorithm)).digest()
    offset = digest[-1] & 0xF
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def match(secret: bytes, code: str, now: int, *, after: int, window: int = WINDOW) -> int | None:
    """The step whose code `code` is, within `window` steps of now and later than step `after`; None where it
    is none of them. The caller keeps the step as the next `after`, so that no code counts twice (RFC 6238
    §5.2). Takes the same time whichever matches."""
    given = "".join(code.split()).encode("utf-8", "surrogatepass")
    found = None
    centre = step_at(now)
    for step in range(max(0, centre - window), centre + window + 1):
        same = hmac.compare_digest(code_at(secret, step).encode(), given)
        if same and step > after and found is None:
            found = step
    return found


def text(secret: bytes) -> str:
    """The secret as people type it into an app: base32 in groups of four."""
    plain = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(plain[n : n + 4] for n in range(0, len(plain), 4))


def uri(secret: bytes, login: str, issuer: str) -> str:
    """The otpauth URI that apps read from a QR code (the key URI format of Google Authenticator)."""
    label = quote(f"{issuer}:{login}", safe="")
    plain = base64.b32encode(secret).decode().rstrip("=")
    query = {"secret": plain, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"
