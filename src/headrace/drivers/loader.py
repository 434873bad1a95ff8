"""Drivers by name, from the entry points `headrace.drivers` of every installed package."""

from __future__ import annotations

import difflib
from importlib import metadata
from typing import Final

from headrace.kernel.errors import HeadraceError, NotFound
from headrace.kernel.ports import DriverType, Manifest

GROUP: Final = "headrace.drivers"


def names() -> list[str]:
    """The ids of all installed drivers, sorted; none is imported."""
    return sorted({point.name for point in metadata.entry_points(group=GROUP)})


def load(id: str) -> DriverType:
    """The driver of that id. Raises NotFound where none is installed, HeadraceError where it is broken."""
    found = list(metadata.entry_points(group=GROUP, name=id))
    if not found:
        known = names()
        near = difflib.get_close_matches(id, known, n=1, cutoff=0.5)
        code = "drivers.unknown_near" if near else "drivers.unknown"
        raise NotFound(code, driver=id, near="".join(near), known=", ".join(known))
    if len({point.value for point in found}) > 1:
        raise HeadraceError("drivers.twice", driver=id, where=", ".join(sorted(p.value for p in found)))
    try:
        driver = found[0].load()
    except (ImportError, AttributeError) as error:
        raise HeadraceError("drivers.broken", driver=id, where=found[0].value, reason=str(error)) from error
    manifest = getattr(driver, "manifest", None)
    if not isinstance(manifest, Manifest) or manifest.id != id:
        raise HeadraceError("drivers.no_driver", driver=id, where=found[0].value)
    loaded: DriverType = driver
    return loaded
