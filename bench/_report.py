"""What every benchmark prints: a table for people, one JSON object for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, cores, memory and kernel of the machine that measured."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of the named distributions."""
    found = {"python": platform.python_version()}
    for name in ("headrace", *packages):
        found[name] = metadata.version(name)
    return found


def report(
    name: str,
    figures: dict[str, float],
    *,
    as_json: bool,
    peers: dict[str, Any] | None = None,
    ratios: dict[str, float] | None = None,
    details: dict[str, Any] | None = None,
    packages: tuple[str, ...] = (),
) -> None:
    """Print the result. With `as_json` the last line of stdout is one JSON object."""
    result = {
        "name": name,
        "machine": machine(),
        "versions": versions(*packages),
        "figures": figures,
        "peers": peers or {},
        "ratios": ratios or {},
        "details": details or {},
    }
    out = sys.stderr if as_json else sys.stdout
    width = max((len(k) for k in (*figures, *(ratios or {}))), default=0)
    for title, rows in (("figures", figures), ("peers", peers or {}), ("ratios", ratios or {})):
        if rows:
            print(f"\n{name}: {title}", file=out)
            for key, value in rows.items():
                shown = f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
                print(f"  {key:<{width}}  {shown}", file=out)
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
