"""The audit report of a period: what happened, what was refused, and whether the log can be trusted."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from headrace.access.audit import _tables as t
from headrace.access.audit.actions import title
from headrace.access.audit.log import AuditLog, entry_of_row, seen_by
from headrace.access.audit.record import MIN_RETENTION_DAYS, Entry, Outcome
from headrace.access.audit.verify import Verdict
from headrace.access.tenancy.scope import Scope
from headrace.kernel.clock import NS_PER_S, iso
from headrace.kernel.errors import InputError

_TOP = 20
_NOTABLE = (
    "account.", "approval.", "grant.", "key.", "machine.write", "mandate.", "membership.", "pki.", "policy.",
    "role.", "rule.activate", "security.", "share.granted", "share.published", "share.revoked", "audit.",
)  # fmt: skip
_SILENCE_S = 86_400


class ActionCount(msgspec.Struct, frozen=True):
    """How often `action` ended with `outcome`."""

    action: str
    outcome: str
    count: int


class ActorCount(msgspec.Struct, frozen=True):
    """How much an actor did in the period, and how much of it was refused or failed."""

    actor: str
    name: str
    count: int
    not_done: int


class Silence(msgspec.Struct, frozen=True):
    """No entry at all between these times (UTC ns): the log, or the node, stood still."""

    start: int
    end: int


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """`total` entries in [start, end) that the scope sees. `actors`: the busiest; `refused`: the newest acts
    denied or failed; `notable`: the newest that changed rights, keys, policies or machines. `oldest`: UTC ns
    of the first entry still in the log, None of an empty one; `days_kept` up to `made`."""

    start: int
    end: int
    made: int
    total: int
    actions: list[ActionCount]
    actors: list[ActorCount]
    refused: list[Entry]
    notable: list[Entry]
    silences: list[Silence]
    oldest: int | None
    days_kept: int
    verdict: Verdict | None

    def render(self, lang: str = "zh") -> str:
        """The report as Markdown."""
        return _render(self, lang)


def audit_report(
    log: AuditLog, start: int, end: int, scope: Scope, *, verdict: Verdict | None = None
) -> AuditReport:
    """The report of [start, end) ns as `scope` may see it. `verdict`: of a check made for it (`verify`).

    Raises InputError (`audit.bad_query`) where the period is empty.
    """
    if start >= end:
        raise InputError("audit.bad_query", field="end", value=iso(end))
    c = t.entry.c
    within = [seen_by(scope), c.time >= start, c.time < end]
    not_done = c.outcome.in_([Outcome.DENIED.value, Outcome.FAILED.value])
    count = sa.func.count()
    by_action = sa.select(c.action, c.outcome, count).where(*within).group_by(c.action, c.outcome)
    by_actor = (
        sa.select(c.actor, sa.func.max(c.actor_name), count, sa.func.sum(sa.case((not_done, 1), else_=0)))
        .where(*within)
        .group_by(c.actor)
        .order_by(count.desc(), c.actor)
        .limit(_TOP)
    )
    newest = sa.select(*t.CONTENT).where(*within).order_by(c.sequence.desc()).limit(_TOP)
    changes = sa.or_(*(c.action.startswith(prefix, autoescape=True) for prefix in _NOTABLE))
    before = sa.func.lag(c.time).over(order_by=c.sequence).label("before")
    steps = sa.select(c.time, before).where(*within).subquery()
    long = steps.c.time - steps.c.before > _SILENCE_S * NS_PER_S
    with log.records.read() as connection:
        actions = [ActionCount(*row) for row in connection.execute(by_action)]
        actors = [ActorCount(*row) for row in connection.execute(by_actor)]
        refused = [entry_of_row(row) for row in connection.execute(newest.where(not_done))]
        notable = [entry_of_row(row) for row in connection.execute(newest.where(changes))]
        silent = connection.execute(sa.select(steps).where(long).order_by(steps.c.time)).all()
        oldest = connection.scalar(sa.select(sa.func.min(c.time)))
    made = log.clock.now()
    return AuditReport(
        start=start,
        end=end,
        made=made,
        total=sum(a.count for a in actions),
        actions=sorted(actions, key=lambda a: (-a.count, a.action, a.outcome)),
        actors=actors,
        refused=refused,
        notable=notable,
        silences=[Silence(int(row.before), int(row.time)) for row in silent],
        oldest=oldest,
        days_kept=0 if oldest is None else max(0, (made - oldest) // (86_400 * NS_PER_S)),
        verdict=verdict,
    )


def _render(report: AuditReport, lang: str) -> str:
    zh = lang == "zh"

    def say(chinese: str, english: str) -> str:
        return chinese if zh else english

    def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
        if not rows:
            return [say("无。", "None."), ""]
        lines = [head, tuple("---" for _ in head), *rows]
        return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines] + [""]

    def entries(found: list[Entry]) -> list[str]:
        head = ("#", *((say("时间", "Time"), say("谁", "Who"), say("行为", "Act"))),
                say("对象", "On"), say("结果", "Outcome"), say("原因", "Reason"))  # fmt: skip
        return table(head, [
            (e.sequence, iso(e.time)[:19] + "Z", e.actor_name or e.actor, title(e.action, lang), e.resource,
             e.outcome, e.reason) for e in found
        ])  # fmt: skip

    verdict = report.verdict
    lines = [
        "# " + say("审计报告", "Audit report"),
        "",
        f"{iso(report.start)} — {iso(report.end)}",
        "",
        f"- {say('记录数', 'Entries')}: {report.total}",
        f"- {say('日志核验', 'Check of the log')}: "
        + (verdict.text(lang) if verdict else say("未核验", "not checked for this report")),
        f"- {say('日志已保存天数', 'Days in the log')}: {report.days_kept} "
        + say(f"（不足 {MIN_RETENTION_DAYS} 天前的记录不会删除）",
              f"(nothing younger than {MIN_RETENTION_DAYS} days is ever removed)"),
        f"- {say('生成时间', 'Made')}: {iso(report.made)}",
        "",
        "## " + say("行为", "Acts"),
        "",
        *table((say("行为", "Act"), say("结果", "Outcome"), say("次数", "Count")),
               [(title(a.action, lang), a.outcome, a.count) for a in report.actions]),
        "## " + say("最活跃者", "The busiest"),
        "",
        *table((say("谁", "Who"), say("次数", "Count"), say("未成功", "Not done")),
               [(a.name or a.actor, a.count, a.not_done) for a in report.actors]),
        "## " + say("被拒绝或失败的行为（最近）", "Refused or failed (newest)"),
        "",
        *entries(report.refused),
        "## " + say("权限、密钥、策略与设备的变更（最近）", "Rights, keys, policies, machines (newest)"),
        "",
        *entries(report.notable),
        "## " + say("超过一天没有任何记录的时段", "More than a day without any entry"),
        "",
        *table((say("起", "From"), say("止", "To")), [(iso(s.start), iso(s.end)) for s in report.silences]),
    ]  # fmt: skip
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
