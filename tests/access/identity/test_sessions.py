"""Sessions: their limits, their listing, and that an end is an end in every process at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import sqlalchemy as sa
from identity_world import NODE, PASSWORD, World

from headrace.access.events import AccessEvent, Events
from headrace.access.identity import Identity
from headrace.access.identity._tables import session
from headrace.access.tenancy import OrgState, Scope
from headrace.bus import MemoryBus
from headrace.kernel.errors import NotFound


def test_idle_and_longest(world: World) -> None:
    world.person("ann")
    signed = world.sign_in("ann")
    for _ in range(25):  # 29 minutes each: never idle for 30
        world.clock.advance(29 * 60)
        if world.identity.authenticate(session=signed.secret) is None:
            break
    began = signed.principal.authenticated
    assert 12 * 3600 <= (world.clock.now() - began) / 1e9 < 12 * 3600 + 29 * 60
    other = world.sign_in("ann")
    world.clock.advance(29 * 60)
    assert world.identity.authenticate(session=other.secret) is not None
    world.clock.advance(30 * 60)
    assert world.identity.authenticate(session=other.secret) is None
    assert world.identity.authenticate(session="") is None
    assert world.identity.authenticate(session="nonsense") is None


def test_one_session_too_many_ends_the_one_not_used_for_longest(world: World) -> None:
    ann = world.person("ann")
    signed = []
    for n in range(5):
        signed.append(world.identity.proofs.sign_in("ann", PASSWORD, address=f"10.0.0.{n}", agent="Firefox"))
        world.clock.advance(120)
    assert world.identity.authenticate(session=signed[0].secret) is not None  # now used later than the second
    signed.append(world.sign_in("ann"))
    alive = [world.identity.authenticate(session=s.secret) is not None for s in signed]
    assert alive == [True, False, True, True, True, True]
    listed = world.identity.sessions.find(ann.id)
    assert [s.address for s in listed] == ["", "10.0.0.4", "10.0.0.3", "10.0.0.2", "10.0.0.0"]
    assert listed[-1].agent == "Firefox"
    assert "hash" not in msgspec.structs.asdict(listed[0])


def test_ending_sessions_is_for_their_owner_and_their_home(world: World) -> None:
    ann, bob = world.person("ann"), world.person("bob")
    one, two = world.sign_in("ann"), world.sign_in("ann")
    sessions = world.identity.sessions
    for act in (
        lambda: sessions.end(one.principal.session, by=bob.id),
        lambda: sessions.end(one.principal.session, by=bob.id, scope=Scope.of([world.other])),
        lambda: sessions.end("0" * 32, by=ann.id),
    ):
        with pytest.raises(NotFound) as error:
            act()
        assert error.value.code == "identity.unknown_session"
    assert sessions.find(ann.id, Scope.of([world.other])) == []
    sessions.end(one.principal.session, by=ann.id)
    assert world.identity.authenticate(session=one.secret) is None
    sessions.end(two.principal.session, by=bob.id, scope=Scope.of([world.firm]), reason="lost laptop")
    assert world.identity.authenticate(session=two.secret) is None
    with world.records.read() as connection:
        ended = connection.execute(sa.select(session).where(session.c.id == two.principal.session)).one()
    assert (ended.ended_by, ended.end_reason) == (bob.id, "lost laptop")
    assert sessions.prune(world.clock.now() + 1) == 4  # with those that set the two passwords
    assert sessions.find(ann.id) == []


@asynccontextmanager
async def two_processes(world: World) -> AsyncIterator[tuple[Identity, Identity, list[AccessEvent]]]:
    """Identity in two processes that share records and a bus; the events that the second hears."""
    bus = MemoryBus()
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 20, discard_old=True)
    stop, heard = asyncio.Event(), list[AccessEvent]()
    here, there = Events(world.records, world.clock), Events(world.records, world.clock)
    there.listen(heard.append)
    first, second = world.process(here), world.process(there)
    tasks = [asyncio.create_task(events.carry(bus, "n1", stop=stop)) for events in (here, there)]
    try:
        await asyncio.sleep(0.05)
        yield first, second, heard
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await bus.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_an_end_is_obeyed_in_the_other_process_within_a_second(world: World) -> None:
    """The clock stands still, so nothing here ends by age: only the event does it."""
    ann = world.person("ann", role="operator")
    text, token = world.identity.tokens.create(
        ann.id, "t", ["*"], expires=world.clock.now() + 10**15, by=ann.id
    )
    slowest = 0.0
    async with two_processes(world) as (first, second, heard):
        signed = first.proofs.sign_in("ann", PASSWORD)
        await until(lambda: any(e.kind == "session.opened" for e in heard))
        assert second.authenticate(session=signed.secret) is not None
        assert second.authenticate(token=text) is not None
        first.sessions.end(signed.principal.session, by=ann.id)
        slowest = max(slowest, await until(lambda: second.authenticate(session=signed.secret) is None))
        first.tokens.revoke(token.id, by=ann.id)
        slowest = max(slowest, await until(lambda: second.authenticate(token=text) is None))
        again = first.proofs.sign_in("ann", PASSWORD)
        await until(lambda: second.authenticate(session=again.secret) is not None)
        first.accounts.disable(ann.id, NODE, by="t")
        slowest = max(slowest, await until(lambda: second.authenticate(session=again.secret) is None))
    assert slowest < 1.0
    assert {"session.opened", "session.ended", "token.revoked", "account.disabled"} <= {e.kind for e in heard}
    assert all(not e.detail and not e.org for e in heard)


async def test_a_change_without_a_bus_is_carried_by_any_process(world: World) -> None:
    ann = world.person("ann")
    async with two_processes(world) as (_, second, heard):
        signed = second.proofs.sign_in("ann", PASSWORD)
        assert second.authenticate(session=signed.secret) is not None
        world.process(Events(world.records, world.clock)).accounts.disable(ann.id, NODE, by="cli")
        assert await until(lambda: second.authenticate(session=signed.secret) is None) < 1.0
        await until(lambda: any(e.kind == "account.disabled" for e in heard))


def test_a_process_cut_off_obeys_within_two_seconds(world: World) -> None:
    ann = world.person("ann")
    signed = world.sign_in("ann")
    assert world.identity.authenticate(session=signed.secret) is not None
    deaf = world.process(Events(world.records, world.clock))
    assert deaf.authenticate(session=signed.secret) is not None
    world.identity.sessions.end(signed.principal.session, by=ann.id)
    world.clock.advance(2)
    assert deaf.authenticate(session=signed.secret) is None


def test_roles_end_with_the_membership_and_the_organisation(world: World) -> None:
    ann = world.person("ann")
    signed = world.sign_in("ann")

    def roles() -> list[tuple[str, str]]:
        principal = world.identity.authenticate(session=signed.secret)
        assert principal is not None
        return [(held.role, held.org) for held in principal.roles]

    assert roles() == [("operator", world.firm)]
    extra = world.members.add(ann.id, world.other, "viewer", NODE, by="t")
    assert ("viewer", world.other) in roles()
    world.members.revoke(extra.id, NODE, by="t")
    assert roles() == [("operator", world.firm)]
    world.orgs.set_state(world.firm, OrgState.SUSPENDED, NODE, by="t")
    assert roles() == []


def test_recorders_stand_in_the_same_transaction(world: World) -> None:
    noted: list[tuple[str, str]] = []

    def record(connection: sa.Connection, event: AccessEvent) -> None:
        assert connection.in_transaction()
        noted.append((event.kind, event.subject))
        if event.kind == "account.renamed":
            raise RuntimeError("the audit log cannot be written")

    ann = world.person("ann")
    identity = world.process(Events(world.records, world.clock, recorders=[record]))
    with pytest.raises(RuntimeError):
        identity.accounts.rename(ann.id, "Other", NODE, by="t")
    assert identity.accounts.get(ann.id, NODE).name == "Ann Name"
    identity.accounts.unlock(ann.id, NODE, by="t")
    assert noted == [("account.renamed", ann.id), ("account.unlocked", ann.id)]


def test_a_proven_session_costs_microseconds(world: World) -> None:
    world.person("ann")
    signed = world.sign_in("ann")
    prove = world.identity.sessions.prove
    assert prove(signed.secret) is not None
    began = time.process_time()
    for _ in range(10_000):
        prove(signed.secret)
    assert 10_000 / (time.process_time() - began) > 50_000  # from memory
    cold, count = 0.0, 50
    for _ in range(count):
        fresh = world.process(Events(world.records, world.clock)).sessions
        began = time.process_time()
        fresh.prove(signed.secret)
        cold += time.process_time() - began
    assert count / cold > 200  # from records
