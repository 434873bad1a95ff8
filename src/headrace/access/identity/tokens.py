"""API tokens: `hr_<id>_<secret>`, limited in what they may do, where, and for how long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from headrace.access.events import Events
from headrace.access.identity._tables import account, token
from headrace.access.identity._verdicts import Verdicts
from headrace.access.identity.accounts import AccountState, account_row
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.principal import Principal, PrincipalKind, Strength
from headrace.access.identity.roles import narrowed, roles_of
from headrace.access.ids import hash_secret, new_id, new_secret, same_secret
from headrace.access.tenancy import Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, InputError, NotFound, Unavailable

_log = structlog.get_logger(__name__)

PREFIX = "hr"
_FORM = re.compile(r"^hr_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$", re.A)
_SCOPE = re.compile(r"^(\*|[a-z]+(-[a-z]+)*\.(\*|[a-z]+(-[a-z]+)*))$", re.A)
_NOTHING = hash_secret("")
_USED_EVERY_S = 60


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is listed; its secret was shown once. Times are UTC ns. `orgs` () is wherever the account
    has roles."""

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    orgs: tuple[str, ...]
    created: int
    created_by: str
    expires: int
    used: int | None
    revoked: int | None
    revoked_by: str


class Tokens:
    """The tokens in records. Thread-safe."""

    def __init__(self, events: Events, settings: IdentitySettings) -> None:
        self._events = events
        self._clock = events.clock
        self._settings = settings
        self._verdicts = Verdicts(events)

    def create(
        self,
        account_id: str,
        name: str,
        scopes: Sequence[str],
        *,
        expires: int,
        by: str,
        orgs: Sequence[str] = (),
        scope: Scope | None = None,
    ) -> tuple[str, Token]:
        """A token of the account: its text, which is nowhere kept, and its listing. `scope`: where `by` is
        not the account itself, its home has to be in there.

        Raises NotFound; InputError (`identity.bad_name`, `identity.bad_scope`, `identity.token_too_long`,
        `identity.not_your_org`: no role of the account reaches it); Conflict (`identity.account_disabled`).
        """
        name = name.strip()
        if not name or len(name) > 128:
            raise InputError("identity.bad_name")
        wrong = next((s for s in scopes if not _SCOPE.match(s)), None)
        if wrong is not None or not scopes:
            raise InputError("identity.bad_scope", value=wrong or "")
        with self._events.begin() as change:
            if not change.now < expires <= change.now + self._settings.token_longest:
                days = self._settings.token_longest // (86_400 * NS_PER_S)
                raise InputError("identity.token_too_long", days=days)
            if scope is None and by != account_id:
                raise NotFound("identity.unknown_account", account=account_id)
            row = account_row(change.connection, account_id, scope)
            if row.state != AccountState.ACTIVE:
                raise Conflict("identity.account_disabled", login=row.login)
            held = roles_of(change.connection, account_id, change.now)
            for org in orgs:
                if not narrowed(change.connection, held, [org]):
                    raise InputError("identity.not_your_org", org=org)
            secret = new_secret()
            made = Token(
                id=new_id(),
                account=account_id,
                name=name,
                scopes=tuple(sorted(set(scopes))),
                orgs=tuple(sorted(set(orgs))),
                created=change.now,
                created_by=by,
                expires=expires,
                used=None,
                revoked=None,
                revoked_by="",
            )
            values = msgspec.structs.asdict(made) | {
                "hash": hash_secret(secret),
                "scopes": msgspec.json.encode(made.scopes).decode(),
                "orgs": msgspec.json.encode(made.orgs).decode(),
                "revoked_by": None,
            }
            change.connection.execute(sa.insert(token).values(**values))
            detail = {"account": account_id, "scopes": " ".join(made.scopes)}
            change.note("token.created", made.id, by=by, org=row.home, detail=detail)
        return f"{PREFIX}_{made.id}_{secret}", made

    def prove(self, text: str) -> Principal | None:
        """Who holds this token; None where it is malformed, unknown, revoked, expired, or its account is not
        active. Constant in time over the secret."""
        match = _FORM.match(text)
        if match is None:
            return None
        id, secret = match.groups()
        key = hash_secret(text)
        kept = self._verdicts.get(key)
        if kept is not None:
            return kept
        generation, now = self._verdicts.generation, self._clock.now()
        with self._events.records.read() as connection:
            row = connection.execute(sa.select(token).where(token.c.id == id)).first()
            right = same_secret(secret, row.hash if row is not None else _NOTHING)
            if row is None or not right or row.revoked is not None or row.expires <= now:
                return None
            principal = self._principal(connection, row, now)
        if principal is None:
            return None
        self._touch(row, now)
        self._verdicts.put(key, principal, until=row.expires, generation=generation)
        return principal

    def find(self, account_id: str, scope: Scope | None = None, *, past: bool = False) -> list[Token]:
        """The tokens of an account, the latest first; `past`: revoked and expired ones too. With a scope,
        none where the account's home is outside it."""
        chosen = [token.c.account == account_id]
        if scope is not None:
            chosen.append(token.c.account.in_(sa.select(account.c.id).where(scope.where(account.c.home))))
        if not past:
            chosen += [token.c.revoked.is_(None), token.c.expires > self._clock.now()]
        query = sa.select(token).where(*chosen).order_by(token.c.created.desc(), token.c.id)
        with self._events.records.read() as connection:
            return [_token(row) for row in connection.execute(query)]

    def revoke(self, id: str, *, by: str, scope: Scope | None = None) -> None:
        """End a token at once in all processes: one of the account `by` itself, or, with a scope, of an
        account whose home is in it. Raises NotFound (`identity.unknown_token`)."""
        mine = token.c.account == by
        if scope is not None:
            mine = token.c.account.in_(sa.select(account.c.id).where(scope.where(account.c.home)))
        with self._events.begin() as change:
            revoked = change.connection.execute(
                sa.update(token)
                .where(token.c.id == id, token.c.revoked.is_(None), mine)
                .values(revoked=change.now, revoked_by=by)
            )
            if not revoked.rowcount:
                raise NotFound("identity.unknown_token", token=id)
            change.note("token.revoked", id, by=by)

    def _principal(self, connection: sa.Connection, row: sa.Row[Any], now: int) -> Principal | None:
        owner = connection.execute(sa.select(account).where(account.c.id == row.account)).first()
        if owner is None or owner.state != AccountState.ACTIVE:
            return None
        roles = roles_of(connection, owner.id, now)
        orgs = msgspec.json.decode(row.orgs, type=list[str])
        return Principal(
            kind=PrincipalKind.TOKEN,
            id=row.id,
            name=f"{owner.name} · {row.name}",
            account=owner.id,
            roles=narrowed(connection, roles, orgs) if orgs else roles,
            scopes=tuple(msgspec.json.decode(row.scopes, type=list[str])),
            strength=Strength.ONE_FACTOR,
            authenticated=now,
            method="token",
            language=owner.language,
        )

    def _touch(self, row: sa.Row[Any], now: int) -> None:
        if row.used is not None and now - row.used < _USED_EVERY_S * NS_PER_S:
            return
        try:
            with self._events.records.begin() as connection:
                connection.execute(sa.update(token).where(token.c.id == row.id).values(used=now))
        except Unavailable as error:  # the time of use is for reading only
            _log.warning("token_use_not_kept", code=error.code)


def _token(row: sa.Row[Any]) -> Token:
    values = dict(row._mapping)
    del values["hash"]
    values["scopes"] = tuple(msgspec.json.decode(row.scopes))
    values["orgs"] = tuple(msgspec.json.decode(row.orgs))
    return Token(**values | {"revoked_by": row.revoked_by or ""})
