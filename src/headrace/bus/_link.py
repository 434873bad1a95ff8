"""One connection to a NATS server that never gives up.

nats-py reconnects by itself after a lost socket, but closes for good after any `-ERR` of the server (a
rotated password, a server that is shutting down). The Link opens a new client then, and re-registers what
was subscribed. Every opening and every reconnection is a new `generation`: what was in flight in an older
one is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headrace.kernel.errors import BusUnavailable

log = structlog.get_logger(__name__)

_RECONNECT_S = 0.25
_PING_S = 20
_FLUSH_S = 5
_PENDING_LIMIT = 64 << 20  # bytes of unread live messages per subscription before nats-py drops

Callback = Callable[[Msg], Awaitable[None]]


class Registration:
    """A subject and who gets its messages, over all generations."""

    def __init__(self, subject: str, callback: Callback) -> None:
        self.subject = subject
        self.callback = callback
        self.subscription: Subscription | None = None


class Link:
    """See the module's docstring. Made by `open`; `use` gives the connected client."""

    def __init__(self, url: str, user: str, password: str, name: str) -> None:
        self.url = url
        self.generation = 0
        self._options: dict[str, Any] = {
            "servers": url,
            "user": user or None,
            "password": password or None,
            "name": name,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _RECONNECT_S,
            "connect_timeout": 2,
            "ping_interval": _PING_S,
            "max_outstanding_pings": 2,
            # nothing is buffered while disconnected: callers are told at once and keep what they have
            "pending_size": 0,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._closing = False
        self._reopening: asyncio.Task[None] | None = None
        self._registrations: list[Registration] = []
        self._registering: set[asyncio.Task[None]] = set()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._refused: asyncio.Future[None] = self._loop.create_future()
        self._last_error: BaseException | None = None

    async def open(self, timeout_s: float) -> None:
        """Raises BusUnavailable where the server cannot be reached in time or refuses the user."""
        connecting: asyncio.Future[Any] = asyncio.ensure_future(self._connect())
        refused: asyncio.Future[Any] = self._refused  # nats-py would try the same password for ever
        try:
            await asyncio.wait({connecting, refused}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():  # what nats-py says of the connection after the refusal tells less
                raise BusUnavailable("bus.denied", url=self.url)
            if not connecting.done() or isinstance(connecting.exception(), nats.errors.Error):
                raise self._unreachable()
            connecting.result()
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done once the present generation has ended."""
        return self._lost

    @property
    def connected(self) -> bool:
        return self._up.is_set() and self._client is not None and self._client.is_connected

    async def use(self, timeout_s: float) -> Client:
        """The client, connected and with everything registered; waits for that up to `timeout_s`."""
        if self._closing:
            raise BusUnavailable("bus.closed")
        if self._registering or not self.connected:
            try:
                async with asyncio.timeout(timeout_s):
                    while not self.connected:
                        self._up.clear()  # where it is set, the call-back that clears it is on its way
                        await self._up.wait()
                        if self._closing:
                            raise BusUnavailable("bus.closed")
                    while self._registering:
                        await asyncio.wait(self._registering)
            except TimeoutError:
                raise self._unreachable() from None
        assert self._client is not None
        return self._client

    def register(self, subject: str, callback: Callback) -> Registration:
        """Subscribe from now on; takes effect before any later `use` returns."""
        registration = Registration(subject, callback)
        self._registrations.append(registration)
        if self._client is not None and not self._client.is_closed:
            # while nats-py reconnects this is remembered by it and sent afterwards
            self._spawn(self._subscribe(registration))
        return registration

    def unregister(self, registration: Registration) -> None:
        if registration in self._registrations:
            self._registrations.remove(registration)
            if registration.subscription is not None and self.connected and self._loop.is_running():
                self._spawn(self._unsubscribe(registration.subscription))

    async def close(self) -> None:
        self._closing = True
        self._up.set()
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        for task in list(self._registering):
            task.cancel()
        if self._client is not None:
            await self._client.close()
        self._end_generation()

    # --- connecting ---

    async def _connect(self) -> None:
        client = Client()
        try:
            await client.connect(**self._options)
            # a server that refuses the user may say so only after nats-py takes the connection for made
            await client.flush(_FLUSH_S)
        except BaseException:
            await client.close()
            raise
        self._client = client
        for registration in list(self._registrations):
            await self._subscribe(registration)
        self._begin_generation()

    async def _reopen(self) -> None:
        delay = _RECONNECT_S
        while not self._closing:
            try:
                async with asyncio.timeout(10):
                    await self._connect()
                log.info("bus_reopened", url=self.url)
                return
            except (TimeoutError, OSError, nats.errors.Error) as error:
                self._last_error = error
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)

    def _begin_generation(self) -> None:
        self.generation += 1
        if self._lost.done():
            self._lost = self._loop.create_future()
        self._up.set()

    def _end_generation(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    def _unreachable(self) -> BusUnavailable:
        error = self._last_error
        if error is not None and _is_refusal(error):
            return BusUnavailable("bus.denied", url=self.url)
        reason = str(error).strip() or type(error).__name__ if error else "no answer"
        return BusUnavailable("bus.unreachable", url=self.url, reason=reason)

    # --- registering ---

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._registering.add(task)
        task.add_done_callback(self._registering.discard)

    async def _subscribe(self, registration: Registration) -> None:
        client = self._client
        if client is None:
            return
        try:
            registration.subscription = await client.subscribe(
                registration.subject, cb=registration.callback, pending_bytes_limit=_PENDING_LIMIT
            )
        except nats.errors.Error as error:
            # only while the client closes; the next generation registers it again
            log.debug("bus_subscribe_deferred", subject=registration.subject, error=str(error))

    async def _unsubscribe(self, subscription: Subscription) -> None:
        try:
            await subscription.unsubscribe()
        except nats.errors.Error as error:
            log.debug("bus_unsubscribe_failed", error=str(error))

    # --- callbacks of nats-py ---

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        if _is_refusal(error) and not self._refused.done():
            self._refused.set_result(None)
        log.debug("bus_client_error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self._up.clear()
        self._end_generation()
        if not self._closing:
            log.warning("bus_disconnected", url=self.url)

    async def _on_reconnected(self) -> None:
        self._begin_generation()
        log.info("bus_reconnected", url=self.url)

    async def _on_closed(self) -> None:
        self._up.clear()
        self._end_generation()
        if not self._closing and (self._reopening is None or self._reopening.done()):
            self._client = None
            self._reopening = self._loop.create_task(self._reopen())


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, nats.errors.AuthorizationError) or "Authorization Violation" in str(error)
