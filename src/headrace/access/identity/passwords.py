"""Passwords: which are accepted, and how they are kept (argon2id, RFC 9106).

The policy follows NIST SP 800-63B §3.1.1 (length, no common ones, any character) and adds the complexity that
GB/T 22239-2019 §8.1.4.1 a) asks for: 12 characters of three classes, or a passphrase of four words.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import cache
from pathlib import Path

import argon2

from headrace.kernel.errors import InputError

LONGEST = 256  # characters; argon2 takes any length, but a request should not
_CLASSES = (str.islower, str.isupper, str.isdigit)
_PASSPHRASE_LENGTH, _PASSPHRASE_WORDS = 16, 4
_DISTINCT = 6
_REST = 6  # characters that must be left when common words and runs are taken away
_RUN = 4  # characters in a row of the alphabet, the digits or the keyboard that count as one
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv",
)
_LOOKS = str.maketrans("013457@$!", "oleastasi")
_CONCURRENT = 4  # each takes 64 MiB


def normal(password: str) -> str:
    """The form that is hashed: NFKC, so that it is the same from every keyboard and input method."""
    return unicodedata.normalize("NFKC", password)


@cache
def common() -> frozenset[str]:
    """The most common passwords and what they are built from, in lower case."""
    lines = Path(__file__).with_name("common.txt").read_text("utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def check(password: str, *, login: str = "", name: str = "", length: int = 12) -> None:
    """Raises InputError where the password is not acceptable: `identity.password_short`, `_long`, `_simple`,
    `_monotonous`, `_common`, `_personal`."""
    text = normal(password)
    if len(text) < length and not _is_passphrase(text):
        raise InputError("identity.password_short", length=length)
    if len(text) > LONGEST:
        raise InputError("identity.password_long", length=LONGEST)
    classes = sum(any(is_class(c) for c in text) for is_class in _CLASSES)
    classes += any(not (c.islower() or c.isupper() or c.isdigit()) for c in text)
    if classes < 3 and not _is_passphrase(text):
        raise InputError("identity.password_simple")
    if len(set(text.casefold())) < _DISTINCT:
        raise InputError("identity.password_monotonous")
    lower = text.casefold()
    own = {part.casefold() for part in (login, name, login.partition("@")[0]) if len(part) >= 3}
    if any(part in lower or part[::-1] in lower for part in own):
        raise InputError("identity.password_personal")
    if len(_without_common(lower)) < _REST:
        raise InputError("identity.password_common")


def _is_passphrase(text: str) -> bool:
    """Four different words in 16 characters or more; of Chinese, ten different characters (each adds some ten
    bits)."""
    words = {word for word in re.split(r"[\W_]+", text.casefold()) if len(word) >= 3}
    chinese = {c for c in text if "一" <= c <= "鿿"}
    long = len(text) >= _PASSPHRASE_LENGTH and len(words) >= _PASSPHRASE_WORDS
    return long or len(chinese) >= 10


def _without_common(lower: str) -> str:
    """What is left of a password without common words (also written with look-alikes), runs, repeats and
    years."""
    for text in (lower, lower.translate(_LOOKS)):
        for word in sorted((w for w in common() if len(w) >= 4), key=len, reverse=True):
            if word in text:
                at = text.index(word)
                lower = lower[:at] + lower[at + len(word) :]
                return _without_common(lower)
    lower = re.sub(r"(.)\1{2,}", "", lower)
    lower = re.sub(r"(19|20)\d\d", "", lower)
    for row in _ROWS:
        for line in (row, row[::-1]):
            for size in range(len(line), _RUN - 1, -1):
                for at in range(len(line) - size + 1):
                    lower = lower.replace(line[at : at + size], "")
    return lower


class Hasher:
    """argon2id with the second recommended set of RFC 9106 §4 (64 MiB, 3 passes, 4 lanes). A few at a time,
    so that a flood of tries cannot take all memory. Thread-safe."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 65_536, lanes: int = 4) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=lanes, type=argon2.Type.ID
        )
        self._slots = threading.BoundedSemaphore(_CONCURRENT)
        self._nobody = self._argon2.hash("nobody's password")

    def hash(self, password: str) -> str:
        """In PHC form, with its own random salt and parameters."""
        with self._slots:
            return self._argon2.hash(normal(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Takes as long for an account without a password (`stored` None), or for none at all."""
        with self._slots:
            try:
                same = self._argon2.verify(stored or self._nobody, normal(password[: 4 * LONGEST]))
            except (argon2.exceptions.VerifyMismatchError, UnicodeEncodeError):
                return False
        return same and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than today's, and should be made anew at sign-in."""
        return self._argon2.check_needs_rehash(stored)
