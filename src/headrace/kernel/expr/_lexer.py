"""Text into tokens."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from headrace.kernel.config import duration
from headrace.kernel.expr.errors import MAX_LENGTH, ExpressionError


class Token(NamedTuple):
    """`kind`: number, quantity, duration, text, name, operator or end. `value` is what it stands for."""

    kind: str
    text: str
    at: int
    end: int
    value: float | int | str | bool = 0.0
    unit: str = ""


_SPACE = re.compile(r"(?:\s+|//[^\n]*)+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DURATION_END = re.compile(r"(?:us|ms|s|m|h|d)(?![A-Za-z0-9_/-])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:/[A-Za-z0-9_-]+)*")
_QUOTED_NAME = re.compile(r"`([^`\n]*)`")
_PATH = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_OPERATOR = re.compile(r"&&|\|\||==|!=|<=|>=|[-+*/%<>!?:,()\[\]]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`"}
# What people type, and what it should be
_MEANT = {
    "=": "==",
    "&": "&&",
    "|": "||",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "×": "*",
    "÷": "/",
    "−": "-",
    "（": "(",
    "）": ")",
    "，": ",",
    "！": "!",
    "？": "?",
    "：": ":",
    "＞": ">",
    "＜": "<",
    "＝": "==",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "【": "[",
    "】": "]",
}


def tokens(text: str) -> list[Token]:
    """All tokens and one "end". Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError("expr.too_long", text, MAX_LENGTH, length=len(text), limit=MAX_LENGTH)
    found: list[Token] = []
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        token = _next(text, at)
        found.append(token)
        at = token.end
    found.append(Token("end", "", len(text), len(text)))
    return found


def _next(text: str, at: int) -> Token:
    if text[at].isdigit() and text[at].isascii():
        return _number(text, at)
    if match := _NAME.match(text, at):
        return Token("name", match[0], at, match.end(), match[0])
    if text[at] in "'\"":
        return _text(text, at)
    if text[at] == "`":
        match = _QUOTED_NAME.match(text, at)
        if not match:
            raise ExpressionError("expr.unterminated", text, at, mark="`")
        if not _PATH.fullmatch(match[1]):
            raise ExpressionError("expr.bad_name", text, at, name=match[1])
        return Token("quoted", match[0], at, match.end(), match[1])
    if match := _OPERATOR.match(text, at):
        return Token("operator", match[0], at, match.end())
    meant = _MEANT.get(text[at])
    if meant:
        raise ExpressionError("expr.character_meant", text, at, character=text[at], meant=meant)
    raise ExpressionError("expr.character", text, at, character=text[at])


def _number(text: str, at: int) -> Token:
    match = _NUMBER.match(text, at)
    assert match is not None
    end = match.end()
    value = float(match[0])
    if math.isinf(value):
        raise ExpressionError("expr.number_range", text, at, number=match[0][:40])
    follows = text[end : end + 1]
    if follows == "[":
        close = _closing(text, end)
        return Token("quantity", text[at : close + 1], at, close + 1, value, text[end + 1 : close])
    if unit := _DURATION_END.match(text, end):
        try:
            ns = int(duration(text[at : unit.end()]))
        except ValueError:
            raise ExpressionError("expr.bad_duration", text, at, duration=text[at : unit.end()]) from None
        if ns >= 2**63:
            raise ExpressionError("expr.number_range", text, at, number=text[at : unit.end()][:40])
        return Token("duration", text[at : unit.end()], at, unit.end(), ns)
    rest = text[end : end + 2]
    glued = re.match(r"[A-Za-z_]|/[A-Za-z_]", rest)
    if glued:
        whole = re.match(r"[A-Za-z0-9_./-]+", text[at:])
        assert whole is not None
        raise ExpressionError("expr.glued_number", text, at, number=match[0], found=whole[0])
    return Token("number", match[0], at, end, value)


def _closing(text: str, opening: int) -> int:
    """The bracket that closes a unit: UCUM has brackets of its own, as in [[degF]]."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "[":
            depth += 1
        elif text[at] == "]":
            depth -= 1
            if not depth:
                return at
    raise ExpressionError("expr.unterminated", text, opening, mark="[")


def _text(text: str, at: int) -> Token:
    mark = text[at]
    out: list[str] = []
    here = at + 1
    while here < len(text) and text[here] != "\n":
        if text[here] == mark:
            return Token("text", text[at : here + 1], at, here + 1, "".join(out))
        if text[here] == "\\":
            escape = text[here + 1 : here + 2]
            if escape not in _ESCAPES:
                raise ExpressionError("expr.bad_escape", text, here, escape="\\" + escape)
            out.append(_ESCAPES[escape])
            here += 2
        else:
            out.append(text[here])
            here += 1
    raise ExpressionError("expr.unterminated", text, at, mark=mark)
