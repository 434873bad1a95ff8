"""The tag catalogue: ids for ever, metadata as configured, search in both languages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.history import TagCatalog, TagSpec
from headrace.kernel.errors import InputError
from headrace.kernel.messages import Text
from headrace.kernel.model import Kind
from headrace.records import Records, open_records


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = open_records(tmp_path / "records.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def catalog(records: Records) -> TagCatalog:
    made = TagCatalog(records)
    made.migrate()
    return made


OVEN = TagSpec(
    "oven/zone1/temperature",
    Kind.F64,
    title=Text(zh="一区温度", en="Zone 1 temperature"),
    unit="Cel",
    source="oven",
    low=0.0,
    high=300.0,
)
BATH = TagSpec("bath/ph", Kind.F64, title=Text(zh="槽液酸碱度", en="Bath pH"), unit="[pH]", source="bath")
PUMP = TagSpec("bath/pump/running", Kind.BOOL, source="bath", writable=True)


def test_sync_keeps_order_and_every_field(catalog: TagCatalog) -> None:
    tags = catalog.sync([OVEN, BATH, PUMP])
    assert [t.name for t in tags] == [OVEN.name, BATH.name, PUMP.name]
    assert len({t.id for t in tags}) == 3
    assert (tags[0].title, tags[0].unit, tags[0].low, tags[0].high) == (OVEN.title, "Cel", 0.0, 300.0)
    assert tags[2].writable and tags[2].kind is Kind.BOOL and tags[2].title is None
    assert catalog.all() == sorted(tags, key=lambda t: t.id)
    assert catalog.get("bath/ph") == tags[1]
    assert catalog.get("bath/nothing") is None


def test_ids_stay_and_are_never_reused(catalog: TagCatalog, records: Records) -> None:
    first = {t.name: t.id for t in catalog.sync([OVEN, BATH, PUMP])}
    assert {t.name: t.id for t in catalog.sync([PUMP])} == {PUMP.name: first[PUMP.name]}
    assert len(catalog.all()) == 3
    with records.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tag WHERE name = 'bath/pump/running'")
    again = catalog.sync([TagSpec("new/tag", Kind.F64)])
    assert again[0].id > max(first.values())


def test_metadata_follows_the_configuration(catalog: TagCatalog) -> None:
    before = catalog.sync([OVEN])[0]
    changed = TagSpec(OVEN.name, Kind.F64, title=Text(zh="炉温", en="Oven"), unit="K", source="oven2")
    after = catalog.sync([changed])[0]
    assert after.id == before.id
    assert (after.title, after.unit, after.source, after.high) == (changed.title, "K", "oven2", None)
    assert catalog.search("炉温")[1] == 1
    assert catalog.search("一区")[1] == 0


def test_a_kind_never_changes_silently(catalog: TagCatalog) -> None:
    catalog.sync([OVEN])
    with pytest.raises(InputError) as caught:
        catalog.sync([TagSpec(OVEN.name, Kind.I64)])
    assert caught.value.code == "history.tag_kind_changed"
    with pytest.raises(InputError) as caught:
        catalog.sync([BATH, BATH])
    assert caught.value.code == "history.tag_twice"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("温度", ["oven/zone1/temperature"]),
        ("一区 temp", ["oven/zone1/temperature"]),
        ("ＰＨ", ["bath/ph"]),
        ("bath", ["bath/ph", "bath/pump/running"]),
        ("", ["bath/ph", "bath/pump/running", "oven/zone1/temperature"]),
        ("%", []),
        ("_", []),
    ],
)
def test_search(catalog: TagCatalog, text: str, names: list[str]) -> None:
    catalog.sync([OVEN, BATH, PUMP])
    found, total = catalog.search(text)
    assert [t.name for t in found] == names
    assert total == len(names)


def test_search_pages_and_filters(catalog: TagCatalog) -> None:
    catalog.sync([TagSpec(f"m{i % 3}/tag{i:05}", Kind.F64) for i in range(3000)])
    page, total = catalog.search("tag", machine="m1", limit=10, offset=20)
    assert total == 1000
    assert [t.machine for t in page] == ["m1"] * 10
    assert page[0].name == "m1/tag00061"
