"""Physical models of the coating workshop, stepwise and seeded.

Enters: a seed, a step length in seconds, set-points and faults as attributes. Leaves: the state of every unit
as plain attributes in the units their docstrings give. May import: the standard library only.

All electrical powers follow from currents at 400 V; all heat flows balance; parts are neither made nor lost.
"""

from headrace.demo.physics.workshop import STEP, Workshop

__all__ = ["STEP", "Workshop"]
