"""The `[edge]` section: what the file may say of connections and tags, and what it comes to.

`EDGE` is checked with the rest of the configuration; every fault of a tag is reported at its own place, be
it `edge.connections[2].tags[5].type` or a line of a tags file. `resolve` turns the section into Connections:
drivers loaded, their settings and points typed, every point laid out.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from headrace import drivers
from headrace.edge.plan import check_area
from headrace.edge.report import Policy
from headrace.edge.tagfile import read_tags
from headrace.history import TagSpec
from headrace.kernel.clock import NS_PER_MS, NS_PER_S
from headrace.kernel.config import Duration, Name, Section, Settings, convert
from headrace.kernel.errors import ConfigError, HeadraceError, Problem
from headrace.kernel.messages import Text
from headrace.kernel.model import Kind
from headrace.kernel.ports import DriverType, Layout, Limits

T = TypeVar("T")
_SHORTEST, _LONGEST = NS_PER_MS, 86_400 * NS_PER_S
_HEARTBEAT = 60 * NS_PER_S  # of a band or swing that names none

TagName = Annotated[str, msgspec.Meta(max_length=200)]
_TAG_NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)+")


class BufferSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store-and-forward buffer; sizes in bytes."""

    quota: Annotated[int, msgspec.Meta(ge=1 << 20)] = 1 << 30  # on disk, all segments together
    segment: Annotated[int, msgspec.Meta(ge=1 << 16)] = 8 << 20  # one file; what is dropped at a time
    memory: Annotated[int, msgspec.Meta(ge=1 << 20)] = 32 << 20  # held while the disk takes nothing
    on_full: Literal["drop-oldest", "refuse-new"] = "drop-oldest"
    replay_rate: Annotated[int, msgspec.Meta(ge=1)] = 200  # messages of backlog a second, beside live data


class ReportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which values are reported; at most one of the first four. Units are the tag's own."""

    absolute: Annotated[float, msgspec.Meta(ge=0)] | None = None
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None  # of the span low..high
    swing: Annotated[float, msgspec.Meta(ge=0)] | None = None  # swinging door: the greatest deviation
    trigger: str | None = None  # a tag of the same connection: report when its value changed
    heartbeat: Duration | None = None  # report at least so often; "0s" never; 60 s where a band is set


class TagSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys that every tag entry has; its other keys are the driver's."""

    name: TagName
    title: Text | None = None
    unit: str = ""
    every: Duration | None = None  # the connection's, where it is not given
    low: float | None = None
    high: float | None = None
    report: ReportSettings | None = None


class ConnectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[edge.connections]]`."""

    name: Name
    driver: str
    every: Duration = Duration(NS_PER_S)
    title: Text | None = None
    settings: dict[str, Any] = {}
    tags_file: str = ""
    tags: list[dict[str, Any]] = []


class EdgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[edge]` section."""

    name: Name = "edge"
    linger: Duration = Duration(100 * NS_PER_MS)  # how long values wait for others to share a message
    heartbeat: Duration = Duration(60 * NS_PER_S)  # how often an unreachable device's tags say so again
    buffer: BufferSettings = BufferSettings()
    connections: list[ConnectionSettings] = []


class Point(msgspec.Struct, frozen=True):
    """A tag as configured and laid out; `point` is the driver's own struct, `every` in ns."""

    tag: TagSettings
    every: int
    point: Any
    layout: Layout


class Connection(msgspec.Struct, frozen=True):
    """A connection, ready to be created: `driver_settings` is the driver's own struct."""

    settings: ConnectionSettings
    driver: DriverType
    driver_settings: Any
    limits: Limits
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        return self.settings.name


def resolve(edge: EdgeSettings, file: Path) -> tuple[Connection, ...]:
    """The connections of `edge`, which stands in `file`. Raises ConfigError with every Problem found."""
    problems: list[Problem] = []
    connections = _resolve(edge, file, problems)
    if problems:
        raise ConfigError(problems)
    return connections


def tag_specs(edge: EdgeSettings, file: Path) -> list[TagSpec]:
    """Every tag that the edge delivers, in the order of the file. Raises ConfigError."""
    return [
        TagSpec(
            name=p.tag.name,
            kind=p.layout.kind,
            title=p.tag.title,
            unit=p.tag.unit,
            source=connection.name,
            writable=p.layout.writable,
            low=p.tag.low,
            high=p.tag.high,
        )
        for connection in resolve(edge, file)
        for p in connection.points
    ]


def policy(tag: TagSettings, ids: Mapping[str, int]) -> Policy:
    """The report policy of a tag that has been checked; `ids` are the node's tag ids by name."""
    report = tag.report
    if report is None:
        return Policy()
    band, heartbeat = report.absolute, report.heartbeat
    if report.percent is not None and tag.low is not None and tag.high is not None:
        band = report.percent / 100 * (tag.high - tag.low)
    if report.trigger is not None:
        return Policy(trigger=ids[report.trigger], heartbeat=heartbeat or 0)
    if heartbeat is None:
        heartbeat = Duration(_HEARTBEAT)
    if report.swing is not None:
        return Policy(swing=report.swing, heartbeat=heartbeat)
    # a heartbeat by itself means: on change, and at least so often
    return Policy(band=band or 0.0, heartbeat=heartbeat)


def _check(edge: EdgeSettings, settings: Settings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    problems: list[Problem] = []
    _resolve(edge, settings.file, problems)
    for p in problems:
        yield "", p.code, {**p.params, "file": p.file, "at": p.key}


EDGE: Section[EdgeSettings] = Section("edge", EdgeSettings, check=_check)


def _resolve(edge: EdgeSettings, file: Path, problems: list[Problem]) -> tuple[Connection, ...]:
    if not 0 <= edge.linger <= 5 * NS_PER_S:
        problems.append(Problem(str(file), "edge.linger", "edge.linger_range"))
    if edge.heartbeat < NS_PER_S:
        problems.append(Problem(str(file), "edge.heartbeat", "edge.heartbeat_range"))
    if edge.buffer.segment * 4 > edge.buffer.quota:
        problems.append(Problem(str(file), "edge.buffer.segment", "edge.segment_too_big"))
    out: list[Connection] = []
    names: set[str] = set()
    where: dict[str, str] = {}  # tag name -> where it stands first
    for n, settings in enumerate(edge.connections):
        key = f"edge.connections[{n}]"
        if settings.name in names:
            problems.append(
                Problem(str(file), f"{key}.name", "edge.connection_twice", {"name": settings.name})
            )
        names.add(settings.name)
        _check_every(settings.every, str(file), f"{key}.every", problems)
        driver = _driver(settings.driver, str(file), f"{key}.driver", problems)
        if driver is None:
            continue
        typed = _convert(settings.settings, driver.manifest.settings, str(file), f"{key}.settings", problems)
        if typed is None:
            continue
        try:
            limits = driver.limits(typed)
        except HeadraceError as error:
            problems.append(_of_driver(error, str(file), f"{key}.settings"))
            continue
        points = _points(settings, driver, typed, limits, file, key, where, problems)
        out.append(Connection(settings, driver, typed, limits, points))
    return tuple(out)


def _driver(name: str, file: str, key: str, problems: list[Problem]) -> DriverType | None:
    known = sorted(drivers.names())
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        code = "edge.unknown_driver_near" if near else "edge.unknown_driver"
        params = {"driver": name, "near": near[0] if near else "", "known": ", ".join(known)}
        problems.append(Problem(file, key, code, params))
        return None
    try:
        return drivers.load(name)
    except HeadraceError as error:
        problems.append(Problem(file, key, error.code, error.params))
        return None


def _entries(
    settings: ConnectionSettings, point: type[Any], file: Path, key: str, problems: list[Problem]
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """(entry, file, key prefix) of every tag, those of the tags file first."""
    if settings.tags_file:
        path = (file.parent / settings.tags_file).resolve()
        for line, entry in read_tags(path, (TagSettings, point), f"{key}.tags_file", str(file), problems):
            yield entry, f"{settings.tags_file}:{line}", ""
    for n, entry in enumerate(settings.tags):
        yield entry, str(file), f"{key}.tags[{n}]"


def _points(
    settings: ConnectionSettings,
    driver: DriverType,
    driver_settings: Any,
    limits: Limits,
    file: Path,
    key: str,
    where: dict[str, str],
    problems: list[Problem],
) -> tuple[Point, ...]:
    point_type = driver.manifest.point
    common = frozenset(_fields(TagSettings))
    known = common | frozenset(_fields(point_type))
    points: list[Point] = []
    places: list[tuple[str, str]] = []
    for entry, at_file, at in _entries(settings, point_type, file, key, problems):
        for field in entry.keys() - known:
            problems.append(_unknown(at_file, _join(at, field), field, known))
        tag = _convert({k: v for k, v in entry.items() if k in common}, TagSettings, at_file, at, problems)
        own = {k: v for k, v in entry.items() if k in known and k not in common}
        point = _convert(own, point_type, at_file, at, problems)
        if tag is not None:
            _check_tag(tag, at_file, at, where, problems)
        if tag is None or point is None:
            continue
        try:
            layout = driver.layout(driver_settings, point)
            check_area(layout.span.area, layout.span.length, layout.span.length, limits)
        except HeadraceError as error:
            problems.append(_of_driver(error, at_file, at))
            continue
        points.append(Point(tag, tag.every or settings.every, point, layout))
        places.append((at_file, at))
    by_name = {p.tag.name: p for p in points}
    for p, (at_file, at) in zip(points, places, strict=True):
        if p.tag.report is not None:
            problems += _check_report(p, by_name, at_file, _join(at, "report"))
    return tuple(points)


def _check_tag(tag: TagSettings, file: str, at: str, where: dict[str, str], problems: list[Problem]) -> None:
    if not _TAG_NAME.fullmatch(tag.name):
        problems.append(Problem(file, _join(at, "name"), "edge.tag_name", {"name": tag.name}))
    here = f"{file}: {at}" if at else file
    if (first := where.setdefault(tag.name, here)) != here:
        params = {"tag": tag.name, "first": first}
        problems.append(Problem(file, _join(at, "name"), "edge.tag_twice", params))
    if tag.every is not None:
        _check_every(tag.every, file, _join(at, "every"), problems)
    for field, value in (("low", tag.low), ("high", tag.high)):
        if value is not None and not math.isfinite(value):
            problems.append(Problem(file, _join(at, field), "edge.not_finite", {"value": value}))
    if tag.low is not None and tag.high is not None and not tag.low < tag.high:
        problems.append(
            Problem(file, _join(at, "high"), "edge.range_empty", {"low": tag.low, "high": tag.high})
        )


def _check_report(p: Point, by_name: Mapping[str, Point], file: str, at: str) -> Iterable[Problem]:
    report = p.tag.report
    assert report is not None
    kind = p.layout.kind
    given = [f for f in ("absolute", "percent", "swing", "trigger") if getattr(report, f) is not None]
    if len(given) > 1:
        yield Problem(file, at, "edge.report_conflict", {"given": ", ".join(given)})
    if report.percent is not None and (p.tag.low is None or p.tag.high is None):
        yield Problem(file, f"{at}.percent", "edge.report_no_range", {"tag": p.tag.name})
    if report.swing is not None and kind is not Kind.F64:
        yield Problem(file, f"{at}.swing", "edge.report_kind", {"policy": "swing", "kind": kind.value})
    for name, band in (("absolute", report.absolute), ("percent", report.percent)):
        if band and kind in (Kind.BOOL, Kind.TEXT):
            yield Problem(file, f"{at}.{name}", "edge.report_kind", {"policy": name, "kind": kind.value})
    if report.trigger is not None:
        trigger = by_name.get(report.trigger)
        if trigger is None or trigger is p:
            near = difflib.get_close_matches(report.trigger, [n for n in by_name if n != p.tag.name], n=1)
            params = {"trigger": report.trigger, "near": near[0] if near else "-"}
            yield Problem(file, f"{at}.trigger", "edge.trigger_unknown", params)
        elif trigger.every != p.every:
            params = {"trigger": report.trigger, "tag": p.tag.name}
            yield Problem(file, f"{at}.trigger", "edge.trigger_interval", params)


def _check_every(every: int, file: str, key: str, problems: list[Problem]) -> None:
    if not _SHORTEST <= every <= _LONGEST:
        problems.append(Problem(file, key, "edge.every_range"))


def _convert(
    value: dict[str, Any],
    type_: type[T],
    file: str,
    key: str,
    problems: list[Problem],
) -> T | None:
    """`kernel.config.convert`, told every wrong field instead of the first: a field that was found wrong is
    left out and the rest is tried again."""
    faults = len(problems)
    value = dict(value)
    while True:
        before = len(problems)
        typed = convert(value, type_, file, key, problems)
        if len(problems) == before:
            return typed if len(problems) == faults else None
        problem = problems[-1]
        if not key:  # a place in a tags file has no prefix
            problem = problems[-1] = Problem(file, problem.key.lstrip("."), problem.code, problem.params)
        field = re.split(r"[.\[]", problem.key[len(key) :].lstrip("."), maxsplit=1)[0]
        if field not in value:
            if problem.code == "config.missing" and any(
                p.key.startswith(problem.key) for p in problems[faults:-1]
            ):
                problems.pop()  # it was there, and has been told of already
            return None
        del value[field]


def _of_driver(error: HeadraceError, file: str, at: str) -> Problem:
    """What a driver says of a point or of settings; its parameter `key` names the key at fault."""
    return Problem(file, _join(at, str(error.params.get("key", ""))), error.code, error.params)


def _fields(type_: type[Any]) -> list[str]:
    return [f.encode_name for f in msgspec.structs.fields(type_)]


def _join(at: str, field: str) -> str:
    return f"{at}.{field}" if at and field else at or field


def _unknown(file: str, at: str, field: str, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(field, list(known), n=1, cutoff=0.6)
    if near:
        return Problem(file, at, "config.unknown_key_near", {"field": field, "near": near[0]})
    return Problem(file, at, "config.unknown_key", {"field": field, "known": ", ".join(sorted(known))})
