"""The power-and-free conveyor: carriers on one track through all stations.

A chain pulls every carrier at the chain speed of its stretch until a stop holds it: at a station for the work
of that station, or behind the carrier in front. So carriers queue before the slowest station, as they do on
the real track, and none is ever lost: parts hung = parts on the line + parts taken off.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.demo.physics.dynamics import Wander, generator, lag
from headrace.demo.physics.parts import Carrier, Orders, Part

PITCH = 3.2  # m between the centres of two carriers that touch
CARRIERS = 24


class Station(NamedTuple):
    """A stop of the track at `position` m; `work` s are spent there."""

    id: str
    position: float
    work: float


STATIONS = (
    Station("load", 0.0, 165.0),
    Station("blast", 12.0, 110.0),
    Station("degrease", 24.0, 120.0),
    Station("rinse1", 30.0, 40.0),
    Station("conversion", 36.0, 120.0),
    Station("rinse2", 42.0, 40.0),
    Station("ecoat", 52.0, 180.0),
    Station("uf-rinse", 60.0, 60.0),
    Station("powder", 86.0, 100.0),
    Station("unload", 152.0, 40.0),
)
FLASH = (64.0, 76.0)  # m, drying before powder
OVEN = (94.0, 130.0)  # m, four zones of 9 m
LENGTH = 160.0  # m, then the carriers wait empty for the next round
DEFAULT_CHAIN = 10.0  # m/min
DEFAULT_OVEN_CHAIN = 1.8  # m/min: 20 min in the oven


class Conveyor:
    """Two chains: `chain` for the whole line, `oven_chain` for drying and curing.

    Speeds in m/min, currents in A. `jammed` stalls both: the drive's current rises to its overload limit
    and the protection trips within seconds; `reset` is needed once the jam is cleared.
    """

    def __init__(self, seed: int, *, carriers: int = CARRIERS) -> None:
        rng = generator(seed, "line")
        self.orders = Orders(rng)
        self._ripple = Wander(rng, 0.02, 4.0)
        self.setpoint = DEFAULT_CHAIN
        self.oven_setpoint = DEFAULT_OVEN_CHAIN
        self.speed = 0.0
        self.oven_speed = 0.0
        self.current = 0.0
        self.oven_current = 0.0
        self.running = True
        self.jammed = False
        self.tripped = False
        self._stalled = 0.0
        self.hung = 0
        self.taken = 0
        self.last: Part | None = None  # the part taken off last
        self.idle = [Carrier(id=n + 1, position=0.0) for n in range(carriers)]
        self.track: list[Carrier] = []  # in order of position, foremost first
        self.stations = {s.id: s for s in STATIONS}
        self.work = {s.id: s.work for s in STATIONS}
        self._order = [s.id for s in STATIONS]

    def fill(self) -> None:
        """Put a part on the track every 24 m, so that the line is at work when the models start."""
        for position in range(150, 0, -24):
            carrier = self.idle.pop(0)
            carrier.position = float(position)
            carrier.part = self.orders.take()
            carrier.done = {s.id for s in STATIONS if s.position < position}
            self.hung += 1
            self.track.append(carrier)

    def step(self, dt: float) -> None:
        moving = self.running and not self.tripped and not self.jammed
        ripple = self._ripple.step(dt)
        self.speed = lag(self.speed, self.setpoint if moving else 0.0, 2.5 if moving else 0.8, dt)
        self.oven_speed = lag(
            self.oven_speed, self.oven_setpoint if moving else 0.0, 4.0 if moving else 0.8, dt
        )
        self._drive(dt, ripple)
        self._advance(dt)
        self._hang()

    def _drive(self, dt: float, ripple: float) -> None:
        powered = self.running and not self.tripped
        if self.jammed and powered:
            self._stalled += dt
            self.current = lag(self.current, 31.0, 0.7, dt)
            self.oven_current = lag(self.oven_current, 16.0, 0.7, dt)
            if self._stalled > 4.0:  # the inverter's overload protection
                self.tripped = True
            return
        self._stalled = 0.0
        load = sum(c.part.type.mass for c in self.track if c.part) / 1000.0
        target = (6.0 + 0.35 * self.speed + 0.8 * load) * (1.0 + ripple) if powered else 0.0
        oven = (3.0 + 0.9 * self.oven_speed + 0.3 * load) * (1.0 + ripple) if powered else 0.0
        self.current = lag(self.current, target, 1.0, dt)
        self.oven_current = lag(self.oven_current, oven, 1.0, dt)

    def _advance(self, dt: float) -> None:
        fast, slow = self.speed / 60.0 * dt, self.oven_speed / 60.0 * dt
        ahead = LENGTH + PITCH
        gone = None
        for carrier in self.track:
            if (station := self.at(carrier)) is not None and station.id not in carrier.done:
                carrier.held += dt
                if carrier.held < self.work[station.id]:
                    ahead = carrier.position
                    continue
                carrier.done.add(station.id)
                carrier.held = 0.0
                if station.id == "unload":
                    self.last, carrier.part = carrier.part, None
                    self.taken += 1
            in_oven = FLASH[0] <= carrier.position < FLASH[1] or OVEN[0] <= carrier.position < OVEN[1]
            free = carrier.position + (slow if in_oven else fast)
            stop = min((s.position for s in STATIONS if s.id not in carrier.done), default=LENGTH)
            carrier.position = max(carrier.position, min(free, stop, ahead - PITCH))
            ahead = carrier.position
            if carrier.position >= LENGTH - 1e-9:
                gone = carrier
        if gone is not None:
            self.track.remove(gone)
            gone.position, gone.held, gone.done = 0.0, 0.0, set()
            self.idle.append(gone)

    def _hang(self) -> None:
        if not self.idle or (self.track and self.track[-1].position < 2 * PITCH) or self.speed < 0.5:
            return
        carrier = self.idle.pop(0)
        carrier.part = self.orders.take()
        self.hung += 1
        self.track.append(carrier)

    def at(self, carrier: Carrier) -> Station | None:
        """The station that the carrier stands in, if it stands in one."""
        for station in STATIONS:
            if abs(carrier.position - station.position) < 1e-6:
                return station
        return None

    def working(self, station: str) -> Carrier | None:
        """The carrier that is being worked on at `station` now."""
        place = self.stations[station].position
        for carrier in self.track:
            if abs(carrier.position - place) < 1e-6 and station not in carrier.done and carrier.part:
                return carrier
        return None

    def within(self, start: float, end: float) -> list[Carrier]:
        """The loaded carriers with a position in [start, end) m, foremost first."""
        return [c for c in self.track if c.part and start <= c.position < end]

    @property
    def on_line(self) -> int:
        """Parts that hang on the line."""
        return sum(1 for c in self.track if c.part)

    def reset(self) -> None:
        """Acknowledge the drive's overload trip; without effect while the jam is there."""
        if not self.jammed:
            self.tripped = False
