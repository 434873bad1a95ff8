"""Principals proven a moment ago, so that a request costs no query.

Every access event empties it, in all processes; entries live two seconds at most, so that even a process
whose bus is cut obeys a revocation within that time.
"""

from __future__ import annotations

import threading

from headrace.access.events import AccessEvent, Events
from headrace.access.identity.principal import Principal
from headrace.kernel.clock import NS_PER_S

_LIFE_S = 2.0
_ENTRIES = 10_000


class Verdicts:
    """By hash of the secret. Thread-safe."""

    def __init__(self, events: Events) -> None:
        self._clock = events.clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[Principal, int, int]] = {}
        self._generation = 0
        events.listen(self._changed)

    def get(self, key: str) -> Principal | None:
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            return None
        principal, kept, until = found
        fresh = self._clock.monotonic() - kept < _LIFE_S * NS_PER_S
        return principal if fresh and self._clock.now() < until else None

    @property
    def generation(self) -> int:
        """To be read before the query whose result is put; after an event in between `put` does nothing."""
        with self._lock:
            return self._generation

    def put(self, key: str, principal: Principal, *, until: int, generation: int) -> None:
        """`until`: UTC ns at which the proof is over in any case."""
        with self._lock:
            if generation != self._generation:
                return
            if len(self._kept) >= _ENTRIES:
                self._kept.clear()
            self._kept[key] = (principal, self._clock.monotonic(), until)

    def _changed(self, _: AccessEvent) -> None:
        with self._lock:
            self._generation += 1
            self._kept.clear()
