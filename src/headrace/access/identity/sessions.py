"""Sessions of people: limited in idle time, in length and in number; listed, and ended at once everywhere."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from headrace.access.events import Change, Events
from headrace.access.identity._tables import account, session
from headrace.access.identity._verdicts import Verdicts
from headrace.access.identity.accounts import AccountState
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.principal import Principal, PrincipalKind, Strength
from headrace.access.identity.roles import roles_of
from headrace.access.ids import hash_secret, new_id, new_secret
from headrace.access.tenancy import Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import NotFound, Unavailable

_log = structlog.get_logger(__name__)

_RUNNING = sa.and_(
    session.c.ended.is_(None),
    session.c.expires > sa.bindparam("now", type_=sa.BigInteger),
    session.c.seen > sa.bindparam("idle", type_=sa.BigInteger),
)
_KEY = sa.bindparam("key", type_=sa.Text)
_BY_HASH = sa.select(session).where(session.c.hash == _KEY, _RUNNING)
_BY_ID = sa.select(session).where(session.c.id == _KEY, _RUNNING)
_OWNER = sa.select(account).where(account.c.id == sa.bindparam("id", type_=sa.Text))
_LATEST_FIRST = (session.c.seen.desc(), session.c.created.desc(), session.c.id)
_SEEN_EVERY_S = 60  # the idle limit is kept to within this, or a tenth of itself


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is listed. Times are UTC ns; `expires` is the latest end, `ended` the actual one."""

    id: str
    account: str
    method: str
    strength: Strength
    created: int
    authenticated: int
    second_factor: int | None
    seen: int
    expires: int
    address: str
    agent: str
    ended: int | None = None
    ended_by: str = ""
    end_reason: str = ""


class Sessions:
    """The sessions in records. Thread-safe."""

    def __init__(self, events: Events, settings: IdentitySettings) -> None:
        self._events = events
        self._clock = events.clock
        self._settings = settings
        self._verdicts = Verdicts(events)

    def open(
        self,
        change: Change,
        row: sa.Row[Any],
        *,
        method: str,
        strength: Strength,
        second_factor: bool,
        address: str,
        agent: str,
    ) -> tuple[str, str]:
        """A session for the account `row`: its secret, for the cookie alone, and its id. Where the account
        has as many as it may, the one not used for longest ends."""
        connection, id, secret = change.connection, new_id(), new_secret()
        others = sa.select(session.c.id).where(session.c.account == row.id, _RUNNING)
        by_use = others.order_by(*_LATEST_FIRST)
        beyond = by_use.offset(self._settings.sessions - 1)
        for surplus in connection.scalars(beyond, self._bounds(change.now)).all():
            self._end(change, session.c.id == surplus, by="", reason="too-many")
        values = {
            "id": id,
            "hash": hash_secret(secret),
            "account": row.id,
            "method": method,
            "strength": int(strength),
            "created": change.now,
            "authenticated": change.now,
            "second_factor": change.now if second_factor else None,
            "seen": change.now,
            "expires": change.now + self._settings.session_longest,
            "address": address[:64],
            "agent": agent[:256],
        }
        connection.execute(sa.insert(session).values(**values))
        detail = {"method": method, "strength": strength.name.lower(), "address": address[:64]}
        change.note("session.opened", id, by=row.id, org=row.home, detail=detail)
        return secret, id

    def prove(self, secret: str) -> Principal | None:
        """Who holds this secret; None where the session is over or never was. Counts as use."""
        key = hash_secret(secret)
        kept = self._verdicts.get(key)
        if kept is not None:
            return kept
        generation, now = self._verdicts.generation, self._clock.now()
        with self._events.records.read() as connection:
            row = connection.execute(_BY_HASH, self._bounds(now) | {"key": key}).first()
            principal = self._principal(connection, row, now) if row is not None else None
        if row is None or principal is None:
            return None
        self._touch(row, now)
        until = min(row.expires, now + self._settings.session_idle)
        self._verdicts.put(key, principal, until=until, generation=generation)
        return principal

    def principal(self, connection: sa.Connection, id: str, now: int) -> Principal | None:
        """Who is in session `id`, read within a transaction of the caller's."""
        row = connection.execute(_BY_ID, self._bounds(now) | {"key": id}).first()
        return self._principal(connection, row, now) if row is not None else None

    def find(self, account_id: str, scope: Scope | None = None) -> list[Session]:
        """The running sessions of an account, the latest used first; with a scope, none where the account's
        home is outside it."""
        chosen = [session.c.account == account_id, _RUNNING]
        if scope is not None:
            chosen.append(session.c.account.in_(_homed(scope)))
        with self._events.records.read() as connection:
            rows = connection.execute(
                sa.select(session).where(*chosen).order_by(*_LATEST_FIRST),
                self._bounds(self._clock.now()),
            ).all()
        return [_session(row) for row in rows]

    def end(self, id: str, *, by: str, scope: Scope | None = None, reason: str = "ended") -> None:
        """End a session at once in all processes: one of the account `by` itself, or, with a scope, of an
        account whose home is in it. Raises NotFound (`identity.unknown_session`)."""
        mine = session.c.account == by if scope is None else session.c.account.in_(_homed(scope))
        with self._events.begin() as change:
            if not self._end(change, sa.and_(session.c.id == id, mine), by=by, reason=reason):
                raise NotFound("identity.unknown_session", session=id)

    def sign_out(self, secret: str) -> None:
        """End the session of a cookie; one that is unknown is over already."""
        with self._events.begin() as change:
            self._end(change, session.c.hash == hash_secret(secret), by="", reason="signed-out")

    @staticmethod
    def strengthen(change: Change, id: str, strength: Strength) -> None:
        """The second factor was shown in this session just now."""
        values = {"strength": int(strength), "second_factor": change.now, "seen": change.now}
        change.connection.execute(sa.update(session).where(session.c.id == id).values(**values))

    @staticmethod
    def prove_again(change: Change, id: str, method: str, strength: Strength) -> None:
        """The first factor was shown, or set, in this session just now."""
        values = {"method": method, "strength": int(strength), "authenticated": change.now}
        change.connection.execute(sa.update(session).where(session.c.id == id).values(**values))

    def prune(self, before: int) -> int:
        """Forget sessions that were over before `before` (UTC ns); how many. The audit log keeps the acts."""
        over = sa.or_(session.c.ended < before, session.c.expires < before)
        with self._events.records.begin() as connection:
            return connection.execute(sa.delete(session).where(over)).rowcount

    def _bounds(self, now: int) -> dict[str, int | str]:
        """What `_RUNNING` leaves open."""
        return {"now": now, "idle": now - self._settings.session_idle}

    def _principal(self, connection: sa.Connection, row: sa.Row[Any], now: int) -> Principal | None:
        owner = connection.execute(_OWNER, {"id": row.account}).first()
        if owner is None or owner.state == AccountState.DISABLED:
            return None
        must = self._must_enrol(owner, row.method, now)
        return Principal(
            kind=PrincipalKind.ACCOUNT,
            id=owner.id,
            name=owner.name,
            account=owner.id,
            # Until what is missing has been set, the session is good for nothing else.
            roles=() if must else roles_of(connection, owner.id, now),
            strength=Strength(row.strength),
            authenticated=row.authenticated,
            second_factor=row.second_factor,
            session=row.id,
            method=row.method,
            must_enrol=must,
            language=owner.language,
        )

    def _must_enrol(self, owner: sa.Row[Any], method: str, now: int) -> str:
        if method == "link":
            return "password"
        age = self._settings.password_max_age
        if method == "password":
            if age and owner.password_changed is not None and now - owner.password_changed > age:
                return "password"
            if self._settings.second_factor == "required" and owner.totp_confirmed is None:
                return "totp"
        return ""

    def _touch(self, row: sa.Row[Any], now: int) -> None:
        every = min(_SEEN_EVERY_S * NS_PER_S, self._settings.session_idle // 10)
        if now - row.seen < every:
            return
        try:
            with self._events.records.begin() as connection:
                still = sa.and_(session.c.id == row.id, session.c.ended.is_(None), session.c.seen < now)
                connection.execute(sa.update(session).where(still).values(seen=now))
        except Unavailable as error:  # the request itself can be served; only the idle time starts earlier
            _log.warning("session_use_not_kept", code=error.code)

    def _end(self, change: Change, chosen: sa.ColumnElement[bool], *, by: str, reason: str) -> bool:
        values = {"ended": change.now, "ended_by": by, "end_reason": reason}
        ended = change.connection.execute(
            sa.update(session)
            .where(chosen, session.c.ended.is_(None))
            .values(**values)
            .returning(session.c.id, session.c.account)
        ).first()
        if ended is None:
            return False
        change.note("session.ended", ended.id, by=by or ended.account, detail={"reason": reason})
        return True


def _homed(scope: Scope) -> sa.Select[tuple[str]]:
    return sa.select(account.c.id).where(scope.where(account.c.home))


def _session(row: sa.Row[Any]) -> Session:
    values = dict(row._mapping)
    del values["hash"]
    values["strength"] = Strength(row.strength)
    return Session(**values | {"ended_by": row.ended_by or "", "end_reason": row.end_reason or ""})
