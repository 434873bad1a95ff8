"""Who is asking: the owner's token, sessions of browsers, and a brake on guessing.

The token is 256 random bits in DIR/run/owner.token (mode 0600): whoever may read that file owns the node. A
browser trades it once for a session, which stands in records as a SHA-256 hash, so that a restart of the API
signs nobody out and a stolen database signs nobody in. Removing owner.token makes a new one at the next
start, and ends every session made with the old.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from pathlib import Path

import msgspec
import sqlalchemy as sa

from headrace.kernel.clock import NS_PER_S, Clock
from headrace.records import Records

_TOKEN_BYTES = 32
_SESSIONS = 1024  # kept at once; the oldest ends when one more is made

_session = sa.Table(
    "api_session",
    sa.MetaData(),
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("user", sa.Text),
    sa.Column("created", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
    sa.Column("token", sa.Text),
)


def owner_token(data_dir: Path) -> str:
    """The owner's token, made where there is none yet: 43 characters of URL-safe base64.

    Several processes may call this at the same moment; all get the same token, and none sees half of it.
    """
    path = data_dir / "run" / "owner.token"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            token = path.read_text("ascii").strip()
            path.chmod(0o600)  # a copy from elsewhere may have been readable to all
            return token
        except FileNotFoundError:
            draft = path.with_name(f".owner.token.{os.getpid()}.{threading.get_ident()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)  # unlike a rename this fails where another process was first
            except FileExistsError:
                pass
            finally:
                draft.unlink()


class Session(msgspec.Struct, frozen=True):
    """A browser that is signed in until `expires` (UTC ns)."""

    user: str
    expires: int


class Gate:
    """Decides by token or session cookie. Thread-safe; constant time in the secret."""

    def __init__(self, token: str, records: Records, clock: Clock, *, session_ns: int) -> None:
        self._token = _hash(token)
        self._records = records
        self._clock = clock
        self._session_ns = session_ns
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def load(self) -> None:
        """Forget what is over or was made with another token; remember the rest."""
        ours = sa.and_(_session.c.token == self._mark, _session.c.expires > self._clock.now())
        with self._records.begin() as connection:
            connection.execute(sa.delete(_session).where(sa.not_(ours)))
            rows = connection.execute(sa.select(_session).order_by(_session.c.created)).all()
        with self._lock:
            self._sessions = OrderedDict((row.hash, Session(row.user, row.expires)) for row in rows)

    @property
    def _mark(self) -> str:
        """Tells tokens apart without saying anything about them."""
        return hashlib.sha256(b"headrace session mark:" + self._token.encode()).hexdigest()[:16]

    def token_is(self, given: str) -> bool:
        return hmac.compare_digest(_hash(given), self._token)

    def sign_in(self, user: str) -> tuple[str, Session]:
        """A new session: its secret, for the cookie alone, and what it grants."""
        secret = secrets.token_urlsafe(_TOKEN_BYTES)
        now = self._clock.now()
        session = Session(user, now + self._session_ns)
        with self._lock:
            over = [key for key, s in self._sessions.items() if s.expires <= now]
            while len(self._sessions) - len(over) >= _SESSIONS:
                over.append(next(key for key in self._sessions if key not in over))
            for key in over:
                del self._sessions[key]
            self._sessions[_hash(secret)] = session
        with self._records.begin() as connection:
            if over:
                connection.execute(sa.delete(_session).where(_session.c.hash.in_(over)))
            row = {"hash": _hash(secret), "user": user, "created": now, "expires": session.expires}
            connection.execute(sa.insert(_session).values(**row, token=self._mark))
        return secret, session

    def sign_out(self, secret: str) -> None:
        """End a session; one that is unknown is over already."""
        with self._lock:
            self._sessions.pop(_hash(secret), None)
        with self._records.begin() as connection:
            connection.execute(sa.delete(_session).where(_session.c.hash == _hash(secret)))

    def session(self, secret: str) -> Session | None:
        """The session of a cookie, None where it is over or never was. The look-up is by hash, so its time
        tells nothing about other secrets."""
        with self._lock:
            found = self._sessions.get(_hash(secret))
        return found if found is not None and found.expires > self._clock.now() else None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Brake:
    """Slows down who guesses: after `free` failures each further one doubles a pause, up to a minute.

    Per client address, so that a stranger cannot lock the owner out; the least recent of many addresses are
    forgotten, so memory is bounded.
    """

    def __init__(self, clock: Clock, *, free: int = 5, addresses: int = 4096) -> None:
        self._clock = clock
        self._free = free
        self._addresses = addresses
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()  # count, time of the last

    def wait_s(self, address: str) -> int:
        """Whole seconds to wait before the next try; 0 is go."""
        count, last = self._failures.get(address, (0, 0))
        if count < self._free:
            return 0
        pause = min(1 << (count - self._free), 60) * NS_PER_S
        left = last + pause - self._clock.monotonic()
        return max(0, -(-left // NS_PER_S))

    def failed(self, address: str) -> None:
        count, _ = self._failures.pop(address, (0, 0))
        self._failures[address] = (min(count + 1, self._free + 6), self._clock.monotonic())
        while len(self._failures) > self._addresses:
            self._failures.popitem(last=False)

    def passed(self, address: str) -> None:
        self._failures.pop(address, None)
