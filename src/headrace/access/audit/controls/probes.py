"""Probes of the records and files of a node: each looks at one thing as it is now, not as it was meant."""

from __future__ import annotations

import ctypes
import enum
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.audit import AnchorFile, AuditRetention, Head, verify
from headrace.access.audit import _tables as audit_tables
from headrace.access.decisions import ADMINISTRATORS, load_policies
from headrace.access.events import Events
from headrace.access.identity.config import IdentitySettings
from headrace.access.sharing import Grants, Keys
from headrace.kernel import messages
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.records import Records

_DAY = 86_400 * NS_PER_S
_ANCHOR_DAYS = 7
_IDLE_DAYS = 90
_STA_UNSYNC = 0x40  # linux/timex.h
_ADJTIMEX_BYTES = 512  # more than struct timex on any platform; `status` is at the same place on 64 bits


class Seen(enum.StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True):
    """What a probe saw: a row of the message table with its figures."""

    seen: Seen
    code: str
    params: dict[str, Any] = {}

    def text(self, lang: str = "en") -> str:
        return messages.render(self.code, lang, **self.params)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes look at. `verified`: the head of a check that passed, behind which this one begins
    (None: the whole log is checked). `policies`: folders of the operator's own policies."""

    records: Records
    clock: Clock
    data: Path
    identity: IdentitySettings
    retention: AuditRetention
    anchors: AnchorFile | None = None
    verified: Head | None = None
    policies: tuple[Path, ...] = ()


Probe = Callable[[Node], Finding]
_probes: dict[str, Probe] = {}


def register(name: str, probe: Probe) -> None:
    """Add a probe under the name that controls.toml knows it by, or in place of the one that is there."""
    _probes[name] = probe


def all_probes() -> Mapping[str, Probe]:
    """All probes by name."""
    from headrace.access.audit.controls import network  # registers its own

    return {**network.PROBES, **PROBES, **_probes}


def _rows(node: Node, sql: str, **params: Any) -> list[Any]:
    with node.records.read() as connection:
        return list(connection.execute(sa.text(sql), params))


def passwords(node: Node) -> Finding:
    """How the stored passwords are kept."""
    stored = [str(r[0]) for r in _rows(node, "SELECT password FROM account WHERE password IS NOT NULL")]
    other = [p for p in stored if not p.startswith("$argon2id$")]
    params = {"count": len(stored), "other": len(other), "length": node.identity.password_length}
    return Finding(Seen.NO if other else Seen.YES, "control.passwords", params)


def second_factor(node: Node) -> Finding:
    """Who signs in with a password alone."""
    sql = ("SELECT COUNT(*), COUNT(totp_confirmed) FROM account "
           "WHERE kind = 'person' AND state = 'active' AND password IS NOT NULL")  # fmt: skip
    people, enrolled = _rows(node, sql)[0]
    required = node.identity.second_factor == "required"
    params = {"people": people, "enrolled": enrolled, "setting": node.identity.second_factor}
    good = required and people == enrolled
    return Finding(Seen.YES if good else Seen.NO, "control.second_factor", params)


def lockout(node: Node) -> Finding:
    """What wrong tries cost, by the settings that run."""
    pause = node.identity.longest_pause // NS_PER_S
    params = {"free": node.identity.free_failures, "pause": pause}
    return Finding(Seen.YES if node.identity.free_failures <= 10 else Seen.NO, "control.lockout", params)


def sessions(node: Node) -> Finding:
    """The limits of sessions, and whether an open one is beyond them."""
    idle, longest = node.identity.session_idle, node.identity.session_longest
    now = node.clock.now()
    sql = ("SELECT COUNT(*), SUM(CASE WHEN expires - created > :longest THEN 1 ELSE 0 END) FROM session "
           "WHERE ended IS NULL AND expires > :now AND seen > :idle")  # fmt: skip
    count, beyond = _rows(node, sql, longest=int(longest), now=now, idle=now - int(idle))[0]
    params = {"open": count, "beyond": beyond or 0, "idle": idle // (60 * NS_PER_S),
              "longest": longest // (3600 * NS_PER_S), "most": node.identity.sessions}  # fmt: skip
    return Finding(Seen.NO if beyond else Seen.YES, "control.sessions", params)


def idle_accounts(node: Node) -> Finding:
    """Active accounts of people that nobody has used for long."""
    before = node.clock.now() - _IDLE_DAYS * _DAY
    sql = ("SELECT COUNT(*) FROM account a WHERE a.kind = 'person' AND a.state = 'active' AND a.created < :t "
           "AND NOT EXISTS (SELECT 1 FROM session s WHERE s.account = a.id AND s.seen >= :t)")  # fmt: skip
    count = _rows(node, sql, t=before)[0][0]
    return Finding(
        Seen.NO if count else Seen.YES, "control.idle_accounts", {"count": count, "days": _IDLE_DAYS}
    )


def administrators(node: Node) -> Finding:
    """Whether the three administrators are there, and are three different people."""
    now = node.clock.now()
    sql = ("SELECT role, member FROM membership WHERE revoked IS NULL AND since <= :now "
           "AND (until IS NULL OR until > :now)")  # fmt: skip
    held: dict[str, set[str]] = {role: set() for role in ADMINISTRATORS}
    for role, member in _rows(node, sql, now=now):
        if role in held:
            held[role].add(member)
    members = [member for some in held.values() for member in some]
    twice = len(members) - len(set(members))
    missing = sorted(role for role, some in held.items() if not some)
    params = {"members": len(set(members)), "missing": ", ".join(missing) or "-", "twice": twice}
    return Finding(Seen.NO if missing or twice else Seen.YES, "control.administrators", params)


def policies(node: Node) -> Finding:
    """Whether the policies load and check; how many are in force."""
    book = load_policies(node.policies)
    edition = book.edition(node.clock.now())
    return Finding(Seen.YES, "control.policies", {"count": len(edition.policies)})


def grants(node: Node) -> Finding:
    """Whether every grant in force is one that its owner signed; without a grant nothing is shared."""
    events = Events(node.records, node.clock)
    store = Grants(events, Keys(events, node.data / "keys"), lambda *_: False)
    _, found = store.in_force(node.clock.now())
    false = sum(not store.is_genuine(grant) for grant in found)
    params = {"count": len(found), "false": false}
    return Finding(Seen.NO if false else Seen.YES, "control.grants", params)


def chain(node: Node) -> Finding:
    """The audit log, recomputed."""
    anchors = node.anchors.heads() if node.anchors else []
    verdict = verify(node.records, anchors=anchors, after=node.verified, retention_days=node.retention.days)
    params = {"en": verdict.text("en"), "zh": verdict.text("zh")}
    return Finding(Seen.YES if verdict.ok else Seen.NO, "control.chain", {"verdict": messages.Text(**params)})


def append_only(node: Node) -> Finding:
    """Whether the database still refuses changes of the audit log."""
    if node.records.dialect == "sqlite":
        sql = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entry'"
    else:
        sql = ("SELECT COUNT(*) FROM pg_trigger WHERE tgrelid = 'audit_entry'::regclass "
               "AND NOT tgisinternal AND tgenabled = 'O'")  # fmt: skip
    count = _rows(node, sql)[0][0]
    return Finding(Seen.YES if count >= 2 else Seen.NO, "control.append_only", {"count": count})


def outside(node: Node) -> Finding:
    """Whether a recent head of the log is kept outside the database."""
    heads = node.anchors.heads() if node.anchors else []
    if not heads:
        return Finding(Seen.NO, "control.no_anchor")
    days = (node.clock.now() - heads[-1].time) // _DAY
    seen = Seen.YES if days <= _ANCHOR_DAYS else Seen.NO
    return Finding(seen, "control.anchor", {"days": days, "count": len(heads)})


def retention(node: Node) -> Finding:
    """How long entries are kept, and how far the log goes back."""
    with node.records.read() as connection:
        oldest = connection.scalar(sa.select(sa.func.min(audit_tables.entry.c.time)))
    days = 0 if oldest is None else max(0, (node.clock.now() - oldest) // _DAY)
    return Finding(Seen.YES, "control.retention", {"days": node.retention.days, "held": days})


def recent(node: Node) -> Finding:
    """Whether anything is being logged."""
    with node.records.read() as connection:
        newest = connection.scalar(sa.select(sa.func.max(audit_tables.entry.c.time)))
    hours = -1 if newest is None else (node.clock.now() - newest) // (3600 * NS_PER_S)
    return Finding(Seen.YES if 0 <= hours < 24 else Seen.NO, "control.recent", {"hours": hours})


def durable(node: Node) -> Finding:
    """Whether what is committed survives a loss of power."""
    if node.records.dialect == "sqlite":
        mode = str(_rows(node, "PRAGMA journal_mode")[0][0])
        level = int(_rows(node, "PRAGMA synchronous")[0][0])
        said, good = f"journal_mode={mode}, synchronous={level}", mode == "wal" and level >= 2
    else:
        fsync, commit = (str(_rows(node, f"SHOW {name}")[0][0]) for name in ("fsync", "synchronous_commit"))
        said, good = f"fsync={fsync}, synchronous_commit={commit}", fsync == "on" and commit != "off"
    return Finding(Seen.YES if good else Seen.NO, "control.durable", {"settings": said})


def private_files(node: Node) -> Finding:
    """Whether others on the machine can read the data folder or what is secret in it."""
    if not node.data.is_dir():
        return Finding(Seen.UNKNOWN, "control.no_folder", {"path": str(node.data)})
    closed = not _others(node.data)
    secret = [p for name in ("run", "keys", "pki", "secrets") if (p := node.data / name).is_dir()]
    files = [
        node.data / "records.sqlite",
        *(f for folder in secret for f in folder.rglob("*") if f.is_file()),
    ]
    open_ = [] if closed else [str(f.relative_to(node.data)) for f in files if f.exists() and _others(f)]
    params = {"count": len(open_), "files": ", ".join(open_[:5]) or "-"}
    return Finding(Seen.NO if open_ else Seen.YES, "control.private_files", params)


def _others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def clock_synchronised(node: Node) -> Finding:
    """Whether the kernel says that the clock is synchronised (adjtimex)."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return Finding(Seen.UNKNOWN, "control.clock_unknown")
    buffer = (ctypes.c_long * (_ADJTIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    if adjtimex(ctypes.byref(buffer)) < 0:
        return Finding(Seen.UNKNOWN, "control.clock_unknown")
    # struct timex: int modes; long offset, freq, maxerror, esterror; int status
    unsynchronised = (buffer[5] & 0xFFFFFFFF) & _STA_UNSYNC
    return Finding(Seen.NO if unsynchronised else Seen.YES, "control.clock")


PROBES: dict[str, Probe] = {
    "audit.append_only": append_only,
    "audit.chain": chain,
    "audit.outside": outside,
    "audit.recent": recent,
    "audit.retention": retention,
    "clock.synchronised": clock_synchronised,
    "decisions.policies": policies,
    "files.private": private_files,
    "identity.idle_accounts": idle_accounts,
    "identity.lockout": lockout,
    "identity.passwords": passwords,
    "identity.second_factor": second_factor,
    "identity.sessions": sessions,
    "records.durable": durable,
    "roles.separated": administrators,
    "sharing.grants": grants,
}
