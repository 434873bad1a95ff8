"""A running API over a memory bus, real records, a real history and real rules."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from headrace import rules
from headrace.api import ApiSettings, NodeInfo, owner_token, run
from headrace.bus import MemoryBus
from headrace.edge.config import EdgeSettings
from headrace.history import TagCatalog, TagSpec
from headrace.kernel.clock import NS_PER_S, SystemClock
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Header, Kind, Tag, encode
from headrace.records import Records, open_records
from headrace.twin import Machine, machines_of

SPECS = [
    TagSpec(
        "oven/zone1/temperature",
        Kind.F64,
        Text("一区温度", "Zone 1 temperature"),
        "Cel",
        "plc",
        low=0,
        high=300,
    ),
    TagSpec(
        "oven/zone1/setpoint", Kind.F64, Text("一区设定", "Zone 1 setpoint"), "Cel", "plc", True, 20, 250
    ),
    TagSpec("oven/fan/on", Kind.BOOL, None, "", "plc", True),
    TagSpec("bath/pieces/total", Kind.U64, None, "1", "plc"),
    TagSpec("bath/recipe/name", Kind.TEXT, None, "", "plc", True),
]
ALARMS = [
    rules.Alarm(
        id="oven-hot",
        when="oven/zone1/temperature > 220",
        title=Text("炉温过高", "Oven too hot"),
        priority=rules.Priority.HIGH,
    )
]
MACHINES = {
    "oven": Machine(
        Text("固化炉", "Curing oven"),
        "curing-oven",
        20,
        parts={"zone2": Text("二区", "Zone 2"), "zone1": Text("一区", "Zone 1")},
    ),
    "bath": Machine(order=10, beside=True),
}


class Node:
    """The API of a node, with hands on what is around it."""

    def __init__(self, data: Path, settings: ApiSettings | None = None, console: Path | None = None) -> None:
        self.data = data
        self.settings = settings or ApiSettings(port=0)
        self.console = console or data / "console"  # not built, unless a test says otherwise
        self.bus = MemoryBus()
        self.clock = SystemClock()
        self.records: Records = open_records(data / "records.sqlite")
        self.records.migrate(["history"])
        self.tags: list[Tag] = TagCatalog(self.records).sync(SPECS)
        self.id = {tag.name: tag.id for tag in self.tags}
        self.stop = asyncio.Event()
        self.sequence = 0
        self.url = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, with_rules: bool = False) -> None:
        await self.bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 24)
        await self.bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24, discard_old=True)
        self.token = owner_token(self.data)
        if with_rules:
            self.records.migrate(["rules"])
            self._tasks.append(asyncio.create_task(self._rules()))
        self.serving = asyncio.create_task(
            run(
                settings=self.settings,
                node=NodeInfo("coating-1", "plant", Text("涂装车间", "Coating"), "Asia/Shanghai", "0.1.0"),
                data_dir=self.data,
                bus=self.bus,
                records=self.records,
                tags=self.tags,
                machines=machines_of(MACHINES, self.tags),
                alarms=ALARMS,
                edge=EdgeSettings(),
                config_file=self.data / "headrace.toml",
                stop=self.stop,
                clock=self.clock,
                console=self.console,
            )
        )
        path = self.data / "run" / "api.json"
        await until(lambda: path.exists() or self.serving.done())
        if self.serving.done():
            self.serving.result()
        self.url = msgspec.json.decode(path.read_bytes())["url"]
        self.client = self.connect(headers={"authorization": f"Bearer {self.token}"})

    async def _rules(self) -> None:
        await rules.run(
            node="coating-1",
            definitions=ALARMS,
            tags=self.tags,
            bus=self.bus,
            records=self.records,
            clock=self.clock,
            stop=self.stop,
        )

    def connect(self, **more: Any) -> httpx.AsyncClient:
        """A client without credentials, unless `more` has some."""
        return httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=10, **more)

    async def get(self, path: str, **params: Any) -> Any:
        """JSON of a GET with the owner's token; the answer must be 200."""
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def deliver(self, tag: str, value: Any, *, quality: int = 0, ago_s: float = 0.0) -> int:
        """One point over the bus, as the edge would send it; its time in ns."""
        self.sequence += 1
        kind = next(t.kind for t in self.tags if t.name == tag)
        time = self.clock.now() - round(ago_s * NS_PER_S)
        batch = Batch.of(kind, [self.id[tag]], [time], [value], [quality])
        header = Header("coating-1", "edge", self.sequence)
        await self.bus.publish("data.coating-1.edge", encode(header, batch), key=header.key)
        return time

    async def say(self, role: str, **status: Any) -> None:
        """A status message of `role`."""
        await self.bus.send(f"status.coating-1.{role}", msgspec.json.encode(status))

    async def alive(self) -> None:
        """The edge says that it serves the one connection."""
        connection = {"name": "plc", "state": "connected", "values_per_s": 5.0}
        await self.say("edge", source="edge", connections=[connection])

    async def close(self) -> None:
        self.stop.set()
        if not self.serving.done() or self.serving.exception() is None:
            await asyncio.wait_for(asyncio.gather(self.serving, *self._tasks), 15)
        if self.url:
            await self.client.aclose()
        self.records.close()
        await self.bus.close()


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait for what `condition` (a function or coroutine function) gives to be true; gives it."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.02)


@pytest.fixture
def wait() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """One for all tests of a module that leave no trace in it; they run in the module's loop."""
    made = Node(tmp_path_factory.mktemp("shared"))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Node]]]:
    """Starts nodes that are not the ordinary one."""
    made: list[Node] = []

    async def make(*, with_rules: bool = False, data: Path | None = None, **given: Any) -> Node:
        node = Node(data or tmp_path, **given)
        made.append(node)
        await node.start(with_rules=with_rules)
        return node

    yield make
    for node in made:
        if not node.stop.is_set():
            await node.close()
