"""Policies as versioned files with effective dates, and which of them are in force at a moment.

A policy is a Cedar policy (docs.cedarpolicy.com) with these annotations:

    @id             its name, the same through all versions
    @version        1, 2, …
    @effective_from first moment in force: a date (midnight UTC) or an RFC 3339 time
    @effective_until  optional: first moment no longer in force
    @zh, @en        what it says, for explanations
    @code           optional, on a forbid: the refusal that it causes (one of DENIALS)
    @replaceable("yes")  optional, on a built-in policy: an operator's policy of the same @id takes its place

Of several versions in force the one with the latest @effective_from, then the highest @version, counts. An
operator's files add policies; they cannot take the place of a built-in one that is not replaceable.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cedarpy
import msgspec

from headrace.access.decisions._lint import References, actions_of, inspect
from headrace.access.decisions.vocabulary import Vocabulary, vocabulary
from headrace.kernel.clock import parse_time
from headrace.kernel.errors import ConfigError, Problem
from headrace.kernel.messages import Text

DENIALS = (
    "decision.needs_second_factor",
    "decision.needs_approval",
    "decision.conflicting_roles",
    "decision.separated",
    "decision.people_only",
    "decision.forbidden",
)
"""Refusals that a forbid policy may give as its @code; decision.forbidden where it gives none."""

_BUILT_IN = Path(__file__).with_name("policies")
_REQUIRED = ("id", "version", "effective_from", "zh", "en")


class Policy(msgspec.Struct, frozen=True):
    """One version of one policy."""

    id: str
    version: int
    effective_from: int  # UTC ns
    effective_until: int | None
    permit: bool
    text: Text
    code: str
    source: str  # file name
    built_in: bool
    replaceable: bool
    actions: frozenset[str]
    references: References
    body: str  # Cedar's JSON form, canonical

    def in_force(self, at: int) -> bool:
        return self.effective_from <= at and (self.effective_until is None or at < self.effective_until)


class Edition(msgspec.Struct, frozen=True):
    """What is in force from `start` (inclusive) to `end` (exclusive, None: open), by policy id."""

    start: int
    end: int | None
    policies: tuple[Policy, ...]
    digest: str  # SHA-256 over ids, versions and bodies, so that a decision names exactly what decided

    @property
    def references(self) -> References:
        found = References()
        for policy in self.policies:
            found.add(policy.references)
        return found


class PolicyBook:
    """All versions of all policies; immutable. `edition(at)` is what was or will be in force at a moment, so
    that a past decision can be made again."""

    def __init__(self, policies: Sequence[Policy], words: Vocabulary | None = None) -> None:
        self.policies = tuple(policies)
        self.words = words or vocabulary()
        moments = {p.effective_from for p in policies}
        moments |= {p.effective_until for p in policies if p.effective_until is not None}
        self._moments = sorted(moments)
        self._editions: dict[int, Edition] = {}

    def edition(self, at: int) -> Edition:
        """What is in force at `at` (UTC ns)."""
        index = bisect.bisect_right(self._moments, at)
        found = self._editions.get(index)
        if found is None:
            found = self._editions[index] = self._make(index)
        return found

    def _make(self, index: int) -> Edition:
        start = self._moments[index - 1] if index else 0
        end = self._moments[index] if index < len(self._moments) else None
        chosen: dict[str, Policy] = {}
        for policy in self.policies:
            if index == 0 or not policy.in_force(start):
                continue
            best = chosen.get(policy.id)
            if best is None or _rank(policy) > _rank(best):
                chosen[policy.id] = policy
        policies = tuple(sorted(chosen.values(), key=lambda p: (not p.built_in, p.source, p.id)))
        digest = hashlib.sha256(
            json.dumps([[p.id, p.version, p.body] for p in policies], ensure_ascii=False).encode()
        ).hexdigest()
        return Edition(start, end, policies, digest)


def _rank(policy: Policy) -> tuple[bool, int, int]:
    return not policy.built_in, policy.effective_from, policy.version


def load_policies(folders: Iterable[Path] = ()) -> PolicyBook:
    """The built-in policies and those of an operator's `folders` (every `*.cedar` in them).

    Raises ConfigError with every Problem found; then nothing is loaded and what was in force stays so.
    """
    words = vocabulary()
    problems: list[Problem] = []
    found: list[Policy] = []
    files = [(path, True) for path in sorted(_BUILT_IN.glob("*.cedar"))]
    for folder in folders:
        files += [(path, False) for path in sorted(folder.glob("*.cedar"))]
    for path, built_in in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(path), "", "decision.policy_unreadable", {"reason": str(error)}))
            continue
        found += parse_policies(text, str(path) if not built_in else path.name, problems, words, built_in)
    _check_together(found, problems)
    if problems:
        raise ConfigError(problems)
    return PolicyBook(found, words)


def parse_policies(
    text: str, source: str, problems: list[Problem], words: Vocabulary, built_in: bool = False
) -> list[Policy]:
    """The policies of one file; each fault adds to `problems`, under the policy's @id where it has one."""
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        problems.append(Problem(source, "", "decision.policy_syntax", {"reason": str(error)}))
        return []
    if parsed["templates"]:
        problems.append(Problem(source, "", "decision.policy_template"))
        return []
    before = len(problems)
    checked = cedarpy.validate_policies(text, words.schema())
    for fault in checked.errors:
        key = checked.id_annotations_by_policy_id.get(fault.policy_id, fault.policy_id)
        problems.append(Problem(source, key, "decision.policy_invalid", {"reason": fault.error}))
    found = []
    for name, body in parsed["staticPolicies"].items():
        policy = _policy(name, body, source, problems, words, built_in)
        if policy is not None:
            found.append(policy)
    return found if len(problems) == before else []


def _policy(
    name: str, body: dict[str, Any], source: str, problems: list[Problem], words: Vocabulary, built_in: bool
) -> Policy | None:
    notes: dict[str, str | None] = body.pop("annotations", {})
    key = notes.get("id") or name
    faults: list[tuple[str, dict[str, Any]]] = [
        ("decision.policy_annotation", {"name": need}) for need in _REQUIRED if not notes.get(need)
    ]

    def number(text: str | None) -> int:
        if text and text.isascii() and text.isdigit() and len(text) < 9:
            return int(text)
        if text:
            faults.append(("decision.policy_annotation", {"name": "version"}))
        return 0

    def moment(annotation: str) -> int | None:
        text = notes.get(annotation)
        if not text:
            return None
        try:
            if not text[:4].isdigit() or "-" not in text:
                raise ValueError(text)
            return parse_time(text)
        except ValueError:
            faults.append(("decision.policy_annotation", {"name": annotation}))
            return None

    code = notes.get("code") or "decision.forbidden"
    if code not in DENIALS or ("code" in notes and body["effect"] == "permit"):
        faults.append(("decision.policy_annotation", {"name": "code"}))
    version, start, end = number(notes.get("version")), moment("effective_from"), moment("effective_until")
    if end is not None and start is not None and end <= start:
        faults.append(("decision.policy_annotation", {"name": "effective_until"}))
    references, more = inspect(body, words)
    faults += more
    problems += [Problem(source, key, code, params) for code, params in faults]
    if faults or start is None:
        return None
    return Policy(
        id=key,
        version=version,
        effective_from=start,
        effective_until=end,
        permit=body["effect"] == "permit",
        text=Text(str(notes["zh"]), str(notes["en"])),
        code=code,
        source=source,
        built_in=built_in,
        replaceable=notes.get("replaceable") == "yes",
        actions=actions_of(body, words),
        references=references,
        body=json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    )


def _check_together(policies: Sequence[Policy], problems: list[Problem]) -> None:
    """No version twice, and nothing in the place of a built-in policy that must stand."""
    seen: set[tuple[str, int, bool]] = set()
    fixed = {p.id for p in policies if p.built_in} - {p.id for p in policies if p.built_in and p.replaceable}
    for policy in policies:
        if (version := (policy.id, policy.version, policy.built_in)) in seen:
            problems.append(
                Problem(policy.source, policy.id, "decision.policy_twice", {"version": policy.version})
            )
        seen.add(version)
        if not policy.built_in and policy.id in fixed:
            problems.append(Problem(policy.source, policy.id, "decision.policy_fixed"))
