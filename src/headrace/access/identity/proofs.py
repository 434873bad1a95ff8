"""Proving who one is: sign-in by password and one-time code, by link, by another identity service; step-up;
and setting what one proves it with. Every way ends in a session or in Unproven."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.identity import totp
from headrace.access.identity._tables import account
from headrace.access.identity.accounts import (
    AccountKind,
    Accounts,
    AccountState,
    account_of_link,
    account_row,
    normal_login,
    update_account,
    use_link,
)
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.errors import Unproven
from headrace.access.identity.factors import Enrolment, Factors
from headrace.access.identity.lockout import Lockout
from headrace.access.identity.passwords import Hasher
from headrace.access.identity.principal import Principal, Strength
from headrace.access.identity.sealing import Sealer
from headrace.access.identity.sessions import Sessions
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, InputError

_FRESH_S = 900  # how recent a proof must be to change what one proves oneself with


class SignedIn(msgspec.Struct, frozen=True):
    """`secret` is for the session's cookie alone."""

    secret: str
    principal: Principal


class Proofs:
    """Thread-safe. What is slow on purpose (argon2) runs outside transactions; call from a thread."""

    def __init__(
        self,
        events: Events,
        settings: IdentitySettings,
        accounts: Accounts,
        sessions: Sessions,
        *,
        sealer: Sealer,
        hasher: Hasher,
        issuer: str,
    ) -> None:
        self._events = events
        self._settings = settings
        self._accounts = accounts
        self._sessions = sessions
        self._hasher = hasher
        self._factors = Factors(sealer, issuer)
        self._lockout = Lockout(events, settings)

    # --- signing in ---

    def sign_in(
        self,
        login: str,
        password: str,
        *,
        code: str = "",
        recovery: str = "",
        address: str = "",
        agent: str = "",
    ) -> SignedIn:
        """By password, and where the account has TOTP also by its code or a recovery code.

        Raises Unproven: `identity.wrong_sign_in` (which of login and password is wrong is not said),
        `identity.code_needed` (the password is right), `identity.wrong_code`, `identity.paused`.
        """
        row = self._person(login)
        if row is None or row.password is None or row.state != AccountState.ACTIVE:
            try:
                known = normal_login(login)
            except InputError:
                known = ""
            self._lockout.charge_unknown(known)
            self._hasher.verify(None, password)
            self._failed("", "", known, address)
            raise Unproven("identity.wrong_sign_in")
        self._lockout.charge(row.id)
        if not self._hasher.verify(row.password, password):
            self._failed(row.id, row.home, row.login, address)
            raise Unproven("identity.wrong_sign_in")
        signed = self._open(
            row, "password", Strength.ONE_FACTOR, code=code, recovery=recovery, address=address, agent=agent
        )
        if self._hasher.is_outdated(row.password):
            renewed = self._hasher.hash(password)
            same = sa.and_(account.c.id == row.id, account.c.password == row.password)
            with self._events.records.begin() as connection:
                connection.execute(sa.update(account).where(same).values(password=renewed))
        return signed

    def redeem(
        self, secret: str, *, code: str = "", recovery: str = "", address: str = "", agent: str = ""
    ) -> SignedIn:
        """By a one-time link, which is used up. The session is good for setting a password and for nothing
        else. An account with TOTP has to give its code here too.

        Raises Unproven: `identity.bad_link`, `identity.code_needed`, `identity.wrong_code`,
        `identity.paused`. Only a sign-in uses the link up.
        """
        with self._events.records.read() as connection:
            row = account_of_link(connection, secret, self._events.clock.now())
        self._lockout.charge(row.id)
        return self._open(
            row,
            "link",
            Strength.LINK,
            code=code,
            recovery=recovery,
            address=address,
            agent=agent,
            link=secret,
        )

    def sign_in_external(
        self,
        account_id: str,
        *,
        method: str,
        strength: Strength,
        address: str = "",
        agent: str = "",
    ) -> SignedIn:
        """For room-mates (federation, client certificates) that have checked an assertion themselves.
        `strength` of two factors or more counts as a second factor shown now.

        Raises NotFound, Unproven (`identity.wrong_sign_in`: disabled, or not a person).
        """
        with self._events.begin() as change:
            row = account_row(change.connection, account_id)
            if row.state == AccountState.DISABLED or row.kind != AccountKind.PERSON:
                raise Unproven("identity.wrong_sign_in")
            if row.state == AccountState.INVITED:
                update_account(change, row.id, state=AccountState.ACTIVE.value)
            two = strength >= Strength.TWO_FACTORS
            return self._session(change, row, method, strength, two, address, agent)

    def step_up(self, principal: Principal, *, code: str = "", recovery: str = "") -> Principal:
        """Show the second factor again within a session; the principal as it is then.

        Raises Unproven (`identity.wrong_code`, `identity.paused`, `identity.signed_out`), Conflict
        (`identity.no_totp`).
        """
        row = self._own(principal)
        if row.totp_confirmed is None:
            raise Conflict("identity.no_totp")
        self._lockout.charge(row.id)
        with self._events.begin() as change:
            row = account_row(change.connection, row.id)
            right = self._factors.judge(change, row, code, recovery)
            if right:
                self._lockout.forgive(change, row.id)
                strength = max(principal.strength, Strength.TWO_FACTORS)
                self._sessions.strengthen(change, principal.session, strength)
                change.note("session.stepped-up", principal.session, by=row.id, org=row.home)
                return self._still(change, principal)
        self._failed(row.id, row.home, row.login, "")
        raise Unproven("identity.wrong_code")

    # --- setting what one proves oneself with ---

    def set_password(self, principal: Principal, password: str, *, current: str = "") -> Principal:
        """Ends the account's other sessions; this one goes on. `current` is asked for unless the session is
        by link.

        Raises InputError (`identity.password_…`), Unproven (`identity.wrong_password`, `identity.paused`,
        `identity.signed_out`).
        """
        row = self._own(principal)
        if row.password is not None and principal.method != "link":
            self._lockout.charge(row.id)
            if not self._hasher.verify(row.password, current):
                self._failed(row.id, row.home, row.login, "")
                raise Unproven("identity.wrong_password")
            self._lockout.refund(row.id)
        hashed = self._accounts.hashed(row, password)
        with self._events.begin() as change:
            self._still(change, principal)
            self._accounts.store_password(change, row, hashed, keep_session=principal.session)
            least = Strength.TWO_FACTORS if principal.second_factor is not None else Strength.ONE_FACTOR
            method = "password" if principal.method == "link" else principal.method
            strength = max(principal.strength, least)
            self._sessions.prove_again(change, principal.session, method, strength)
            return self._still(change, principal)

    def begin_totp(self, principal: Principal) -> Enrolment:
        """A new secret for the account's app, in force once `confirm_totp` has its first code.

        Raises Unproven (`identity.sign_in_again`: the latest proof, or with TOTP the latest second factor, is
        more than a quarter of an hour old; `identity.signed_out`).
        """
        row = self._own(principal)
        self._fresh(principal, row)
        return self._factors.begin(principal, row.login, self._events.clock.now())

    def confirm_totp(self, principal: Principal, pending: str, code: str) -> tuple[str, ...]:
        """Put the new secret in force; ten new recovery codes, shown this once.

        Raises Unproven (`identity.wrong_code`, `identity.enrolment_over`, `identity.paused`,
        `identity.sign_in_again`, `identity.signed_out`).
        """
        row = self._own(principal)
        self._fresh(principal, row)
        now = self._events.clock.now()
        secret = self._factors.begun(principal, pending, now)
        self._lockout.charge(row.id)
        step = totp.match(secret, code, now, after=0)
        if step is None:
            self._failed(row.id, row.home, row.login, "")
            raise Unproven("identity.wrong_code")
        with self._events.begin() as change:
            self._still(change, principal)
            self._lockout.forgive(change, row.id)
            strength = max(principal.strength, Strength.TWO_FACTORS)
            self._sessions.strengthen(change, principal.session, strength)
            change.note("totp.set", row.id, by=row.id, org=row.home)
            return self._factors.put_in_force(change, row.id, secret, step)

    def new_recovery_codes(self, principal: Principal) -> tuple[str, ...]:
        """Ten new codes, shown this once; the old ones are void. Raises Conflict (`identity.no_totp`),
        Unproven (`identity.sign_in_again`, `identity.signed_out`)."""
        row = self._own(principal)
        if row.totp_confirmed is None:
            raise Conflict("identity.no_totp")
        self._fresh(principal, row)
        with self._events.begin() as change:
            self._still(change, principal)
            change.note("recovery-codes.made", row.id, by=row.id, org=row.home)
            return self._factors.new_codes(change, row.id)

    # --- inside ---

    def _open(
        self,
        row: sa.Row[Any],
        method: str,
        strength: Strength,
        *,
        code: str,
        recovery: str,
        address: str,
        agent: str,
        link: str = "",
    ) -> SignedIn:
        """The rest of a sign-in once its first factor was right and the try is counted."""
        if row.totp_confirmed is not None and not code and not recovery:
            self._lockout.refund(row.id)
            raise Unproven("identity.code_needed")
        with self._events.begin() as change:
            now = account_row(change.connection, row.id)
            if now.password != row.password or now.state != row.state or now.totp != row.totp:
                raise Unproven("identity.wrong_sign_in")  # changed while we looked
            two = now.totp_confirmed is not None
            if not two or self._factors.judge(change, now, code, recovery):
                if link:
                    use_link(change, link)
                self._lockout.forgive(change, row.id)
                reached = Strength.TWO_FACTORS if two and method == "password" else strength
                return self._session(change, now, method, reached, two, address, agent)
        self._failed(row.id, row.home, row.login, address)
        raise Unproven("identity.wrong_code")

    def _session(
        self,
        change: Change,
        row: sa.Row[Any],
        method: str,
        strength: Strength,
        second_factor: bool,
        address: str,
        agent: str,
    ) -> SignedIn:
        secret, id = self._sessions.open(
            change,
            row,
            method=method,
            strength=strength,
            second_factor=second_factor,
            address=address,
            agent=agent,
        )
        principal = self._sessions.principal(change.connection, id, change.now)
        assert principal is not None
        return SignedIn(secret, principal)

    def _person(self, login: str) -> sa.Row[Any] | None:
        try:
            login = normal_login(login)
        except InputError:
            return None
        person = sa.and_(account.c.login == login, account.c.kind == AccountKind.PERSON.value)
        with self._events.records.read() as connection:
            return connection.execute(sa.select(account).where(person)).first()

    def _own(self, principal: Principal) -> sa.Row[Any]:
        """The account of a session's principal. Raises Unproven where it is not in a session."""
        if not principal.session:
            raise Unproven("identity.signed_out")
        with self._events.records.read() as connection:
            return account_row(connection, principal.account)

    def _still(self, change: Change, principal: Principal) -> Principal:
        """The principal as this transaction has it. Raises Unproven where its session is over."""
        found = self._sessions.principal(change.connection, principal.session, change.now)
        if found is None or found.account != principal.account:
            raise Unproven("identity.signed_out")
        return found

    def _fresh(self, principal: Principal, row: sa.Row[Any]) -> None:
        latest = principal.second_factor if row.totp_confirmed is not None else principal.authenticated
        if latest is None or self._events.clock.now() - latest > _FRESH_S * NS_PER_S:
            raise Unproven("identity.sign_in_again")

    def _failed(self, id: str, org: str, login: str, address: str) -> None:
        with self._events.begin() as change:
            detail = {"login": login, "address": address[:64]}
            change.note("sign-in.failed", id, by="", org=org, detail=detail)
