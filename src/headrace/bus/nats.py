"""The bus on a NATS server with JetStream (nats-py). See `kernel.ports.Bus` for what each method promises."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg

from headrace.bus._api import STREAM_NOT_FOUND, ApiError, call, failure
from headrace.bus._common import (
    DUPLICATE_WINDOW_S,
    Handler,
    Mailbox,
    answer,
    check_filter,
    check_payload,
    check_stream,
    check_subject,
)
from headrace.bus._link import Link
from headrace.bus._reader import Reader
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import BusUnavailable, InputError
from headrace.kernel.ports import Message, StreamState

log = structlog.get_logger(__name__)

_PUBLISH_S = 5.0
_API_S = 5.0
_IN_FLIGHT_BYTES = 32 << 20  # unacknowledged publishes; more wait their turn
_SEND_BACKLOG = 8 << 20  # bytes not yet on the socket above which a live message is refused
_SERVE_PARALLEL = 64
_READERS = 4  # positions per stream that one process reads from at the same time


class NatsBus:
    """Made by `connect`. Reconnects for ever; while the server is away every method raises BusUnavailable
    after its time-out."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._inbox = f"_INBOX.{secrets.token_hex(12)}"
        self._tokens = itertools.count(1)
        self._acks: dict[str, asyncio.Future[Msg]] = {}
        self._flying = 0
        self._waiting: deque[asyncio.Event] = deque()
        self._readers: dict[tuple[str, str], list[Reader]] = {}
        self._mailboxes: weakref.WeakSet[Mailbox] = weakref.WeakSet()
        self._answering: set[asyncio.Task[None]] = set()
        self._closed = False
        link.register(f"{self._inbox}.*", self._on_ack)

    @classmethod
    async def connect(
        cls,
        url: str,
        user: str = "",
        password: str = "",
        *,
        name: str = "headrace",
        timeout_s: float = 10.0,
    ) -> NatsBus:
        """Raises BusUnavailable (bus.unreachable, bus.denied) where no connection comes about in time."""
        link = Link(url, user, password, name)
        bus = cls(link)
        await link.open(timeout_s)
        return bus

    @property
    def connected(self) -> bool:
        """Is there a connection at this moment?"""
        return self._link.connected

    async def ping(self, timeout_s: float = 2.0) -> None:
        """Does JetStream answer? Raises BusUnavailable where it does not, though the server may run."""
        client = await self._link.use(timeout_s)
        await call(client, self._link, "INFO", "", None, timeout_s)

    async def ensure_stream(
        self,
        name: str,
        subjects: Sequence[str],
        *,
        max_bytes: int,
        max_age_s: float = 0,
        discard_old: bool = False,
    ) -> None:
        config: dict[str, Any] = {
            "name": check_stream(name),
            "subjects": [check_filter(s) for s in subjects],
            "retention": "limits",
            "storage": "file",
            "num_replicas": 1,
            "max_bytes": max_bytes,
            "max_age": round(max_age_s * NS_PER_S),
            "max_msgs": -1,
            "max_consumers": -1,
            "discard": "old" if discard_old else "new",
            "duplicate_window": round(self._window(max_age_s) * NS_PER_S),
            "allow_direct": True,
        }
        try:
            await self._api("STREAM.UPDATE", name, config)
        except ApiError as error:
            if error.number != STREAM_NOT_FOUND:
                raise
            await self._api("STREAM.CREATE", name, config)

    async def publish(self, subject: str, payload: bytes, *, key: str = "") -> int:
        check_subject(subject)
        size = len(check_payload(payload))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PUBLISH_S
        await self._take_off(size, deadline, subject)
        token = str(next(self._tokens))
        try:
            client = await self._link.use(max(deadline - loop.time(), 0.01))
            ack: asyncio.Future[Any] = loop.create_future()
            self._acks[token] = ack
            lost: asyncio.Future[Any] = self._link.lost
            await client.publish(
                subject,
                payload,
                reply=f"{self._inbox}.{token}",
                headers={"Nats-Msg-Id": key} if key else None,
            )
            await asyncio.wait(
                {ack, lost}, timeout=max(deadline - loop.time(), 0), return_when=asyncio.FIRST_COMPLETED
            )
            if ack.done():
                return self._stored(subject, ack.result())
            if lost.done():
                raise BusUnavailable("bus.lost")
            raise BusUnavailable("bus.timeout", what=subject, seconds=_PUBLISH_S)
        except nats.errors.Error as error:
            raise self._mapped(subject, error) from None
        finally:
            self._acks.pop(token, None)
            self._land(size)

    async def read(
        self, stream: str, start: int, *, limit: int = 256, timeout_s: float = 1.0, filter: str = ""
    ) -> list[Message]:
        check_stream(stream)
        if start < 1 or limit < 1:
            raise InputError("bus.bad_start", start=start, limit=limit)
        if filter:
            check_filter(filter)
        idle = self._readers.setdefault((stream, filter), [])
        reader = next((r for r in idle if r.position == start), None)
        if reader is not None:
            idle.remove(reader)
        else:
            reader = Reader(self._link, stream, filter, start)
        try:
            return await reader.take(limit, timeout_s)
        except nats.errors.Error as error:
            raise self._mapped(stream, error) from None
        finally:
            idle.append(reader)
            if len(idle) > _READERS:
                await idle.pop(0).close()

    async def purge(self, stream: str, before: int) -> None:
        # JetStream would move the end of the stream where `before` lies beyond it
        before = min(before, (await self.state(stream)).last + 1)
        if before > 1:
            await self._api("STREAM.PURGE", stream, {"seq": before})

    async def state(self, stream: str) -> StreamState:
        reply = await self._api("STREAM.INFO", check_stream(stream), None)
        found = reply["state"]
        messages, last = int(found["messages"]), int(found["last_seq"])
        first = int(found["first_seq"]) if messages else last + 1
        return StreamState(first, last, messages, int(found["bytes"]))

    async def send(self, subject: str, payload: bytes) -> None:
        check_subject(subject)
        check_payload(payload)
        client = await self._link.use(0.05)
        if client.pending_data_size > _SEND_BACKLOG:
            raise BusUnavailable("bus.timeout", what=subject, seconds=0)
        try:
            await client.publish(subject, payload)
        except nats.errors.Error as error:
            raise self._mapped(subject, error) from None

    def subscribe(self, subject: str, *, pending: int = 1024) -> AsyncIterator[Message]:
        if self._closed:
            raise BusUnavailable("bus.closed")
        mailbox = Mailbox(check_filter(subject), pending)
        target = weakref.ref(mailbox)

        async def deliver(msg: Msg) -> None:
            box = target()
            if box is not None:
                box.put(Message(msg.subject, msg.data, reply=msg.reply))

        registration = self._link.register(subject, deliver)
        # an abandoned iterator takes its subscription with it
        weakref.finalize(mailbox, self._link.unregister, registration).atexit = False
        self._mailboxes.add(mailbox)
        return mailbox

    async def request(self, subject: str, payload: bytes, *, timeout_s: float = 5.0) -> bytes:
        check_subject(subject)
        check_payload(payload)
        client = await self._link.use(timeout_s)
        try:
            reply = await client.request(subject, payload, timeout=timeout_s)
        except nats.errors.NoRespondersError:
            raise BusUnavailable("bus.no_responder", subject=subject) from None
        except nats.errors.TimeoutError:
            raise BusUnavailable("bus.no_answer", subject=subject, seconds=timeout_s) from None
        except nats.errors.Error as error:
            raise self._mapped(subject, error) from None
        return bytes(reply.data)

    async def serve(self, subject: str, handler: Handler) -> None:
        check_filter(subject)
        slots = asyncio.Semaphore(_SERVE_PARALLEL)

        async def reply_to(msg: Msg) -> None:
            try:
                body = await answer(msg.subject, handler, bytes(msg.data))
                client = await self._link.use(_API_S)
                await client.publish(msg.reply, body)
            except (BusUnavailable, nats.errors.Error) as error:
                log.warning("reply_lost", subject=msg.subject, error=str(error))
            finally:
                slots.release()

        async def on_request(msg: Msg) -> None:
            if not msg.reply:
                return
            await slots.acquire()
            task = asyncio.get_running_loop().create_task(reply_to(msg))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        self._link.register(subject, on_request)
        await self._link.use(_API_S)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for task in list(self._answering):
            task.cancel()
        for mailbox in list(self._mailboxes):
            mailbox.end()
        for readers in self._readers.values():
            for reader in readers:
                await reader.close()
        self._readers.clear()
        await self._link.close()

    # --- publishing ---

    @staticmethod
    def _window(max_age_s: float) -> float:
        """The server refuses a duplicate window longer than the age at which messages go."""
        return min(DUPLICATE_WINDOW_S, max_age_s) if max_age_s else DUPLICATE_WINDOW_S

    async def _take_off(self, size: int, deadline: float, subject: str) -> None:
        """Back-pressure: wait until what is unacknowledged leaves room for `size` more bytes."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._flying and self._flying + size > _IN_FLIGHT_BYTES:
                    turn = asyncio.Event()
                    self._waiting.append(turn)
                    await turn.wait()
        except TimeoutError:
            raise BusUnavailable("bus.timeout", what=subject, seconds=_PUBLISH_S) from None
        self._flying += size

    def _land(self, size: int) -> None:
        self._flying -= size
        while self._waiting:
            self._waiting.popleft().set()

    async def _on_ack(self, msg: Msg) -> None:
        future = self._acks.get(msg.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(msg)

    @staticmethod
    def _stored(subject: str, msg: Msg) -> int:
        if msg.headers and msg.headers.get("Status") == "503":
            raise BusUnavailable("bus.no_stream", subject=subject)
        reply = msgspec.json.decode(msg.data)
        if "error" in reply:
            raise failure(subject, reply["error"])
        return int(reply["seq"])

    async def _api(self, verb: str, stream: str, body: dict[str, Any] | None) -> dict[str, Any]:
        client = await self._link.use(_API_S)
        return await call(client, self._link, verb, stream, body, _API_S)

    @staticmethod
    def _mapped(what: str, error: nats.errors.Error) -> BusUnavailable:
        if isinstance(error, nats.errors.OutboundBufferLimitError | nats.errors.ConnectionClosedError):
            return BusUnavailable("bus.lost")
        return BusUnavailable("bus.refused", what=what, reason=str(error))
