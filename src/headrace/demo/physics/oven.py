"""The curing oven (固化炉): a drying tunnel and four curing zones, gas-fired with circulating air.

Energy of one zone: C dT/dt = Q·fire - UA (T - T_ambient) - ṁ c (T - T_from) - Σ h A_i (T - T_i): burner,
walls, the air that the exhaust draws through, and each part in it. A part: m c dT_i/dt = h A_i (T - T_i),
so its metal always lags the air, heavy parts more.

Cure is counted as the equivalent time at 180 °C by an Arrhenius law (activation energy 85 kJ/mol); 1 is the
10 min at 180 °C of metal temperature that data sheets of polyester and epoxy-polyester powders ask for.
"""

from __future__ import annotations

import math

from headrace.demo.physics.dynamics import (
    AIR,
    KELVIN,
    STEEL,
    Controller,
    Meter,
    Wander,
    generator,
    lag,
    relax,
)
from headrace.demo.physics.line import FLASH, OVEN, Conveyor
from headrace.demo.physics.parts import Part

ZONES = 4
HEAT_TRANSFER = 0.040  # kW/(m² K) of the circulating air on steel
GAS_ENERGY = 35.2  # MJ/m³ lower heating value of natural gas
EFFICIENCY = 0.90
ACTIVATION = 85_000.0  # J/mol
GAS_CONSTANT = 8.314
PURGE, LIGHT = 12.0, 4.0  # s before a burner may light, and until its flame is proven


def cure_rate(celsius: float) -> float:
    """Share of a full cure per second at a metal temperature."""
    kelvin = max(celsius, -50.0) + KELVIN
    return math.exp(ACTIVATION / GAS_CONSTANT * (1.0 / (180.0 + KELVIN) - 1.0 / kelvin)) / 600.0


class Zone:
    """One zone between `start` and `end` m of the line, with a burner of `power` kW."""

    def __init__(self, seed: int, id_: str, start: float, end: float, power: float, setpoint: float) -> None:
        rng = generator(seed, f"oven-{id_}")
        self._noise = Wander(rng, 0.25, 6.0)
        self._fan = Wander(rng, 0.15, 4.0)
        self.id = id_
        self.start, self.end = start, end
        self.power = power
        self.setpoint = setpoint
        self.temperature = setpoint - 2.0
        self.capacity = power * 1.6  # kJ/K of panels, ducts and air
        self.loss = power * 0.00055  # kW/K
        self.fire = 0.3  # 0..1
        self.flame = True
        self.locked = False  # the burner's safety lockout; holds until reset
        self._lighting = 0.0
        self._control = Controller(0.06, 140.0, output=0.3)
        self.gas_flow = 0.0  # m³/h
        self.fan = True
        self.fan_current = 0.0
        self.metal = 25.0  # °C by the pyrometer on the foremost part; holds the last reading
        self.occupied = False

    @property
    def measured(self) -> float:
        """The zone's thermocouple."""
        return self.temperature + self._noise.value

    def trip(self) -> None:
        """Flame failure: the burner control closes the gas valves and locks out."""
        self.locked, self.flame, self._lighting = True, False, 0.0

    def reset(self) -> None:
        self.locked = False

    def step(self, parts: list[Part], before: float, exhaust: float, dt: float, *, on: bool) -> None:
        """`before`: °C of the air that comes in; `exhaust`: kg/s drawn through this zone."""
        self._noise.step(dt)
        if self.locked or not on or not self.fan:
            self.flame, self._lighting = False, 0.0
        elif not self.flame:  # purge, then light
            self._lighting += dt
            self.flame = self._lighting >= PURGE + LIGHT
        wanted = self._control.step(self.setpoint, self.measured, dt) if self.flame else 0.0
        self.fire = lag(self.fire, wanted, 3.0, dt) if self.flame else 0.0
        heat = self.power * (0.04 + 0.96 * self.fire) if self.flame else 0.0
        self.gas_flow = heat / EFFICIENCY / GAS_ENERGY * 3.6
        taken = 0.0
        for part in parts:
            capacity = part.type.mass * STEEL
            h = HEAT_TRANSFER if self.fan else HEAT_TRANSFER * 0.2
            new = lag(part.temperature, self.temperature, capacity / (h * part.type.area), dt)
            taken += (new - part.temperature) * capacity / dt
            part.temperature = new
            part.peak = max(part.peak, new)
            part.cure += cure_rate(new) * dt
            part.above += dt if new >= 170.0 else 0.0
        flow = exhaust * AIR  # kW/K
        gain = heat * EFFICIENCY - taken + self.loss * 25.0 + flow * before
        self.temperature = relax(
            self.temperature, gain / self.capacity, (self.loss + flow) / self.capacity, dt
        )
        self.occupied = bool(parts)
        if parts:
            self.metal = parts[0].temperature
        shake = self._fan.step(dt)
        # Hot air is thinner: the fan's current falls as the zone warms.
        current = (23.0 * 293.0 / (self.temperature + KELVIN) + 8.0 + shake) if self.fan and on else 0.0
        self.fan_current = lag(self.fan_current, current, 2.0, dt)


class Oven:
    """The drying tunnel and the four zones in the order a part meets them."""

    def __init__(self, seed: int) -> None:
        length = (OVEN[1] - OVEN[0]) / ZONES
        curing = [(260.0, 200.0), (240.0, 196.0), (200.0, 190.0), (200.0, 186.0)]
        self.flash = Zone(seed, "flash", *FLASH, 140.0, 110.0)
        self.zones = [
            Zone(seed, f"zone{n + 1}", OVEN[0] + n * length, OVEN[0] + (n + 1) * length, power, setpoint)
            for n, (power, setpoint) in enumerate(curing)
        ]
        rng = generator(seed, "oven")
        self._draught = Wander(rng, 0.6, 3.0)
        self.running = True
        self.exhaust_frequency = 38.0  # Hz, set-point
        self.exhaust_flow = 0.0  # m³/h at exhaust temperature
        self.exhaust_temperature = 150.0
        self.exhaust_current = 0.0
        self.pressure = -8.0  # Pa against the hall
        self.vapour = 3.0  # % of the lower explosive limit
        self.gas = Meter(1_884_205)  # m³ x 10
        self.last: Part | None = None
        self.parts = Meter(46_040)
        self._inside: list[Part] = []

    def all_zones(self) -> list[Zone]:
        return [self.flash, *self.zones]

    def step(self, line: Conveyor, ambient: float, dt: float) -> None:
        speed = self.exhaust_frequency / 50.0 if self.running else 0.0
        mass = 0.75 * speed  # kg/s through the curing zones
        before = ambient
        inside: list[Part] = []
        for zone in self.all_zones():
            parts = [c.part for c in line.within(zone.start, zone.end) if c.part]
            if zone is not self.flash:
                inside += parts
            share = 0.3 if zone is self.flash else mass / 2.0
            zone.step(
                parts, ambient if zone is self.flash else (before + ambient) / 2.0, share, dt, on=self.running
            )
            if zone is not self.flash:
                before = zone.temperature
        for earlier in self._inside:
            if not any(earlier is other for other in inside):
                self.last = earlier
                self.parts.add(1.0)
        self._inside = inside
        # Outside the oven the metal cools in still air.
        for carrier in line.track:
            part = carrier.part
            if part is None or any(z.start <= carrier.position < z.end for z in self.all_zones()):
                continue
            if carrier.position > FLASH[0]:
                part.temperature = lag(
                    part.temperature, ambient, part.type.mass * STEEL / (0.014 * part.type.area), dt
                )
        self.exhaust_temperature = lag(
            self.exhaust_temperature, sum(z.temperature for z in self.zones) / ZONES - 25.0, 20.0, dt
        )
        self.exhaust_flow = lag(self.exhaust_flow, mass * 3600.0 / 0.82, 3.0, dt)
        self.exhaust_current = lag(self.exhaust_current, 16.0 * speed**2 + 2.0 * (speed > 0), 2.0, dt)
        draught = self._draught.step(dt)
        self.pressure = lag(self.pressure, 8.0 - 28.0 * speed + draught, 2.0, dt)
        self.vapour = lag(self.vapour, 1.2 + 1.6 * len(inside) * 0.5 / max(speed, 0.1), 30.0, dt)
        self.gas.add(self.gas_flow * dt / 3600.0 * 10.0)

    @property
    def gas_flow(self) -> float:
        """m³/h of all burners."""
        return sum(z.gas_flow for z in self.all_zones())

    @property
    def power(self) -> float:
        """Electrical power in kW."""
        return (sum(z.fan_current for z in self.all_zones()) + self.exhaust_current) * 0.4 * 1.732 * 0.85
