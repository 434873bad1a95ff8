"""When things happen on a line: the grid of a scan group, the back-off after a loss, cycle statistics.

Pure: times come in as monotonic nanoseconds, randomness as a Random.
"""

from __future__ import annotations

import random
from bisect import insort
from collections import deque

import msgspec

from headrace.kernel.clock import NS_PER_MS, NS_PER_S


class Grid:
    """The slots `origin + k * every`. A cycle belongs to one slot; slots that pass while a cycle runs are
    skipped and counted, never made up for, so a late cycle neither queues nor shifts the later ones."""

    def __init__(self, every: int, origin: int) -> None:
        self.every = every
        self.due = origin
        self.skips = 0

    def begin(self, now: int) -> int:
        """Begin the cycle of the latest slot that has come; returns that slot's time. Call at `due` or
        later."""
        missed = max(now - self.due, 0) // self.every
        slot = self.due + missed * self.every
        self.skips += missed
        self.due = slot + self.every
        return slot

    def resume(self, now: int) -> None:
        """Make the next cycle due at once, on the same grid; the slots of the pause are no skips."""
        self.due += (now - self.due) // self.every * self.every


class Backoff:
    """Waiting times between attempts to connect: doubling from `first` to `longest`, each shortened at random
    by up to half, so that the devices of a plant do not come back in step."""

    def __init__(
        self, rng: random.Random, *, first: int = NS_PER_S // 2, longest: int = 30 * NS_PER_S
    ) -> None:
        self._rng = rng
        self._first = first
        self._longest = longest
        self.failures = 0

    def next(self) -> int:
        """Nanoseconds to wait after one more failure."""
        delay = min(self._first << min(self.failures, 40), self._longest)
        self.failures += 1
        return round(delay * self._rng.uniform(0.5, 1.0))

    def reset(self) -> None:
        self.failures = 0


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds; of the last few hundred cycles, `last` of the newest."""

    last: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    max: float = 0.0


class Ring:
    """The durations of the last `size` cycles, kept sorted as they come, so that asking costs nothing."""

    def __init__(self, size: int = 256) -> None:
        self._size = size
        self._order: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, duration: int) -> None:
        """`duration` in ns."""
        if len(self._order) == self._size:
            self._sorted.remove(self._order.popleft())
        self._order.append(duration)
        insort(self._sorted, duration)

    def spread(self) -> Spread:
        n = len(self._sorted)
        if not n:
            return Spread()
        pick = [self._order[-1], self._sorted[n // 2], self._sorted[min(n - 1, n * 95 // 100)]]
        return Spread(*(round(d / NS_PER_MS, 3) for d in (*pick, self._sorted[-1])))


def phases(points_per_s: list[float], linger: int, *, fill: int = 3_000) -> list[int]:
    """Where on the grid each connection starts, ns: spread so that connections do not all send at once, yet
    close enough together that the values of one linger make full messages of about `fill` points.

    The spread is half a linger for small plants and grows with the load up to a second.
    """
    load = sum(points_per_s)
    window = min(max(linger / 2, linger * load / fill), NS_PER_S)
    n = max(len(points_per_s), 1)
    return [round(window * k / n) for k in range(len(points_per_s))]
