"""A node with two firms and accounts, and a door through which peers serve real HTTP on loopback."""

import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from headrace.access.events import Events
from headrace.access.federation import Federation, Provider
from headrace.access.federation.flows import Flows
from headrace.access.identity.accounts import Accounts
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.passwords import Hasher
from headrace.access.tenancy.kinds import OrgKind
from headrace.access.tenancy.orgs import Orgs
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import SystemClock
from headrace.kernel.messages import Text
from headrace.records import Records, open_records

Answer = tuple[int, str, bytes]


class MovingClock(SystemClock):
    """The machine's clock, moved on by `ahead_s`."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> int:
        return super().now() + round(self.ahead_s * 1e9)

    def monotonic(self) -> int:
        return super().monotonic() + round(self.ahead_s * 1e9)


class Node:
    """Records with two firms, a reviewer, and two accounts of the first firm."""

    def __init__(self, folder: Path, tables: Path) -> None:
        self.folder = folder
        shutil.copy(tables, folder / "records.sqlite")
        self.records: Records = open_records(folder / "records.sqlite")
        self.clock = MovingClock()
        self.events = Events(self.records, self.clock)
        self.flows = Flows(self.records, self.clock)
        self.all = Scope.whole_node()
        orgs = Orgs(self.events)
        self.code = credit_code()
        title = Text("甲厂", "Firm A")
        self.firm = orgs.create(OrgKind.FIRM, title, self.all, by="t", code=self.code).id
        self.other = orgs.create(OrgKind.FIRM, Text("乙厂", "Firm B"), self.all, by="t").id
        hasher = Hasher(time_cost=1, memory_kib=64, lanes=1)
        self.accounts = Accounts(self.events, IdentitySettings(), hasher)
        self.reviewer, self.wang, self.li = (
            self.accounts.create(n, n, self.firm, self.all, by="t").id for n in ("reviewer", "wang", "li")
        )

    def federation(self, providers: dict[str, Provider]) -> Federation:
        return Federation(
            providers, self.events, base_url="https://node.test", path=lambda name: self.folder / name
        )


def credit_code() -> str:
    """A code whose check character fits."""
    from headrace.access.tenancy.credit_code import check_character

    body = "91370000MA3BYJ7P0"
    return body + check_character(body)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "records.sqlite"
    records = open_records(path)
    records.migrate(["access"])
    records.close()
    return path


@pytest.fixture
def node(tmp_path: Path, tables: Path) -> Iterator[Node]:
    made = Node(tmp_path, tables)
    yield made
    made.records.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[..., Answer]], str]]:
    """Serve `answer(method, path, params, headers)` on a free port; gives the base address. `params` are
    those of the query and of a posted form together."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[..., Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                params = {k: v[0] for k, v in parse_qs(f"{parts.query}&{body}").items()}
                status, kind, data = answer(self.command, parts.path, params, dict(self.headers.items()))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                if status == 302:
                    self.send_header("location", data.decode())
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _any

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
