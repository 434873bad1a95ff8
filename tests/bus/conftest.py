"""Both buses, so that one suite holds them to one contract. The NATS server is shared by the module."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.bus import BusSettings, MemoryBus, NatsBus, NatsServer
from headrace.kernel.ports import Bus


@pytest.fixture(scope="session")
def nats_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A server for the whole session, in a loop of its own; each test uses its own streams."""
    data = tmp_path_factory.mktemp("nats")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)  # the tests' own loops come and go
    thread.start()
    server = NatsServer(data, BusSettings(port=0))
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=["memory", "nats"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        memory = MemoryBus()
        yield memory
        await memory.close()
        return
    address = request.getfixturevalue("nats_address")
    nats = await NatsBus.connect(address.url, address.user, address.password)
    yield nats
    await nats.close()


@pytest.fixture
def token() -> str:
    """A token that no other test uses, for subjects and stream names on the shared server."""
    return "t" + uuid.uuid4().hex[:12]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of this test's own, watched, to be hurt."""
    own = NatsServer(tmp_path / "data", BusSettings(port=0))
    await own.start()
    watching = asyncio.create_task(own.watch())
    yield own
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await own.stop()
