"""What both buses share: subjects, the mailbox of a live subscription, and how a request is answered."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from headrace.kernel.errors import HeadraceError, InputError
from headrace.kernel.ports import Message

log = structlog.get_logger(__name__)

MAX_PAYLOAD = 8 << 20
"""The largest message in bytes. Batches stay near 1 MiB; the rest is room for one giant text batch."""

DUPLICATE_WINDOW_S = 300.0
"""How long a stream remembers keys. Longer than a server restart; history knows every key for ever."""

Handler = Callable[[bytes], Awaitable[bytes]]

_SUBJECT = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_FILTER = re.compile(r"(([a-z0-9-]+|\*)\.)*([a-z0-9-]+|\*|>)")
_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_subject(subject: str) -> str:
    """`subject` itself; InputError where it is not dot-separated tokens [a-z0-9-]."""
    if not _SUBJECT.fullmatch(subject):
        raise InputError("bus.bad_subject", subject=subject)
    return subject


def check_filter(subject: str) -> str:
    """The same, allowing `*` for one token and a final `>`."""
    if not _FILTER.fullmatch(subject):
        raise InputError("bus.bad_subject", subject=subject)
    return subject


def check_stream(name: str) -> str:
    """`name` itself; InputError where it cannot name a stream."""
    if not _STREAM.fullmatch(name):
        raise InputError("bus.bad_stream", stream=name)
    return name


def check_payload(payload: bytes) -> bytes:
    """`payload` itself; InputError where no bus would take it."""
    if len(payload) > MAX_PAYLOAD:
        raise InputError("bus.payload_too_large", size=len(payload), limit=MAX_PAYLOAD)
    return payload


def matches(pattern: str, subject: str) -> bool:
    """Does `subject` fall under `pattern` (tokens, `*`, final `>`)?"""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


class Mailbox:
    """The messages of one live subscription, at most `pending`; when full the oldest is dropped.

    An async iterator that ends when the bus closes or `aclose` is called.
    """

    def __init__(self, subject: str, pending: int) -> None:
        self.subject = subject
        self.dropped = 0
        self._items: deque[Message] = deque(maxlen=pending)
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, message: Message) -> None:
        if self._closed:
            return
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(message)
        self._ready.set()

    def end(self) -> None:
        """No more will come; what is there can still be read."""
        self._closed = True
        self._ready.set()

    def __aiter__(self) -> Mailbox:
        return self

    async def __anext__(self) -> Message:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    async def aclose(self) -> None:
        self._items.clear()
        self.end()


async def answer(subject: str, handler: Handler, payload: bytes) -> bytes:
    """The handler's reply; what it raises becomes an error reply, so that the asker never waits in vain."""
    try:
        return await handler(payload)
    except HeadraceError as error:
        body = {"error": {"code": error.code, "params": error.params}}
    except Exception:
        log.exception("request_handler_failed", subject=subject)
        body = {"error": {"code": "bus.handler_failed", "params": {"subject": subject}}}
    return msgspec.json.encode(body, enc_hook=str)
