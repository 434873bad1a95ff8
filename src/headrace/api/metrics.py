"""Figures for Prometheus (text exposition format 0.0.4), written by hand: there are few of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

_BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)  # seconds

Sample = tuple[dict[str, str], float]
"""Labels and value."""


class Family(msgspec.Struct, frozen=True):
    """One metric: all its samples."""

    name: str
    type: str  # gauge | counter
    help: str
    samples: list[Sample]


class Metrics:
    """Counts requests; `text` renders them with the gauges it is given."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def timed(self, method: str, status: int, seconds: float) -> None:
        """Count one answer. Streams end with their client, so only what is quick is in the histogram's low
        buckets; methods that no client should use are counted together."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
        self._requests[known, f"{status // 100}xx"] += 1
        self._buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def text(self, families: Iterable[Family]) -> str:
        """The exposition: the requests counted here, then `families`."""
        lines: list[str] = []
        requests = [({"method": m, "status": s}, float(n)) for (m, s), n in sorted(self._requests.items())]
        _write(
            lines,
            Family("headrace_http_requests_total", "counter", "Answers by method and status.", requests),
        )
        name = "headrace_http_request_seconds"
        lines.append(f"# HELP {name} Time from request to the end of the answer.")
        lines.append(f"# TYPE {name} histogram")
        total = 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]
        for family in families:
            _write(lines, family)
        return "\n".join(lines) + "\n"


def _write(lines: list[str], family: Family) -> None:
    lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"]
    for labels, value in family.samples:
        inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{family.name}{f'{{{inner}}}' if inner else ''} {value:.12g}")


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
