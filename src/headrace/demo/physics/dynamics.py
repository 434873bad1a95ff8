"""The few building blocks every unit is made of: first-order lag, PI control, drifting noise, delivery of
heat.

All times are seconds of simulated time; every function is exact for any step length, so that a long step
cannot make a unit unstable.
"""

from __future__ import annotations

import math
import random

KELVIN = 273.15
WATER = 4.186  # kJ/(kg K), specific heat of water
STEEL = 0.46  # kJ/(kg K), specific heat of structural steel
AIR = 1.006  # kJ/(kg K), specific heat of air at constant pressure


def lag(value: float, target: float, tau: float, dt: float) -> float:
    """First-order approach of `value` to `target` with time constant `tau` s over `dt` s; exact."""
    return target + (value - target) * math.exp(-dt / tau)


def clamp(value: float, low: float, high: float) -> float:
    """`value` held within [low, high]."""
    return low if value < low else high if value > high else value


def relax(value: float, gain: float, loss: float, dt: float) -> float:
    """The solution of dx/dt = gain - loss * x after `dt` s from x = `value` (loss > 0, per second)."""
    return lag(value, gain / loss, 1.0 / loss, dt)


def generator(seed: int, name: str) -> random.Random:
    """A generator of its own for each unit, so that a change in one leaves the noise of the others as it
    was."""
    return random.Random(f"{seed}/{name}")


class Wander:
    """Noise with memory (an Ornstein-Uhlenbeck process): standard deviation `sigma`, correlation time
    `tau` s."""

    def __init__(self, rng: random.Random, sigma: float, tau: float) -> None:
        self._rng = rng
        self.sigma = sigma
        self.tau = tau
        self.value = 0.0

    def step(self, dt: float) -> float:
        keep = math.exp(-dt / self.tau)
        self.value = keep * self.value + math.sqrt(1.0 - keep * keep) * self._rng.gauss(0.0, self.sigma)
        return self.value


class Controller:
    """A PI controller with output 0..1 and conditional integration, so that it does not wind up at a limit.

    `gain` is output per unit of error, `reset` the integral time in s. `reverse` for a cooling valve: the
    output rises when the measurement is above the set-point.
    """

    def __init__(self, gain: float, reset: float, *, reverse: bool = False, output: float = 0.0) -> None:
        self.gain = gain
        self.reset = reset
        self.sign = -1.0 if reverse else 1.0
        self.integral = output
        self.output = output

    def step(self, setpoint: float, measured: float, dt: float) -> float:
        error = self.sign * (setpoint - measured)
        wanted = self.gain * error + self.integral
        inward = (wanted > 1.0 and error < 0.0) or (wanted < 0.0 and error > 0.0)
        if 0.0 <= wanted <= 1.0 or inward:
            self.integral = clamp(self.integral + self.gain * error * dt / self.reset, 0.0, 1.0)
        self.output = clamp(self.gain * error + self.integral, 0.0, 1.0)
        return self.output


class Meter:
    """A totaliser that counts whole units and keeps the rest, as a pulse meter does."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self._rest = 0.0

    def add(self, amount: float) -> None:
        """`amount` in the meter's own unit; may be negative where the quantity can flow back."""
        self._rest += amount
        whole = math.floor(self._rest)
        self.total += whole
        self._rest -= whole
