"""The first start: a node founds itself once, and its owner comes in by a file that only they can read."""

from __future__ import annotations

import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from identity_world import NODE

from headrace.access.events import Events
from headrace.access.identity import (
    IDENTITY,
    FirstStart,
    Hasher,
    Held,
    Identity,
    IdentitySettings,
    Sealer,
    Unproven,
    link_file,
    service_principal,
)
from headrace.access.tenancy import Members, OrgKind, Orgs, Ownership, Scope
from headrace.kernel import config
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import ConfigError, InputError, NotFound
from headrace.kernel.messages import Text
from headrace.records import Records, open_records

TITLE = Text("涂装车间", "Coating workshop")


class Node:
    """One node's process."""

    def __init__(self, records: Records, clock: ManualClock) -> None:
        events = Events(records, clock)
        self.orgs, self.ownership = Orgs(events), Ownership(events)
        self.members = Members(events, rule=lambda role, kind, held: None)
        self.identity = Identity(
            events,
            IdentitySettings(),
            sealer=Sealer(b"k" * 32),
            hasher=Hasher(time_cost=1, memory_kib=8, lanes=1),
        )
        self.first = FirstStart(events, self.orgs, self.members, self.ownership, self.identity.accounts)

    def prepare(self, folder: Path, profile: str = "plant") -> str:
        return self.first.prepare(folder, node="coating-1", profile=profile, title=TITLE)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def node(tmp_path: Path, clock: ManualClock, empty: Path) -> Node:
    records = open_records(shutil.copy(empty, tmp_path))
    return Node(records, clock)


def test_the_owner_comes_in_once_and_then_by_password(node: Node, tmp_path: Path) -> None:
    secret = node.prepare(tmp_path)
    path = link_file(tmp_path)
    assert path.read_text().strip() == secret and len(secret) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert node.prepare(tmp_path) == secret  # a second start before the owner came
    with pytest.raises(Unproven):  # and no password opens anything
        node.identity.proofs.sign_in("owner", "owner")
    signed = node.identity.proofs.redeem(secret)
    owner = node.identity.proofs.set_password(signed.principal, "Kiln-Temper7-Ladle")
    assert node.prepare(tmp_path) == "" and not path.exists()
    with pytest.raises(Unproven):
        node.identity.proofs.redeem(secret)
    orgs = node.orgs.find(Scope.of(owner.orgs))[0]
    assert [(org.kind, org.title) for org in orgs] == [(OrgKind.FIRM, TITLE), (OrgKind.PLANT, TITLE)]
    assert owner.roles == (Held("owner", orgs[0].id),)
    assert node.ownership.owner("tag", "coating-1/oven/zone1") == orgs[1].id
    assert node.ownership.owner("subject", "event.coating-1.alarm") == orgs[1].id
    assert node.identity.proofs.sign_in("owner", "Kiln-Temper7-Ladle").principal.roles


@pytest.mark.parametrize(("profile", "kinds"), [("platform", ["operator-company"]), ("region", ["region"])])
def test_other_profiles(node: Node, tmp_path: Path, profile: str, kinds: list[str]) -> None:
    assert node.prepare(tmp_path, profile)
    assert [org.kind.value for org in node.orgs.find(NODE)[0]] == kinds


def test_a_link_lost_or_too_old_is_replaced(node: Node, tmp_path: Path, clock: ManualClock) -> None:
    first = node.prepare(tmp_path)
    link_file(tmp_path).unlink()
    second = node.prepare(tmp_path)
    clock.advance(24 * 3600)
    third = node.prepare(tmp_path)
    assert len({first, second, third}) == 3
    for secret in (first, second):
        with pytest.raises(Unproven):
            node.identity.proofs.redeem(secret)
    link_file(tmp_path).write_text("not the secret\n")
    fourth = node.prepare(tmp_path)
    node.identity.proofs.redeem(fourth)


def test_processes_that_start_together_found_one_node(node: Node, tmp_path: Path, clock: ManualClock) -> None:
    def start(_: int) -> str:
        records = open_records(tmp_path / "records.sqlite")
        try:
            return Node(records, clock).prepare(tmp_path)
        finally:
            records.close()

    with ThreadPoolExecutor(4) as pool:
        secrets = set(pool.map(start, range(4)))
    assert len(secrets) == 1
    assert node.orgs.find(NODE)[1] == 2 and node.identity.accounts.find(NODE)[1] == 1
    node.identity.proofs.redeem(secrets.pop())


def test_the_way_back_for_an_owner_without_password(node: Node, tmp_path: Path) -> None:
    signed = node.identity.proofs.redeem(node.prepare(tmp_path))
    node.identity.proofs.set_password(signed.principal, "Kiln-Temper7-Ladle")
    secret = node.first.renew(tmp_path)
    assert link_file(tmp_path).read_text().strip() == secret
    assert node.identity.proofs.redeem(secret).principal.must_enrol == "password"
    with pytest.raises(NotFound):
        node.first.renew(tmp_path, "nobody")
    with pytest.raises(InputError) as error:
        node.prepare(tmp_path, "farm")
    assert error.value.code == "identity.unknown_profile"


def test_a_process_of_the_node_has_its_service_role_alone() -> None:
    edge = service_principal("edge", "plant-1")
    assert (edge.kind.value, edge.roles, edge.account) == ("service", (Held("edge", "plant-1"),), "")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('session_idle = "10s"', "identity.too_short"),
        ('session_idle = "13h"', "identity.idle_beyond_longest"),
        ("password_length = 8", "config.out_of_range"),
        ('second_factor = "never"', "config.not_one_of"),
        ('token_longest = "1m"', "identity.too_short"),
    ],
)
def test_settings_that_weaken_are_refused(tmp_path: Path, text: str, code: str) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text(f"[identity]\n{text}\n")
    with pytest.raises(ConfigError) as error:
        config.load(file, [IDENTITY])
    assert [p.code for p in error.value.problems] == [code]
    file.write_text("[identity]\nsessions = 3\n")
    assert config.load(file, [IDENTITY])[IDENTITY].sessions == 3
