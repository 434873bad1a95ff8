"""The event stream: each topic encoded once a tick, whoever listens.

Nothing is queued for a client. A client that is ready asks what changed since the tick it has; all who keep
up ask the same question and get the same bytes, and one who fell behind gets one larger answer later. What a
client costs is one number a topic, however slow it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from headrace.api.live import LiveValues
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock

TICK_S = 0.5
HEARTBEAT_S = 10.0
TOPICS = ("values", "alarms", "gateway", "summary")

_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": keep-alive\n\n"


def event(name: str, data: Any) -> bytes:
    """One server-sent event; JSON has no line breaks, so its data is one line."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


class Latest:
    """A topic of which only the newest state counts."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.version = 0
        self._data = b""
        self._frame = b""

    def put(self, state: Any) -> None:
        """Publish `state` where it differs from the one before."""
        data = msgspec.json.encode(state)
        if data != self._data:
            self._data = data
            self._frame = b"event: " + self._name.encode() + b"\ndata: " + data + b"\n\n"
            self.version += 1

    def since(self, version: int) -> bytes:
        return self._frame if self.version > version else b""


class Log:
    """A topic of which each event counts; who is further behind than `keep` events is told to ask afresh."""

    def __init__(self, name: str, *, keep: int = 512) -> None:
        self._name = name
        self._events: deque[bytes] = deque(maxlen=keep)
        self.version = 0
        self._reset = event("reset", {"topic": name})

    def put(self, item: Any, *, name: str) -> None:
        self._events.append(event(name, item))
        self.version += 1

    def since(self, version: int) -> bytes:
        behind = self.version - version
        if behind > len(self._events):
            return self._reset
        return b"".join(list(self._events)[len(self._events) - behind :]) if behind else b""


class Streams:
    """All who listen. `max_streams` bounds them."""

    def __init__(self, live: LiveValues, clock: Clock, *, max_streams: int) -> None:
        self._live = live
        self._clock = clock
        self._max = max_streams
        self._ticked = asyncio.Event()
        self._closed = False
        self._tick = live.next_tick()  # the newest closed tick of the values
        self._frames: dict[tuple[str | None, int], bytes | None] = {}
        self.alarms = Log("alarms")
        self.gateway = Latest("gateway")
        self.summary = Latest("summary")
        self.clients = 0
        self.encoded = 0  # frames of values made since start

    @property
    def full(self) -> bool:
        return self.clients >= self._max

    def tick(self) -> None:
        """Close a tick: who waits is woken and asks for what changed."""
        self._tick = self._live.next_tick()
        self._frames.clear()
        woken, self._ticked = self._ticked, asyncio.Event()
        woken.set()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._ticked.set()

    def _values(self, since: int, machine: str | None) -> bytes:
        key = (machine, since)
        if key not in self._frames:
            now_ms = self._clock.now() / NS_PER_MS
            self._frames[key] = self._live.frame(now_ms, since=since, machine=machine)
            self.encoded += 1
        return self._frames[key] or b""

    async def listen(
        self, topics: Sequence[str], machine: str | None, may_go_on: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """The bytes of one client's stream, first a full state of each topic. Ends when the API stops or
        `may_go_on` says no (the session is over)."""
        self.clients += 1
        try:
            values = "values" in topics
            others: list[Latest | Log] = [getattr(self, t) for t in topics if t != "values"]
            have = [topic.version if isinstance(topic, Log) else 0 for topic in others]
            tick = 0
            sent = self._clock.monotonic()
            yield _RETRY
            while not self._closed and may_go_on():
                ticked = self._ticked
                parts = [topic.since(version) for topic, version in zip(others, have, strict=True)]
                have = [topic.version for topic in others]
                if values:
                    parts.append(self._values(tick, machine))
                    tick = self._tick
                if data := b"".join(parts):
                    sent = self._clock.monotonic()
                    yield data
                elif self._clock.monotonic() - sent >= HEARTBEAT_S * NS_PER_S:
                    sent = self._clock.monotonic()
                    yield _HEARTBEAT
                await ticked.wait()
        finally:
            self.clients -= 1
