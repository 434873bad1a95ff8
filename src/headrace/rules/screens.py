"""The alarm screen: what needs a hand, by priority, with the ISA-18.2 actions."""

from headrace.kernel.messages import Text
from headrace.ui import AlarmList, Param, Row, Screen

SCREENS = (
    Screen(
        id="alarms",
        path="/alarms",
        title=Text(zh="报警", en="Alarms"),
        icon="alarm",
        order=40,
        params=(
            Param("state", "query"),
            Param("priority", "query"),
            Param("machine", "query"),
        ),
        rows=(Row((AlarmList(),)),),
    ),
)
