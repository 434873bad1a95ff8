"""The trend screen: any tags over any span, from raw values to a year."""

from headrace.kernel.messages import Text
from headrace.ui import Param, Row, Screen, Trend

SCREENS = (
    Screen(
        id="trend",
        path="/trend",
        title=Text(zh="趋势", en="Trend"),
        icon="trend",
        order=30,
        params=(Param("tag", "query", many=True), Param("from", "query"), Param("to", "query")),
        rows=(Row((Trend(),)),),
    ),
)
