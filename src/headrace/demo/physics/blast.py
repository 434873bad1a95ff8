"""The shot blaster (抛丸机): six wheels throw steel shot at the part, a bucket elevator brings it back, a bag
filter takes the dust.

Typical figures: wheels of 15 kW at 2,600-3,000 rev/min draw about 9 A idle and 26 A under full shot flow;
a bag filter runs at 800-1,500 Pa and wants attention above 1,800 Pa; roughness Rz 40-70 µm at Sa 2.5
(ISO 8501-1, ISO 8503-1).
"""

from __future__ import annotations

from headrace.demo.physics.dynamics import Meter, Wander, clamp, generator, lag
from headrace.demo.physics.line import Conveyor
from headrace.demo.physics.parts import Part

WHEELS = 6
IDLE, PER_FLOW = 9.0, 0.062  # A, A per kg/min of shot
RATED_SPEED = 2800.0  # rev/min


class Wheel:
    """One blast wheel: current in A, speed in rev/min, vibration in mm/s, bearing temperature in °C."""

    def __init__(self, seed: int, number: int) -> None:
        rng = generator(seed, f"wheel{number}")
        self._noise = Wander(rng, 0.35, 2.0)
        self._shake = Wander(rng, 0.12, 5.0)
        self.wear = rng.uniform(0.0, 0.3)  # 0 new blades, 1 worn out
        self.speed = 0.0
        self.flow = 0.0  # kg/min of shot
        self.current = 0.0
        self.vibration = 0.3
        self.bearing = 30.0
        self.hours = rng.uniform(400.0, 1800.0)

    def step(self, running: bool, feed: float, speed: float, ambient: float, dt: float) -> None:
        self.speed = lag(self.speed, speed if running else 0.0, 2.5 if running else 9.0, dt)
        self.flow = lag(self.flow, feed, 1.2, dt)
        turn = self.speed / RATED_SPEED
        load = IDLE * turn**2 + PER_FLOW * self.flow * turn
        self.current = max(
            0.0, lag(self.current, load, 0.4, dt) + (self._noise.step(dt) if running else 0.0) * dt
        )
        self.vibration = max(
            0.1, 0.3 + turn**2 * (1.2 + 4.0 * self.wear + 0.002 * self.flow) + self._shake.step(dt)
        )
        self.bearing = lag(self.bearing, ambient + 24.0 * turn**2 + 0.03 * self.flow * turn, 900.0, dt)
        if running:
            self.hours += dt / 3600.0
            self.wear = min(1.0, self.wear + dt / (2400.0 * 3600.0))


class Dust:
    """The bag filter: resistance grows with cake, pulse cleaning takes it down to the residual resistance.

    `blinding` (1 = clean cloth) multiplies the residual; a clogged filter has a blinding that grows, so the
    differential pressure climbs, the air flow and with it the fan's current fall.
    """

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "dust")
        self._noise = Wander(rng, 12.0, 1.5)
        self.blinding = 1.0
        self.clogging = False
        self.cake = 0.3
        self.flow = 0.0  # m³/h
        self.pressure = 0.0  # Pa across the bags
        self.current = 0.0  # A of the fan
        self.pulses = Meter(182_400)
        self.since_pulse = 0.0
        self.level = 18.0  # % of the dust bin
        self.frequency = 45.0  # Hz of the fan's inverter, set-point

    def step(self, blasting: bool, running: bool, dt: float) -> None:
        if self.clogging:
            self.blinding = min(4.0, self.blinding + dt / 75.0)
        self.cake += dt * (0.004 if blasting else 0.0004) * self.blinding
        self.since_pulse += dt
        if running and self.since_pulse >= 12.0:  # one row of bags at a time
            self.since_pulse = 0.0
            self.cake *= 0.88
            self.pulses.add(1.0)
        resistance = self.blinding * (1.0 + self.cake)
        speed = self.frequency / 50.0 if running else 0.0
        # The fan's curve against the filter's: p = p0 s² - a q² = r q  (q in 10⁴ m³/h)
        p0, a, r = 3400.0 * speed * speed, 620.0, 420.0 * resistance
        q = (-r + (r * r + 4.0 * a * p0) ** 0.5) / (2.0 * a)
        self.flow = lag(self.flow, q * 10_000.0, 2.0, dt)
        self.pressure = max(0.0, r * self.flow / 10_000.0 + (self._noise.step(dt) if running else 0.0))
        self.current = lag(self.current, speed * (14.0 + 9.0 * self.flow / 10_000.0), 1.0, dt)
        self.level += dt * 0.0015 if blasting else 0.0
        if self.level > 85.0:  # the bin is changed
            self.level = 4.0

    def change_bags(self) -> None:
        self.blinding, self.cake, self.clogging = 1.0, 0.3, False


class Blaster:
    """The whole machine. It blasts while a carrier is in it, both doors are closed and nothing is tripped."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "blast")
        self.wheels = [Wheel(seed, n + 1) for n in range(WHEELS)]
        self.dust = Dust(seed)
        self._elevator = Wander(rng, 0.3, 3.0)
        self.running = True
        self.emergency_stop = False
        self.blasting = False
        self.entry_open = False
        self.exit_open = False
        self.wheel_setpoint = RATED_SPEED  # rev/min
        self.feed_setpoint = 260.0  # kg/min for each wheel
        self.hopper = 78.0  # % of the shot store
        self.elevator_current = 0.0
        self.separator_current = 0.0
        self.hanger_speed = 0.0  # rev/min of the turning hanger
        self.remaining = 0.0  # s of the present cycle
        self.part: Part | None = None
        self.parts = Meter(46_213)
        self.refills = Meter(311)
        self.seconds = Meter(9_431 * 3600)

    def step(self, line: Conveyor, ambient: float, dt: float) -> None:
        carrier = line.working("blast")
        self.part = carrier.part if carrier else None
        work = line.work["blast"]
        held = carrier.held if carrier else 0.0
        self.entry_open = any(8.5 <= c.position < 11.99 for c in line.track)
        self.exit_open = any(12.01 < c.position < 15.5 for c in line.track)
        closed = not self.entry_open and not self.exit_open
        on = self.running and not self.emergency_stop
        was = self.blasting
        self.blasting = on and closed and carrier is not None and 6.0 <= held <= work - 8.0
        if was and not self.blasting and carrier is not None:
            self.parts.add(1.0)
        self.remaining = max(0.0, work - held) if carrier else 0.0
        # A hopper that runs low starves the wheels.
        feed = self.feed_setpoint * clamp(self.hopper / 20.0, 0.0, 1.0) if self.blasting else 0.0
        for wheel in self.wheels:
            wheel.step(on, feed, self.wheel_setpoint, ambient, dt)
        flow = sum(w.flow for w in self.wheels)
        swing = self._elevator.step(dt)
        self.elevator_current = max(
            0.0, lag(self.elevator_current, (8.0 + flow * 0.0035 + swing) if on else 0.0, 3.0, dt)
        )
        self.separator_current = max(
            0.0, lag(self.separator_current, (4.2 + flow * 0.0008) if on else 0.0, 3.0, dt)
        )
        self.hanger_speed = lag(self.hanger_speed, 6.0 if self.blasting else 0.0, 1.0, dt)
        self.hopper -= flow / 60.0 * dt * 0.00006  # % lost to fines and carried out
        if self.hopper < 55.0:
            self.hopper += 25.0  # a big bag is emptied into the store
            self.refills.add(1.0)
        self.dust.step(self.blasting, on, dt)
        if on:
            self.seconds.add(dt)
        if self.part is not None and self.blasting:
            # Rz saturates with coverage; the final height goes with the shot's speed.
            full = 62.0 * (self.wheel_setpoint / RATED_SPEED) ** 1.2
            dose = flow / (WHEELS * 260.0)
            self.part.roughness = lag(self.part.roughness, full, 28.0 / max(dose, 0.05), dt)

    @property
    def power(self) -> float:
        """Electrical power in kW (400 V, power factor 0.85)."""
        amps = (
            sum(w.current for w in self.wheels)
            + self.dust.current
            + self.elevator_current
            + self.separator_current
        )
        return amps * 0.4 * 1.732 * 0.85
