"""Tags files: CSV as spreadsheets write it. The header names the keys of a tag entry, dotted where they are
nested (`title.zh`, `report.absolute`); an empty cell leaves its key out.

Tolerated, because spreadsheets on plant computers do it: a byte order mark, GB18030 (GBK) or UTF-16 instead
of UTF-8, semicolons or tabs instead of commas, empty lines, lines that begin with #.
"""

from __future__ import annotations

import csv
import enum
import tomllib
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from headrace.kernel.config import Duration
from headrace.kernel.errors import Problem
from headrace.kernel.messages import os_reason

_YES = frozenset(("true", "yes", "1", "是"))
_NO = frozenset(("false", "no", "0", "否"))


def read_tags(
    path: Path, entry: tuple[type[Any], ...], key: str, file: str, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, tag entry) of each row. `entry`: the structs whose fields together make a tag entry;
    they say how a cell's text is read. What is wrong with the file as a whole is a Problem at `key` of
    `file`, what is wrong with its header or a row's form a Problem of its own line."""
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        code = "edge.tags_no_file" if isinstance(error, FileNotFoundError) else "edge.tags_unreadable"
        problems.append(Problem(file, key, code, {"path": str(path), "reason": os_reason(error)}))
        return
    if text is None:
        problems.append(Problem(file, key, "edge.tags_encoding", {"path": str(path)}))
        return
    lines = text.splitlines()
    head = next((line for line in lines if _counts(line)), "")
    rows = csv.reader(lines, delimiter=max(",;\t", key=head.count))
    columns: list[tuple[list[str], Callable[[str], Any]]] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:  # a cell beyond 128 Ki characters, most likely a quote that never closes
            where = f"{path.name}:{rows.line_num}"
            problems.append(Problem(where, "", "edge.tags_unreadable_row", {"reason": str(error)}))
            return
        if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
            continue
        if columns is None:
            names = [cell.strip() for cell in row]
            while names and not names[-1]:
                names.pop()
            twice = sorted({n for n in names if names.count(n) > 1 or not n})
            if twice:
                params = {"columns": ", ".join(n or '""' for n in twice)}
                problems.append(Problem(f"{path.name}:{rows.line_num}", "", "edge.tags_header", params))
                return
            columns = [(n.split("."), _reader(_type_of(n, entry))) for n in names]
            continue
        if any(cell.strip() for cell in row[len(columns) :]):
            shape = {"cells": len(row), "columns": len(columns)}
            problems.append(Problem(f"{path.name}:{rows.line_num}", "", "edge.tags_row", shape))
            continue
        yield rows.line_num, _entry(row, columns)


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _decode(raw: bytes) -> str | None:
    marked = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _entry(row: list[str], columns: list[tuple[list[str], Callable[[str], Any]]]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for cell, (path, read) in zip(row, columns, strict=False):
        cell = cell.strip()
        if not cell:
            continue
        node = entry
        for step in path[:-1]:
            child = node.setdefault(step, {})
            if not isinstance(child, dict):
                break
            node = child
        node[path[-1]] = read(cell)
    return entry


def _type_of(name: str, entry: tuple[type[Any], ...]) -> Any:
    """The annotation of a dotted field, or str where there is none (the field is told as unknown later)."""
    structs: list[Any] = list(entry)
    found: Any = str
    for step in name.split("."):
        found = next(
            (f.type for s in structs for f in msgspec.structs.fields(s) if f.encode_name == step), str
        )
        structs = [a for a in _plain(found) if isinstance(a, type) and issubclass(a, msgspec.Struct)]
    return found


def _plain(annotation: Any) -> list[Any]:
    """The types of an annotation: unions taken apart, metadata taken off, None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [p for a in get_args(annotation) for p in _plain(a)]
    return [] if annotation is type(None) else [annotation]


def _reader(annotation: Any) -> Callable[[str], Any]:
    """How the text of a cell becomes a value of `annotation`; text that does not fit stays text, so that
    the check of the entry tells of it."""
    plain = _plain(annotation)
    textual = any(
        p in (str, Duration) or get_origin(p) is Literal or (isinstance(p, type) and issubclass(p, enum.Enum))
        for p in plain
    )
    if textual:
        return str
    if bool in plain:
        return _bool
    if int in plain or float in plain:
        return _number if float in plain else _integer
    return _toml


def _bool(text: str) -> Any:
    low = text.lower()
    return True if low in _YES else False if low in _NO else text


def _integer(text: str) -> Any:
    try:
        return int(text, 0) if text.lower().startswith("0x") else int(text)
    except ValueError:
        number = _number(text)  # a spreadsheet writes 100 as 100.0
        return int(number) if isinstance(number, float) and number.is_integer() else number


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
