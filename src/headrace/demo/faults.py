"""The faults that happen to the workshop: by a script in the first quarter of an hour, then at random.

Each fault changes a cause in the model (a burner locks out, a membrane fouls, a wire breaks), and the
readings follow by the physics. What truly happened is told as Events, which the devices' process keeps in
a file, so that a detector can be judged against the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

import msgspec

from headrace.demo.physics import Workshop
from headrace.demo.physics.dynamics import generator
from headrace.demo.physics.oven import Zone


class Cell:
    """What faults act on: the workshop, and the state of sensors and controllers around it."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.broken: set[str] = set()  # signals whose wire is broken
        self.silent: set[str] = set()  # devices that do not answer
        self.refusing: set[str] = set()  # devices that answer each request with an exception


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of fault. `begin` and `end` act on a target of `targets`; `mended` tells whether someone
    mended it before its time (an operator pressed reset). `lasts`: shortest and longest duration in s."""

    id: str
    device: Callable[[str], str]
    targets: tuple[str, ...]
    tags: Callable[[str], tuple[str, ...]]  # where it shows
    begin: Callable[[Cell, str], None]
    end: Callable[[Cell, str], None]
    mended: Callable[[Cell, str], bool] = lambda cell, target: False
    lasts: tuple[float, float]


class Event(msgspec.Struct, frozen=True):
    """The begin or the end of a fault. `simulated` s since the start, `time` UTC ns (set by who writes
    it)."""

    id: int
    fault: str
    target: str
    device: str
    tags: tuple[str, ...]
    event: Literal["begin", "end"]
    simulated: float
    time: int = 0
    mended_by: Literal["", "schedule", "operator"] = ""


def _set(path: str, value: bool) -> Callable[[Cell, str], None]:
    owner, _, name = path.rpartition(".")

    def act(cell: Cell, target: str) -> None:
        node: object = cell.shop
        for step in owner.split("."):
            node = getattr(node, step)
        setattr(node, name, value)

    return act


def _zone(cell: Cell, target: str) -> Zone:
    return next(zone for zone in cell.shop.oven.all_zones() if zone.id == target)


def _unjam(cell: Cell, target: str) -> None:
    cell.shop.line.jammed = False
    cell.shop.line.reset()


def _gun(cell: Cell, target: str, failed: bool) -> None:
    cell.shop.booth.guns[int(target.removeprefix("gun")) - 1].failed = failed


_DEVICES = ("blast", "pretreatment", "ecoat", "powder", "oven", "utilities")
_SENSORS = (
    "oven/zone2/temperature",
    "oven/zone4/temperature",
    "ecoat/bath/probe2",
    "pretreatment/degrease2/temperature",
    "utilities/chiller/supply",
)

KINDS: dict[str, Kind] = {
    kind.id: kind
    for kind in (
        Kind(
            id="burner-trip",
            device=lambda target: "oven",
            targets=("zone1", "zone2", "zone3", "zone4"),
            tags=lambda target: tuple(
                f"oven/{target}/{what}" for what in ("lockout", "flame", "gas-flow", "fire", "temperature")
            ),
            begin=lambda cell, target: _zone(cell, target).trip(),
            end=lambda cell, target: _zone(cell, target).reset(),
            mended=lambda cell, target: not _zone(cell, target).locked,
            lasts=(120.0, 360.0),
        ),
        Kind(
            id="sensor-break",
            device=lambda target: target.partition("/")[0],
            targets=_SENSORS,
            tags=lambda target: (target,),
            begin=lambda cell, target: cell.broken.add(target),
            end=lambda cell, target: cell.broken.discard(target),
            lasts=(30.0, 180.0),
        ),
        Kind(
            id="uf-fouling",
            device=lambda target: "ecoat",
            targets=("uf",),
            tags=lambda target: ("ecoat/uf/flux",),
            begin=_set("ecoat.uf.fouled", True),
            end=lambda cell, target: cell.shop.ecoat.uf.clean(),
            mended=lambda cell, target: not cell.shop.ecoat.uf.fouled,
            lasts=(600.0, 1500.0),
        ),
        Kind(
            id="filter-clogging",
            device=lambda target: "blast",
            targets=("dust",),
            tags=lambda target: ("blast/dust/pressure", "blast/dust/airflow", "blast/dust/fan-current"),
            begin=_set("blaster.dust.clogging", True),
            end=lambda cell, target: cell.shop.blaster.dust.change_bags(),
            mended=lambda cell, target: not cell.shop.blaster.dust.clogging,
            lasts=(300.0, 900.0),
        ),
        Kind(
            id="chiller-failure",
            device=lambda target: "utilities",
            targets=("chiller",),
            tags=lambda target: (
                "utilities/chiller/running",
                "utilities/chiller/current",
                "utilities/chiller/supply",
                "ecoat/cooling/valve",
                "ecoat/bath/temperature",
            ),
            begin=_set("utilities.chiller_failed", True),
            end=_set("utilities.chiller_failed", False),
            lasts=(1800.0, 3600.0),
        ),
        Kind(
            id="conveyor-jam",
            device=lambda target: "utilities",
            targets=("chain",),
            tags=lambda target: (
                "conveyor/drive/tripped",
                "conveyor/drive/current",
                "conveyor/chain/speed",
                "conveyor/oven-chain/speed",
            ),
            begin=_set("line.jammed", True),
            end=_unjam,
            lasts=(30.0, 120.0),
        ),
        Kind(
            id="gun-failure",
            device=lambda target: "powder",
            targets=tuple(f"gun{n}" for n in range(1, 9)),
            tags=lambda target: tuple(f"powder/{target}/{what}" for what in ("fault", "voltage", "current")),
            begin=lambda cell, target: _gun(cell, target, True),
            end=lambda cell, target: _gun(cell, target, False),
            lasts=(120.0, 600.0),
        ),
        Kind(
            id="silence",
            device=lambda target: target,
            targets=_DEVICES,
            tags=lambda target: (f"{target}/*",),
            begin=lambda cell, target: cell.silent.add(target),
            end=lambda cell, target: cell.silent.discard(target),
            lasts=(20.0, 20.0),
        ),
        Kind(
            id="exceptions",
            device=lambda target: target,
            targets=_DEVICES,
            tags=lambda target: (f"{target}/*",),
            begin=lambda cell, target: cell.refusing.add(target),
            end=lambda cell, target: cell.refusing.discard(target),
            lasts=(10.0, 30.0),
        ),
    )
}

SCRIPT: tuple[tuple[float, str, str, float], ...] = (
    (12.0, "burner-trip", "zone3", 240.0),
    (120.0, "sensor-break", "ecoat/bath/probe2", 60.0),
    (180.0, "silence", "powder", 20.0),
    (240.0, "exceptions", "pretreatment", 15.0),
    (270.0, "gun-failure", "gun5", 240.0),
    (330.0, "conveyor-jam", "chain", 45.0),
    (420.0, "filter-clogging", "dust", 480.0),
    (480.0, "uf-fouling", "uf", 1200.0),
    (540.0, "sensor-break", "oven/zone2/temperature", 60.0),
    (600.0, "chiller-failure", "chiller", 2400.0),
)
"""(s since the start, kind, target, duration in s): each kind once, so that a visitor sees them all."""

MEAN_INTERVAL = 300.0  # s between random faults, after the script


class _Active(msgspec.Struct):
    id: int
    kind: Kind
    target: str
    until: float


class FaultPlan:
    """Starts and ends faults as simulated time goes on. The same seed gives the same faults."""

    def __init__(self, seed: int, *, script: bool = True, randomly: bool = True) -> None:
        self._rng: random.Random = generator(seed, "faults")
        self._script = list(SCRIPT) if script else []
        self._next = (SCRIPT[-1][0] if script else 0.0) + self._rng.expovariate(1.0 / MEAN_INTERVAL)
        self._randomly = randomly
        self._active: list[_Active] = []
        self._count = 0

    @property
    def active(self) -> list[tuple[str, str]]:
        """(kind, target) of the faults that are there now."""
        return [(a.kind.id, a.target) for a in self._active]

    def step(self, cell: Cell) -> list[Event]:
        """What began and what ended up to the workshop's present time."""
        now = cell.shop.time
        events = [event for active in list(self._active) if (event := self._over(cell, active, now))]
        while self._script and self._script[0][0] <= now:
            _, kind, target, lasts = self._script.pop(0)
            events += self._begin(cell, KINDS[kind], target, lasts, now)
        while self._randomly and self._next <= now:
            self._next += self._rng.expovariate(1.0 / MEAN_INTERVAL)
            kind_ = self._rng.choice(list(KINDS.values()))
            target = self._rng.choice(kind_.targets)
            lasts = self._rng.uniform(*kind_.lasts)
            events += self._begin(cell, kind_, target, lasts, now)
        return events

    def _begin(self, cell: Cell, kind: Kind, target: str, lasts: float, now: float) -> list[Event]:
        if any(a.kind is kind and a.target == target for a in self._active):
            return []
        self._count += 1
        kind.begin(cell, target)
        active = _Active(self._count, kind, target, now + lasts)
        self._active.append(active)
        return [self._event(active, "begin", now)]

    def _over(self, cell: Cell, active: _Active, now: float) -> Event | None:
        mended = active.kind.mended(cell, active.target)
        if not mended and now < active.until:
            return None
        if not mended:
            active.kind.end(cell, active.target)
        self._active.remove(active)
        event = self._event(active, "end", now)
        return msgspec.structs.replace(event, mended_by="operator" if mended else "schedule")

    def _event(self, active: _Active, event: Literal["begin", "end"], now: float) -> Event:
        kind, target = active.kind, active.target
        return Event(active.id, kind.id, target, kind.device(target), kind.tags(target), event, round(now, 3))
