"""The workshop: all units coupled, stepped together. Pure: no clock, no I/O; the same seed gives the same
run."""

from __future__ import annotations

from headrace.demo.physics.blast import Blaster
from headrace.demo.physics.ecoat import Ecoat
from headrace.demo.physics.line import Conveyor
from headrace.demo.physics.oven import Oven
from headrace.demo.physics.powder import Booth
from headrace.demo.physics.pretreatment import Pretreatment
from headrace.demo.physics.utilities import Utilities

STEP = 0.25  # s; fast enough for every lag of the models


class Workshop:
    """Line: shot blasting → pretreatment → electro-coat → drying → powder → curing → unloading, two coats and
    one bake (二涂一烘). `time` is seconds of simulated time since the start."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.time = 0.0
        self.line = Conveyor(seed)
        self.blaster = Blaster(seed)
        self.pretreatment = Pretreatment(seed)
        self.ecoat = Ecoat(seed)
        self.booth = Booth(seed)
        self.oven = Oven(seed)
        self.utilities = Utilities(seed)
        self._pressed: dict[str, float] = {}

    @classmethod
    def at_work(cls, seed: int = 1, *, minutes: float = 40.0) -> Workshop:
        """A workshop that has been running for `minutes`, so that every unit is at its operating point and
        parts stand at all stages; its `time` is 0 again."""
        shop = cls(seed)
        shop.line.fill()
        shop.run(minutes * 60.0, step=1.0)
        shop.time = 0.0
        return shop

    def step(self, dt: float = STEP) -> None:
        """Advance by `dt` s."""
        ambient = self.utilities.ambient
        self.line.step(dt)
        self.blaster.step(self.line, ambient, dt)
        self.pretreatment.step(self.line, ambient, dt)
        self.ecoat.step(self.line, ambient, self.utilities.chilled, dt)
        self.booth.step(self.line, ambient, dt)
        self.oven.step(self.line, ambient, dt)
        cooling = max(0.0, 9.0 * self.ecoat.valve * (self.ecoat.temperature - self.utilities.chilled))
        self.utilities.step(
            self.loads(),
            self.booth.air + 35.0,
            self.oven.gas_flow,
            cooling,
            self.pretreatment.heat,
            dt,
        )
        self.time += dt

    def run(self, seconds: float, *, step: float = STEP) -> None:
        """Advance by `seconds` in steps of `step`."""
        for _ in range(round(seconds / step)):
            self.step(step)

    def press(self, button: str) -> None:
        """A momentary push-button; it reads as pressed for 2 s."""
        self._pressed[button] = self.time + 2.0

    def pressed(self, button: str) -> bool:
        return self._pressed.get(button, -1.0) > self.time

    def loads(self) -> dict[str, float]:
        """Electrical power by area in kW."""
        drives = (self.line.current + self.line.oven_current) * 0.4 * 1.732 * 0.85
        return {
            "blast": self.blaster.power,
            "pretreatment": self.pretreatment.power,
            "ecoat": self.ecoat.power,
            "powder": self.booth.power,
            "oven": self.oven.power,
            "conveyor": drives,
        }
