"""The pause after wrong tries, per account, the same in all processes.

A try is counted before it is judged and the count taken back when it was right, so that tries at the same
moment cannot all pass as the first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.identity._tables import account
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.errors import Unproven
from headrace.kernel.clock import NS_PER_S

_SHADOWS = 4096


def pause_ns(failures: int, settings: IdentitySettings) -> int:
    """How long after the `failures`-th wrong try in a row nothing is tried: 0 for the free ones, then one
    second, doubling, up to `longest_pause`."""
    over = failures - settings.free_failures
    if over < 0:
        return 0
    return min(NS_PER_S << min(over, 40), settings.longest_pause)


class Lockout:
    """Thread-safe."""

    def __init__(self, events: Events, settings: IdentitySettings) -> None:
        self._events = events
        self._settings = settings
        self._lock = threading.Lock()
        self._shadows: OrderedDict[str, tuple[int, int]] = OrderedDict()  # failures, locked until

    def charge(self, id: str) -> None:
        """Count a try of this account. Raises Unproven (`identity.paused`) where it has to wait; such a try
        is not judged and does not count."""
        with self._events.records.begin() as connection:
            now = self._events.clock.now()
            row = connection.execute(
                sa.select(account.c.failures, account.c.locked_until)
                .where(account.c.id == id)
                .with_for_update()
            ).one()
            self._wait(row.locked_until, now)
            failures = row.failures + 1
            pause = pause_ns(failures, self._settings)
            connection.execute(
                sa.update(account)
                .where(account.c.id == id)
                .values(failures=failures, failed=now, locked_until=now + pause if pause else None)
            )

    def refund(self, id: str) -> None:
        """Take one counted try back: it was neither right nor wrong. A pause that others earned stays."""
        with self._events.records.begin() as connection:
            one = sa.and_(account.c.id == id, account.c.failures > 0)
            connection.execute(sa.update(account).where(one).values(failures=account.c.failures - 1))
            free = sa.and_(account.c.id == id, account.c.failures < self._settings.free_failures)
            connection.execute(sa.update(account).where(free).values(locked_until=None))

    @staticmethod
    def forgive(change: Change, id: str) -> None:
        """The try was right: count from nought again."""
        change.connection.execute(
            sa.update(account).where(account.c.id == id).values(failures=0, locked_until=None)
        )

    def charge_unknown(self, login: str) -> None:
        """The same for a login that no account has, so that the pause does not tell which there are. Kept in
        memory, for the latest few thousand."""
        now = self._events.clock.now()
        with self._lock:
            failures, until = self._shadows.pop(login, (0, 0))
            if until > now:
                self._shadows[login] = (failures, until)
            else:
                self._shadows[login] = (failures + 1, now + pause_ns(failures + 1, self._settings))
            while len(self._shadows) > _SHADOWS:
                self._shadows.popitem(last=False)
        self._wait(until, now)

    @staticmethod
    def _wait(until: int | None, now: int) -> None:
        if until is not None and until > now:
            raise Unproven("identity.paused", seconds=-((now - until) // NS_PER_S))
