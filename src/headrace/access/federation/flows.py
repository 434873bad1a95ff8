"""Sign-ins under way, and what may be shown only once. A flow belongs to one browser and is taken once.

Source: RFC 9700 §4.7 (state bound to the browser), §4.5 (one-time use); OWASP on open redirects.
"""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from headrace.access.federation._tables import flow as _flow
from headrace.access.federation._tables import seen as _seen
from headrace.access.ids import hash_secret, new_secret, same_secret
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import Denied
from headrace.records import Records

LIFE_S = 600
_LOCAL = re.compile(r"^/(?![/\\])[^\\\x00-\x20\x7f]{0,1000}$")


class Flow(msgspec.Struct, frozen=True):
    """One sign-in under way. `account`: whose it is where a signed-in person adds an identity of theirs."""

    state: str
    provider: str
    nonce: str
    verifier: str  # PKCE, RFC 7636 §4.1
    return_to: str
    account: str | None
    created: int


class Flows:
    """Flows in records, so that any process of the node can finish what another began."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def begin(self, provider: str, *, browser: str, return_to: str = "/", account: str | None = None) -> Flow:
        """A new flow. `browser`: a secret that only this browser has, from its cookie. Anything but a path on
        this node becomes "/"."""
        now = self._clock.now()
        if not _LOCAL.match(return_to):
            return_to = "/"
        made = Flow(new_secret(), provider, new_secret(), new_secret(48), return_to, account, now)
        row = {
            "hash": hash_secret(made.state),
            "provider": provider,
            "browser": hash_secret(browser),
            "nonce": made.nonce,
            "verifier": made.verifier,
            "return_to": return_to,
            "account": account,
            "created": now,
            "expires": now + LIFE_S * NS_PER_S,
        }
        with self._records.begin() as connection:
            connection.execute(sa.delete(_flow).where(_flow.c.expires <= now))
            connection.execute(sa.delete(_seen).where(_seen.c.expires <= now))
            connection.execute(sa.insert(_flow).values(**row))
        return made

    def take(self, state: str, provider: str, *, browser: str) -> Flow:
        """The flow of `state`, once. Raises Denied (`federation.no_flow`): unknown, over, used, begun for
        another provider, or in another browser (a sign-in that was planted)."""
        where = _flow.c.hash == hash_secret(state)
        with self._records.begin() as connection:
            row = connection.execute(sa.select(_flow).where(where)).first()
            if row is not None and row.provider == provider and same_secret(browser, row.browser):
                connection.execute(sa.delete(_flow).where(where))
            else:
                row = None
        if row is None or row.expires <= self._clock.now():
            raise Denied("federation.no_flow")
        return Flow(state, provider, row.nonce, row.verifier, row.return_to, row.account, row.created)

    def once(self, provider: str, token: str, *, until: int) -> None:
        """Note that `token` was shown; it is remembered until `until` (UTC ns), when it would be refused for
        its age. Raises Denied (`federation.replay`) the second time."""
        row = {"provider": provider, "hash": hash_secret(token), "expires": until}
        try:
            with self._records.begin() as connection:
                connection.execute(sa.insert(_seen).values(**row))
        except IntegrityError:
            raise Denied("federation.replay") from None
