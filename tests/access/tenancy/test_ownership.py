"""Owners of resources, by id and by path, in records and in memory; what it costs to ask."""

from __future__ import annotations

import time

import pytest

from headrace.access.events import Events
from headrace.access.tenancy import Directories, OrgKind, Orgs, OrgState, Ownership, Scope, tag_resource
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import Conflict, HeadraceError, InputError, NotFound
from headrace.kernel.messages import Text
from headrace.records import Records

NODE = Scope.whole_node()


@pytest.fixture
def firms(events: Events) -> tuple[str, str, str]:
    """A firm, its plant, and another firm."""
    orgs = Orgs(events)
    firm = orgs.create(OrgKind.FIRM, Text("甲", "A"), NODE, by="t").id
    plant = orgs.create(OrgKind.PLANT, Text("甲厂", "A1"), NODE, by="t", parent=firm).id
    return firm, plant, orgs.create(OrgKind.FIRM, Text("乙", "B"), NODE, by="t").id


def test_the_longest_path_owns(events: Events, firms: tuple[str, str, str]) -> None:
    firm, plant, other = firms
    ownership, directories = Ownership(events), Directories(events)
    ownership.own("tag", "n1", firm, by="t")
    ownership.own("tag", "n1/oven", plant, by="t")
    ownership.own("tag", "n1/oven", plant, by="t")  # said twice
    ownership.own("subject", "data.n1", firm, by="t")
    assert ownership.owner("tag", tag_resource("n1", "oven/zone1/temperature")) == plant
    assert ownership.owner("tag", "n1/ovens/x") == firm
    assert ownership.owner("tag", "n10/oven") == ""
    directory = directories.now()
    for resource in ("n1", "n1/oven", "n1/oven/zone1/temperature", "n1/ovens/x", "n10/oven"):
        assert directory.owner("tag", resource) == ownership.owner("tag", resource)
    assert directory.admits(Scope.of([firm]), "subject", "data.n1.edge")
    assert not directory.admits(Scope.of([other]), "subject", "data.n1.edge")
    assert not directory.admits(Scope.of([firm]), "subject", "data.n2.edge")
    assert directory.admits(NODE, "subject", "data.n2.edge")
    assert directory.tenant(plant) == firm and directory.kind(plant) is OrgKind.PLANT


def test_no_path_lies_within_that_of_another_tenant(events: Events, firms: tuple[str, str, str]) -> None:
    firm, plant, other = firms
    ownership = Ownership(events)
    ownership.own("tag", "n1/oven", plant, by="t")
    for resource in ("n1/oven", "n1/oven/zone1", "n1"):
        with pytest.raises(Conflict) as conflict:
            ownership.own("tag", resource, other, by="t")
        assert conflict.value.code == "tenancy.owned"
    ownership.own("tag", "n1/press", other, by="t")
    ownership.own("tag", "n1/oven/zone1", firm, by="t")
    with pytest.raises(Conflict):
        ownership.transfer("tag", "n1/oven", other, Scope.of([firm]), by="t")


def test_transfer_takes_what_is_in_scope(events: Events, firms: tuple[str, str, str]) -> None:
    firm, _, other = firms
    ownership, directories = Ownership(events), Directories(events)
    ownership.own("tag", "n1", firm, by="t")
    assert directories.now().owner("tag", "n1/x") == firm
    with pytest.raises(NotFound):
        ownership.transfer("tag", "n1", other, Scope.of([other]), by="spy")
    with pytest.raises(NotFound):
        ownership.transfer("tag", "n1", "nobody", Scope.of([firm]), by="t")
    ownership.transfer("tag", "n1", other, Scope.of([firm]), by="t")
    assert directories.now().owner("tag", "n1/x") == other
    assert ownership.find("tag", Scope.of([firm])) == []


@pytest.mark.parametrize("resource", ["", "n1//x", "/n1", "n1/*", "n1/>", "n1/\x00"])
def test_bad_paths_are_refused(events: Events, firms: tuple[str, str, str], resource: str) -> None:
    with pytest.raises(InputError) as error:
        Ownership(events).own("tag", resource, firms[0], by="t")
    assert error.value.code == "tenancy.bad_resource"


def test_roles_count_only_where_all_above_is_active(events: Events, firms: tuple[str, str, str]) -> None:
    firm, plant, _ = firms
    directories = Directories(events)
    assert directories.now().active(plant)
    Orgs(events).set_state(firm, OrgState.SUSPENDED, NODE, by="t")
    assert not directories.now().active(plant)
    assert not directories.now().active("unknown")


def test_a_change_by_another_process_is_seen_within_two_seconds(
    records: Records, events: Events, clock: ManualClock, firms: tuple[str, str, str]
) -> None:
    firm, plant, _ = firms
    directories = Directories(events)
    assert directories.now().active(plant)
    Orgs(Events(records, clock)).set_state(firm, OrgState.CLOSED, NODE, by="t")  # no bus between the two
    clock.advance(2)
    assert not directories.now().active(plant)


def test_errors_say_the_same_in_both_languages(events: Events) -> None:
    with pytest.raises(HeadraceError) as error:
        Orgs(events).get("x", NODE)
    assert error.value.text("zh") == "没有组织 x"
    assert error.value.text("en") == "there is no organisation x"


def test_memory_answers_a_hundred_thousand_questions_a_second(
    events: Events, firms: tuple[str, str, str]
) -> None:
    firm, plant, _ = firms
    ownership = Ownership(events)
    ownership.own("tag", "n1/oven", plant, by="t")
    directory, scope = Directories(events).now(), Scope.of([firm])
    count, began = 20_000, time.process_time()
    for _ in range(count):
        assert directory.admits_tag(scope, "n1", "oven/zone1/temperature")
    assert count / (time.process_time() - began) > 100_000
