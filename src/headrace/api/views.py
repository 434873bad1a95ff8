"""The answers of the API, as frozen structs; OpenAPI describes exactly these.

Times are RFC 3339 with nine decimals, save in series, where they are float milliseconds since the epoch (or
integer nanoseconds with `?times=ns`). A value is a number, boolean, text or null; see `values`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headrace.api.values import JsonValue
from headrace.kernel.messages import Text
from headrace.kernel.model import Kind
from headrace.rules import Cause, Priority, State
from headrace.ui import Param

MachineState = Literal["ok", "stale", "bad", "alarm"]


class NodeView(msgspec.Struct, frozen=True):
    name: str
    profile: str
    title: Text
    timezone: str
    version: str


class SessionView(msgspec.Struct, frozen=True):
    """`node` tells who this is even before anyone has signed in."""

    signed_in: bool
    user: str | None
    expires: str | None
    node: NodeView


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class ScreenBrief(msgspec.Struct, frozen=True):
    """What the navigation needs; the console builds its routes from `path`."""

    id: str
    path: str
    title: Text
    icon: str
    order: int
    menu: bool
    params: tuple[Param, ...]


class Limit(msgspec.Struct, frozen=True):
    """A constant that an alarm compares the tag with, in the tag's unit, to be drawn on its bar."""

    value: float
    side: Literal["high", "low"]
    priority: Priority
    alarm: str


class TagView(msgspec.Struct, frozen=True):
    """A tag and its newest value. `active` is false for a tag that is no longer configured."""

    name: str
    id: int
    kind: Kind
    title: Text | None
    unit: str
    machine: str
    source: str
    writable: bool
    low: float | None
    high: float | None
    value: JsonValue
    quality: int
    time: str | None
    active: bool
    limits: list[Limit]


class TagPage(msgspec.Struct, frozen=True):
    items: list[TagView]
    total: int


class MachineView(msgspec.Struct, frozen=True):
    """`state`: alarm (one is active), stale (its edge is silent), bad (a tenth or more of its tags), ok.
    `alarms` are those that need a hand; `bad` counts tags; `beside`: no step of the line itself."""

    id: str
    title: Text
    kind: str
    order: int
    beside: bool
    state: MachineState
    tags: int
    bad: int
    alarms: int
    worst_priority: Priority | None
    updated: str | None


class MachineDetail(msgspec.Struct, frozen=True):
    """The same, with the tags themselves in place of their number, and the titles of its parts. Tags stand in
    the order of `parts`, those of no titled part last."""

    id: str
    title: Text
    kind: str
    order: int
    beside: bool
    state: MachineState
    parts: dict[str, Text]
    tags: list[TagView]
    bad: int
    alarms: int
    worst_priority: Priority | None
    updated: str | None


class AlarmCounts(msgspec.Struct, frozen=True):
    active: int
    unacknowledged: int
    shelved: int


class Summary(msgspec.Struct, frozen=True):
    """The plant in a few figures; also the `summary` event."""

    time: str
    machines: dict[str, int]  # by state
    tags: int
    good: int
    uncertain: int
    bad: int
    stale: int
    completeness: float | None  # (good + uncertain, not stale) / tags
    oldest_ms: float | None  # age of the oldest newest value of the tags that are not bad
    values_per_s: float
    alarms: AlarmCounts


class SeriesView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One curve. `raw`: every stored point, with `value`; otherwise buckets of `every_ms`, stamped with
    their start, with the aggregates that were asked for. Buckets without a point are left out."""

    tag: str
    unit: str
    kind: Kind
    raw: bool
    time: list[float | int]
    quality: list[int]
    every_ms: float | None = None
    value: list[Any] | None = None
    min: list[Any] | None = None
    max: list[Any] | None = None
    mean: list[Any] | None = None
    first: list[Any] | None = None
    last: list[Any] | None = None
    sum: list[Any] | None = None
    count: list[int] | None = None


class SeriesAnswer(msgspec.Struct, frozen=True):
    from_: float | int = msgspec.field(name="from")
    to: float | int
    every_ms: float | None
    series: list[SeriesView]


class Rows(msgspec.Struct, frozen=True):
    """Stored points of one tag, exactly. `next` is the `from` of the next page, null at the end."""

    tag: str
    unit: str
    kind: Kind
    time: list[str | int]
    value: list[Any]
    quality: list[int]
    next: str | int | None


class RowsAnswer(msgspec.Struct, frozen=True):
    from_: str | int = msgspec.field(name="from")
    to: str | int
    series: list[Rows]


class GapView(msgspec.Struct, frozen=True):
    from_: str | int = msgspec.field(name="from")
    to: str | int
    seconds: float
    quality: int | None  # of the last bad point in it, null where nothing came at all


class GapsAnswer(msgspec.Struct, frozen=True):
    tag: str
    gaps: list[GapView]


class AlarmView(msgspec.Struct, frozen=True):
    """An alarm as it is (ISA-18.2). `value`: of `tag`, the first tag of the condition, when the alarm last
    moved; `known`: the condition could be judged; `active`: it holds, also while the alarm is shelved."""

    id: str
    title: Text
    advice: Text | None
    priority: Priority
    state: State
    when: str  # the condition, in the expression language
    machine: str | None
    tag: str | None
    value: JsonValue
    unit: str
    known: bool
    active: bool
    since: str | None
    acknowledged_by: str | None
    acknowledged_at: str | None
    shelved_until: str | None
    shelved_by: str | None
    note: str


class AlarmPage(msgspec.Struct, frozen=True):
    items: list[AlarmView]
    total: int
    counts: AlarmCounts


class AlarmMove(msgspec.Struct, frozen=True):
    """One step in the life of an alarm."""

    time: str
    before: State
    after: State
    cause: Cause
    by: str | None
    note: str
    value: JsonValue


class AlarmHistory(msgspec.Struct, frozen=True):
    items: list[AlarmMove]
    total: int


class AlarmExplanation(msgspec.Struct, frozen=True):
    """Why an alarm is as it is: `because` is its condition part by part with the values that decided, under
    definition `version`, in force since `defined`; `zh` and `en` say the same for people."""

    alarm: AlarmView
    version: int
    defined: str | None
    because: dict[str, Any] | None
    zh: str
    en: str


class Acknowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: str = ""


class Shelve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    minutes: float
    note: str = ""


class WriteItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tag: str
    value: JsonValue


class WriteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    writes: list[WriteItem]
    reason: str = ""


class WriteOutcome(msgspec.Struct, frozen=True):
    """`ok` only where the read-back equals what was written."""

    tag: str
    ok: bool
    readback: JsonValue
    time: str | None
    code: str | None
    params: dict[str, Any]
    zh: str
    en: str


class WriteAnswer(msgspec.Struct, frozen=True):
    id: str
    results: list[WriteOutcome]


class AuditedWrite(msgspec.Struct, frozen=True):
    """`code` is null where the write was done; a write that nobody finished says so by its code."""

    id: str
    request: str
    time: str
    by: str
    reason: str
    tag: str
    machine: str
    value: JsonValue
    before: JsonValue
    ok: bool
    readback: JsonValue
    code: str | None
    zh: str
    en: str


class WritePage(msgspec.Struct, frozen=True):
    items: list[AuditedWrite]
    total: int


class PlanRequest(msgspec.Struct, frozen=True):
    """One request of a scan: `gap_units` are read only because asking again would cost more."""

    area: str
    start: int
    length: int
    tags: int
    gap_units: int
    every_ms: float


class PlanView(msgspec.Struct, frozen=True):
    requests: list[PlanRequest]
    tags: int
    one_per_tag: int
    ratio: float
    isolated: list[str]  # tags that are not read, because the device has no such address


class HealthView(msgspec.Struct, frozen=True):
    """`status`: ok, or degraded where a role is silent. `roles`: what each was last heard to be."""

    status: Literal["ok", "degraded"]
    roles: dict[str, Literal["ok", "silent"]]
