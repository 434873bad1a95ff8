"""Alarms: the list, what happened, and the actions of ISA-18.2."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from litestar import Request
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from headrace.api.problems import Fault, Refused, fault
from headrace.api.routes.operation import Ctx, operation
from headrace.api.views import (
    Acknowledge,
    AlarmExplanation,
    AlarmHistory,
    AlarmPage,
    AlarmView,
    Shelve,
)
from headrace.rules import Priority, State

E = TypeVar("E", bound=StrEnum)

_ACTION_ERRORS = (400, 404, 409, 503)


@operation("GET", "/alarms", "listAlarms", "Alarms, what needs a hand first", tag="alarms", errors=(400,))
async def list_alarms(
    ctx: Ctx,
    state_: Annotated[str, QueryParameter(name="state", description="one or more states, by comma")] = "",
    priority: Annotated[str, QueryParameter(description="one or more priorities, by comma")] = "",
    machine: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=5000)] = 200,
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
) -> AlarmPage:
    faults: list[Fault] = []
    states = _chosen("state", state_, State, faults)
    priorities = _chosen("priority", priority, Priority, faults)
    if faults:
        raise Refused("api.bad_request", 400, errors=tuple(faults))
    return ctx.alarms.page(
        states=states, priorities=priorities, machine=machine or None, limit=limit, offset=offset
    )


@operation("GET", "/alarms/{id:str}", "getAlarm", "One alarm", tag="alarms", errors=(404,))
async def get_alarm(ctx: Ctx, id: FromPath[str]) -> AlarmView:
    return ctx.alarms.get(id)


@operation(
    "GET",
    "/alarms/{id:str}/history",
    "getAlarmHistory",
    "What happened with an alarm, newest first",
    tag="alarms",
    errors=(400, 404, 503),
)
async def get_history(
    ctx: Ctx,
    id: FromPath[str],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
) -> AlarmHistory:
    return await ctx.alarms.history(id, limit=limit, offset=offset)


@operation(
    "GET",
    "/alarms/{id:str}/explanation",
    "explainAlarm",
    "Why an alarm is as it is",
    tag="alarms",
    errors=(404, 503),
)
async def get_explanation(ctx: Ctx, id: FromPath[str]) -> AlarmExplanation:
    return await ctx.alarms.explain(id)


@operation(
    "POST",
    "/alarms/{id:str}/acknowledge",
    "acknowledgeAlarm",
    "Say that an alarm has been seen",
    tag="alarms",
    errors=_ACTION_ERRORS,
)
async def acknowledge(
    request: Request[Any, Any, Any], ctx: Ctx, id: FromPath[str], data: JSONBody[Acknowledge]
) -> AlarmView:
    return await ctx.act("acknowledge", id, by=str(request.scope.get("user")), note=data.note)


@operation(
    "POST",
    "/alarms/{id:str}/shelve",
    "shelveAlarm",
    "Put an alarm aside for a while",
    tag="alarms",
    errors=_ACTION_ERRORS,
)
async def shelve(
    request: Request[Any, Any, Any], ctx: Ctx, id: FromPath[str], data: JSONBody[Shelve]
) -> AlarmView:
    """It comes back by itself after `minutes`."""
    user = str(request.scope.get("user"))
    return await ctx.act("shelve", id, by=user, note=data.note, minutes=data.minutes)


@operation(
    "POST",
    "/alarms/{id:str}/unshelve",
    "unshelveAlarm",
    "Take a shelved alarm back",
    tag="alarms",
    errors=_ACTION_ERRORS,
)
async def unshelve(request: Request[Any, Any, Any], ctx: Ctx, id: FromPath[str]) -> AlarmView:
    return await ctx.act("unshelve", id, by=str(request.scope.get("user")))


def _chosen(at: str, text: str, choices: type[E], faults: list[Fault]) -> list[E]:
    """The members that `text` names, by comma; each that is none adds to `faults`."""
    found = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(choices(name))
        except ValueError:
            faults.append(fault(at, "api.bad_value", reason=f"{name} ({' | '.join(choices)})"))
    return found


HANDLERS = [list_alarms, get_alarm, get_history, get_explanation, acknowledge, shelve, unshelve]
