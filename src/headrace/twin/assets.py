"""Machines as the configuration declares them; a machine that only tags name is known all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from headrace.kernel.config import Section
from headrace.kernel.messages import Text
from headrace.kernel.model import Tag


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine of the plant. `kind` is a free term (curing-oven, cnc-lathe); `order` its place in the
    line, lowest first."""

    title: Text | None = None
    kind: str = ""
    order: int = 1000


MACHINES: Section[dict[str, Machine]] = Section("machines", dict[str, Machine], default=dict)


def machines_of(declared: Mapping[str, Machine], tags: Iterable[Tag]) -> dict[str, Machine]:
    """Every machine by id, in line order: the declared ones, then those that only tags name."""
    found = {tag.machine for tag in tags} - set(declared)
    everything = {**declared, **{name: Machine(title=Text(zh=name, en=name)) for name in found}}
    return dict(sorted(everything.items(), key=lambda item: (item[1].order, item[0])))
