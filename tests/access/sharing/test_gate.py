"""What a grant lets through and what it does not; every read is there for the owner to see."""

from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.access.audit import Query, verify
from headrace.access.sharing import (
    Grant,
    GrantState,
    Purpose,
    ReadQuery,
    Resolution,
    SeriesRequest,
    Subject,
    Terms,
    Use,
    Visitor,
)
from headrace.access.sharing.terms import window
from headrace.access.tenancy import Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, Corrupt, Denied, InputError, NotFound

HOUR = 3600 * NS_PER_S
DAY = 24 * HOUR
TAG = "node-a/oven/zone1/temperature"
NODE = Scope.whole_node()


def terms(world: Any, **changed: Any) -> Terms:
    now = world.clock.now()
    base: dict[str, Any] = {
        "owner": world.firm, "grantee": world.region, "subject": Subject.SERIES, "resources": (TAG,),
        "purpose": Purpose.STATISTICS, "start": now, "end": now + 30 * DAY, "resolution": Resolution(HOUR),
    }  # fmt: skip
    return Terms(**{**base, **changed})


def official(world: Any, **changed: Any) -> Visitor:
    return Visitor(**{"actor": "u-9", "name": "李处", "orgs": (world.region,), "request": "r-1", **changed})


def ask(world: Any, **changed: Any) -> SeriesRequest:
    now = world.clock.now()
    base: dict[str, Any] = {"resource": TAG, "start": now - DAY, "end": now, "purpose": Purpose.STATISTICS,
                            "every": HOUR, "aggregates": ("mean",)}  # fmt: skip
    return SeriesRequest(**{**base, **changed})


def refused(world: Any, request: SeriesRequest, visitor: Visitor | None = None) -> str:
    def fetch(_: Any) -> list[float]:
        raise AssertionError("fetched without a grant")

    with pytest.raises(Denied) as caught:
        world.here.gate.series(visitor or official(world), request, fetch)
    assert caught.value.text("zh") and caught.value.text("en")
    return caught.value.code


def test_nothing_is_shared_without_a_grant(world: Any) -> None:
    assert refused(world, ask(world)) == "share.no_grant"
    entry = world.here.log.search(Query(action="share.read"), NODE).items[0]
    assert (entry.outcome, entry.reason, entry.actor) == ("denied", "share.no_grant", "u-9")


def test_a_read_is_served_and_the_owner_sees_it(world: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1", basis="handler:7")
    asked = ask(world, end=world.clock.now() + DAY)
    served = world.here.gate.series(
        official(world), asked, lambda w: list(range((w.end - w.start) // w.every))
    )
    assert served.grant == grant.id and served.window is not None
    assert served.window.start % HOUR == 0 and served.window.end % HOUR == 0
    assert served.window.end <= world.clock.now() and len(served.data) == 23
    reads, more = world.here.reads.page(ReadQuery(), Scope.of([world.firm]))
    assert more is None and len(reads) == 1
    read = reads[0]
    assert (read.actor, read.actor_name, read.grantee, read.grant) == ("u-9", "李处", world.region, grant.id)
    assert (read.resource, read.points, read.every, read.purpose) == (TAG, 23, HOUR, Purpose.STATISTICS)
    assert read.time == world.clock.now() and read.sequence == served.sequence
    entry = world.here.log.get(served.sequence, Scope.of([world.firm]))
    assert entry.basis == f"grant:{grant.id}" and entry.request == "r-1" and '"points":23' in entry.details
    assert world.here.reads.page(ReadQuery(), Scope.of([world.other]))[0] == []
    assert len(world.here.reads.page(ReadQuery(), Scope.of([world.region]), side="grantee")[0]) == 1
    (line,) = world.here.reads.summary(ReadQuery(), Scope.of([world.firm]))
    assert (line.reads, line.points, line.grantee) == (1, 23, world.region)
    assert world.here.reads.check() == 1 and verify(world.records).ok


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"every": 0}, "share.too_fine"),
        ({"every": 60 * NS_PER_S}, "share.too_fine"),
        ({"every": HOUR + 60 * NS_PER_S}, "share.too_fine"),
        ({"aggregates": ("mean", "max")}, "share.aggregate_not_granted"),
        ({"purpose": Purpose.DIAGNOSIS}, "share.other_purpose"),
        ({"resource": "node-a/oven/zone2/temperature"}, "share.no_grant"),
        ({"resource": "node-b/oven/zone1/temperature"}, "share.no_grant"),
    ],
)
def test_a_grant_covers_what_it_says_and_no_more(world: Any, changed: dict, code: str) -> None:
    world.here.grants.give(terms(world), by="u-1")
    assert refused(world, ask(world, **changed)) == code


def test_only_the_grantee_reads(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    assert refused(world, ask(world), official(world, orgs=(world.other,))) == "share.no_grant"
    assert refused(world, ask(world), official(world, orgs=())) == "share.no_grant"


def test_a_bucket_that_still_fills_is_not_served(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    now = world.clock.now()
    assert refused(world, ask(world, start=now - now % HOUR, end=now)) == "share.outside_period"
    assert refused(world, ask(world, start=now - 90 * 60 * NS_PER_S, end=now - 61 * 60 * NS_PER_S)) == (
        "share.outside_period"
    )


def test_the_grant_bounds_the_time_of_the_data(world: Any) -> None:
    now = world.clock.now()
    start = now - now % HOUR - 5 * HOUR
    world.here.grants.give(terms(world, data_start=start + 1, data_end=start + 3 * HOUR + 1), by="u-1")
    served = world.here.gate.series(official(world), ask(world), lambda w: [w.start, w.end])
    assert served.data == [start + HOUR, start + 3 * HOUR]


@settings(max_examples=200, deadline=None)
@given(
    every=st.integers(1, 40), origin=st.integers(-50, 50), start=st.integers(-200, 200),
    length=st.integers(1, 300), times=st.integers(1, 4), now=st.integers(-100, 300),
)  # fmt: skip
def test_what_is_served_is_made_of_whole_granted_buckets(
    every: int, origin: int, start: int, length: int, times: int, now: int
) -> None:
    """So every answer is a sum of granted buckets, and no difference of answers says anything finer."""
    granted = Terms(
        owner="a", grantee="b", subject=Subject.SERIES, resources=("x",), purpose=Purpose.STATISTICS,
        start=0, end=1, resolution=Resolution(every, origin),
    )  # fmt: skip
    try:
        part = window(granted, start, start + length, every * times, ("mean",), now)
    except Denied as error:
        assert error.code == "share.outside_period"
        return
    assert (part.start - origin) % every == 0 and (part.end - origin) % every == 0
    assert start <= part.start < part.end <= min(start + length, now)
    assert part.every % every == 0 and part.origin == origin


def test_two_grants_may_not_give_finer_values_together(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    for resolution in (Resolution(HOUR, HOUR // 2), Resolution(HOUR * 3 // 2), Resolution(HOUR, 1)):
        with pytest.raises(Conflict) as caught:
            world.here.grants.give(terms(world, resolution=resolution), by="u-1")
        assert caught.value.code == "share.mixed_grids"
    for resolution in (Resolution(24 * HOUR, 16 * HOUR), Resolution(HOUR // 4)):
        world.here.grants.give(terms(world, resolution=resolution), by="u-1")
    world.here.grants.give(terms(world, resolution=Resolution(HOUR, 1), grantee=world.other), by="u-1")


def test_revocation_works_in_every_process_at_once(world: Any, another: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1")
    another.gate.series(official(world), ask(world), lambda w: [1.0])
    assert another.gate.holds(grant.id)
    ended = world.here.grants.revoke(grant.id, Scope.of([world.firm]), by="u-1", reason="合同到期")
    assert ended.state(world.clock.now()) is GrantState.REVOKED and ended.revocation is not None
    assert not another.gate.holds(grant.id)
    with pytest.raises(Denied) as caught:
        another.gate.series(official(world), ask(world), lambda w: [1.0])
    assert caught.value.code == "share.ended"
    again = world.here.grants.revoke(grant.id, Scope.of([world.firm]), by="u-2", reason="again")
    assert again == ended
    kinds = [e.action for e in world.here.log.search(Query(resource=f"grant:{grant.id}"), NODE).items]
    assert kinds == ["share.revoked", "share.granted"]
    with world.records.read() as connection:
        told = connection.execute(sa.text("SELECT kind FROM access_event ORDER BY number")).scalars().all()
    assert told[-1] == "share.revoked"  # what goes out on event.<node>.access


def test_what_is_revoked_while_it_is_fetched_is_not_handed_over(world: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1")

    def fetch(_: Any) -> list[float]:
        world.here.grants.revoke(grant.id, Scope.of([world.firm]), by="u-1", reason="")
        return [1.0]

    with pytest.raises(Denied):
        world.here.gate.series(official(world), ask(world), fetch)
    assert world.here.reads.page(ReadQuery(), Scope.of([world.firm]))[0] == []


def test_only_the_owner_revokes(world: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1")
    for scope in (Scope.of([world.region]), Scope.of([world.other]), Scope.of([])):
        with pytest.raises(NotFound):
            world.here.grants.revoke(grant.id, scope, by="u-9", reason="")
    assert world.here.grants.get(grant.id, Scope.of([world.region])) == grant
    with pytest.raises(NotFound):
        world.here.grants.get(grant.id, Scope.of([world.other]))


def test_periods(world: Any) -> None:
    now = world.clock.now()
    world.here.grants.give(terms(world, start=now + HOUR), by="u-1")
    assert refused(world, ask(world)) == "share.waiting"
    world.clock.advance(3600)
    world.here.gate.series(official(world), ask(world), lambda w: [1.0])
    world.clock.advance(31 * 86_400)
    assert refused(world, ask(world)) == "share.ended"


def test_fields_documents_and_indicators(world: Any) -> None:
    for subject, resource in ((Subject.FIELD, "88.1.2/x#batch"), (Subject.DOCUMENT, "doc-1"),
                              (Subject.INDICATOR, "oee")):  # fmt: skip
        world.here.grants.give(
            terms(world, subject=subject, resources=(resource,), resolution=None), by="u-1"
        )
        served = world.here.gate.read(official(world), subject, resource, Purpose.STATISTICS, lambda: "abc")
        assert served.data == "abc"
    with pytest.raises(Denied):
        world.here.gate.read(
            official(world), Subject.FIELD, "88.1.2/x#serial", Purpose.STATISTICS, lambda: ""
        )
    assert world.here.reads.check() == 3


def test_evidence_for_the_decision_point(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    visitor = official(world)
    found = world.here.gate.evidence(visitor, Subject.SERIES, TAG, "history.read")
    assert found is not None and found.kind == "tag" and found.resource == TAG
    assert world.here.gate.evidence(visitor, Subject.SERIES, TAG, "tag.read") is None  # live values are finer
    world.here.grants.give(terms(world, resolution=Resolution(0)), by="u-1")
    assert world.here.gate.evidence(visitor, Subject.SERIES, TAG, "tag.read") is not None
    assert world.here.gate.evidence(visitor, Subject.SERIES, TAG, "machine.write") is None


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"grantee": ""}, "share.bad_parties"),
        ({"end": 1}, "share.bad_period"),
        ({"data_start": 5, "data_end": 5}, "share.bad_period"),
        ({"resources": ()}, "share.bad_resources"),
        ({"resources": ("node-a/oven/*",)}, "share.bad_resources"),
        ({"resources": (TAG, TAG)}, "share.bad_resources"),
        ({"resolution": None}, "share.bad_resolution"),
        ({"resolution": Resolution(-1)}, "share.bad_resolution"),
        ({"resolution": Resolution(HOUR, 0, ("median",))}, "share.bad_resolution"),
        ({"subject": Subject.DOCUMENT}, "share.bad_resolution"),
        ({"note": "x" * 501}, "share.bad_note"),
    ],
)
def test_terms_that_make_no_sense_are_refused(world: Any, changed: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        world.here.grants.give(terms(world, **changed), by="u-1")
    assert caught.value.code == code


def test_nobody_grants_what_is_not_his(world: Any) -> None:
    for changed in ({"resources": ("node-b/x",)}, {"resources": ("node-c/x",)}, {"owner": world.other}):
        with pytest.raises(Denied) as caught:
            world.here.grants.give(terms(world, **changed), by="u-1")
        assert caught.value.code == "share.not_yours"
    world.here.grants.give(terms(world, owner=world.plant), by="u-1")


def _rewrite(world: Any, grant: Grant) -> None:
    with world.records.begin() as connection:
        connection.execute(
            sa.text("UPDATE share_grant SET body = :b WHERE id = :i"),
            {"b": msgspec.json.encode(grant).decode(), "i": grant.id},
        )


def test_a_grant_changed_in_the_database_does_not_count(world: Any, another: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1")
    assert world.here.grants.is_genuine(grant)
    wider = msgspec.structs.replace(grant.terms, resolution=Resolution(0))
    forged = msgspec.structs.replace(grant, terms=wider)
    assert not world.here.grants.is_genuine(forged)
    for change in ({"by": "u-2"}, {"created": 5}, {"basis": "x"}):
        assert not world.here.grants.is_genuine(msgspec.structs.replace(grant, **change))
    bad = msgspec.structs.replace(grant.signature, algorithm="sm2")
    assert not world.here.grants.is_genuine(msgspec.structs.replace(grant, signature=bad))
    _rewrite(world, forged)
    with pytest.raises(Denied):
        another.gate.series(official(world), ask(world), lambda w: [1.0])


def test_reads_that_were_tampered_with_are_found(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    for _ in range(3):
        world.here.gate.series(official(world), ask(world), lambda w: [1.0])
    assert world.here.reads.check() == 3
    with world.records.begin() as connection:
        connection.execute(sa.text("UPDATE share_read SET points = 0 WHERE sequence = "
                                   "(SELECT MAX(sequence) FROM share_read)"))  # fmt: skip
    with pytest.raises(Corrupt):
        world.here.reads.check()
    with world.records.begin() as connection:
        connection.execute(sa.text("DELETE FROM share_read"))
    with pytest.raises(Corrupt):
        world.here.reads.check()


def test_keys_are_private_files_and_revocation_does_not_wait_for_them(world: Any) -> None:
    grant = world.here.grants.give(terms(world), by="u-1")
    (path,) = (world.folder / "keys").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"damaged")
    with pytest.raises(Corrupt):
        world.here.grants.give(terms(world), by="u-1")
    ended = world.here.grants.revoke(grant.id, NODE, by="u-1", reason="x")
    assert ended.revoked is not None and ended.revocation is None
    assert refused(world, ask(world)) == "share.ended"
    world.here.keys.retire(grant.signature.key, by="u-1")
    assert world.here.grants.give(terms(world), by="u-1").signature.key != grant.signature.key


def test_pages_of_grants(world: Any) -> None:
    for n in range(5):
        world.clock.advance(1)
        world.here.grants.give(terms(world, note=str(n)), by="u-1")
    found, total = world.here.grants.page(Scope.of([world.firm]), side="given", limit=2)
    assert total == 5 and [g.terms.note for g in found] == ["4", "3"]
    assert world.here.grants.page(Scope.of([world.firm]), side="received")[1] == 0
    assert world.here.grants.page(Scope.of([world.region]), state=GrantState.ACTIVE)[1] == 5
    assert world.here.grants.page(Scope.of([world.region]), state=GrantState.EXPIRED)[1] == 0
    assert world.here.grants.page(Scope.of([world.region]), use=Use.AGGREGATE)[1] == 0
    assert world.here.grants.page(Scope.of([world.region]), resource=TAG, other=world.firm)[1] == 5
    assert world.here.grants.page(Scope.of([world.other]))[1] == 0


def test_every_read_counts_its_points(world: Any) -> None:
    world.here.grants.give(terms(world), by="u-1")
    visitor, request = official(world), ask(world)
    for _ in range(20):
        world.here.gate.series(visitor, request, lambda w: np.zeros(5))
    reads, _ = world.here.reads.page(ReadQuery(), Scope.of([world.firm]))
    assert sum(r.points for r in reads) == 100
