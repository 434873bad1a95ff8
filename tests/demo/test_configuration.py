"""The generated configuration: complete, loadable, the same as what is served."""

import csv
import re
import tomllib
from pathlib import Path

import pytest

from headrace import twin
from headrace.demo import configuration
from headrace.demo.alarms import ALARMS
from headrace.demo.configuration import HOST_TAGS
from headrace.demo.maps import DEVICES
from headrace.demo.parts import MACHINES
from headrace.demo.physics import Workshop
from headrace.demo.signals import overlaps
from headrace.edge import EDGE, tag_specs
from headrace.kernel import expr
from headrace.node import load

PORTS = {d.name: 15020 + n for n, d in enumerate(DEVICES)}
SIGNALS = [s for d in DEVICES for s in d.signals]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return configuration.write(tmp_path, PORTS)


def test_about_three_hundred_tags_on_six_devices() -> None:
    assert len(DEVICES) == 6
    assert 290 <= len(SIGNALS) <= 330
    assert len({s.name for s in SIGNALS}) == len(SIGNALS)


def test_maps_are_as_varied_as_real_ones() -> None:
    assert {s.area for s in SIGNALS} == {"holding", "input", "coil", "discrete"}
    assert {s.order.value for s in SIGNALS} == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert {"u64", "i64", "u32", "i32", "u16", "i16", "f32", "f64", "bcd32", "string", "bool"} == {
        s.type.value for s in SIGNALS
    }
    assert {d.framing for d in DEVICES} == {"tcp", "rtu-tcp"}
    assert len({d.max_registers for d in DEVICES}) >= 4
    assert any(s.encoding == "gb18030" for s in SIGNALS)
    assert any(s.bit is not None for s in SIGNALS)


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
def test_no_two_signals_share_a_register_and_none_is_illegal(device) -> None:
    assert list(overlaps(device)) == []
    for signal in device.signals:
        for area, first, last in device.illegal:
            clear = signal.area != area or signal.address > last or signal.address + signal.registers <= first
            assert clear, signal.name


def test_every_tag_has_both_titles_a_range_that_holds_and_a_known_unit(shop: Workshop) -> None:
    han = re.compile(r"[\u4e00-\u9fff]")
    for signal in SIGNALS:
        assert han.search(signal.title.zh), signal.name
        assert not han.search(signal.title.en), signal.name
        assert not signal.unit or expr.find_unit(signal.unit) is not None, signal.unit
    for _ in range(30):
        shop.run(20.0)
        for signal in SIGNALS:
            value = signal.get(shop)
            if signal.low is not None and not isinstance(value, str):
                assert signal.high is not None
                assert signal.low <= value <= signal.high, (signal.name, value)


def test_the_node_loads_it_without_a_problem(file: Path) -> None:
    settings = load(file, {})
    edge = settings[EDGE]
    assert [c.name for c in edge.connections] == [*(d.name for d in DEVICES), "host"]
    assert len(edge.connections[-1].tags) == len(HOST_TAGS)
    raw = tomllib.loads(file.read_text(encoding="utf-8"))
    assert list(raw["machines"]) == list(MACHINES)
    assert "模拟" in raw["node"]["title"]["zh"]
    assert all("模拟" in m["title"]["zh"] for name, m in raw["machines"].items() if name != "host")
    assert {s.name.partition("/")[0] for s in SIGNALS} | {"host"} == set(MACHINES)


def test_every_part_has_its_title_and_every_title_a_part(file: Path) -> None:
    machines = load(file, {})[twin.MACHINES]
    assert {name: machine.parts for name, machine in machines.items()} == {
        name: machine.parts for name, machine in MACHINES.items()
    }
    assert [name for name, machine in machines.items() if not machine.beside] == [
        "blast", "pretreatment", "ecoat", "powder", "oven",
    ]  # fmt: skip
    found: dict[str, set[str]] = {}
    for name in [s.name for s in SIGNALS] + [f"host/{name}" for name, *_ in HOST_TAGS]:
        found.setdefault(name.partition("/")[0], set()).add(twin.part_of(name))
    assert {name: set(machine.parts) for name, machine in machines.items()} == found


def test_it_is_the_same_each_time(file: Path, tmp_path: Path) -> None:
    again = configuration.write(tmp_path / "again", PORTS)
    for path in sorted(file.parent.glob("*.*")):
        assert path.read_bytes() == (again.parent / path.name).read_bytes()


def test_tables_say_what_the_maps_say(file: Path) -> None:
    for device in DEVICES:
        rows = list(csv.DictReader((file.parent / f"{device.name}.csv").open(encoding="utf-8")))
        assert [r["name"] for r in rows] == [s.name for s in device.signals]
        assert sum(r["writable"] == "true" for r in rows) == sum(s.put is not None for s in device.signals)


def test_alarms_name_tags_that_exist_and_their_units_agree(file: Path) -> None:
    edge = load(file, {})[EDGE]
    symbols = {spec.name: expr.Symbol(spec.kind, spec.unit) for spec in tag_specs(edge, file)}
    assert len(symbols) == len(SIGNALS) + len(HOST_TAGS)
    assert len({a.id for a in ALARMS}) == len(ALARMS) >= 20
    for alarm in ALARMS:
        expr.check(expr.parse(alarm.when), symbols, expr.Base.BOOL)
