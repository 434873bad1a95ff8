"""Machine identity over its life: code, enrolment, renewal with overlap, revocation.

One process of a node, the one that holds the issuer's key, runs a MachinePki. Every change is one transaction
with its event ("pki.enrolled", "pki.renewed", "pki.revoked", "pki.cloned", "pki.crl" …); a revocation is in
the signed list of the same transaction, so whoever hears of it can fetch proof of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives import serialization
from sqlalchemy.exc import IntegrityError

from headrace.access.events import Change, Events
from headrace.access.ids import new_id
from headrace.access.pki import keys, lists, names, requests
from headrace.access.pki._tables import certificate as _certificate
from headrace.access.pki._tables import code as _code
from headrace.access.pki.authority import Authority
from headrace.access.pki.codes import code_hash, new_code
from headrace.access.pki.views import Certificate, Code, Issued, certificate, check_reason
from headrace.access.tenancy._tables import org as _org
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Conflict, Denied, InputError, NotFound

_log = structlog.get_logger(__name__)


class MachinePki:
    """The authority with its records. Methods block (database, signatures): call them in a thread."""

    def __init__(self, authority: Authority, events: Events) -> None:
        self._authority = authority
        self._events = events
        self._clock = events.clock
        self._settings = authority.settings

    @property
    def trust(self) -> bytes:
        """The root in PEM."""
        return self._authority.trust

    # --- codes ---------------------------------------------------------------------------------------

    def issue_code(
        self,
        *,
        gateway: str,
        org: str,
        scope: Scope,
        by: str,
        usage: names.Usage = names.Usage.MACHINE,
        hosts: Sequence[str] = (),
    ) -> Code:
        """A code with which `gateway` of `org` may enrol once. `hosts`: names and addresses a server may
        have in its certificate; a machine has none. Raises InputError (`pki.bad_name`, `pki.bad_host`)."""
        names.check_name(gateway)
        allowed = tuple(sorted({names.check_host(h) for h in hosts}))
        if usage is names.Usage.MACHINE and allowed:
            raise InputError("pki.machine_hosts", gateway=gateway)
        secret, id_ = new_code(), new_id()
        with self._events.begin() as change:
            known = sa.select(_org.c.id).where(_org.c.id == org, scope.where(_org.c.id))
            if change.connection.execute(known).first() is None:
                raise NotFound("pki.no_org", org=org)
            expires = change.now + self._settings.code
            row = {
                "id": id_,
                "hash": code_hash(secret),
                "gateway": gateway,
                "org": org,
                "usage": usage,
                "hosts": json.dumps(allowed),
                "created": change.now,
                "by": by,
                "expires": expires,
            }
            change.connection.execute(sa.insert(_code).values(**row))
            change.note("pki.code_issued", id_, by=by, org=org, detail={"gateway": gateway, "usage": usage})
        return Code(id_, secret, gateway, expires, self._authority.fingerprint)

    def cancel_code(self, id: str, scope: Scope, *, by: str) -> None:
        """Raises NotFound (`pki.no_code`) where there is no such unused code."""
        with self._events.begin() as change:
            row = change.connection.execute(
                sa.select(_code).where(_code.c.id == id, scope.where(_code.c.org))
            ).first()
            if row is None or row.used is not None or row.cancelled is not None:
                raise NotFound("pki.no_code", id=id)
            change.connection.execute(sa.update(_code).where(_code.c.id == id).values(cancelled=change.now))
            change.note("pki.code_cancelled", id, by=by, org=row.org, detail={"gateway": row.gateway})

    # --- certificates --------------------------------------------------------------------------------

    def enrol(self, secret: str, gateway: str, csr: bytes) -> Issued:
        """The first certificate of `gateway`, for its code. Raises Denied (`pki.code_unknown`,
        `pki.code_used`, `pki.code_expired`, `pki.code_gateway`, and those of `requests.check`)."""
        wanted = code_hash(secret)
        with self._events.begin() as change:
            row = change.connection.execute(sa.select(_code).where(_code.c.hash == wanted)).first()
            if row is None or wanted is None or row.cancelled is not None:
                raise Denied("pki.code_unknown")
            if row.used is not None:
                raise Denied("pki.code_used", gateway=row.gateway)
            if row.expires <= change.now:
                raise Denied("pki.code_expired", gateway=row.gateway)
            if row.gateway != gateway:
                raise Denied("pki.code_gateway")
            hosts = tuple(json.loads(row.hosts))
            key = requests.check(csr, gateway=gateway, hosts=hosts)
            taken = change.connection.execute(
                sa.update(_code).where(_code.c.id == row.id, _code.c.used.is_(None)).values(used=change.now)
            )
            if taken.rowcount != 1:
                raise Denied("pki.code_used", gateway=gateway)
            identity = names.Identity(self._authority.node, row.org, names.Usage(row.usage), gateway)
            issued = self._sign(change, key, identity, hosts, by=row.by, code=row.id)
            change.note("pki.enrolled", issued.serial, by=row.by, org=row.org, detail={"gateway": gateway})
        return issued

    def renew(self, peer: names.Peer, csr: bytes) -> Issued:
        """The next certificate of a connected `peer`, for a fresh key; the present one works for
        `settings.overlap` longer. A repeated request with the same key gets the same answer, so a lost reply
        does no harm. A second renewal of one certificate with another key means that two parties hold its
        key: the whole line is revoked. Raises Denied (`pki.cloned`, `pki.revoked`, `pki.expired`,
        `pki.unknown_certificate`), Conflict (`pki.too_early`, `pki.key_reused`)."""
        cloned = False
        with self._events.begin() as change:
            row = self._row(change.connection, peer.serial, Scope.whole_node())
            self._must_work(row, change.now)
            hosts = tuple(json.loads(row.hosts))
            key = requests.check(csr, gateway=row.gateway, hosts=hosts)
            found = sa.select(_certificate).where(_certificate.c.replaces == row.serial)
            successor = change.connection.execute(found).first()
            if successor is not None and successor.key_hash == keys.fingerprint(key):
                return self._issued(change.connection, successor)
            if successor is not None:
                cloned = True
                self._revoke_line(change, row, by="", reason="key_compromise")
                change.note("pki.cloned", row.serial, by="", org=row.org, detail={"gateway": row.gateway})
            else:
                if change.now < self._renew_from(row.not_after):
                    raise Conflict("pki.too_early", gateway=row.gateway)
                identity = names.Identity(self._authority.node, row.org, names.Usage(row.usage), row.gateway)
                issued = self._sign(change, key, identity, hosts, by="", replaces=row.serial)
                retire = min(change.now + self._settings.overlap, row.not_after)
                change.connection.execute(
                    sa.update(_certificate).where(_certificate.c.serial == row.serial).values(retire=retire)
                )
                change.note(
                    "pki.renewed",
                    issued.serial,
                    by="",
                    org=row.org,
                    detail={"gateway": row.gateway, "replaces": row.serial},
                )
        if cloned:
            _log.error("certificate_cloned", gateway=peer.identity.gateway, serial=peer.serial)
            raise Denied("pki.cloned", gateway=peer.identity.gateway)
        return issued

    def revoke(self, serial: str, scope: Scope, *, by: str, reason: str = "unspecified") -> None:
        """End one certificate now. Revoking what is revoked changes nothing. Raises NotFound
        (`pki.no_certificate`), Conflict (`pki.bad_reason`)."""
        check_reason(reason)
        with self._events.begin() as change:
            row = self._row(change.connection, serial, scope)
            self._revoke(change, [row], by=by, reason=reason)

    def revoke_gateway(
        self, org: str, gateway: str, scope: Scope, *, by: str, reason: str = "unspecified"
    ) -> int:
        """End every certificate and open code of a gateway; how many certificates there were."""
        check_reason(reason)
        with self._events.begin() as change:
            query = sa.select(_certificate).where(
                _certificate.c.org == org,
                scope.where(_certificate.c.org),
                _certificate.c.gateway == gateway,
                _certificate.c.revoked.is_(None),
                _certificate.c.not_after > change.now,
            )
            rows = change.connection.execute(query).all()
            self._revoke(change, rows, by=by, reason=reason)
            open_codes = sa.update(_code).where(
                _code.c.org == org,
                scope.where(_code.c.org),
                _code.c.gateway == gateway,
                _code.c.used.is_(None),
            )
            change.connection.execute(open_codes.values(cancelled=change.now))
        return len(rows)

    def maintain(self) -> None:
        """What is due: replaced certificates whose overlap is over, lists about to age, the issuer's
        successor. Call it at start and then at least every minute; it is cheap when nothing is due."""
        if self._authority.issuer_due():
            try:
                issuer = self._authority.renew_issuer()
                _log.info("pki_issuer_renewed", issuer=issuer.name)
            except NotFound:
                _log.error("pki_root_key_needed", folder=str(self._authority.folder))
        with self._events.begin() as change:
            due = sa.select(_certificate).where(
                _certificate.c.retire <= change.now,
                _certificate.c.revoked.is_(None),
                _certificate.c.not_after > change.now,
            )
            self._revoke(change, change.connection.execute(due).all(), by="", reason="superseded")
            lists.publish_root(change, self._authority)
            for issuer in self._authority.issuers:
                if lists.due(change, issuer, self._settings):
                    lists.sign(change, self._authority, issuer)

    def certificates(
        self, scope: Scope, *, gateway: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[list[Certificate], int]:
        """Certificates in scope, newest first, and how many there are."""
        query = sa.select(_certificate).where(scope.where(_certificate.c.org))
        if gateway:
            query = query.where(_certificate.c.gateway == gateway)
        page = query.order_by(_certificate.c.issued.desc(), _certificate.c.serial).limit(limit).offset(offset)
        with self._events.records.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            rows = connection.execute(page).all()
        return [certificate(row) for row in rows], total

    # --- inside --------------------------------------------------------------------------------------

    def _row(self, connection: sa.Connection, serial: str, scope: Scope) -> sa.Row[Any]:
        query = sa.select(_certificate).where(
            _certificate.c.serial == serial, scope.where(_certificate.c.org)
        )
        row = connection.execute(query).first()
        if row is None:
            raise NotFound("pki.no_certificate", serial=serial)
        return row

    def _must_work(self, row: sa.Row[Any], now: int) -> None:
        if row.revoked is not None or (row.retire is not None and row.retire <= now):
            raise Denied("pki.revoked", gateway=row.gateway)
        if row.not_after <= now:
            raise Denied("pki.expired", gateway=row.gateway)

    def _renew_from(self, not_after: int) -> int:
        return not_after - self._settings.renew_before

    def _sign(
        self,
        change: Change,
        key: keys.PublicKey,
        identity: names.Identity,
        hosts: tuple[str, ...],
        *,
        by: str,
        code: str | None = None,
        replaces: str | None = None,
    ) -> Issued:
        made = self._authority.sign(key, identity, hosts)
        peer = names.peer_of(made)
        row = {
            "serial": peer.serial,
            "issuer": peer.issuer,
            "gateway": identity.gateway,
            "org": identity.org,
            "usage": identity.usage,
            "hosts": json.dumps(hosts),
            "key_hash": keys.fingerprint(key),
            "pem": made.public_bytes(serialization.Encoding.PEM).decode() + self._authority.chain.decode(),
            "not_before": peer.not_before,
            "not_after": peer.not_after,
            "issued": change.now,
            "by": by,
            "code": code,
            "replaces": replaces,
        }
        try:
            change.connection.execute(sa.insert(_certificate).values(**row))
        except IntegrityError:
            raise Conflict("pki.key_reused", gateway=identity.gateway) from None
        return self._issued(change.connection, self._row(change.connection, peer.serial, Scope.whole_node()))

    def _issued(self, connection: sa.Connection, row: sa.Row[Any]) -> Issued:
        return Issued(
            serial=row.serial,
            certificate=row.pem,
            trust=self._authority.trust.decode(),
            lists=tuple(lists.select(connection)),
            renew_from=self._renew_from(row.not_after),
            not_after=row.not_after,
        )

    def _revoke_line(self, change: Change, row: sa.Row[Any], *, by: str, reason: str) -> None:
        """`row` and everything that was issued on the strength of it."""
        line = [row]
        while True:
            query = sa.select(_certificate).where(_certificate.c.replaces == line[-1].serial)
            if (follower := change.connection.execute(query).first()) is None:
                break
            line.append(follower)
        self._revoke(change, line, by=by, reason=reason)

    def _revoke(self, change: Change, rows: Sequence[sa.Row[Any]], *, by: str, reason: str) -> None:
        affected = set()
        for row in rows:
            if row.revoked is not None:
                continue
            change.connection.execute(
                sa.update(_certificate)
                .where(_certificate.c.serial == row.serial)
                .values(revoked=change.now, revoked_by=by, reason=reason)
            )
            detail = {"gateway": row.gateway, "reason": reason}
            change.note("pki.revoked", row.serial, by=by, org=row.org, detail=detail)
            affected.add(row.issuer)
        for issuer in self._authority.issuers:
            if issuer.name in affected:
                lists.sign(change, self._authority, issuer)
