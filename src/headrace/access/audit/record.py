"""What an entry of the log is and what its hash covers. Pure.

The hash of an entry is SHA-256 over its canonical JSON (RFC 8785: keys sorted, no blanks, UTF-8) without the
member `hash`; the member `previous` is the hash of the entry before. Anyone can recompute it from an export:
64-bit times stand in it as decimal strings, because RFC 8785 numbers are IEEE 754 doubles.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import re
import unicodedata
from json.encoder import encode_basestring
from typing import Any

import msgspec

from headrace.kernel.errors import InputError

VERSION = 1
GENESIS = "0" * 64
"""`previous` of the first entry."""

MIN_RETENTION_DAYS = 184
"""Six months: the Cybersecurity Law of the PRC (网络安全法, 2016 text, article 21 (3)) wants network logs
kept no less than that, and any six months in a row have at most 184 days."""

PRUNED = "audit.pruned"
"""The action that tells of entries removed by retention; `verify` looks for it."""

MAX_INTEGER = 2**53 - 1
"""The largest integer that RFC 8785 can carry exactly."""

_LONGEST = {"reason": 2000, "resource": 1000, "actor_name": 200, "address": 200}
_LONGEST_OTHER = 200
_LONGEST_DETAIL = 20_000
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")  # what UTF-8 or PostgreSQL cannot hold

_quoted: Any = encode_basestring


class Outcome(enum.StrEnum):
    """How an act ended."""

    DONE = "done"
    DENIED = "denied"
    FAILED = "failed"
    PENDING = "pending"  # asked for, and waiting for someone


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done or tried.

    `actor`: id of the account, token, machine or service; `actor_name` and `actor_org` as they were then.
    `resource`: what it was done to, as `kind:id`. `org`: the organisation whose matter it is, "" for the
    node's own; its auditors see the entry, and so do those of `actor_org`. `reason`: a message code, or the
    words of the person. `basis`: the grant, approval, mandate or policy under which it happened, as
    `kind:id`. `details`: JSON of strings, booleans, numbers, lists and objects, never a secret.
    """

    actor: str
    action: str
    outcome: Outcome = Outcome.DONE
    resource: str = ""
    org: str = ""
    actor_name: str = ""
    actor_org: str = ""
    reason: str = ""
    basis: str = ""
    request: str = ""
    address: str = ""
    details: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An act in the log. `sequence` counts from 1 without gaps, `time` is UTC ns, `details` is canonical."""

    sequence: int
    time: int
    actor: str
    actor_name: str
    actor_org: str
    action: str
    resource: str
    org: str
    outcome: str
    reason: str
    basis: str
    request: str
    address: str
    details: str
    previous: str
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The newest entry at some moment; the log up to it is fixed by its hash. `sequence` 0: an empty log."""

    sequence: int
    hash: str
    time: int


def canonical(value: Any) -> str:
    """`value` as RFC 8785 JSON.

    Takes None, bool, str, int within ±MAX_INTEGER, finite float, and lists and str-keyed dicts of these;
    raises InputError (`audit.not_json`) for anything else.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return str(_quoted(_clean(value)))
        case int():
            if abs(value) > MAX_INTEGER:
                raise InputError("audit.not_json", value=str(value))
            return str(int(value))
        case float():
            return _number(value)
        case dict():
            items = {_clean(key): item for key, item in value.items() if isinstance(key, str)}
            if len(items) != len(value):
                raise InputError("audit.not_json", value=str(value)[:100])
            # RFC 8785 §3.2.3 sorts by UTF-16 code units, which differs from code points beyond the BMP
            keys = sorted(items, key=lambda key: key.encode("utf-16-be"))
            return "{" + ",".join(f"{_quoted(key)}:{canonical(items[key])}" for key in keys) + "}"
        case list() | tuple():
            return "[" + ",".join(canonical(item) for item in value) + "]"
    raise InputError("audit.not_json", value=str(value)[:100])


def _number(value: float) -> str:
    """As ECMAScript prints it (RFC 8785 §3.2.2.3): the shortest digits that read back as the same double."""
    if not math.isfinite(value):
        raise InputError("audit.not_json", value=str(value))
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + part).lstrip("0")
    point -= len(whole + part) - len(digits)
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        if len(digits) <= point:
            return sign + digits.ljust(point, "0")
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = f"e{point - 1:+d}"
    return sign + digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "") + power


def _start(entry: Entry) -> str:
    q = _quoted
    return (
        f'{{"action":{q(entry.action)},"actor":{q(entry.actor)},"actor_name":{q(entry.actor_name)},'
        f'"actor_org":{q(entry.actor_org)},"address":{q(entry.address)},"basis":{q(entry.basis)},'
        f'"details":{entry.details},'
    )


def _end(entry: Entry) -> str:
    q = _quoted
    return (
        f'"org":{q(entry.org)},"outcome":{q(entry.outcome)},"previous":{q(entry.previous)},'
        f'"reason":{q(entry.reason)},"request":{q(entry.request)},"resource":{q(entry.resource)},'
        f'"sequence":{entry.sequence},"time":"{entry.time}","version":{VERSION}}}'
    )


def body(entry: Entry) -> str:
    """The canonical JSON that the hash covers. Written out, since a million entries are checked by it."""
    return _start(entry) + _end(entry)


def hash_of(entry: Entry) -> str:
    """SHA-256 of `body` in hexadecimal; `entry.hash` itself does not count."""
    return hashlib.sha256(body(entry).encode("utf-8", "surrogatepass")).hexdigest()


def entry_of(act: Act, sequence: int, time: int, previous: str) -> Entry:
    """The entry that follows the one with hash `previous`. Texts that are too long are cut and end in "…":
    what a stranger sends must not be able to keep an act out of the log."""
    details = canonical(act.details)
    if len(details) > _LONGEST_DETAIL:
        details = canonical({"cut": details[:_LONGEST_DETAIL] + "…"})

    def fit(name: str) -> str:
        text, longest = _clean(getattr(act, name)), _LONGEST.get(name, _LONGEST_OTHER)
        return text if len(text) <= longest else text[: longest - 1] + "…"

    entry = Entry(
        sequence=sequence,
        time=time,
        actor=fit("actor"),
        actor_name=fit("actor_name"),
        actor_org=fit("actor_org"),
        action=fit("action"),
        resource=fit("resource"),
        org=fit("org"),
        outcome=act.outcome.value,
        reason=fit("reason"),
        basis=fit("basis"),
        request=fit("request"),
        address=fit("address"),
        details=details,
        previous=previous,
        hash="",
    )
    return msgspec.structs.replace(entry, hash=hash_of(entry))


def to_json(entry: Entry) -> str:
    """The entry as one line of an export: canonical JSON with the member `hash`."""
    return f'{_start(entry)}"hash":{_quoted(entry.hash)},{_end(entry)}'


def of_json(line: str | bytes) -> Entry:
    """The entry of such a line. Raises ValueError where it is none."""
    raw = json.loads(line, parse_int=_integer)
    if not isinstance(raw, dict) or raw.pop("version", None) != VERSION:
        raise ValueError("version")
    try:
        raw["details"] = canonical(raw["details"])
        raw["time"] = int(raw["time"])
        return msgspec.convert(raw, Entry)
    except (KeyError, TypeError, InputError, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from error


def _integer(digits: str) -> int | float:
    """What RFC 8785 prints without a point beyond the exact integers is a double."""
    value = int(digits)
    return value if abs(value) <= MAX_INTEGER else float(digits)


def search_text(entry: Entry) -> str:
    """What text search looks through: folded by width and case (ｐＨ finds pH), Chinese by substring."""
    return fold(
        "\n".join(
            (
                entry.actor_name,
                entry.actor,
                entry.action,
                entry.resource,
                entry.reason,
                entry.basis,
                entry.address,
                entry.request,
                entry.details,
            )
        )
    )


def fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _clean(text: str) -> str:
    return text if text.isascii() and "\x00" not in text else _NOT_TEXT.sub("�", text)
