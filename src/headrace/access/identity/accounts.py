"""Accounts of people and of programs: made by invitation, kept by the organisation they belong to.

An account has a home, the organisation that manages it. Where it is a member elsewhere, that organisation
sees its name and ends its own membership, and no more: else whoever may reset a password in one firm could
act in another.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.identity import passwords
from headrace.access.identity._tables import account, link, recovery_code, session, token
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.errors import Unproven
from headrace.access.ids import hash_secret, new_id, new_secret
from headrace.access.tenancy import Scope
from headrace.access.tenancy._tables import membership, org
from headrace.kernel.errors import Conflict, InputError, NotFound


class AccountKind(enum.StrEnum):
    PERSON = "person"
    SERVICE = "service"  # a program; has tokens, never a password or a session


class AccountState(enum.StrEnum):
    INVITED = "invited"  # has a one-time link and nothing else
    ACTIVE = "active"
    DISABLED = "disabled"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is; no secret stands in it. Times are UTC ns."""

    id: str
    kind: AccountKind
    login: str
    name: str
    home: str
    state: AccountState
    language: str
    has_password: bool
    has_totp: bool
    locked_until: int | None
    created: int
    created_by: str
    changed: int
    version: int


class Accounts:
    """The accounts in records. Thread-safe. With a Scope, accounts whose home is outside it do not exist:
    NotFound (`identity.unknown_account`). Whether the caller may is for the decision point to say."""

    def __init__(self, events: Events, settings: IdentitySettings, hasher: passwords.Hasher) -> None:
        self._events = events
        self._records = events.records
        self._settings = settings
        self._hasher = hasher

    def create(
        self,
        login: str,
        name: str,
        home: str,
        scope: Scope,
        *,
        by: str,
        kind: AccountKind = AccountKind.PERSON,
        language: str = "zh",
        within: Change | None = None,
    ) -> Account:
        """A new account at organisation `home`. A person's is "invited" until its link is used, or until
        another identity service vouches for it.

        Raises InputError (`identity.bad_login`, `identity.bad_name`, `identity.bad_language`), NotFound
        (`tenancy.unknown_org`), Conflict (`identity.login_taken`).
        """
        login, name = normal_login(login), name.strip()
        if not name or len(name) > 128:
            raise InputError("identity.bad_name")
        if language not in ("zh", "en"):
            raise InputError("identity.bad_language", value=language)
        if within is not None:
            return self._create(within, login, name, home, scope, by, kind, language)
        with self._events.begin() as change:
            return self._create(change, login, name, home, scope, by, kind, language)

    def _create(
        self,
        change: Change,
        login: str,
        name: str,
        home: str,
        scope: Scope,
        by: str,
        kind: AccountKind,
        language: str,
    ) -> Account:
        connection = change.connection
        known = sa.select(org.c.id).where(org.c.id == home, scope.where(org.c.id))
        if connection.scalar(known) is None:
            raise NotFound("tenancy.unknown_org", org=home)
        if connection.scalar(sa.select(account.c.id).where(account.c.login == login)) is not None:
            raise Conflict("identity.login_taken", login=login)
        new = new_id()
        state = AccountState.INVITED if kind is AccountKind.PERSON else AccountState.ACTIVE
        row = {
            "id": new,
            "kind": kind.value,
            "login": login,
            "name": name,
            "home": home,
            "state": state.value,
            "language": language,
            "totp_step": 0,
            "failures": 0,
            "created": change.now,
            "created_by": by,
            "changed": change.now,
            "version": 1,
        }
        connection.execute(sa.insert(account).values(**row))
        change.note("account.created", new, by=by, org=home, detail={"login": login, "kind": kind.value})
        return as_account(account_row(connection, new))

    def get(self, id: str, scope: Scope) -> Account:
        """Raises NotFound."""
        with self._records.read() as connection:
            return as_account(account_row(connection, id, scope))

    def find(
        self, scope: Scope, *, search: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[list[Account], int]:
        """Accounts whose home is in scope, by login, and how many there are."""
        chosen = [scope.where(account.c.home)]
        if search:
            text = search.strip()
            chosen.append(
                sa.or_(
                    account.c.login.icontains(text, autoescape=True),
                    account.c.name.icontains(text, autoescape=True),
                )
            )
        query = sa.select(account).where(*chosen).order_by(account.c.login).limit(limit).offset(offset)
        with self._records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(account).where(*chosen)) or 0
            return [as_account(row) for row in connection.execute(query)], total

    def names(self, ids: Sequence[str], scope: Scope) -> dict[str, str]:
        """Names by id, of those whose home, or a membership past or present, is in scope."""
        member = sa.select(membership.c.member).where(scope.where(membership.c.org))
        seen = sa.or_(scope.where(account.c.home), account.c.id.in_(member))
        query = sa.select(account.c.id, account.c.name).where(account.c.id.in_(list(ids)), seen)
        with self._records.read() as connection:
            return {row.id: row.name for row in connection.execute(query)}

    def rename(self, id: str, name: str, scope: Scope, *, by: str) -> Account:
        """Raises NotFound, InputError (`identity.bad_name`)."""
        name = name.strip()
        if not name or len(name) > 128:
            raise InputError("identity.bad_name")
        with self._events.begin() as change:
            row = account_row(change.connection, id, scope)
            update_account(change, id, name=name)
            change.note("account.renamed", id, by=by, org=row.home)
            return as_account(account_row(change.connection, id))

    def disable(self, id: str, scope: Scope, *, by: str) -> None:
        """End all sessions, links and tokens of an account and let nothing in again until `enable`. Tokens
        stay revoked. Raises NotFound."""
        with self._events.begin() as change:
            row = account_row(change.connection, id, scope)
            update_account(change, id, state=AccountState.DISABLED.value)
            end_sessions(change, id, by=by, reason="account-disabled")
            change.connection.execute(
                sa.update(token)
                .where(token.c.account == id, token.c.revoked.is_(None))
                .values(revoked=change.now, revoked_by=by)
            )
            _void_links(change, id)
            change.note("account.disabled", id, by=by, org=row.home)

    def enable(self, id: str, scope: Scope, *, by: str) -> Account:
        """Take up a disabled account again, with the password it had. Raises NotFound."""
        with self._events.begin() as change:
            row = account_row(change.connection, id, scope)
            back = AccountState.ACTIVE
            if row.kind == AccountKind.PERSON and row.password is None:
                back = AccountState.INVITED
            update_account(change, id, state=back.value, failures=0, locked_until=None)
            change.note("account.enabled", id, by=by, org=row.home)
            return as_account(account_row(change.connection, id))

    def unlock(self, id: str, scope: Scope, *, by: str) -> None:
        """End the pause after wrong tries. Raises NotFound."""
        with self._events.begin() as change:
            row = account_row(change.connection, id, scope)
            update_account(change, id, failures=0, locked_until=None)
            change.note("account.unlocked", id, by=by, org=row.home)

    def make_link(
        self, id: str, scope: Scope, *, by: str, purpose: str = "invitation", within: Change | None = None
    ) -> str:
        """A one-time secret that signs the account in once to set its password; earlier ones become void.

        Raises NotFound, Conflict (`identity.not_a_person`, `identity.account_disabled`).
        """
        if within is not None:
            return self._make_link(within, id, scope, by, purpose)
        with self._events.begin() as change:
            return self._make_link(change, id, scope, by, purpose)

    def _make_link(self, change: Change, id: str, scope: Scope, by: str, purpose: str) -> str:
        row = account_row(change.connection, id, scope)
        if row.kind != AccountKind.PERSON:
            raise Conflict("identity.not_a_person", login=row.login)
        if row.state == AccountState.DISABLED:
            raise Conflict("identity.account_disabled", login=row.login)
        _void_links(change, id)
        secret = new_secret()
        values = {
            "hash": hash_secret(secret),
            "account": id,
            "purpose": purpose,
            "created": change.now,
            "by": by,
            "expires": change.now + self._settings.link_life,
        }
        change.connection.execute(sa.insert(link).values(**values))
        change.note("link.made", id, by=by, org=row.home, detail={"purpose": purpose})
        return secret

    @staticmethod
    def link_is_good(change: Change, secret: str, id: str) -> bool:
        """Whether `secret` still signs in account `id`."""
        good = sa.and_(link.c.hash == hash_secret(secret), link.c.used.is_(None), link.c.expires > change.now)
        return change.connection.scalar(sa.select(link.c.account).where(good)) == id

    def hashed(self, row: sa.Row[Any], password: str) -> str:
        """The hash of a new password for this account. Slow on purpose: call it outside any transaction.

        Raises InputError (`identity.password_…`) where the policy refuses it, or it is the present one.
        """
        passwords.check(password, login=row.login, name=row.name, length=self._settings.password_length)
        if row.password is not None and self._hasher.verify(row.password, password):
            raise InputError("identity.password_same")
        return self._hasher.hash(password)

    @staticmethod
    def store_password(change: Change, row: sa.Row[Any], hashed: str, *, keep_session: str = "") -> None:
        """Replace the password and end the account's sessions, save `keep_session`."""
        state = AccountState.ACTIVE.value if row.state == AccountState.INVITED else row.state
        values = {"password": hashed, "password_changed": change.now, "state": state}
        update_account(change, row.id, failures=0, locked_until=None, **values)
        end_sessions(change, row.id, by=row.id, reason="password-changed", but=keep_session)
        _void_links(change, row.id)
        change.note("password.set", row.id, by=row.id, org=row.home)

    def remove_totp(self, id: str, scope: Scope, *, by: str) -> None:
        """For an account whose device is lost: takes the second factor and the recovery codes away and ends
        its sessions. Raises NotFound."""
        with self._events.begin() as change:
            row = account_row(change.connection, id, scope)
            update_account(change, id, totp=None, totp_confirmed=None)
            change.connection.execute(sa.delete(recovery_code).where(recovery_code.c.account == id))
            end_sessions(change, id, by=by, reason="totp-removed")
            change.note("totp.removed", id, by=by, org=row.home)


def normal_login(text: str) -> str:
    """The form in which a login is kept and compared: NFKC, case folded, 2 to 64 letters, digits and ._-@+ of
    any script. Raises InputError (`identity.bad_login`)."""
    login = unicodedata.normalize("NFKC", text).strip().casefold()
    if not 2 <= len(login) <= 64 or not all(c.isalnum() or c in "._-@+" for c in login):
        raise InputError("identity.bad_login")
    return login


def account_row(connection: sa.Connection, id: str, scope: Scope | None = None) -> sa.Row[Any]:
    """Raises NotFound, also where the home is outside `scope`."""
    query = sa.select(account).where(account.c.id == id)
    if scope is not None:
        query = query.where(scope.where(account.c.home))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("identity.unknown_account", account=id)
    return row


def update_account(change: Change, id: str, **values: Any) -> None:
    change.connection.execute(
        sa.update(account)
        .where(account.c.id == id)
        .values(changed=change.now, version=account.c.version + 1, **values)
    )


def end_sessions(change: Change, id: str, *, by: str, reason: str, but: str = "") -> int:
    """End the account's sessions save `but`; how many."""
    chosen = sa.and_(session.c.account == id, session.c.ended.is_(None), session.c.id != but)
    values = {"ended": change.now, "ended_by": by, "end_reason": reason}
    ended = change.connection.execute(sa.update(session).where(chosen).values(**values)).rowcount
    if ended:
        change.note("session.ended", id, by=by, detail={"reason": reason, "sessions": str(ended)})
    return ended


def account_of_link(connection: sa.Connection, secret: str, now: int) -> sa.Row[Any]:
    """The account that a one-time link signs in. Raises Unproven (`identity.bad_link`)."""
    good = sa.and_(link.c.hash == hash_secret(secret), link.c.used.is_(None), link.c.expires > now)
    row = connection.execute(
        sa.select(account)
        .join(link, link.c.account == account.c.id)
        .where(good, account.c.state != AccountState.DISABLED.value)
    ).first()
    if row is None:
        raise Unproven("identity.bad_link")
    return row


def use_link(change: Change, secret: str) -> None:
    """Raises Unproven (`identity.bad_link`) where it was used up, made void or is too old by now."""
    good = sa.and_(link.c.hash == hash_secret(secret), link.c.used.is_(None), link.c.expires > change.now)
    if not change.connection.execute(sa.update(link).where(good).values(used=change.now)).rowcount:
        raise Unproven("identity.bad_link")


def _void_links(change: Change, id: str) -> None:
    change.connection.execute(sa.delete(link).where(link.c.account == id, link.c.used.is_(None)))


def as_account(row: sa.Row[Any]) -> Account:
    return Account(
        id=row.id,
        kind=AccountKind(row.kind),
        login=row.login,
        name=row.name,
        home=row.home,
        state=AccountState(row.state),
        language=row.language,
        has_password=row.password is not None,
        has_totp=row.totp_confirmed is not None,
        locked_until=row.locked_until,
        created=row.created,
        created_by=row.created_by,
        changed=row.changed,
        version=row.version,
    )
