"""A bus within one process: for tests and tools. The same semantics as NATS, without the disk."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import islice

import msgspec

from headrace.bus._common import (
    DUPLICATE_WINDOW_S,
    Handler,
    Mailbox,
    answer,
    check_filter,
    check_payload,
    check_stream,
    check_subject,
    matches,
)
from headrace.kernel.clock import NS_PER_S, Clock, SystemClock
from headrace.kernel.errors import BusUnavailable, InputError
from headrace.kernel.ports import Message, StreamState

_OVERHEAD = 30  # bytes a stored message costs besides subject, key and payload, as NATS counts it


class _Limits(msgspec.Struct, frozen=True):
    subjects: tuple[str, ...]
    max_bytes: int
    max_age_ns: int
    discard_old: bool


class _Stream:
    """Messages `first`..`last` in order; only whole prefixes are ever forgotten."""

    def __init__(self, limits: _Limits) -> None:
        self.limits = limits
        self.messages: deque[Message] = deque()
        self.sizes: deque[int] = deque()
        self.last = 0
        self.bytes = 0
        self.keys: dict[str, tuple[int, int]] = {}  # key → (sequence, stored at ns), oldest first
        self.grown = asyncio.Event()

    @property
    def first(self) -> int:
        return self.messages[0].sequence if self.messages else self.last + 1

    def expire(self, now: int) -> None:
        while self.limits.max_age_ns and self.messages and self._too_old(now):
            self.drop_first()
        horizon = now - round(DUPLICATE_WINDOW_S * NS_PER_S)
        while self.keys and next(iter(self.keys.values()))[1] < horizon:
            del self.keys[next(iter(self.keys))]

    def _too_old(self, now: int) -> bool:
        return self.messages[0].time < now - self.limits.max_age_ns

    def drop_first(self) -> None:
        self.messages.popleft()
        self.bytes -= self.sizes.popleft()

    def append(self, name: str, subject: str, payload: bytes, key: str, now: int) -> Message:
        size = _OVERHEAD + len(subject) + len(payload) + (len(key) + 30 if key else 0)
        if size > self.limits.max_bytes:
            raise BusUnavailable("bus.full", stream=name)
        while self.bytes + size > self.limits.max_bytes:
            if not self.limits.discard_old:
                raise BusUnavailable("bus.full", stream=name)
            self.drop_first()
        self.last += 1
        message = Message(subject, bytes(payload), self.last, now)
        self.messages.append(message)
        self.sizes.append(size)
        self.bytes += size
        if key:
            self.keys[key] = (self.last, now)
        self.grown.set()
        self.grown = asyncio.Event()
        return message


class MemoryBus:
    """See `kernel.ports.Bus`. All users share the one object."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._streams: dict[str, _Stream] = {}
        self._live: weakref.WeakSet[Mailbox] = weakref.WeakSet()
        self._served: list[tuple[str, Handler]] = []
        self._closed = False

    async def ensure_stream(
        self,
        name: str,
        subjects: Sequence[str],
        *,
        max_bytes: int,
        max_age_s: float = 0,
        discard_old: bool = False,
    ) -> None:
        self._open()
        check_stream(name)
        wanted = tuple(check_filter(s) for s in subjects)
        limits = _Limits(wanted, max_bytes, round(max_age_s * NS_PER_S), discard_old)
        if name in self._streams:
            self._streams[name].limits = limits
        else:
            self._streams[name] = _Stream(limits)

    async def publish(self, subject: str, payload: bytes, *, key: str = "") -> int:
        self._open()
        check_subject(subject)
        check_payload(payload)
        for name, stream in self._streams.items():
            if any(matches(pattern, subject) for pattern in stream.limits.subjects):
                now = self._clock.now()
                stream.expire(now)
                if key and key in stream.keys:
                    return stream.keys[key][0]
                stored = stream.append(name, subject, payload, key, now)
                self._deliver(Message(subject, stored.payload, time=stored.time))
                return stored.sequence
        raise BusUnavailable("bus.no_stream", subject=subject)

    async def read(
        self, stream: str, start: int, *, limit: int = 256, timeout_s: float = 1.0, filter: str = ""
    ) -> list[Message]:
        held = self._stream(stream)
        if start < 1 or limit < 1:
            raise InputError("bus.bad_start", start=start, limit=limit)
        if filter:
            check_filter(filter)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            self._open()
            held.expire(self._clock.now())
            grown = held.grown
            skip = max(0, start - held.first)
            found: list[Message] = []
            for message in islice(held.messages, skip, None):
                if not filter or matches(filter, message.subject):
                    found.append(message)
                    if len(found) == limit:
                        break
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            try:
                async with asyncio.timeout(left):
                    await grown.wait()
            except TimeoutError:
                return []

    async def purge(self, stream: str, before: int) -> None:
        held = self._stream(stream)
        while held.messages and held.first < before:
            held.drop_first()

    async def state(self, stream: str) -> StreamState:
        held = self._stream(stream)
        held.expire(self._clock.now())
        return StreamState(held.first, held.last, len(held.messages), held.bytes)

    async def send(self, subject: str, payload: bytes) -> None:
        self._open()
        check_subject(subject)
        self._deliver(Message(subject, bytes(check_payload(payload)), time=self._clock.now()))

    def subscribe(self, subject: str, *, pending: int = 1024) -> AsyncIterator[Message]:
        self._open()
        mailbox = Mailbox(check_filter(subject), pending)
        self._live.add(mailbox)
        return mailbox

    async def request(self, subject: str, payload: bytes, *, timeout_s: float = 5.0) -> bytes:
        self._open()
        check_subject(subject)
        check_payload(payload)
        for pattern, handler in self._served:
            if matches(pattern, subject):
                try:
                    async with asyncio.timeout(timeout_s):
                        return await answer(subject, handler, bytes(payload))
                except TimeoutError:
                    raise BusUnavailable("bus.no_answer", subject=subject, seconds=timeout_s) from None
        raise BusUnavailable("bus.no_responder", subject=subject)

    async def serve(self, subject: str, handler: Handler) -> None:
        self._open()
        self._served.append((check_filter(subject), handler))

    async def close(self) -> None:
        self._closed = True
        self._served.clear()
        for mailbox in self._live:
            mailbox.end()
        for stream in self._streams.values():
            stream.grown.set()

    def _open(self) -> None:
        if self._closed:
            raise BusUnavailable("bus.closed")

    def _stream(self, name: str) -> _Stream:
        self._open()
        try:
            return self._streams[check_stream(name)]
        except KeyError:
            raise BusUnavailable("bus.no_stream", subject=name) from None

    def _deliver(self, message: Message) -> None:
        for mailbox in list(self._live):
            if matches(mailbox.subject, message.subject):
                mailbox.put(message)
