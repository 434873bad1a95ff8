"""One tag's points, asked of the node that runs on the data or, without one, read from the files; the same
JSON either way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli._api import NodeApi, find_node
from headrace.kernel.errors import NotFound

if TYPE_CHECKING:
    from headrace.kernel.model import Tag

_PAGE = 50_000
_INTEGERS = ("i64", "u64")
_OF_TEXTS = ("count", "first", "last")  # texts have no sum, mean or order of size


def fetch(
    data: Path, tag: str, start: int, end: int, every: int, aggregates: Sequence[str], limit: int | None
) -> dict[str, Any]:
    """{"tag", "kind", "points"}: [time ns, value, quality] each, floats exact, NaN and infinities as text,
    null where there is no value. With `every` (ns) also "every_ns" and "aggregates": [bucket start,
    one value per aggregate …, quality]."""
    node = find_node(data)
    if every:
        found = (
            _buckets_of_node(node, tag, start, end, every, aggregates)
            if node
            else _buckets_of_files(data, tag, start, end, every, aggregates)
        )
        found["points"] = found["points"][:limit]
        return found
    return _raw_of_node(node, tag, start, end, limit) if node else _raw_of_files(data, tag, start, end, limit)


def tags_named(data: Path, names: Sequence[str] | None) -> list[Tag]:
    """These tags of the catalogue, all where none is named. Raises NotFound (cli.no_tag, cli.no_history)."""
    from headrace.history import TagCatalog
    from headrace.records import open_records

    path = data / "records.sqlite"
    if not path.is_file():
        raise NotFound("cli.no_history", path=str(data))
    records = open_records(path)
    try:
        catalog = TagCatalog(records)
        if not names:
            return catalog.all()
        found = []
        for name in names:
            tag = catalog.get(name)
            if tag is None:
                raise NotFound("cli.no_tag", tag=name)
            found.append(tag)
        return found
    finally:
        records.close()


def _raw_of_node(node: NodeApi, tag: str, start: int, end: int, limit: int | None) -> dict[str, Any]:
    points: list[list[Any]] = []
    kind, position = "", start
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(points))
        asked = [
            ("tag", tag),
            ("from", str(position)),
            ("to", str(end)),
            ("times", "ns"),
            ("limit", str(size)),
        ]
        series = node.get("/history/query", asked)["series"][0]
        kind = series["kind"]
        values = [_plain(v, kind) for v in series["value"]]
        points += [list(row) for row in zip(series["time"], values, series["quality"], strict=True)]
        if series["next"] is None or (limit is not None and len(points) >= limit):
            return {"tag": tag, "kind": kind, "points": points[:limit]}
        position = series["next"]


def _buckets_of_node(
    node: NodeApi, tag: str, start: int, end: int, every: int, aggregates: Sequence[str]
) -> dict[str, Any]:
    asked = [("tag", tag), ("from", str(start)), ("to", str(end)), ("times", "ns")]
    asked += [("every", _span_text(every)), ("agg", ",".join(aggregates)), ("points", "1000000")]
    series = node.get("/series", asked)["series"][0]
    kind = series["kind"]
    nothing = [None] * len(series["time"])  # texts have no mean
    columns = [
        series.get(name) or nothing
        if name == "count"
        else [_plain(v, kind) for v in series.get(name) or nothing]
        for name in aggregates
    ]
    points = [list(row) for row in zip(series["time"], *columns, series["quality"], strict=True)]
    return _bucketed(tag, kind, every, aggregates, points)


def _raw_of_files(data: Path, name: str, start: int, end: int, limit: int | None) -> dict[str, Any]:
    from headrace.history import Reader

    (tag,) = tags_named(data, [name])
    with Reader(data / "history") as reader:
        series = reader.raw(tag.id, start, end, limit=limit, kind=tag.kind)
    values = [
        None if gone else _told(v)
        for v, gone in zip(series.value.tolist(), series.missing.tolist(), strict=True)
    ]
    rows = zip(series.time.tolist(), values, series.quality.tolist(), strict=True)
    return {"tag": name, "kind": tag.kind.value, "points": [list(row) for row in rows]}


def _buckets_of_files(
    data: Path, name: str, start: int, end: int, every: int, aggregates: Sequence[str]
) -> dict[str, Any]:
    from headrace.history import Reader
    from headrace.kernel.model import Kind

    (tag,) = tags_named(data, [name])
    wanted = tuple("sum" if a == "mean" else a for a in aggregates if a != "count") or ("last",)
    with Reader(data / "history") as reader:
        found = reader.buckets([tag.id], start // every * every, end, every, wanted).get(tag.id)
    if found is None:
        return _bucketed(name, tag.kind.value, every, aggregates, [])
    counts, bads = found.count.tolist(), found.bad.tolist()
    columns = []
    for aggregate in aggregates:
        values = getattr(found, aggregate) if tag.kind is not Kind.TEXT or aggregate in _OF_TEXTS else None
        listed = values.tolist() if values is not None else [None] * len(counts)
        some = aggregate == "count"
        columns.append([_told(v) if some or n else None for v, n in zip(listed, counts, strict=True)])
    # as the API grades a bucket: good, some points unusable, none usable
    qualities = [0x8000 if not n else 0x4000 if b else 0 for n, b in zip(counts, bads, strict=True)]
    points = [list(row) for row in zip(found.time.tolist(), *columns, qualities, strict=True)]
    return _bucketed(name, tag.kind.value, every, aggregates, points)


def _bucketed(
    tag: str, kind: str, every: int, aggregates: Sequence[str], points: list[list[Any]]
) -> dict[str, Any]:
    return {"tag": tag, "kind": kind, "every_ns": every, "aggregates": list(aggregates), "points": points}


def _told(value: Any) -> Any:
    """A value as the API would tell it, but for large integers, which stay numbers here."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _plain(value: Any, kind: str) -> Any:
    """A value of the API; what it tells as text because JavaScript has no such integer becomes one."""
    if kind in _INTEGERS and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if kind == "f64" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _span_text(ns: int) -> str:
    return f"{ns // 1_000_000}ms" if ns % 1_000_000 == 0 else f"{ns / 1000:.0f}us"
