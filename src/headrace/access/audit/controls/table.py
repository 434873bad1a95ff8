"""The table: control points as data, filled with what the probes saw."""

from __future__ import annotations

import enum
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import structlog

from headrace.access.audit.controls.probes import Finding, Node, Seen, all_probes
from headrace.kernel.clock import iso
from headrace.kernel.errors import HeadraceError
from headrace.kernel.messages import Text, render

_log = structlog.get_logger(__name__)

STANDARD = "GB/T 22239-2019"


class ControlState(enum.StrEnum):
    """What the probes of a control point say together. None of them says that the point is met."""

    SEEN = "seen"  # all that could be looked at speaks for it
    CONTRARY = "contrary"  # something speaks against it
    UNKNOWN = "unknown"  # something could not be looked at
    OPERATOR = "operator"  # nothing the software can see; for the operator to fill in


_STATE_TITLES = {
    ControlState.SEEN: Text("已见证据", "evidence seen"),
    ControlState.CONTRARY: Text("所见不符", "evidence against"),
    ControlState.UNKNOWN: Text("未能查看", "could not look"),
    ControlState.OPERATOR: Text("由运营者填写", "for the operator"),
}


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A control point as data."""

    family: str
    title: Text
    probes: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    families: dict[str, Text]
    controls: dict[str, Point]


class Control(msgspec.Struct, frozen=True):
    """A row: control point `clause` of the standard with what was seen."""

    clause: str
    family: Text
    title: Text
    state: ControlState
    findings: tuple[Finding, ...]


class ControlTable(msgspec.Struct, frozen=True, kw_only=True):
    """All rows as of `made` (UTC ns)."""

    standard: str
    level: int
    made: int
    rows: tuple[Control, ...]

    @property
    def counts(self) -> dict[ControlState, int]:
        found = Counter(row.state for row in self.rows)
        return {state: found[state] for state in ControlState}

    def disclaimer(self, lang: str) -> str:
        return render("control.no_assessment", lang, standard=self.standard)

    def render(self, lang: str = "zh") -> str:
        """The table as Markdown."""
        zh = lang == "zh"
        head = ("条款", "控制点", "状态", "所见") if zh else ("Clause", "Control point", "State", "Seen")
        lines = [
            f"# {self.standard} {'第三级控制点对照表' if zh else 'level 3: table of control points'}",
            "",
            f"**{self.disclaimer(lang)}**",
            "",
            iso(self.made),
            "",
            "; ".join(f"{_STATE_TITLES[s].get(lang)}: {n}" for s, n in self.counts.items()),
        ]
        family: Text | None = None
        for row in self.rows:
            if row.family != family:
                family = row.family
                lines += ["", f"## {row.clause.rpartition('.')[0]} {family.get(lang)}", ""]
                lines += ["| " + " | ".join(head) + " |", "|---|---|---|---|"]
            seen = "<br>".join(f"{_MARK[f.seen]} {f.text(lang)}".replace("|", "\\|") for f in row.findings)
            cells = (row.clause, row.title.get(lang), _STATE_TITLES[row.state].get(lang), seen)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, ""])


_MARK = {Seen.YES: "✓", Seen.NO: "✗", Seen.UNKNOWN: "?"}


@cache
def points() -> _File:
    """The control points. Raises ValueError where the file contradicts itself."""
    raw = tomllib.loads(Path(__file__).with_name("controls.toml").read_text(encoding="utf-8"))
    found = msgspec.convert(raw, _File)
    for clause, point in found.controls.items():
        if point.family not in found.families or not clause.startswith(point.family + "."):
            raise ValueError(f"{clause}: family {point.family}")
    return found


def fill(node: Node) -> ControlTable:
    """Run every probe once and fill the table. A probe that fails leaves its control points unknown, with
    the reason."""
    found: dict[str, Finding] = {}
    for name, probe in all_probes().items():
        try:
            found[name] = probe(node)
        except (HeadraceError, OSError, ValueError) as error:
            _log.warning("control_probe_failed", probe=name, error=str(error))
            found[name] = Finding(Seen.UNKNOWN, "control.failed", {"probe": name, "reason": str(error)})
    file = points()
    rows = []
    for clause, point in file.controls.items():
        findings = tuple(found[name] for name in point.probes if name in found)
        rows.append(Control(clause, file.families[point.family], point.title, _state(findings), findings))
    return ControlTable(standard=STANDARD, level=3, made=node.clock.now(), rows=tuple(rows))


def _state(findings: tuple[Finding, ...]) -> ControlState:
    if not findings:
        return ControlState.OPERATOR
    seen = {finding.seen for finding in findings}
    if Seen.NO in seen:
        return ControlState.CONTRARY
    return ControlState.UNKNOWN if Seen.UNKNOWN in seen else ControlState.SEEN
