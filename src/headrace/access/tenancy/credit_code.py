"""The unified social credit code (统一社会信用代码) of Chinese organisations: GB 32100-2015.

18 characters: department, kind, six digits of administrative division, nine of the subject, a check.
"""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015 table 2: no I, O, S, V, Z
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH = 18


def check_character(body: str) -> str:
    """The last character for the 17 before it. Weights are 3^i mod 31 (GB 32100-2015 §5.5).

    Raises KeyError where `body` has a character outside the alphabet.
    """
    total = sum(_VALUE[c] * pow(3, place, 31) for place, c in enumerate(body))
    return _ALPHABET[-total % 31]


def is_credit_code(text: str) -> bool:
    """Whether `text` is a code in capital letters whose division is digits and whose check is right."""
    if len(text) != _LENGTH or any(c not in _VALUE for c in text):
        return False
    return text[2:8].isdigit() and text[-1] == check_character(text[:-1])
