"""The cathodic electro-coat bath (阴极电泳).

Deposition: current density j = V / (r_bath + ρ δ) in A/m² falls as the film of thickness δ grows and its
resistance with it; δ grows by the charge, dδ/dt = η j / (density of the film). So the film grows with voltage
and with time, ever more slowly, and the current decays: the shape every rectifier chart shows.

Typical windows of cathodic epoxy baths: 28-32 °C, pH 5.8-6.2, 1,200-1,800 µS/cm, 16-20 % solids, 250-350 V
for 2-3 min, 18-25 µm; anolyte 400-1,500 µS/cm; coulombic yield 25-35 mg/C.
"""

from __future__ import annotations

import math

from headrace.demo.physics.dynamics import Controller, Meter, Wander, clamp, generator, lag, relax
from headrace.demo.physics.line import Conveyor
from headrace.demo.physics.parts import Part

YIELD = 0.030  # g of dry film per coulomb
FILM_DENSITY = 1.3e6  # g/m³
FILM_RESISTIVITY = 3.6e6  # Ω m of the wet film at 29.5 °C
BATH_RESISTANCE = 14.0  # Ω m² between part and anodes at 1,450 µS/cm
RAMP = 20.0  # s from nought to full voltage
DIP = (14.0, 14.0)  # s to lower and to raise
ANODES = 8
VOLUME = 22.0  # m³
HEAT_CAPACITY = VOLUME * 1020.0 * 3.9  # kJ/K


def current_density(voltage: float, film: float, conductivity: float, temperature: float) -> float:
    """A/m² at `voltage` V through `film` µm, in a bath of `conductivity` µS/cm at `temperature` °C."""
    bath = BATH_RESISTANCE * 1450.0 / max(conductivity, 50.0)
    resistivity = FILM_RESISTIVITY * math.exp(-0.06 * (temperature - 29.5))
    return max(0.0, voltage) / (bath + resistivity * film * 1e-6)


def grow(film: float, density: float, solids: float, dt: float) -> float:
    """The film in µm after `dt` s at `density` A/m²; the yield goes with the bath's solids (18 % nominal)."""
    return film + YIELD * (solids / 18.0) * density / FILM_DENSITY * 1e6 * dt


class Ultrafilter:
    """The UF membrane: flux in L/h. `fouling` (0 clean) divides it; a fouled membrane's grows steadily."""

    def __init__(self, seed: int) -> None:
        self._noise = Wander(generator(seed, "uf"), 4.0, 15.0)
        self.fouling = 0.08
        self.fouled = False
        self.pump = True
        self.flux = 0.0
        self.inlet = 0.0  # bar
        self.outlet = 0.0
        self.volume = Meter(8_412_770)  # L of permeate

    def step(self, solids: float, dt: float) -> None:
        self.fouling += dt * ((1.0 / 300.0) if self.fouled else (0.1 / 86_400.0))
        self.fouling = min(self.fouling, 6.0)
        self.inlet = lag(self.inlet, 3.6 if self.pump else 0.0, 3.0, dt)
        self.outlet = lag(self.outlet, 1.5 if self.pump else 0.0, 3.0, dt)
        driving = max(0.0, (self.inlet + self.outlet) / 2.0 - 0.2)
        target = 560.0 * driving / 2.35 * (18.0 / solids) / (1.0 + self.fouling)
        self.flux = max(
            0.0, lag(self.flux, target, 8.0, dt) + (self._noise.step(dt) if self.pump else 0.0) * dt * 0.2
        )
        self.volume.add(self.flux * dt / 3600.0)

    def clean(self) -> None:
        """A chemical wash."""
        self.fouling, self.fouled = 0.05, False


class Rectifier:
    """Voltage in V and current in A of the bath's rectifier, `charge` in C of the present part."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "rectifier")
        self._noise = Wander(rng, 0.6, 0.5)
        self._share = [1.0 + rng.uniform(-0.08, 0.08) for _ in range(ANODES)]
        self.setpoint = 290.0
        self.voltage = 0.0
        self.current = 0.0
        self.ripple = 0.0  # %
        self.charge = 0.0
        self.anodes = [0.0] * ANODES  # A of each anode cell
        self.heat_sink = 32.0
        self.ampere_seconds = Meter(18_220_417_332)

    @property
    def energised(self) -> bool:
        return self.voltage > 5.0

    def step(self, target: float, ohms: float, ambient: float, dt: float) -> None:
        """`ohms`: what the bath and the part offer; infinite where no part is in it."""
        rate = self.setpoint / RAMP * dt
        self.voltage = clamp(target, self.voltage - rate * 6.0, self.voltage + rate)
        shown = self.voltage + (self._noise.step(dt) if self.voltage > 1.0 else 0.0)
        self.current = shown / ohms if math.isfinite(ohms) and shown > 0.0 else 0.0
        self.ripple = 1.2 + 300.0 / (self.voltage + 150.0) if self.voltage > 5.0 else 0.0
        whole = sum(self._share)
        self.anodes = [self.current * s / whole for s in self._share]
        self.ampere_seconds.add(self.current * dt)
        self.heat_sink = lag(self.heat_sink, ambient + 10.0 + self.power * 0.08, 240.0, dt)

    @property
    def power(self) -> float:
        """kW."""
        return self.voltage * self.current / 1000.0


class Ecoat:
    """Bath, rectifier, ultrafilter, anolyte circuit, and the chiller that holds the temperature."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "ecoat")
        self._probe = Wander(rng, 0.02, 15.0)
        self._ph = Wander(rng, 0.004, 30.0)
        self._level = Wander(rng, 0.1, 6.0)
        self.rectifier = Rectifier(seed)
        self.uf = Ultrafilter(seed)
        self.setpoint = 29.5
        self.temperature = 29.4
        self.probe2 = 29.4
        self.ph = 5.98
        self._acid = 5.98
        self.conductivity = 1450.0
        self.solids = 18.2  # %
        self.level = 96.0
        self.anolyte = 760.0  # µS/cm
        self.anolyte_flow = 1450.0  # L/h
        self.anolyte_flush = False
        self.valve = 0.4  # of the heat exchanger
        self._cool = Controller(1.2, 600.0, reverse=True, output=0.4)
        self.pumps = [True, True, False]  # the third stands by
        self.pump_currents = [0.0, 0.0, 0.0]
        self.filter_drop = 0.42  # bar
        self.makeup = False
        self.made_up = Meter(1_204_550)  # mL of feed
        self.part: Part | None = None
        self.last_film = 20.5
        self.last_number = ""
        self.parts = Meter(46_150)
        self.running = True
        self.step_name = 0  # 0 waiting, 1 lowering, 2 ramp, 3 holding, 4 raising

    def step(self, line: Conveyor, ambient: float, chilled: float, dt: float) -> None:
        """`chilled`: °C of the cooling water that the chiller sends."""
        carrier = line.working("ecoat")
        work = line.work["ecoat"]
        part = carrier.part if carrier and carrier.held < work else None
        if self.part is not None and part is not self.part:
            self.last_film, self.last_number = self.part.ecoat, self.part.number
            self.parts.add(1.0)
        if part is not self.part and part is not None:
            self.rectifier.charge = 0.0
        self.part = part
        held = carrier.held if carrier and part else 0.0
        dipped = part is not None and DIP[0] <= held <= work - DIP[1]
        on = self.running and dipped
        target = self.rectifier.setpoint if on else 0.0
        ohms = math.inf
        if part is not None and dipped:
            density = current_density(1.0, part.ecoat, self.conductivity, self.temperature)
            ohms = 1.0 / (density * part.type.area)
        self.rectifier.step(target, ohms, ambient, dt)
        if part is not None and dipped:
            density = self.rectifier.current / part.type.area
            part.ecoat = grow(part.ecoat, density, self.solids, dt)
            part.charge += self.rectifier.current * dt
            self.rectifier.charge = part.charge
        self.step_name = self._phase(part, held, work)
        self._bath(part, dipped, ambient, chilled, dt)
        self.uf.step(self.solids, dt)

    def _phase(self, part: Part | None, held: float, work: float) -> int:
        if part is None:
            return 0
        if held < DIP[0]:
            return 1
        if held > work - DIP[1]:
            return 4
        return 2 if self.rectifier.voltage < self.rectifier.setpoint * 0.98 else 3

    def _bath(self, part: Part | None, dipped: bool, ambient: float, chilled: float, dt: float) -> None:
        amps = self.rectifier.current
        turning = sum(self.pumps)
        self.valve = self._cool.step(self.setpoint, self.temperature, dt)
        heat = 15.0 * turning + self.rectifier.power  # kW: pumps and deposition end as heat
        exchange = 0.4 + 9.0 * self.valve  # kW/K of walls, and of the exchanger at this valve
        if part is not None and dipped:
            capacity = part.type.mass * 0.46
            new = lag(part.temperature, self.temperature, capacity / (0.35 * part.type.area), dt)
            heat -= (new - part.temperature) * capacity / dt
            part.temperature = new
        gain = (heat + 0.4 * ambient + 9.0 * self.valve * chilled) / HEAT_CAPACITY
        self.temperature = relax(self.temperature, gain, exchange / HEAT_CAPACITY, dt)
        self.probe2 = lag(self.probe2, self.temperature + 0.15 + self._probe.step(dt), 12.0, dt)
        # Each coulomb leaves acid at the anode; the anolyte circuit carries it away (1 % of it stays).
        self.anolyte += amps * dt * 0.0009
        if self.anolyte > 1050.0:
            self.anolyte_flush = True
        elif self.anolyte < 650.0:
            self.anolyte_flush = False
        if self.anolyte_flush:
            self.anolyte = lag(self.anolyte, 20.0, 1200.0, dt)
        self._acid = lag(self._acid, 6.0 - 0.00012 * (self.anolyte - 760.0), 1800.0, dt)
        self.ph = self._acid + self._ph.step(dt)
        permeate = self.uf.flux / 3600.0 / (VOLUME * 1000.0)  # of the bath per second
        self.conductivity = relax(
            self.conductivity, 1450.0 * 2e-4 + 0.8 * permeate * 1100.0, 2e-4 + 0.8 * permeate, dt
        )
        self.solids -= amps * YIELD * dt / (VOLUME * 1.02e6) * 100.0
        if self.solids < 17.9:
            self.makeup = True
        elif self.solids > 18.3:
            self.makeup = False
        if self.makeup:
            self.solids += 0.0004 * dt
            self.made_up.add(12.0 * dt)
        self.level = clamp(96.0 + self._level.step(dt) + (0.6 if dipped else 0.0), 0.0, 100.0)
        self.filter_drop = 0.42 if self.filter_drop > 0.95 else self.filter_drop + dt * 2e-6 * turning
        for n, pump in enumerate(self.pumps):
            self.pump_currents[n] = lag(
                self.pump_currents[n], 27.5 - 3.0 * self.filter_drop if pump else 0.0, 1.5, dt
            )

    @property
    def power(self) -> float:
        """Electrical power in kW: rectifier at 92 %, pumps."""
        return self.rectifier.power / 0.92 + sum(self.pump_currents) * 0.4 * 1.732 * 0.85
