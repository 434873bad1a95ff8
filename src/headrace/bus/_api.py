"""Requests to the JetStream API and the mapping of every failure to BusUnavailable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.aio.client import Client

from headrace.kernel.errors import BusUnavailable

if TYPE_CHECKING:
    from headrace.bus._link import Link

STREAM_NOT_FOUND = 10059
NO_MESSAGE = 10037


class ApiError(BusUnavailable):
    """The server answered, with an error. `number` is JetStream's err_code."""

    def __init__(self, code: str, number: int, **params: Any) -> None:
        self.number = number
        super().__init__(code, **params)


def failure(what: str, error: dict[str, Any]) -> ApiError:
    """The error object of a JetStream reply as BusUnavailable."""
    number = int(error.get("err_code", 0))
    text = str(error.get("description", ""))
    if number == STREAM_NOT_FOUND:
        return ApiError("bus.no_stream", number, subject=what)
    if "maximum bytes exceeded" in text or "maximum messages exceeded" in text:
        return ApiError("bus.full", number, stream=what)
    return ApiError("bus.refused", number, what=what, reason=text or f"{error.get('code')}")


async def call(
    client: Client, link: Link, verb: str, stream: str, body: dict[str, Any] | None, timeout_s: float
) -> dict[str, Any]:
    """The decoded reply of `$JS.API.<verb>.<stream>`. Raises ApiError, or BusUnavailable where none comes
    before the time-out or the end of the connection."""
    what = f"{verb}.{stream}" if stream else verb
    payload = b"" if body is None else msgspec.json.encode(body)
    asking: asyncio.Future[Any] = asyncio.ensure_future(
        client.request(f"$JS.API.{what}", payload, timeout=timeout_s)
    )
    lost: asyncio.Future[Any] = link.lost
    try:
        await asyncio.wait({asking, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise BusUnavailable("bus.lost")
        reply: dict[str, Any] = msgspec.json.decode(asking.result().data)
    except nats.errors.NoRespondersError:
        raise BusUnavailable("bus.refused", what=what, reason="JetStream is not available") from None
    except nats.errors.TimeoutError:
        raise BusUnavailable("bus.timeout", what=what, seconds=timeout_s) from None
    except nats.errors.Error as error:
        raise BusUnavailable("bus.refused", what=what, reason=str(error)) from None
    finally:
        asking.cancel()
    if "error" in reply:
        raise failure(stream.partition(".")[0] or what, reply["error"])
    return reply
