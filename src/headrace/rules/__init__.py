"""Rules: alarms on what the tags say, with the life of an alarm as ANSI/ISA-18.2-2016 (IEC 62682) has it.

Enters: the `[[alarms]]` of the configuration, batches from the bus, requests to acknowledge, shelve and
unshelve. Leaves: alarm states and transitions in records, each with its explanation; every transition as an
event on the bus. May import: everything up to production (kernel.expr, records, bus by its port, twin, ui).
"""

from headrace.rules.definitions import ALARMS, Alarm, Limit, Priority, compile_alarm, limits_of, problems_of
from headrace.rules.machine import Cause, State
from headrace.rules.service import Request, run
from headrace.rules.store import (
    AlarmEvent,
    AlarmState,
    Explanation,
    Transition,
    alarm_history,
    count_alarms,
    explain_alarm,
    get_alarm,
    list_alarms,
)

__all__ = [
    "ALARMS",
    "Alarm",
    "AlarmEvent",
    "AlarmState",
    "Cause",
    "Explanation",
    "Limit",
    "Priority",
    "Request",
    "State",
    "Transition",
    "alarm_history",
    "compile_alarm",
    "count_alarms",
    "explain_alarm",
    "get_alarm",
    "limits_of",
    "list_alarms",
    "problems_of",
    "run",
]
