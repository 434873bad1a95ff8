"""The powder booth (喷粉房): eight corona guns on two reciprocators, cyclone and after-filter.

Typical figures: 60-90 kV, 10-80 µA for each gun, 100-250 g/min, booth face velocity 0.4-0.6 m/s, transfer
60-70 % at first pass, 60-90 µm of film, fluidising air 0.5-1.5 bar, 18-28 °C and 40-60 % relative humidity.
"""

from __future__ import annotations

import math

from headrace.demo.physics.dynamics import Meter, Wander, clamp, generator, lag
from headrace.demo.physics.line import Conveyor
from headrace.demo.physics.parts import Colour, Part

GUNS = 8
DENSITY = 1.5e6  # g/m³ of the cured film
STROKE = (400.0, 2100.0)  # mm


class Gun:
    """One gun: `voltage` kV, `current` µA, `flow` g/min, `air` m³/h of conveying air."""

    def __init__(self, seed: int, number: int) -> None:
        rng = generator(seed, f"gun{number}")
        self._noise = Wander(rng, 0.7, 0.8)
        self._pulse = Wander(rng, 2.5, 1.2)
        self.wear = rng.uniform(0.0, 0.06)  # of the injector sleeve
        self.enabled = True
        self.failed = False
        self.voltage = 0.0
        self.current = 0.0
        self.flow = 0.0
        self.air = 0.0
        self.hours = rng.uniform(100.0, 900.0)

    def step(
        self, spraying: bool, facing: bool, kilovolts: float, limit: float, flow: float, dt: float
    ) -> None:
        """`facing`: a part hangs before the gun, so the corona finds earth; `limit` µA caps the current and
        pulls the voltage down (constant-current mode)."""
        on = spraying and self.enabled
        target = kilovolts if on and not self.failed else 0.0
        self.voltage = lag(self.voltage, target, 0.4, dt)
        free = self.voltage * (0.52 if facing else 0.16)
        if free > limit > 0.0:
            self.voltage = max(0.0, self.voltage - (free - limit) * 0.25)
            free = limit
        shake = self._noise.step(dt)
        self.current = max(0.0, free + (shake if self.voltage > 5.0 else 0.0))
        pulse = self._pulse.step(dt)
        self.flow = max(
            0.0,
            lag(self.flow, flow * (1.0 - self.wear) if on else 0.0, 0.8, dt) + (pulse if on else 0.0) * dt,
        )
        self.air = lag(self.air, 4.2 + flow * 0.008 if on else 0.0, 0.5, dt)
        if on:
            self.hours += dt / 3600.0

    @property
    def transfer(self) -> float:
        """The share of powder that stays on the part: charged powder by the field, uncharged hardly any."""
        return 0.12 + 0.53 * (1.0 - math.exp(-self.voltage / 32.0))


class Booth:
    """Guns, reciprocator, air and powder supply."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "powder")
        self._wind = Wander(rng, 0.006, 4.0)
        self._hum = Wander(rng, 0.4, 60.0)
        self._bed = Wander(rng, 0.01, 3.0)
        self.guns = [Gun(seed, n + 1) for n in range(GUNS)]
        self.running = True
        self.spraying = False
        self.voltage_setpoint = 80.0  # kV
        self.current_limit = 45.0  # µA
        self.flow_setpoint = 165.0  # g/min for each gun
        self.stroke_speed_setpoint = 380.0  # mm/s
        self.position = STROKE[0]  # mm of the reciprocator
        self.stroke_speed = 0.0
        self._direction = 1.0
        self.velocity = 0.5  # m/s of the air in the booth's openings
        self.fan_current = 41.0
        self.cyclone_drop = 1150.0  # Pa
        self.filter_drop = 480.0  # Pa
        self.filter_load = 0.1
        self.fluidising = 0.9  # bar
        self.hopper = 72.0  # % of the powder hopper
        self.temperature = 23.0
        self.humidity = 52.0  # %
        self.batches = Meter(417)
        self.colour: Colour | None = None
        self.used = Meter(12_480_220)  # g
        self.recovered = Meter(4_360_110)  # g
        self.part: Part | None = None
        self.last_film = 71.0
        self.last_number = ""
        self.parts = Meter(46_120)
        self.recipe = 0

    @property
    def batch(self) -> str:
        """The maker's batch of the powder in the hopper."""
        return f"{self.colour.ral if self.colour else 'RAL2004'}-B{self.batches.total:05d}"

    def step(self, line: Conveyor, ambient: float, dt: float) -> None:
        carrier = line.working("powder")
        part = carrier.part if carrier else None
        if self.part is not None and part is not self.part:
            self.last_film, self.last_number = self.part.powder, self.part.number
            self.parts.add(1.0)
        self.part = part
        held = carrier.held if carrier else 0.0
        if part is not None and part.colour is not self.colour:
            self.colour = part.colour  # a quick colour change, a new box
            self.batches.add(1.0)
            self.hopper = 90.0
        work = line.work["powder"]
        self.spraying = self.running and part is not None and 8.0 <= held <= work - 6.0
        # The recipe of the part scales the flow, so that large and small parts get the same film.
        flow = self.flow_setpoint * (clamp(part.type.area / 10.0, 0.6, 1.5) if part else 1.0)
        self.recipe = 0 if part is None or part.type.area < 11.0 else 1
        for gun in self.guns:
            gun.step(self.spraying, self.spraying, self.voltage_setpoint, self.current_limit, flow, dt)
        self._reciprocate(dt)
        sprayed = sum(g.flow for g in self.guns) / 60.0  # g/s
        kept = sum(g.flow / 60.0 * g.transfer for g in self.guns)
        if part is not None and sprayed > 0.0:
            part.powder += kept * dt / (part.type.area * DENSITY) * 1e6
        self.used.add(sprayed * dt)
        self.recovered.add((sprayed - kept) * 0.95 * dt)
        self.hopper -= sprayed * dt / 500.0  # a hopper of 50 kg
        if self.hopper < 35.0:
            self.hopper = 85.0
            self.batches.add(1.0)
        self.filter_load = self.filter_load + dt * 2e-6 if self.filter_load < 1.0 else 0.05
        drop = 400.0 + 900.0 * self.filter_load + 60.0 * sprayed / 20.0
        self.filter_drop = lag(self.filter_drop, drop if self.running else 0.0, 3.0, dt)
        wind = self._wind.step(dt)
        self.velocity = max(
            0.0,
            lag(self.velocity, 0.56 - 0.12 * self.filter_load if self.running else 0.0, 4.0, dt) + wind * dt,
        )
        self.fan_current = lag(
            self.fan_current, 34.0 + 14.0 * self.velocity if self.running else 0.0, 2.0, dt
        )
        self.cyclone_drop = lag(
            self.cyclone_drop, 4600.0 * self.velocity**2 if self.running else 0.0, 2.0, dt
        )
        self.fluidising = clamp(0.9 + self._bed.step(dt), 0.0, 2.0)
        self.temperature = lag(self.temperature, ambient + 0.5, 1800.0, dt)
        self.humidity = lag(self.humidity, 52.0, 1800.0, dt) + self._hum.step(dt) * dt * 0.05

    def _reciprocate(self, dt: float) -> None:
        self.stroke_speed = lag(
            self.stroke_speed, self.stroke_speed_setpoint if self.spraying else 0.0, 0.3, dt
        )
        low, high = STROKE
        # Folded travel: exact for any step length.
        span = high - low
        travel = (self.position - low) if self._direction > 0 else 2 * span - (self.position - low)
        travel = (travel + self.stroke_speed * dt) % (2 * span)
        self._direction = 1.0 if travel <= span else -1.0
        self.position = low + (travel if travel <= span else 2 * span - travel)

    @property
    def power(self) -> float:
        """Electrical power in kW."""
        return self.fan_current * 0.4 * 1.732 * 0.85 + (2.2 if self.spraying else 0.4)

    @property
    def air(self) -> float:
        """Compressed air in m³/h at normal conditions."""
        return sum(g.air for g in self.guns) + (40.0 if self.running else 0.0)
