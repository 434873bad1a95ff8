"""The `[node]` section, and the whole file: every room's sections composed."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.kernel.config import Name, Section, Settings
from headrace.kernel.config import load as load_sections
from headrace.kernel.errors import ConfigError, Problem
from headrace.kernel.messages import Text


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this node is. `name` stands in every batch's key, so it must not change once data exist."""

    name: Name = "plant-1"
    profile: Literal["plant"] = "plant"
    title: Text | None = None
    timezone: str = "Asia/Shanghai"
    roles: tuple[Literal["ingest", "rules", "edge", "api"], ...] | None = None  # None: all of the profile


def _check(node: NodeSettings, settings: Settings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    try:
        zoneinfo.ZoneInfo(node.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield "timezone", "node.bad_timezone", {"value": node.timezone}
    for problem in _alarm_problems(settings):
        yield "", problem.code, {**problem.params, "at": problem.key}


def _alarm_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with alarms once it is known which tags there are; rules may not ask the edge itself."""
    from headrace.edge import EDGE, tag_specs
    from headrace.kernel.expr import Symbol
    from headrace.rules import ALARMS, problems_of

    try:
        specs = tag_specs(settings[EDGE], settings.file)
    except ConfigError:
        return  # the edge's own check tells why; which tags there are is not known
    alarms = settings[ALARMS]
    told = (
        {(f"alarms{key}", code) for key, code, _ in ALARMS.check(alarms, settings)} if ALARMS.check else set()
    )
    symbols = {spec.name: Symbol(spec.kind, spec.unit) for spec in specs}
    for problem in problems_of(alarms, symbols, str(settings.file)):
        if (problem.key, problem.code) not in told:
            yield problem


NODE: Section[NodeSettings] = Section("node", NodeSettings, check=_check)


def sections() -> list[Section[Any]]:
    """Every section that may stand in headrace.toml."""
    from headrace.api import API
    from headrace.bus import BUS
    from headrace.edge import EDGE
    from headrace.history import HISTORY
    from headrace.rules import ALARMS
    from headrace.twin import MACHINES

    return [NODE, MACHINES, API, BUS, HISTORY, EDGE, ALARMS]


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check `path` with the environment (`HEADRACE_SECTION__KEY`) laid over it. Raises ConfigError
    with every Problem found."""
    return load_sections(path, sections(), os.environ if environ is None else environ)
