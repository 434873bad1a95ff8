"""What is coated: structural parts of aerial work platforms, and the carriers that bring them through the
line."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple


class PartType(NamedTuple):
    """One article: `mass` in kg and coated `area` in m² of a loaded carrier."""

    code: str
    zh: str
    en: str
    mass: float
    area: float


class Colour(NamedTuple):
    """A powder: RAL number and the batch prefix its maker prints on the box."""

    ral: str
    zh: str
    en: str


PART_TYPES = (
    PartType("JC", "剪叉臂", "scissor arm", 180.0, 9.5),
    PartType("DP", "底盘", "chassis", 420.0, 15.0),
    PartType("PT", "工作平台", "platform", 150.0, 9.0),
    PartType("ZT", "转台", "turntable", 310.0, 11.5),
    PartType("BJ", "伸缩臂", "telescopic boom", 260.0, 10.5),
)
COLOURS = (
    Colour("RAL2004", "纯橙", "pure orange"),
    Colour("RAL7016", "煤灰", "anthracite grey"),
    Colour("RAL5015", "天蓝", "sky blue"),
)
RECIPES = ("标准件-单色", "重型件-大面")


@dataclass(slots=True)
class Part:
    """One loaded carrier's work and what has been done to it so far."""

    number: str
    type: PartType
    colour: Colour
    temperature: float = 20.0  # °C of the metal
    roughness: float = 0.0  # Rz in µm, from blasting
    ecoat: float = 0.0  # µm dry film
    powder: float = 0.0  # µm dry film
    charge: float = 0.0  # C passed in the bath
    peak: float = 0.0  # °C, highest metal temperature in the oven
    cure: float = 0.0  # 1 = the equivalent of 10 min at 180 °C
    above: float = 0.0  # s with the metal above 170 °C


@dataclass(slots=True)
class Carrier:
    """A carrier of the free track: `position` in m along the line, `held` s at the present station."""

    id: int
    position: float
    part: Part | None = None
    held: float = 0.0
    done: set[str] = field(default_factory=set)  # the stations whose work this round is finished


class Orders:
    """Draws what is hung next: runs of one colour, parts in small lots, numbers that never repeat."""

    def __init__(self, rng: random.Random, first: int = 26_080_001) -> None:
        self._rng = rng
        self._next = first
        self._colour = COLOURS[0]
        self._left = 6

    def take(self) -> Part:
        if self._left == 0:
            self._colour = self._rng.choice([c for c in COLOURS if c != self._colour])
            self._left = self._rng.randint(5, 9)
        self._left -= 1
        kind = self._rng.choice(PART_TYPES)
        number = f"{kind.code}-{self._next}"
        self._next += 1
        return Part(number=number, type=kind, colour=self._colour)
