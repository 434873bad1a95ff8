"""Revocation lists in the records: signed there, read from there by every process of the node."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from headrace.access.events import Change
from headrace.access.pki._tables import certificate as _certificate
from headrace.access.pki._tables import crl as _crl
from headrace.access.pki.authority import Authority, Issuer, Revoked
from headrace.access.pki.config import PkiSettings
from headrace.access.pki.names import common_name
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import NotFound
from headrace.records import Records


class SignedList(msgspec.Struct, frozen=True):
    """A revocation list and the certificate of its issuer, DER both."""

    crl: bytes
    issuer: bytes


def due(change: Change, issuer: Issuer, settings: PkiSettings) -> bool:
    """Whether `issuer` has no list yet, or one older than `settings.crl_every`."""
    row = _row(change, issuer)
    return row is None or bool(change.now - row.this_update >= settings.crl_every)


def sign(change: Change, authority: Authority, issuer: Issuer) -> None:
    """The next list of `issuer`, of what is revoked at this point of the transaction.

    Certificates past their end leave the list (RFC 5280 §3.3), but only a list's validity later, so that no
    peer whose clock is behind takes them again.
    """
    query = sa.select(_certificate).where(
        _certificate.c.issuer == issuer.name,
        _certificate.c.revoked.is_not(None),
        _certificate.c.not_after > change.now - authority.settings.crl,
    )
    rows = change.connection.execute(query.order_by(_certificate.c.revoked)).all()
    revoked = [Revoked(row.serial, row.revoked, x509.ReasonFlags[row.reason].value) for row in rows]
    before = _row(change, issuer)
    number = before.number + 1 if before else 1
    made = authority.crl(issuer, revoked, number=number, after=before.this_update if before else 0)
    _store(change, made, issuer.certificate, number, known=before is not None)


def publish_root(change: Change, authority: Authority) -> None:
    """Put the root's own list beside those of its issuers, where it is newer than the one there."""
    crl = x509.load_pem_x509_crl(authority.root_crl)
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    before = change.connection.execute(sa.select(_crl).where(_crl.c.issuer == authority.root_name)).first()
    if before is None or before.number < number:
        _store(change, crl, authority.root, number, known=before is not None)


def _store(
    change: Change,
    made: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    number: int,
    *,
    known: bool,
) -> None:
    name = common_name(issuer.subject)
    assert made.next_update_utc is not None
    values = {
        "number": number,
        "this_update": int(made.last_update_utc.timestamp()) * NS_PER_S,
        "next_update": int(made.next_update_utc.timestamp()) * NS_PER_S,
        "der": made.public_bytes(serialization.Encoding.DER),
        "certificate": issuer.public_bytes(serialization.Encoding.DER),
    }
    if known:
        change.connection.execute(sa.update(_crl).where(_crl.c.issuer == name).values(**values))
    else:
        change.connection.execute(sa.insert(_crl).values(issuer=name, **values))
    change.note("pki.crl", name, by="", detail={"number": str(number)})


def read(records: Records) -> list[SignedList]:
    """The newest list of each issuer, the root's among them."""
    with records.read() as connection:
        return select(connection)


def numbers(records: Records) -> dict[str, int]:
    """The number of each issuer's newest list."""
    with records.read() as connection:
        return {row.issuer: row.number for row in connection.execute(sa.select(_crl.c.issuer, _crl.c.number))}


def read_one(records: Records, issuer: str) -> tuple[int, SignedList]:
    """The newest list of one issuer and its number. Raises NotFound (`pki.no_list`)."""
    with records.read() as connection:
        row = connection.execute(sa.select(_crl).where(_crl.c.issuer == issuer)).first()
    if row is None:
        raise NotFound("pki.no_list", issuer=issuer)
    return row.number, SignedList(row.der, row.certificate)


def select(connection: sa.Connection) -> list[SignedList]:
    """The same within a transaction."""
    rows = connection.execute(sa.select(_crl).order_by(_crl.c.issuer)).all()
    return [SignedList(row.der, row.certificate) for row in rows]


def _row(change: Change, issuer: Issuer) -> sa.Row[Any] | None:
    return change.connection.execute(sa.select(_crl).where(_crl.c.issuer == issuer.name)).first()
