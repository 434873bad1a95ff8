"""Pretreatment before the electro-coat: spray and dip tanks in a row.

Typical windows (maker's data sheets of alkaline cleaners and zirconium conversion): degreasing 50-60 °C, pH
10.5-11.5, 15-25 mS/cm; conversion 25-38 °C, pH 3.8-4.8, 2-5 mS/cm; last rinse with deionised water below
50 µS/cm on the tank.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from headrace.demo.physics.dynamics import WATER, Controller, Meter, Wander, clamp, generator, lag, relax
from headrace.demo.physics.line import Conveyor


class TankPlan(NamedTuple):
    """What a tank is built for. `volume` m³; `drag` is what one part brings in, in litres of the tank
    before."""

    id: str
    zh: str
    en: str
    volume: float
    temperature: float  # °C set-point; 0 = not heated
    conductivity: float  # µS/cm aimed at; for rinses what fresh water brings
    ph: float  # aimed at; 7 = not dosed
    station: str  # the conveyor station whose parts it treats
    fresh: float  # L/min of fresh water (rinses overflow)


PLANS = (
    TankPlan("degrease1", "预脱脂槽", "Pre-degreasing", 14.0, 50.0, 16_000.0, 11.0, "degrease", 0.0),
    TankPlan("degrease2", "脱脂槽", "Degreasing", 18.0, 55.0, 20_000.0, 11.2, "degrease", 0.0),
    TankPlan("rinse1", "水洗一", "Rinse 1", 8.0, 0.0, 420.0, 7.0, "rinse1", 45.0),
    TankPlan("conversion", "锆化槽", "Conversion", 16.0, 32.0, 3_200.0, 4.3, "conversion", 0.0),
    TankPlan("rinse2", "水洗二", "Rinse 2", 8.0, 0.0, 400.0, 7.0, "rinse2", 45.0),
    TankPlan("di-rinse", "纯水洗", "DI rinse", 8.0, 0.0, 5.0, 7.0, "rinse2", 50.0),
)


class Tank:
    """One tank: temperature °C, conductivity µS/cm, pH, level %, pump pressure bar, valve 0..1."""

    def __init__(self, seed: int, plan: TankPlan) -> None:
        rng = generator(seed, plan.id)
        self._wave = Wander(rng, 0.15, 3.0)
        self._probe = Wander(rng, 0.003, 20.0)
        self.plan = plan
        self.setpoint = plan.temperature
        self.temperature = plan.temperature or 22.0
        self.conductivity = plan.conductivity
        self.ph = plan.ph
        self.level = rng.uniform(82.0, 90.0)
        self.valve = 0.3
        self._control = Controller(0.25, 300.0, output=0.2)
        self.pump = True
        self.pressure = 1.8
        self.current = 0.0
        self.filter_drop = rng.uniform(0.15, 0.3)  # bar across the bag filter
        self.fresh = plan.fresh
        self.dosed = Meter(rng.randint(2_000, 9_000))  # mL of concentrate
        self.dosing = False
        self.filling = False

    def step(self, wetted: float, carried: float, ambient: float, steel: float, dt: float) -> None:
        """`wetted` m² in the tank now; `carried` µS/cm of the liquid that parts bring in from the tank
        before; `steel` kW that parts take out as heat."""
        plan = self.plan
        kilograms = plan.volume * 1000.0 * self.level / 100.0
        if plan.temperature:
            self.valve = self._control.step(self.setpoint, self.temperature, dt)
            loss = 0.9 * plan.volume ** (2 / 3) * 0.12  # kW/K through walls and surface
            heat = 180.0 * self.valve - steel
            capacity = kilograms * WATER
            self.temperature = relax(
                self.temperature, (heat + loss * ambient) / capacity, loss / capacity, dt
            )
        else:
            self.temperature = lag(self.temperature, ambient - 1.0, 5400.0, dt)
        litres = 0.0025 * wetted  # L/s dragged in with the wet surface while parts pass
        volume = kilograms  # L
        if plan.ph == 7.0:  # a rinse: what comes in is thinned by what overflows
            fresh = self.fresh / 60.0 if self.pump else 0.0
            gain = (litres * carried + fresh * plan.conductivity) / volume
            self.conductivity = relax(self.conductivity, gain, max(1e-9, (litres + fresh) / volume), dt)
            self.ph = clamp(
                7.0 + 0.35 * math.log10(max(1.0, self.conductivity / max(plan.conductivity, 40.0))), 5.0, 9.5
            )
        else:  # a bath: work uses it up, dosing brings it back
            used = litres / volume
            self.conductivity = (
                lag(self.conductivity, 0.0, 1.0 / (0.6 * used), dt) if used else self.conductivity
            )
            self.dosing = self.pump and self.conductivity < plan.conductivity * (1.0 if self.dosing else 0.97)
            if self.dosing:
                self.conductivity += plan.conductivity * 0.00025 * dt
                self.dosed.add(8.0 * dt)
            shift = math.log10(max(0.05, self.conductivity / plan.conductivity))
            self.ph = plan.ph + (3.0 if plan.ph > 7.0 else -3.0) * shift
        self.level = clamp(
            self.level - (0.00012 * self.temperature / 50.0 + 0.0003 * wetted / 10.0) * dt, 0.0, 100.0
        )
        self.filling = self.level < (91.0 if self.filling else 80.0)  # the float valve fills in one go
        if self.filling:
            self.level = min(92.0, self.level + 0.5 * dt)
        wave = self._wave.step(dt)
        self.filter_drop = self.filter_drop + dt * 1.2e-6 * (1.0 + wetted) if self.filter_drop < 0.9 else 0.15
        turning = self.pump and self.level > 15.0
        self.pressure = max(0.0, lag(self.pressure, 2.2 - self.filter_drop if turning else 0.0, 1.5, dt))
        self.current = max(
            0.0, lag(self.current, (17.5 - 4.0 * self.filter_drop + wave) if turning else 0.0, 1.0, dt)
        )
        self.ph += self._probe.step(dt)


class Pretreatment:
    """The row of tanks; each rinse receives what the tank before it leaves on the parts."""

    def __init__(self, seed: int) -> None:
        self.tanks = {plan.id: Tank(seed, plan) for plan in PLANS}
        self.parts = Meter(46_180)
        self._last: str | None = None
        self.running = True

    def step(self, line: Conveyor, ambient: float, dt: float) -> None:
        before = 0.0
        for tank in self.tanks.values():
            carrier = line.working(tank.plan.station)
            part = carrier.part if carrier else None
            steel = 0.0
            if part is not None:
                flow = 0.35 * part.type.area * (tank.temperature - part.temperature)  # kW at 350 W/(m² K)
                capacity = part.type.mass * 0.46
                new = lag(part.temperature, tank.temperature, capacity / (0.35 * part.type.area), dt)
                steel = flow if dt == 0 else (new - part.temperature) * capacity / dt
                part.temperature = new
            tank.step(part.type.area if part else 0.0, before, ambient, steel, dt)
            before = tank.conductivity
        done = line.working("rinse2")
        number = done.part.number if done and done.part else None
        if number is not None and number != self._last:
            self._last = number
            self.parts.add(1.0)

    @property
    def power(self) -> float:
        """Electrical power of the pumps in kW."""
        return sum(t.current for t in self.tanks.values()) * 0.4 * 1.732 * 0.85

    @property
    def heat(self) -> float:
        """Heat taken from hot water in kW."""
        return sum(180.0 * t.valve for t in self.tanks.values() if t.plan.temperature)
