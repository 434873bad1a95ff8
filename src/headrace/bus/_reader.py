"""An ordered, gap-proof read of one stream from one position on.

A JetStream pull consumer without acknowledgements (AckNone, deliver by start sequence) numbers what it sends
1, 2, 3 … (its consumer sequence). As long as those numbers are contiguous nothing that the stream holds has
been left out, whatever holes the stream sequences show. At the first irregularity (a number skipped, an
error status, a new connection, a silent server) the consumer is thrown away and a new one made at the
position that the caller has reached.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections import deque
from typing import Any

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from headrace.bus._api import NO_MESSAGE, ApiError, call
from headrace.bus._link import Link
from headrace.kernel.clock import NS_PER_S, parse_time
from headrace.kernel.errors import BusUnavailable
from headrace.kernel.ports import Message

log = structlog.get_logger(__name__)

_PULL_MESSAGES = 512
_PULL_BYTES = 16 << 20  # what may lie unread in this process; twice the largest message
_PULL_EXPIRES_S = 30.0
_SILENCE_S = 5.0  # how far past its expiry a pull may be before the server counts as silent
_INACTIVE_S = 120.0  # the server forgets a consumer nobody pulls from after this


class Reader:
    """Reads `stream` from `position` on. One caller at a time."""

    def __init__(self, link: Link, stream: str, filter: str, start: int) -> None:
        self.stream = stream
        self.filter = filter
        self.position = start
        self._link = link
        self._generation = -1
        self._consumer = ""
        self._subscription: Subscription | None = None
        self._prefix = ""
        self._pull = 0
        self._asked = 0
        self._pull_deadline: float | None = None
        self._arrived: deque[Message] = deque()
        self._next_number = 1
        self._last_sequence = 0
        self._broken = ""
        self._wake = asyncio.Event()

    async def take(self, limit: int, timeout_s: float) -> list[Message]:
        """Up to `limit` messages as soon as there are any; [] where none came in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            left = deadline - loop.time()
            client = await self._link.use(max(left, 0.05))
            if self._generation != self._link.generation:
                self._broken = "connection" if self._consumer else ""
                self._consumer = ""
            elif self._pull_deadline is not None and loop.time() > self._pull_deadline:
                self._broken = "silence"
            if self._broken or not self._consumer:
                await self._restart(client, max(left, 2.0))
            if self._pull_deadline is None and len(self._arrived) < limit:
                await self._ask(client)
            if self._arrived:
                return await self._hand_over(limit)
            if left <= 0:
                return []
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    async def close(self) -> None:
        """Take the consumer off the server; a server that is away forgets it by itself."""
        consumer, subscription = self._consumer, self._subscription
        self._consumer, self._subscription = "", None
        if not self._link.connected or self._generation != self._link.generation:
            return
        try:
            if subscription is not None:
                await subscription.unsubscribe()
            if consumer:
                client = await self._link.use(1.0)
                await client.publish(f"$JS.API.CONSUMER.DELETE.{self.stream}.{consumer}", b"")
        except (nats.errors.Error, BusUnavailable) as error:
            log.debug("bus_reader_close", stream=self.stream, error=str(error))

    async def _hand_over(self, limit: int) -> list[Message]:
        """The oldest messages. A hole between stream sequences is proven, or filled, before it is passed."""
        out: list[Message] = []
        expected = self.position
        taken = 0
        for message in list(self._arrived):
            while message.sequence > expected and not self.filter and len(out) < limit:
                held = await self._first_held(expected)
                if held is None or held.sequence >= message.sequence:
                    log.info("bus_reader_hole", stream=self.stream, first=expected, last=message.sequence - 1)
                    break
                out.append(held)
                expected = held.sequence + 1
            if len(out) >= limit:
                break
            out.append(message)
            expected = message.sequence + 1
            taken += 1
        for _ in range(taken):
            self._arrived.popleft()
        self.position = expected
        return out

    async def _first_held(self, sequence: int) -> Message | None:
        """The first message from `sequence` on that the stream holds: all between were removed."""
        client = await self._link.use(2.0)
        wanted = {"seq": sequence, "next_by_subj": ">"}
        try:
            reply = await call(client, self._link, "STREAM.MSG.GET", self.stream, wanted, 5.0)
        except ApiError as error:
            if error.number == NO_MESSAGE:
                return None
            raise
        found = reply["message"]
        payload = base64.b64decode(found.get("data", ""))
        return Message(found["subject"], payload, int(found["seq"]), parse_time(found["time"]))

    async def _restart(self, client: Client, timeout_s: float) -> None:
        if self._broken:
            log.info("bus_reader_restarts", stream=self.stream, at=self.position, reason=self._broken)
        await self.close()
        self._arrived.clear()
        self._next_number = 1
        self._last_sequence = self.position - 1
        self._pull_deadline = None
        generation = self._link.generation
        name = secrets.token_hex(8)
        config: dict[str, Any] = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.position,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(_INACTIVE_S * NS_PER_S),
            "num_replicas": 1,
            "mem_storage": True,
        }
        path = f"{self.stream}.{name}"
        if self.filter:
            config["filter_subject"] = self.filter
            path = f"{path}.{self.filter}"
        body = {"stream_name": self.stream, "config": config}
        await call(client, self._link, "CONSUMER.CREATE", path, body, timeout_s)
        self._prefix = client.new_inbox()
        self._subscription = await client.subscribe(f"{self._prefix}.*", cb=self._on_message)
        self._consumer = name
        self._generation = generation
        self._broken = ""

    async def _ask(self, client: Client) -> None:
        """One pull at a time; it stays open at the server, so that a message comes once it is stored."""
        self._pull += 1
        self._pull_deadline = asyncio.get_running_loop().time() + _PULL_EXPIRES_S + _SILENCE_S
        request = {
            "batch": _PULL_MESSAGES,
            "max_bytes": _PULL_BYTES,
            "expires": int(_PULL_EXPIRES_S * NS_PER_S),
        }
        try:
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self._consumer}",
                msgspec.json.encode(request),
                reply=f"{self._prefix}.{self._pull}",
            )
            self._asked = _PULL_MESSAGES
        except nats.errors.Error as error:
            self._broken = str(error)

    async def _on_message(self, msg: Msg) -> None:
        if not msg.subject.startswith(self._prefix) and msg.reply.startswith("$JS.ACK."):
            self._store(msg)
        elif msg.subject == f"{self._prefix}.{self._pull}":
            self._on_status(msg)
        self._wake.set()

    def _store(self, msg: Msg) -> None:
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<ns>.<pending>
        tokens = msg.reply.split(".")
        tokens = tokens[-7:] if len(tokens) <= 9 else tokens[4:11]
        _, consumer, _, sequence, number, stamp, _ = tokens
        if consumer != self._consumer or self._broken:
            return  # late, from a consumer that was given up
        if int(number) != self._next_number or int(sequence) <= self._last_sequence:
            self._broken = f"message {number} where {self._next_number} was due"
            return
        self._next_number += 1
        self._last_sequence = int(sequence)
        self._arrived.append(Message(msg.subject, msg.data, int(sequence), int(stamp)))
        self._asked -= 1
        if self._asked == 0:
            self._pull_deadline = None  # the batch is complete; the server sends no status for that

    def _on_status(self, msg: Msg) -> None:
        status = (msg.headers or {}).get("Status", "")
        text = (msg.headers or {}).get("Description", "")
        if status == "100":
            return
        if status == "408" or (status == "409" and "MaxBytes" in text) or status == "404":
            self._pull_deadline = None  # an ordinary end: expired, or the byte budget is used up
        else:
            self._broken = f"{status} {text}".strip()
