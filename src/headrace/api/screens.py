"""The screens of all rooms as one checked set."""

from headrace.edge.screens import SCREENS as EDGE
from headrace.history.screens import SCREENS as HISTORY
from headrace.rules.screens import SCREENS as RULES
from headrace.twin.screens import SCREENS as TWIN
from headrace.ui import Screens

SCREENS = Screens([*TWIN, *HISTORY, *RULES, *EDGE])
