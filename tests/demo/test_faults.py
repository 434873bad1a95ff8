"""Each fault shows in the readings as its physics dictates, and the record of faults is the truth."""

import itertools
from collections.abc import Callable

import pytest

from headrace.demo.faults import KINDS, SCRIPT, Cell, FaultPlan
from headrace.demo.maps import DEVICES
from headrace.demo.physics import Workshop
from headrace.demo.signals import WIRE_BREAK, Registers

SIGNALS = {s.name: s for d in DEVICES for s in d.signals}


def strike(shop: Workshop, kind: str, target: str) -> Cell:
    cell = Cell(shop)
    KINDS[kind].begin(cell, target)
    return cell


def read(shop: Workshop, name: str) -> float:
    return float(SIGNALS[name].get(shop))


def test_burner_trip_lets_the_zone_cool_until_it_is_reset(shop: Workshop) -> None:
    before = read(shop, "oven/zone3/temperature")
    cell = strike(shop, "burner-trip", "zone3")
    shop.run(5.0)
    assert read(shop, "oven/zone3/lockout") == 1
    assert read(shop, "oven/zone3/flame") == 0
    assert read(shop, "oven/zone3/gas-flow") == 0
    shop.run(240.0)
    fallen = read(shop, "oven/zone3/temperature")
    assert fallen < before - 12
    KINDS["burner-trip"].end(cell, "zone3")
    shop.run(10.0)
    assert read(shop, "oven/zone3/flame") == 0  # purging
    shop.run(10.0)
    assert read(shop, "oven/zone3/flame") == 1
    shop.run(600.0)
    assert read(shop, "oven/zone3/temperature") > fallen + 8


def test_broken_wire_is_7fff_in_an_integer_and_nan_in_a_float(shop: Workshop) -> None:
    cell = Cell(shop)
    for name in ("oven/zone2/temperature", "ecoat/bath/probe2"):
        KINDS["sensor-break"].begin(cell, name)
    oven, ecoat = (Registers(d) for d in DEVICES if d.name in ("oven", "ecoat"))
    if oven.device.name != "oven":
        oven, ecoat = ecoat, oven
    for registers in (oven, ecoat):
        registers.broken = cell.broken
        registers.refresh(shop)
    at = SIGNALS["oven/zone2/temperature"].address
    assert int(oven.memory.input[at]) == WIRE_BREAK
    value = ecoat.memory.get("holding", SIGNALS["ecoat/bath/probe2"].address, "f32", "CDAB")[0]
    assert value != value


def test_fouled_membrane_loses_flux_slowly_and_washing_restores_it(shop: Workshop) -> None:
    clean = read(shop, "ecoat/uf/flux")
    cell = strike(shop, "uf-fouling", "uf")
    fluxes = [clean]
    for _ in range(8):
        shop.run(60.0)
        fluxes.append(read(shop, "ecoat/uf/flux"))
    assert all(b < a + 15 for a, b in itertools.pairwise(fluxes))
    assert fluxes[-1] < 0.5 * clean
    assert read(shop, "ecoat/uf/inlet") == pytest.approx(3.6, abs=0.1)  # the pump has not changed
    KINDS["uf-fouling"].end(cell, "uf")
    shop.run(60.0)
    assert read(shop, "ecoat/uf/flux") > 0.9 * clean


def test_clogged_filter_raises_pressure_and_lowers_air_and_current(shop: Workshop) -> None:
    names = ("blast/dust/pressure", "blast/dust/airflow", "blast/dust/fan-current")
    before = [read(shop, n) for n in names]
    strike(shop, "filter-clogging", "dust")
    shop.run(300.0)
    after = [read(shop, n) for n in names]
    assert after[0] > 1800 > before[0]
    assert after[1] < 0.75 * before[1]
    assert after[2] < before[2] - 2


def test_failed_chiller_warms_its_water_then_the_bath(shop: Workshop) -> None:
    bath = read(shop, "ecoat/bath/temperature")
    strike(shop, "chiller-failure", "chiller")
    shop.run(60.0)
    assert read(shop, "utilities/chiller/running") == 0
    assert read(shop, "utilities/chiller/current") < 1
    shop.run(600.0, step=1.0)
    assert read(shop, "utilities/chiller/supply") > 11
    shop.run(6000.0, step=1.0)
    assert read(shop, "utilities/chiller/supply") > 20
    assert read(shop, "ecoat/cooling/valve") > 99
    assert read(shop, "ecoat/bath/temperature") > bath + 1.0


def test_jam_stalls_the_chain_then_trips_the_drive(shop: Workshop) -> None:
    cell = strike(shop, "conveyor-jam", "chain")
    shop.run(3.0)
    assert read(shop, "conveyor/drive/current") > 25
    assert read(shop, "conveyor/chain/speed") < 1
    shop.run(6.0)
    assert read(shop, "conveyor/drive/tripped") == 1
    assert read(shop, "conveyor/drive/current") < 2
    shop.line.reset()
    assert shop.line.tripped  # not while the jam is there
    KINDS["conveyor-jam"].end(cell, "chain")
    shop.run(20.0)
    assert read(shop, "conveyor/chain/speed") == pytest.approx(10.0, abs=0.1)


def test_failed_gun_has_no_voltage_and_the_film_is_thinner(twin: Callable[[], Workshop]) -> None:
    films = []
    for failed in ((), ("gun1", "gun2", "gun3", "gun4")):
        shop = twin()
        for gun in failed:
            strike(shop, "gun-failure", gun)
        voltages = []
        for _ in range(900):
            shop.run(1.0, step=1.0)
            if shop.booth.spraying:
                voltages.append(read(shop, "powder/gun1/voltage"))
        films.append(shop.booth.last_film)
        assert max(voltages) > 70 if not failed else max(voltages) < 1
    assert films[1] < films[0] - 10


def test_the_script_shows_every_kind_and_names_only_signals_that_exist() -> None:
    assert {kind for _, kind, _, _ in SCRIPT} == set(KINDS)
    for kind in KINDS.values():
        for target in kind.targets:
            for tag in kind.tags(target):
                assert tag.endswith("/*") or tag in SIGNALS, tag
    assert sorted(at for at, *_ in SCRIPT) == [at for at, *_ in SCRIPT]


def follow(seed: int, seconds: float) -> list[tuple[str, str, str, float]]:
    shop = Workshop(seed)
    cell, plan = Cell(shop), FaultPlan(seed)
    events = []
    while shop.time < seconds:
        shop.time += 1.0  # the plan needs only the time
        events += plan.step(cell)
    active = plan.active
    begun = [(e.fault, e.target) for e in events if e.event == "begin"]
    ended = [(e.fault, e.target) for e in events if e.event == "end"]
    assert len(begun) - len(ended) == len(active)
    return [(e.fault, e.target, e.event, e.simulated) for e in events]


def test_plan_is_the_same_for_the_same_seed_and_goes_on_at_random() -> None:
    one, again, other = follow(1, 20_000), follow(1, 20_000), follow(2, 20_000)
    assert one == again != other
    begins = [(at, kind, target) for kind, target, event, at in one if event == "begin"]
    assert [(at, k, t) for at, k, t, _ in SCRIPT] == begins[: len(SCRIPT)]
    assert len(begins) > 30


def test_an_operator_can_mend_before_the_schedule_does(shop: Workshop) -> None:
    cell, plan = Cell(shop), FaultPlan(1, randomly=False)
    shop.time = 12.0
    (event,) = plan.step(cell)
    assert (event.fault, event.target, event.device) == ("burner-trip", "zone3", "oven")
    assert "oven/zone3/lockout" in event.tags
    put = SIGNALS["oven/zone3/reset"].put
    assert put is not None
    put(shop, True)
    shop.time = 13.0
    (event,) = plan.step(cell)
    assert (event.event, event.mended_by) == ("end", "operator")
