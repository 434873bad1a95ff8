"""What the service of machine identity gives and takes, and how its rows read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.pki import names
from headrace.access.pki.lists import SignedList
from headrace.kernel.errors import InputError

REASONS = ("key_compromise", "superseded", "cessation_of_operation", "affiliation_changed", "unspecified")


class Code(msgspec.Struct, frozen=True):
    """An enrolment code just made: `secret` is shown once and stored nowhere. `trust_fingerprint`: SHA-256 of
    the root, by which the gateway knows that it talks to the right node."""

    id: str
    secret: str
    gateway: str
    expires: int
    trust_fingerprint: str


class Issued(msgspec.Struct, frozen=True):
    """What a machine gets: PEM texts. `certificate` is followed by its issuer; `trust` is the root;
    `lists` are the revocation lists of the moment."""

    serial: str
    certificate: str
    trust: str
    lists: tuple[SignedList, ...]
    renew_from: int  # UTC ns
    not_after: int


class Certificate(msgspec.Struct, frozen=True):
    """A certificate as it stands in the records. `retire`: when it ends because a newer one replaced it."""

    serial: str
    issuer: str
    gateway: str
    org: str
    usage: names.Usage
    hosts: tuple[str, ...]
    not_before: int
    not_after: int
    issued: int
    by: str
    replaces: str | None
    retire: int | None
    revoked: int | None
    revoked_by: str | None
    reason: str | None

    def state(self, now: int) -> str:
        """ "active", "retiring" (replaced, still working), "revoked" or "expired"."""
        if self.revoked is not None:
            return "revoked"
        if self.not_after <= now:
            return "expired"
        return "retiring" if self.retire is not None else "active"


def check_reason(reason: str) -> str:
    """Raises InputError (`pki.bad_reason`) where a certificate cannot be revoked for that."""
    if reason not in REASONS:
        raise InputError("pki.bad_reason", reason=reason[:80], choices=", ".join(REASONS))
    return reason


def certificate(row: sa.Row[Any]) -> Certificate:
    """The row of a certificate as others see it."""
    values = {name: getattr(row, name) for name in Certificate.__struct_fields__}
    values["usage"] = names.Usage(row.usage)
    values["hosts"] = tuple(json.loads(row.hosts))
    return Certificate(**values)
