"""The control table looks at what runs: change it, and the table says so."""

import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.access.audit import Act, AnchorFile, AuditLog, AuditRetention
from headrace.access.audit.controls import ControlState, Finding, Node, Seen, all_probes, fill, register
from headrace.access.audit.controls.table import points
from headrace.access.identity.config import IdentitySettings
from headrace.kernel.clock import ManualClock
from headrace.records import Records

ORG = (
    "INSERT INTO org (id, kind, tenant, title_zh, title_en, state, created, changed, version) "
    "VALUES ('o', 'firm', 'o', '', '', 'active', 0, 0, 1)"
)


@pytest.fixture
def node(log: AuditLog, records: Records, clock: ManualClock, tmp_path: Path) -> Node:
    log.append([Act(actor="a", action="x")])
    anchors = AnchorFile(tmp_path / "heads.jsonl")
    anchors.add(log.head())
    return Node(records=records, clock=clock, data=tmp_path, identity=IdentitySettings(),
                retention=AuditRetention(), anchors=anchors)  # fmt: skip


def see(node: Node, name: str) -> Finding:
    finding = all_probes()[name](node)
    assert finding.text("zh") and finding.text("en") and finding.code not in finding.text("en")
    return finding


def test_the_table_has_every_control_point_of_level_3() -> None:
    file = points()
    assert sum(clause.startswith("8.1.") for clause in file.controls) == 71
    assert set(file.families) == {p.family for p in file.controls.values()}
    named = {name for point in file.controls.values() for name in point.probes}
    assert named == set(all_probes())


def test_filled_it_claims_nothing(node: Node) -> None:
    table = fill(node)
    assert table.counts[ControlState.OPERATOR] > 30 and sum(table.counts.values()) == len(table.rows)
    zh, en = table.render("zh"), table.render("en")
    assert "不是等级测评" in zh and "is no assessment" in en
    assert "身份鉴别" in zh and "8.1.4.1" in en and "通过测评" not in zh
    assert next(r for r in table.rows if r.clause == "8.1.1.5").state is ControlState.OPERATOR


def test_the_audit_probes(
    node: Node, records: Records, attack: Callable[..., None], clock: ManualClock
) -> None:
    for name in ("audit.chain", "audit.append_only", "audit.outside", "audit.retention", "audit.recent"):
        assert see(node, name).seen is Seen.YES, name
    clock.advance(10 * 86_400)
    assert see(node, "audit.outside").seen is Seen.NO
    assert see(node, "audit.recent").seen is Seen.NO
    attack("UPDATE audit_entry SET reason = 'forged'")
    assert see(node, "audit.chain").seen is Seen.NO and "1" in see(node, "audit.chain").text("zh")
    assert see(node, "audit.append_only").seen is Seen.NO
    assert fill(node).counts[ControlState.CONTRARY] > 3


def test_the_identity_probes(node: Node, records: Records, clock: ManualClock) -> None:
    assert see(node, "identity.passwords").seen is Seen.YES
    assert see(node, "identity.second_factor").seen is Seen.NO  # it is not required
    now = clock.now()
    columns = {
        "id": "a1", "kind": "person", "login": "wang", "name": "王", "home": "o", "state": "active",
        "language": "zh", "password": "$argon2id$x", "totp_step": 0, "failures": 0, "created": now,
        "created_by": "t", "changed": 0, "version": 1,
    }  # fmt: skip
    with records.begin() as connection:
        connection.execute(sa.text(ORG))
        connection.execute(sa.text(f"INSERT INTO account ({', '.join(columns)}) VALUES "
                                   f"({', '.join(':' + c for c in columns)})"), columns)  # fmt: skip
    assert see(node, "identity.passwords").seen is Seen.YES
    assert see(node, "identity.idle_accounts").seen is Seen.YES
    assert see(node, "identity.sessions").seen is Seen.YES
    assert see(node, "identity.lockout").seen is Seen.YES
    clock.advance(100 * 86_400)
    assert see(node, "identity.idle_accounts").seen is Seen.NO
    with records.begin() as connection:
        connection.execute(sa.text("UPDATE account SET password = 'md5:1'"))
    assert see(node, "identity.passwords").seen is Seen.NO


def test_the_three_administrators(node: Node, records: Records) -> None:
    assert see(node, "roles.separated").seen is Seen.NO
    with records.begin() as connection:
        connection.execute(sa.text(ORG))
        for n, role in enumerate(("system-admin", "security-admin", "audit-admin")):
            row = {"id": f"m{n}", "member": f"u{n}", "role": role}
            connection.execute(sa.text("INSERT INTO membership (id, member, org, role, since, by) "
                                       "VALUES (:id, :member, 'o', :role, 0, 't')"), row)  # fmt: skip
    assert see(node, "roles.separated").seen is Seen.YES
    with records.begin() as connection:
        connection.execute(sa.text("UPDATE membership SET member = 'u1'"))
    assert see(node, "roles.separated").seen is Seen.NO


def test_records_files_policies_grants_and_clock(node: Node, tmp_path: Path) -> None:
    assert see(node, "records.durable").seen is Seen.YES
    assert see(node, "decisions.policies").seen is Seen.YES
    assert see(node, "sharing.grants").seen is Seen.YES
    assert see(node, "clock.synchronised").seen in Seen
    tmp_path.chmod(0o700)
    assert see(node, "files.private").seen is Seen.YES
    tmp_path.chmod(0o755)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.pem").write_text("x")
    (tmp_path / "keys" / "a.pem").chmod(0o644)
    assert see(node, "files.private").seen is Seen.NO and "keys/a.pem" in see(node, "files.private").text()


class _Page(http.server.BaseHTTPRequestHandler):
    status, headers_sent = 401, {"Content-Security-Policy": "x", "X-Content-Type-Options": "nosniff",
                                 "Referrer-Policy": "no-referrer"}  # fmt: skip

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        for name, value in type(self).headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Bus(socketserver.BaseRequestHandler):
    answer = b"-ERR 'Authorization Violation'\r\n"

    def handle(self) -> None:
        self.request.sendall(b"INFO {}\r\n")
        self.request.recv(1024)
        self.request.sendall(type(self).answer)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str, type, str], None]]:
    (tmp_path / "run").mkdir()
    servers: list[socketserver.TCPServer] = []

    def start(name: str, handler: type, scheme: str) -> None:
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        (tmp_path / "run" / f"{name}.json").write_text(json.dumps({"url": url}))

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_probes_that_knock(node: Node, serve: Callable[[str, type, str], None]) -> None:
    for name in ("api.refuses", "api.headers", "api.tls", "api.loopback", "bus.loopback", "bus.refuses"):
        assert see(node, name).seen is Seen.UNKNOWN
    serve("api", _Page, "http")
    serve("bus", _Bus, "nats")
    for name in ("api.refuses", "api.headers", "api.tls", "api.loopback", "bus.loopback", "bus.refuses"):
        assert see(node, name).seen is Seen.YES, name

    class Open(_Page):
        status, headers_sent = 200, {}

    class Taken(_Bus):
        answer = b"PONG\r\n"

    serve("api", Open, "http")
    serve("bus", Taken, "nats")
    for name in ("api.refuses", "api.headers", "bus.refuses"):
        assert see(node, name).seen is Seen.NO, name


def test_a_probe_that_fails_leaves_its_points_unknown(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.access.audit.controls import probes as module

    def broken(_: Node) -> Finding:
        raise OSError("broken wire")

    monkeypatch.setattr(module, "_probes", {})
    register("decisions.policies", broken)
    table = fill(node)
    row = next(r for r in table.rows if r.clause == "8.1.7.3")
    assert row.state is ControlState.UNKNOWN and "broken wire" in row.findings[0].text()
