"""Second factors: secrets of authenticator apps, their codes, and recovery codes."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.events import Change
from headrace.access.identity import totp
from headrace.access.identity._tables import account, recovery_code
from headrace.access.identity.accounts import update_account
from headrace.access.identity.errors import Unproven
from headrace.access.identity.principal import Principal
from headrace.access.identity.sealing import Sealer
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Corrupt

RECOVERY_CODES = 10
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is read as another
_LENGTH = 16  # 79 bits
_ENROL_S = 600  # how long a new secret waits for its first code


class Enrolment(msgspec.Struct, frozen=True):
    """A TOTP secret to be put into an app, by QR code (`uri`) or by hand (`text`). `pending` comes back with
    the first code; it is sealed, so nothing is kept until then."""

    text: str
    uri: str
    pending: str


class _Pending(msgspec.Struct, frozen=True):
    secret: bytes
    until: int


class Factors:
    """Thread-safe. Who may call is checked by `Proofs`."""

    def __init__(self, sealer: Sealer, issuer: str) -> None:
        self._sealer = sealer
        self._issuer = issuer

    def judge(self, change: Change, row: sa.Row[Any], code: str, recovery: str) -> bool:
        """Whether the one-time code, or else the recovery code, is right and unused; this uses it up."""
        return self._code(change, row, code) if code else self._recovery(change, row, recovery)

    def begin(self, principal: Principal, login: str, now: int) -> Enrolment:
        """A new secret for one session and ten minutes."""
        secret = totp.new_secret()
        plain = msgspec.msgpack.encode(_Pending(secret, now + _ENROL_S * NS_PER_S))
        pending = base64.urlsafe_b64encode(self._sealer.seal(plain, _about(principal))).decode()
        return Enrolment(totp.text(secret), totp.uri(secret, login, self._issuer), pending)

    def begun(self, principal: Principal, pending: str, now: int) -> bytes:
        """The secret of an enrolment. Raises Unproven (`identity.enrolment_over`)."""
        try:
            plain = self._sealer.open(base64.urlsafe_b64decode(pending), _about(principal))
            begun = msgspec.msgpack.decode(plain, type=_Pending)
        except (binascii.Error, ValueError, Corrupt):
            raise Unproven("identity.enrolment_over") from None
        if begun.until < now:
            raise Unproven("identity.enrolment_over")
        return begun.secret

    def put_in_force(self, change: Change, id: str, secret: bytes, step: int) -> tuple[str, ...]:
        """Make `secret`, whose code of `step` was just shown, the account's; its new recovery codes."""
        sealed = self._sealer.seal(secret, f"totp:{id}")
        update_account(change, id, totp=sealed, totp_confirmed=change.now, totp_step=step)
        return self.new_codes(change, id)

    def new_codes(self, change: Change, id: str) -> tuple[str, ...]:
        """Ten recovery codes in place of those there were."""
        change.connection.execute(sa.delete(recovery_code).where(recovery_code.c.account == id))
        codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(RECOVERY_CODES)]
        rows = [{"hash": self._sealer.mac(c, id), "account": id, "created": change.now} for c in codes]
        change.connection.execute(sa.insert(recovery_code), rows)
        return tuple("-".join(c[n : n + 4] for n in range(0, len(c), 4)) for c in codes)

    def _code(self, change: Change, row: sa.Row[Any], code: str) -> bool:
        if row.totp is None:
            return False
        secret = self._sealer.open(row.totp, f"totp:{row.id}")
        step = totp.match(secret, code, change.now, after=row.totp_step)
        if step is None:
            return False
        unused = sa.and_(account.c.id == row.id, account.c.totp_step < step)  # of two at once one counts
        return bool(
            change.connection.execute(sa.update(account).where(unused).values(totp_step=step)).rowcount
        )

    def _recovery(self, change: Change, row: sa.Row[Any], recovery: str) -> bool:
        typed = "".join(c for c in recovery.casefold() if c.isalnum())
        mine = sa.and_(recovery_code.c.account == row.id, recovery_code.c.used.is_(None))
        this = sa.and_(mine, recovery_code.c.hash == self._sealer.mac(typed, row.id))
        if not change.connection.execute(
            sa.update(recovery_code).where(this).values(used=change.now)
        ).rowcount:
            return False
        left = change.connection.scalar(sa.select(sa.func.count()).select_from(recovery_code).where(mine))
        change.note("recovery-code.used", row.id, by=row.id, org=row.home, detail={"left": str(left)})
        return True


def _about(principal: Principal) -> str:
    return f"totp-pending:{principal.account}:{principal.session}"
