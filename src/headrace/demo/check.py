"""The check of the whole path, from a device's register to what a screen asks for, through the HTTP API only.

Each step waits for what it wants, up to its own time; nothing is killed and what is changed is put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.demo import files
from headrace.demo.client import Api, tag_path
from headrace.demo.maps import DEVICES
from headrace.demo.parts import MACHINES
from headrace.kernel.clock import NS_PER_S, iso, parse_time
from headrace.kernel.errors import HeadraceError, Unavailable
from headrace.kernel.model import Quality

SETPOINT = "conveyor/oven-chain/setpoint"
EFFECT = "conveyor/oven-chain/speed"
TREND = "oven/zone3/temperature"
FRESH_S = 5.0  # a live machine has had a value within this time
NOTE = "headrace demo --check"  # what the audit trail says of the check's own acts
PROBE_S = 8.0  # of the probe's values are compared
_SETTLE_S = 2.0  # a value is in the history within this time of being served
_POLL_S = 0.25


class Step(msgspec.Struct, frozen=True):
    """What became of a step: `code` is the row of the message table that tells it, with its `params`."""

    id: str
    ok: bool
    code: str
    params: dict[str, Any] = {}
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """The whole check."""

    ok: bool
    seconds: float
    values_per_s: float
    tags: int
    steps: tuple[Step, ...]


class _NotYetError(Exception):
    """A condition that is not met; the last one tells why a step failed."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.code = code
        self.params = params


class Check:
    """Runs the steps against the node at `api` whose devices record below `data`."""

    def __init__(self, api: Api, data: Path) -> None:
        self.api = api
        self.data = data
        self.values_per_s = 0.0
        self.tags = 0
        self._began = time.time_ns()

    STEPS: tuple[tuple[str, float], ...] = (
        ("session", 10.0),
        ("gateway", 20.0),
        ("machines", 25.0),
        ("screens", 10.0),
        ("stream", 10.0),
        ("alarm", 30.0),
        ("write", 20.0),
        ("trend", 10.0),
        ("history", 20.0),
    )

    def run(self, tick: Callable[[], None] = lambda: None) -> Iterator[Step]:
        """Each step's outcome as it comes; `tick` is called while waiting."""
        for name, limit in self.STEPS:
            began = time.monotonic()
            step: Callable[[], tuple[str, dict[str, Any]]] = getattr(self, f"_{name}")
            while True:
                try:
                    code, params = step()
                    yield Step(name, True, code, params, round(time.monotonic() - began, 2))
                    break
                except _NotYetError as missing:
                    code, params = missing.code, missing.params
                except HeadraceError as error:
                    code, params = error.code, error.params
                except (KeyError, TypeError, ValueError, IndexError) as error:
                    code, params = "demo.check.shape", {"reason": f"{type(error).__name__}: {error}"}
                if time.monotonic() - began > limit:
                    yield Step(name, False, code, params, round(time.monotonic() - began, 2))
                    break
                tick()
                time.sleep(_POLL_S)

    # --- steps: each returns (code, params) or raises _NotYetError -----------------------------------------

    def _session(self) -> tuple[str, dict[str, Any]]:
        session = self.api.get("/session")
        if not session["signed_in"]:
            raise _NotYetError("demo.check.not_signed_in")
        return "demo.check.session", {"node": session["node"]["name"], "version": session["node"]["version"]}

    def _gateway(self) -> tuple[str, dict[str, Any]]:
        connections = [c for edge in self.api.get("/gateway")["edges"] for c in edge["connections"]]
        wanted = {d.name for d in DEVICES} | {"host"}
        up = {c["name"] for c in connections if c["state"] == "connected"}
        if missing := sorted(wanted - up):
            raise _NotYetError("demo.check.not_connected", names=", ".join(missing))
        self.values_per_s = sum(c["values_per_s"] for c in connections)
        if self.values_per_s <= 0:
            raise _NotYetError("demo.check.no_values")
        return "demo.check.gateway", {"count": len(up), "rate": round(self.values_per_s)}

    def _machines(self) -> tuple[str, dict[str, Any]]:
        now = time.time()
        machines = {m["id"]: m for m in self.api.get("/machines")}
        if missing := sorted(set(MACHINES) - set(machines)):
            raise _NotYetError("demo.check.no_machine", names=", ".join(missing))
        views: dict[str, dict[str, Any]] = {}
        for name in MACHINES:
            tags = self.api.get(f"/machines/{name}")["tags"]
            good = [t for t in tags if t["time"] and t["quality"] is not None and severity(t["quality"]) == 0]
            newest = max((_seconds(t["time"]) for t in good), default=0.0)
            if now - newest > FRESH_S:
                raise _NotYetError("demo.check.stale", machine=name)
            # A sensor that a computer does not have is told as bad quality; all else must be good.
            bad = [f"{t['name']} ({_why(t)})" for t in tags if t not in good and name != "host"]
            if bad:
                raise _NotYetError(
                    "demo.check.bad_tags", machine=name, tags=", ".join(bad[:3]), count=len(bad)
                )
            views |= {t["name"]: t for t in tags}
        declared = {s.name for d in DEVICES for s in d.signals}
        if missing := sorted(declared - set(views)):
            raise _NotYetError("demo.check.no_tag", tags=", ".join(missing[:3]), count=len(missing))
        self.tags = len(views)
        return "demo.check.machines", {"machines": len(MACHINES), "tags": len(views)}

    def _screens(self) -> tuple[str, dict[str, Any]]:
        screens = self.api.get("/screens")
        for screen in screens:
            if not self.api.get(f"/screens/{screen['id']}")["rows"]:
                raise _NotYetError("demo.check.empty_screen", screen=screen["id"])
            kind, body = self.api.page(screen["path"].replace(":machine", "oven"))
            if "text/html" not in kind or b"<div" not in body:
                raise _NotYetError("demo.check.no_page", path=screen["path"])
        if not screens:
            raise _NotYetError("demo.check.no_screens")
        return "demo.check.screens", {"count": len(screens)}

    def _stream(self) -> tuple[str, dict[str, Any]]:
        began = time.monotonic()
        events = [data for name, data in self.api.events("values", 3) if name == "values"]
        seen = {tag for data in events for tag in data["v"]}
        if len(events) < 3 or len(seen) < self.tags * 0.9:
            raise _NotYetError("demo.check.thin_stream", tags=len(seen))
        return "demo.check.stream", {"tags": len(seen), "seconds": round(time.monotonic() - began, 1)}

    def _alarm(self) -> tuple[str, dict[str, Any]]:
        items = self.api.get("/alarms", limit=500)["items"]
        # Only what was acknowledged now counts: an earlier check may have left the same alarm acknowledged.
        acknowledged = [
            a
            for a in items
            if a["acknowledged_at"] and parse_time(a["acknowledged_at"]) >= self._began and a["note"] == NOTE
        ]
        if acknowledged:
            alarm = acknowledged[0]
            return "demo.check.alarm", {
                "alarm": alarm["id"],
                "state": alarm["state"],
                "by": alarm["acknowledged_by"],
            }
        waiting = [a for a in items if a["state"] in ("active-unack", "cleared-unack")]
        if waiting:
            self.api.post(f"/alarms/{waiting[0]['id']}/acknowledge", {"note": NOTE})
        raise _NotYetError("demo.check.no_alarm")

    def _write(self) -> tuple[str, dict[str, Any]]:
        before = float(self._value(SETPOINT))
        speed = float(self._value(EFFECT))
        wanted = 2.5 if before < 2.1 else 1.5
        began = time.monotonic()
        try:
            result = self._put(wanted)
            if abs(float(result["readback"]) - wanted) > 1e-6:
                raise _NotYetError("demo.check.readback", wanted=wanted, found=result["readback"])
            while abs(float(self._value(EFFECT)) - wanted) > 0.25 * abs(speed - wanted):
                if time.monotonic() - began > 15.0:
                    raise _NotYetError("demo.check.no_effect", tag=EFFECT, value=self._value(EFFECT))
                time.sleep(_POLL_S)
            after = float(self._value(EFFECT))
        finally:
            self._put(before)
        params = {
            "tag": SETPOINT,
            "value": wanted,
            "effect": EFFECT,
            "before": round(speed, 2),
            "after": round(after, 2),
        }
        return "demo.check.write", params

    def _trend(self) -> tuple[str, dict[str, Any]]:
        series = self.api.get("/series", tag=[TREND, EFFECT], **{"from": "-2m", "to": "-0s", "points": 500})[
            "series"
        ]
        counts = {s["tag"]: len(s["time"]) for s in series}
        if min(counts.get(TREND, 0), counts.get(EFFECT, 0)) < 3:
            raise _NotYetError("demo.check.no_points", tag=TREND)
        return "demo.check.trend", {"tag": TREND, "count": counts[TREND]}

    def _history(self) -> tuple[str, dict[str, Any]]:
        """The values that the history holds of the probe must be the values that were served, each once
        and in order. Both ends of the window are cut at a served value that is surely in the history."""
        end = time.time_ns() - round(_SETTLE_S * NS_PER_S)
        start = end - round(PROBE_S * NS_PER_S)
        served = [s.value for s in files.read_served(self.data, start) if s.time < end]
        if len(served) < PROBE_S / 2:
            raise _NotYetError("demo.check.few_served", count=len(served))
        rows = self.api.get(
            "/history/query",
            tag=files.PROBE,
            **{"from": iso(start - NS_PER_S), "to": iso(end + NS_PER_S), "limit": 1000},
        )
        found = _values(rows)
        inside = [v for v in found if served[0] <= v <= served[-1]]
        if inside != sorted(set(served)):
            missing, strange = set(served) - set(inside), set(inside) - set(served)
            raise _NotYetError(
                "demo.check.history_differs",
                missing=len(missing),
                strange=len(strange),
                twice=len(inside) - len(set(inside)),
            )
        return "demo.check.history", {"tag": files.PROBE, "count": len(inside)}

    # --- helpers ------------------------------------------------------------------------------------------

    def _value(self, tag: str) -> Any:
        value = self.api.get(f"/tags/{tag_path(tag)}")["value"]
        if value is None:
            raise _NotYetError("demo.check.stale", machine=tag)
        return value

    def _put(self, value: float) -> dict[str, Any]:
        answer = self.api.post("/writes", {"writes": [{"tag": SETPOINT, "value": value}], "reason": NOTE})
        result: dict[str, Any] = answer["results"][0]
        if not result["ok"]:
            raise Unavailable("demo.check.write_refused", reason=result.get("code", ""), tag=SETPOINT)
        return result


def run_check(api: Api, data: Path, each: Callable[[Step], None], tick: Callable[[], None]) -> Report:
    """All steps; `each` is called with every outcome."""
    began = time.monotonic()
    check = Check(api, data)
    steps = []
    for step in check.run(tick):
        steps.append(step)
        each(step)
    return Report(
        ok=all(s.ok for s in steps),
        seconds=round(time.monotonic() - began, 1),
        values_per_s=round(check.values_per_s, 1),
        tags=check.tags,
        steps=tuple(steps),
    )


def severity(quality: int) -> Literal[0, 1, 2]:
    """0 good, 1 uncertain, 2 bad."""
    level = (quality >> 14) & 3
    return 0 if level == 0 else 1 if level == 1 else 2


def _why(tag: dict[str, Any]) -> str:
    """The name of a tag's quality, where it has one."""
    if tag["quality"] is None:
        return "no value"
    try:
        return Quality(tag["quality"]).name.lower()
    except ValueError:
        return f"0x{tag['quality']:04x}"


def _seconds(when: str) -> float:
    return parse_time(when) / NS_PER_S


def _values(rows: Any) -> list[int]:
    """The good values of an answer of /history/query, whose integers may stand as text."""
    series = rows["series"][0] if "series" in rows else rows
    return [
        int(v)
        for v, q in zip(series["value"], series["quality"], strict=True)
        if severity(q) == 0 and v is not None
    ]
