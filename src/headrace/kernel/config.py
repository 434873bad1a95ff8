"""Configuration: `headrace.toml`, then the environment (`HEADRACE_API__PORT=9000` sets `api.port`), then the
defaults of the structs. Each room declares the Section it reads; nothing else may stand in the file.

Every fault becomes a Problem with file, key and fix, and all faults are reported at once.
"""

from __future__ import annotations

import difflib
import enum
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_origin

import msgspec

from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import ConfigError, Problem
from headrace.kernel.messages import Text

T = TypeVar("T")

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""A TCP or UDP port; 0 takes a free one."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=63)]
"""An identifier that is also a bus token: lower-case letters, digits and single hyphens."""


class Duration(int):
    """Nanoseconds; in files a text such as "250ms", "1s", "1.5s", "5m", "2h", "7d"."""


_UNITS = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(us|ms|s|m|h|d)$")


def duration(text: str) -> Duration:
    """Raises ValueError where `text` is not a number followed by us, ms, s, m, h or d."""
    match = _DURATION.match(text)
    if not match:
        raise ValueError(text)
    return Duration(round(float(match[1]) * _UNITS[match[2]]))


class Section(Generic[T]):
    """One top-level table (or array of tables, `many`) of the file and the room that owns it.

    `check` gets the decoded value and the whole Settings and yields (key below the section, code, params)
    for what types cannot say. `required` sections must stand in the file.
    """

    def __init__(
        self,
        key: str,
        type_: type[T],
        *,
        check: Callable[[T, Settings], Iterable[tuple[str, str, dict[str, Any]]]] | None = None,
        required: bool = False,
        default: Callable[[], T] | None = None,
    ) -> None:
        self.key = key
        self.type = type_
        self.check = check
        self.required = required
        self.default = default


class Settings:
    """A checked configuration: `settings[SECTION]` is that room's typed part."""

    def __init__(self, file: Path, values: Mapping[str, Any]) -> None:
        self.file = file
        self._values = values

    def __getitem__(self, section: Section[T]) -> T:
        return self._values[section.key]  # type: ignore[no-any-return]

    def path(self, relative: str) -> Path:
        """A path that the file names, relative to the file's own folder."""
        return (self.file.parent / relative).resolve()


def load(path: Path, sections: Sequence[Section[Any]], environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check `path`. Raises ConfigError with every Problem found."""
    file = str(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors put a mark first
    except FileNotFoundError:
        raise ConfigError([Problem(file, "", "config.no_file")]) from None
    except IsADirectoryError:
        raise ConfigError([Problem(file, "", "config.is_folder")]) from None
    except PermissionError:
        raise ConfigError([Problem(file, "", "config.no_permission")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, "", "config.not_utf8", {"offset": error.start})]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(file, "", "config.not_toml", {"reason": str(error)})]) from None
    return check(raw, sections, file=path, environ=environ)


def check(
    raw: dict[str, Any],
    sections: Sequence[Section[Any]],
    *,
    file: Path,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The same for a table that is already parsed."""
    problems: list[Problem] = []
    known = {s.key: s for s in sections}
    raw = _overlay(raw, environ or {}, known, problems)
    for key in raw:
        if key not in known:
            problems.append(_unknown(str(file), key, key, known))
    values: dict[str, Any] = {}
    for section in sections:
        if section.key not in raw:
            if section.required:
                problems.append(Problem(str(file), section.key, "config.missing", {"field": section.key}))
            else:
                values[section.key] = section.default() if section.default else _defaults(section)
            continue
        values[section.key] = convert(raw[section.key], section.type, str(file), section.key, problems)
    settings = Settings(file, values)
    if not problems:
        for section in sections:
            if section.check:
                for key, code, params in section.check(values[section.key], settings):
                    at = f"{section.key}{'' if not key or key.startswith('[') else '.'}{key}"
                    problems.append(
                        Problem(params.pop("file", str(file)), params.pop("at", at), code, params)
                    )
    if problems:
        raise ConfigError(problems, file=str(file))
    return settings


def _defaults(section: Section[Any]) -> Any:
    return msgspec.convert({}, section.type)


_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.S)
_RANGE = re.compile(r"Expected `\w+` ([<>]=?) (.+)")


def convert(value: Any, type_: type[T], file: str, key: str, problems: list[Problem]) -> T | None:
    """`value` as `type_`; where it does not fit, one Problem per fault under `key`, and None."""
    try:
        fitted: T = _fit(value, type_)
        return fitted
    except msgspec.ValidationError as error:
        found = list(_faults(value, type_, file, key))
        problems.extend(found or [_problem(error, value, type_, file, key)])
        return None


def _fit(value: Any, type_: Any) -> Any:
    return msgspec.convert(value, type_, dec_hook=_decode, str_keys=True)


def _faults(value: Any, type_: Any, file: str, key: str) -> Iterator[Problem]:
    """Every fault in `value`: msgspec stops at the first, so tables and arrays are walked item by item."""
    choices = [a for a in getattr(type_, "__args__", ()) if a is not type(None)]
    if isinstance(type_, types.UnionType) and len(choices) == 1:
        type_ = choices[0]  # an optional value that is there
        choices = list(getattr(type_, "__args__", ()))
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct) and isinstance(value, dict):
        fields = {f.encode_name: f for f in msgspec.structs.fields(type_)}
        if not type_.__struct_config__.tag:
            for name in value:
                if name not in fields and type_.__struct_config__.forbid_unknown_fields:
                    yield _unknown(file, f"{key}.{name}", name, fields)
            for name, field in fields.items():
                if name in value:
                    yield from _faults(value[name], field.type, file, f"{key}.{name}")
                elif field.required:
                    yield Problem(file, f"{key}.{name}", "config.missing", {"field": name})
            return
    origin = getattr(type_, "__origin__", None)
    if origin in (list, tuple) and isinstance(value, list) and choices:
        for n, item in enumerate(value):
            yield from _faults(item, choices[0], file, f"{key}[{n}]")
        return
    if origin is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from _faults(item, choices[-1], file, f"{key}.{name}")
        return
    try:
        _fit(value, type_)
    except msgspec.ValidationError as error:
        yield _problem(error, value, type_, file, key)


def _decode(type_: type[Any], value: Any) -> Any:
    if type_ is Duration:
        if not isinstance(value, str):
            raise ValueError("duration")
        try:
            return duration(value)
        except ValueError:
            raise ValueError("duration") from None
    raise NotImplementedError(type_)


def _problem(error: msgspec.ValidationError, value: Any, type_: type[Any], file: str, key: str) -> Problem:
    match = _AT.match(str(error))
    assert match is not None
    what, path = match["what"], (match["path"] or "$")
    at = key + path[1:]
    found = _lookup(value, path)
    shown = (
        repr(found)
        if isinstance(found, str)
        else str(found).lower()
        if isinstance(found, bool)
        else str(found)
    )
    if what == "duration":
        return Problem(file, at, "config.not_duration", {"value": shown})
    if unknown := re.match(r"Object contains unknown field `(.+)`", what):
        field = unknown[1]
        return _unknown(file, f"{at}.{field}", field, _fields(type_, path))
    if missing := re.match(r"Object missing required field `(.+)`", what):
        return Problem(file, f"{at}.{missing[1]}", "config.missing", {"field": missing[1]})
    if invalid := re.match(r"Invalid enum value (.+)", what):
        return Problem(
            file, at, "config.not_one_of", {"value": invalid[1], "choices": ", ".join(_choices(type_, path))}
        )
    if range_ := _RANGE.match(what):
        return Problem(file, at, "config.out_of_range", {"value": shown, "bound": f"{range_[1]} {range_[2]}"})
    if "matching regex" in what:
        code = "config.not_name" if "[a-z0-9]" in what else "config.bad_form"
        return Problem(file, at, code, {"value": shown, "form": what.partition("regex ")[2]})
    if expected := re.match(r"Expected `(.+?)`, got `(.+?)`", what):
        words = {"expected": _type_words(expected[1]), "found": _type_words(expected[2])}
        return Problem(file, at, "config.wrong_type", {**words, "value": shown})
    return Problem(file, at, "config.bad_value", {"value": shown, "reason": what})


_TYPES = {
    "str": Text("文本", "a text"),
    "int": Text("整数", "a whole number"),
    "float": Text("数", "a number"),
    "bool": Text("true 或 false", "true or false"),
    "array": Text("数组", "an array"),
    "object": Text("表", "a table"),
    "datetime": Text("日期时间", "a date and time"),
}


def _type_words(names: str) -> Text:
    """msgspec's names of types ("int | float") in a reader's words."""
    words = [_TYPES[n] for n in names.split(" | ") if n in _TYPES]
    if not words:
        return Text(names, names)
    return Text("或".join(w.zh for w in words), " or ".join(w.en for w in words))


def _unknown(file: str, at: str, field: str, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(field, list(known), n=1, cutoff=0.6)
    if near:
        return Problem(file, at, "config.unknown_key_near", {"field": field, "near": near[0]})
    return Problem(file, at, "config.unknown_key", {"field": field, "known": ", ".join(sorted(known))})


def _steps(path: str) -> list[str | int]:
    return [
        int(n) if n else f
        for f, n in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path.replace("[...]", "[0]"))
    ]


def _lookup(value: Any, path: str) -> Any:
    for step in _steps(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _type_at(type_: Any, path: str) -> Any:
    for step in _steps(path):
        args = [a for a in getattr(type_, "__args__", ()) if a is not type(None)]
        if isinstance(step, int):
            type_ = args[0] if args else None
        else:
            structs = [a for a in [type_, *args] if isinstance(a, type) and issubclass(a, msgspec.Struct)]
            if structs:
                type_ = next(
                    (f.type for f in msgspec.structs.fields(structs[0]) if f.encode_name == step), None
                )
            else:
                type_ = args[-1] if args else None
    args = [a for a in getattr(type_, "__args__", ()) if a is not type(None)]
    optional = len(args) == 1 and not isinstance(type_, type) and get_origin(type_) is not Literal
    return args[0] if optional else type_


def _fields(type_: Any, path: str) -> list[str]:
    found = _type_at(type_, path)
    if isinstance(found, type) and issubclass(found, msgspec.Struct):
        return [f.encode_name for f in msgspec.structs.fields(found)]
    return []


def _choices(type_: Any, path: str) -> list[str]:
    found = _type_at(type_, path)
    if isinstance(found, type) and issubclass(found, enum.Enum):
        return [str(member.value) for member in found]
    return [str(a) for a in getattr(found, "__args__", ())]


def _overlay(
    raw: dict[str, Any],
    environ: Mapping[str, str],
    known: Mapping[str, Section[Any]],
    problems: list[Problem],
) -> dict[str, Any]:
    """HEADRACE_A__B=v sets a.b; v is read as TOML where it can be, else as text."""
    out = dict(raw)
    for name, text in sorted(environ.items()):
        if not name.startswith("HEADRACE_") or "__" not in name:
            continue
        keys = name.removeprefix("HEADRACE_").lower().split("__")
        if keys[0] not in known:
            problems.append(_unknown(f"environment {name}", keys[0], keys[0], known))
            continue
        try:
            value: Any = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text
        node = out
        for key in keys[:-1]:
            child = node.get(key)
            if child is not None and not isinstance(child, dict):
                problems.append(
                    Problem(f"environment {name}", ".".join(keys), "config.env_not_table", {"field": key})
                )
                break
            node[key] = dict(child or {})
            node = node[key]
        else:
            node[keys[-1]] = value
    return out
