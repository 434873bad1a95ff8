"""The widget types: a tagged union (`type` in JSON) of frozen structs, each with the props it needs.

A widget never carries data. It names the API query that gives it (`Query`), and the stream topic that keeps
it fresh. Paths are relative to the API's base `/api/v1`; `{name}` in them is a parameter of the screen.
Links are console paths; `{name}` in them is a field of the row that is clicked.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headrace.kernel.messages import Text

Topic = Literal["values", "alarms", "gateway", "summary"]
"""The topics of GET /stream."""

Format = Literal["count", "number", "rate", "percent", "bytes", "duration_ms", "text"]
"""How a figure reads: `count` grouped integer (万/亿, k/M/bn), `number` with the unit given, `rate` per
second, `percent` from a ratio 0..1, `bytes` in IEC units, `duration_ms` in the unit that reads, `text`."""

Columns = Annotated[int, msgspec.Meta(ge=1, le=12)]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET `path`, then the field `pick` of the answer (dotted; "" is all of it)."""

    path: str
    pick: str = ""
    params: dict[str, str] = {}  # query string; values may hold {name} of the screen's parameters
    topic: Topic | None = None  # refreshed by this topic of the stream
    every_ms: int = 0  # asked for again after so long, where no topic serves; 0 = never

    def __hash__(self) -> int:
        return hash((self.path, self.pick, frozenset(self.params.items()), self.topic, self.every_ms))


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    span: Columns = 12  # of the twelve columns of a row
    title: Text | None = None


class Stat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One headline figure: the field `field` of the widget's answer.

    `attention`: above which value the figure is drawn as one that needs a hand; with `attention_below` under
    which. `link` opens where the figure comes from.
    """

    field: str
    title: Text
    format: Format = "count"
    unit: str = ""
    attention: float | None = None
    attention_below: float | None = None
    help: Text | None = None  # what the figure is and how it is worked out
    link: str = ""


class Stats(_Base, frozen=True, tag="stats"):
    """A band of headline figures."""

    query: Query
    items: tuple[Stat, ...]


class LineMimic(_Base, frozen=True, tag="line-mimic"):
    """The machines in the order of the line, each a shape with its state in colour, text and form."""

    query: Query = Query("/machines", topic="summary")
    link: str = "/machines/{id}"


class MachineCards(_Base, frozen=True, tag="machine-cards"):
    """One card a machine: title, kind, state, tags, alarms, age of its newest value."""

    query: Query = Query("/machines", topic="summary")
    link: str = "/machines/{id}"


class MachineHeader(_Base, frozen=True, tag="machine-header"):
    """Title, kind, state and the worst alarm of one machine; steps to the machine before and after it."""

    query: Query = Query("/machines/{machine}", topic="values")
    neighbours: Query = Query("/machines")
    link: str = "/machines/{id}"


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of a tag table: `bar` draws the value between low and high with the alarm limits on it,
    `sparkline` the newest stretch of history."""

    kind: Literal["title", "value", "bar", "sparkline", "quality", "time", "name", "source", "write"]


class TagTable(_Base, frozen=True, tag="tag-table"):
    """Live values of many tags, grouped by the middle segments of their names (the part)."""

    query: Query = Query("/machines/{machine}", pick="tags", topic="values")
    columns: tuple[Cell, ...] = (
        Cell("title"),
        Cell("value"),
        Cell("bar"),
        Cell("sparkline"),
        Cell("quality"),
        Cell("time"),
        Cell("write"),
    )
    group_by_part: bool = True
    search: bool = True
    sparkline: str = "-10m"  # how far back the sparkline reaches
    link: str = "/trend?tag={name}"


class WriteControl(_Base, frozen=True, tag="write-control"):
    """Sets the writable tags among those of the query: value, reason, confirmation, then the read-back."""

    query: Query = Query("/machines/{machine}", pick="tags", topic="values")
    post: str = "/writes"


class Trend(_Base, frozen=True, tag="trend"):
    """Curves over time, raw to a year. The tags and the range come from the screen's parameters `tags`,
    `start` and `end` (names below), so that an address says everything. Gaps are drawn as gaps, uncertain
    and bad stretches are shaded."""

    query: Query = Query("/series", topic="values")
    tags: str = "tag"  # the parameter, repeated, that names tags
    start: str = "from"
    end: str = "to"
    span_default: str = "-1h"
    presets: tuple[str, ...] = ("-15m", "-1h", "-8h", "-1d", "-7d", "-30d", "-365d")
    points: int = 1200  # most buckets a curve asks for
    most_tags: int = 12
    picker: Query = Query("/tags")  # search for the tags to add
    export: Query = Query("/history/query")
    gaps: Query = Query("/history/gaps")
    height: int = 520  # CSS pixels at least


class AlarmList(_Base, frozen=True, tag="alarm-list"):
    """Alarms by priority and age, with the ISA-18.2 actions the reader may take."""

    query: Query = Query("/alarms", topic="alarms")
    actions: tuple[Literal["acknowledge", "shelve", "unshelve"], ...] = ("acknowledge", "shelve", "unshelve")
    filters: tuple[Literal["state", "priority", "machine"], ...] = ("state", "priority", "machine")
    history: str = "/alarms/{id}/history"
    page: int = 50
    compact: bool = False  # a short list of what is active, without filters
    link: str = "/machines/{machine}"


class GatewayHealth(_Base, frozen=True, tag="gateway-health"):
    """Connections with state, plan, cycle times, skips, faults; buffer, lag, ingest, bus and history."""

    query: Query = Query("/gateway", topic="gateway")
    plan: str = "/gateway/connections/{name}/plan"


class WriteAudit(_Base, frozen=True, tag="write-audit"):
    """Who wrote what, when, why, what stood there before, and what was read back."""

    query: Query = Query("/writes", every_ms=10_000)
    page: int = 20


class HistoryStats(_Base, frozen=True, tag="history-stats"):
    """What is stored: points, segments, bytes, bytes a point, first and last time."""

    query: Query = Query("/history/stats", every_ms=10_000)


class TextBlock(_Base, frozen=True, tag="text"):
    """Plain paragraphs, split at blank lines; no markup."""

    body: Text


Widget = (
    Stats
    | LineMimic
    | MachineCards
    | MachineHeader
    | TagTable
    | WriteControl
    | Trend
    | AlarmList
    | GatewayHealth
    | WriteAudit
    | HistoryStats
    | TextBlock
)
