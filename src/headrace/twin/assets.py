"""Machines as the configuration declares them; a machine that only tags name is known all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from headrace.kernel.config import Section
from headrace.kernel.messages import Text
from headrace.kernel.model import Tag


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine of the plant. `kind` is a free term (curing-oven, cnc-lathe); `order` its place in the
    line, lowest first; `beside`: it serves the line and is no step of it, so nothing flows into it.

    `parts` gives its sub-assemblies titles and their order: the key is what stands in a tag's name between
    the machine and the measurement (`zone1` of `oven/zone1/temperature`); parts of one title show as one.
    """

    title: Text | None = None
    kind: str = ""
    order: int = 1000
    beside: bool = False
    parts: dict[str, Text] = msgspec.field(default_factory=dict)


MACHINES: Section[dict[str, Machine]] = Section("machines", dict[str, Machine], default=dict)


def part_of(tag: str) -> str:
    """What stands between machine and measurement in a tag's name; "" where nothing does."""
    return "/".join(tag.split("/")[1:-1])


def machines_of(declared: Mapping[str, Machine], tags: Iterable[Tag]) -> dict[str, Machine]:
    """Every machine by id, in line order: the declared ones, then those that only tags name."""
    found = {tag.machine for tag in tags} - set(declared)
    everything = {**declared, **{name: Machine(title=Text(zh=name, en=name)) for name in found}}
    return dict(sorted(everything.items(), key=lambda item: (item[1].order, item[0])))
