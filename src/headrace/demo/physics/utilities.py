"""What the whole shop draws: electricity, compressed air, gas, chilled and deionised water; and the hall
itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headrace.demo.physics.dynamics import Meter, Wander, clamp, generator, lag

AREAS = ("blast", "pretreatment", "ecoat", "powder", "oven", "conveyor")


class Electricity:
    """The main meter: three phases, 400 V; energy in Wh as 64-bit totals, areas in 0.1 kWh."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "electricity")
        self._grid = [Wander(rng, 0.8, 5.0) for _ in range(3)]
        self._hertz = Wander(rng, 0.012, 10.0)
        self.voltages = [230.0, 230.6, 229.5]
        self.currents = [0.0, 0.0, 0.0]
        self.frequency = 50.0
        self.power = 0.0  # kW
        self.reactive = 0.0  # kvar
        self.factor = 0.95
        self.energy = Meter(7_412_803_551_270)  # Wh: beyond 32 bits, as a plant's main meter is
        self.reactive_energy = Meter(-18_442_017)  # varh, net of what the capacitors give back
        self.areas = {name: Meter(4_000_000 + 911 * n) for n, name in enumerate(AREAS)}  # 0.1 kWh

    def step(self, loads: Mapping[str, float], other: float, dt: float) -> None:
        """`loads`: kW by area; `other`: kW of everything else."""
        self.power = sum(loads.values()) + other
        self.factor = clamp(0.90 + 0.06 * self.power / (self.power + 150.0), 0.0, 1.0)
        self.reactive = self.power * math.tan(math.acos(self.factor)) - 60.0
        for n, base in enumerate((230.0, 230.6, 229.5)):
            self.voltages[n] = base + self._grid[n].step(dt) - self.power * 0.004
            self.currents[n] = (
                self.power * 1000.0 / 3.0 / self.voltages[n] / self.factor * (1.0 + 0.01 * (n - 1))
            )
        self.frequency = 50.0 + self._hertz.step(dt)
        self.energy.add(self.power * dt / 3.6)
        self.reactive_energy.add(self.reactive * dt / 3.6)
        for name, load in loads.items():
            self.areas[name].add(load * dt / 360.0)


class Utilities:
    """Electricity, air, gas and water. `chiller_failed` stops the chiller: its water then warms up."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed, "utilities")
        self._day = Wander(rng, 0.4, 3600.0)
        self._air = Wander(rng, 0.02, 2.0)
        self._water = Wander(rng, 0.03, 10.0)
        self.electricity = Electricity(seed)
        self.ambient = 25.0
        self.humidity = 55.0
        # Compressed air: a 2 m³ receiver between a loading compressor and the guns and bag filters.
        self.air_pressure = 6.9  # bar
        self.air_flow = 0.0  # m³/h at normal conditions
        self.air_dew_point = 3.0  # °C
        self.compressor_loaded = True
        self.compressor_current = 0.0
        self.air_total = Meter(3_120_446)
        self.gas_pressure = 24.0  # kPa
        self.gas_total = Meter(51_884_120)  # m³ x 100
        self.chiller_failed = False
        self.chiller_running = True
        self.chilled = 9.0  # °C to the bath's exchanger
        self.chilled_return = 12.0
        self.chilled_flow = 18.0  # m³/h
        self.chilled_pressure = 3.1  # bar
        self.chiller_current = 0.0
        self.chilled_setpoint = 9.0
        self.di_conductivity = 2.1  # µS/cm
        self.di_flow = 3.0  # m³/h
        self.hot_water = 82.0  # °C

    def step(
        self, loads: Mapping[str, float], air: float, gas: float, cooling: float, heat: float, dt: float
    ) -> None:
        """`air` m³/h drawn, `gas` m³/h burnt, `cooling` kW taken from the bath, `heat` kW of hot water."""
        self.ambient = 25.0 + self._day.step(dt)
        self.humidity = clamp(55.0 - 2.0 * (self.ambient - 25.0), 20.0, 95.0)
        self._compressed_air(air + 60.0, dt)
        self.gas_pressure = lag(self.gas_pressure, 25.0 - gas * 0.012, 2.0, dt)
        self.gas_total.add(gas * dt / 36.0)
        self._chiller(cooling, dt)
        self.di_conductivity = clamp(2.1 + self._water.step(dt), 0.5, 20.0)
        self.di_flow = lag(self.di_flow, 3.0, 10.0, dt)
        self.hot_water = lag(self.hot_water, 84.0 - heat * 0.01, 120.0, dt)
        own = (self.compressor_current + self.chiller_current) * 0.4 * 1.732 * 0.85
        self.electricity.step(loads, own + 28.0, dt)

    def _compressed_air(self, drawn: float, dt: float) -> None:
        if self.air_pressure < 6.6:
            self.compressor_loaded = True
        elif self.air_pressure > 7.4:
            self.compressor_loaded = False
        made = 420.0 if self.compressor_loaded else 0.0
        self.air_flow = lag(self.air_flow, drawn, 1.0, dt)
        self.air_pressure = max(0.0, self.air_pressure + (made - self.air_flow) / 3600.0 / 2.0 * 1.013 * dt)
        self.air_dew_point = 3.0 + 10.0 * self._air.step(dt)
        self.compressor_current = lag(
            self.compressor_current, 82.0 if self.compressor_loaded else 31.0, 1.0, dt
        )
        self.air_total.add(self.air_flow * dt / 3600.0)

    def _chiller(self, cooling: float, dt: float) -> None:
        self.chiller_running = not self.chiller_failed
        flow = self.chilled_flow / 3.6 * 4.186  # kW/K
        rise = cooling / flow
        if self.chiller_running:
            self.chilled = lag(self.chilled, self.chilled_setpoint + self._water.value, 90.0, dt)
        else:  # the loop of 1 m³ takes up the bath's heat until nothing flows from bath to water
            self.chilled = min(
                self.chilled + (cooling + 0.3 * (self.ambient - self.chilled)) / (1000.0 * 4.186) * dt, 45.0
            )
        self.chilled_return = self.chilled + rise
        self.chilled_pressure = lag(self.chilled_pressure, 3.1, 2.0, dt)
        load = clamp(0.35 + cooling / 180.0, 0.0, 1.0)
        self.chiller_current = lag(
            self.chiller_current, 120.0 * load if self.chiller_running else 0.0, 4.0, dt
        )
