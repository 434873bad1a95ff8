"""One edition of the policies, ready to answer: Cedar decides, equal questions are decided once.

A question is reduced to what the policies of the edition look at (found in their text when they were loaded);
the rest cannot change the answer. Questions with equal reductions share one evaluation, kept in a bounded
memo, and each is put to the policies whose scope names its action only. Both leave the answer as it is: Cedar
ignores policies whose scope does not match. A memo of an edition is never asked about another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import cedarpy
import structlog

from headrace.access.decisions._facts import Facts
from headrace.access.decisions.book import Edition
from headrace.access.decisions.vocabulary import (
    ACTOR,
    CONTEXT,
    PRINCIPAL,
    RESOURCE,
    RESOURCE_TYPE,
    Vocabulary,
)

_log = structlog.get_logger(__name__)

_MEMO_LIMIT = 100_000
_CHUNK = 2_000

Key = tuple[frozenset[str], tuple[Any, ...], str, tuple[Any, ...], tuple[Any, ...]]
"""Roles, then the attributes in use of principal, action, resource, context."""


class Verdict(NamedTuple):
    """What the policies say.

    `policies`: indexes, in the edition, of those that decided: the permits of a yes; the forbids of a no that
    some permit would have made a yes; () where no policy said yes. `failed`: ids of policies that could not
    be evaluated, which is a no.
    """

    allowed: bool
    policies: tuple[int, ...]
    failed: str


class _Part:
    """The attributes in use of one variable, and the Cedar form of their values."""

    def __init__(self, names: Sequence[str], used: set[str]) -> None:
        self.used = [(i, name) for i, name in enumerate(names) if name in used]
        indexes = [i for i, _ in self.used]
        self._pick = itemgetter(*indexes) if indexes else None
        self._single = len(indexes) == 1

    def of(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._pick is None:
            return ()
        picked = self._pick(values)
        return (picked,) if self._single else picked

    def record(self, picked: tuple[Any, ...]) -> dict[str, Any]:
        return {
            name: {"__extn": {"fn": "ip", "arg": value}} if name == "address" else value
            for (_, name), value in zip(self.used, picked, strict=True)
            if value is not None
        }


class Engine:
    """Answers for one edition. Threads may share it: a race costs an evaluation, never an answer."""

    def __init__(self, edition: Edition, words: Vocabulary) -> None:
        self.edition = edition
        used = edition.references
        self._principal = _Part(list(PRINCIPAL), used.principal)
        self._resource = _Part(list(RESOURCE), used.resource)
        self._context = _Part(list(CONTEXT), used.context)
        self._sets: dict[tuple[str, bool], cedarpy.PolicySet] = {}
        self._fixed = cedarpy.Entities.from_json_str(json.dumps(words.entities()))
        self._memo: dict[Key, Verdict] = {}
        self._reported: set[tuple[str, str]] = set()
        self.evaluations = 0

    def key(self, facts: Facts, action: str) -> Key:
        """What of the facts counts."""
        return (
            facts.roles,
            self._principal.of(facts.principal),
            action,
            self._resource.of(facts.resource),
            self._context.of(facts.context),
        )

    def ask(self, keys: Sequence[Key]) -> list[Verdict]:
        """A verdict for each key, in order."""
        memo = self._memo
        found = [memo.get(key) for key in keys]
        if None not in found:
            return found  # type: ignore[return-value]
        missing = list(dict.fromkeys(k for k, verdict in zip(keys, found, strict=True) if verdict is None))
        fresh: dict[Key, Verdict] = {}
        for start in range(0, len(missing), _CHUNK):
            fresh.update(self._evaluate(missing[start : start + _CHUNK]))
        if len(memo) + len(fresh) > _MEMO_LIMIT:
            memo.clear()
        memo.update(fresh)
        return [verdict or fresh[key] for key, verdict in zip(keys, found, strict=True)]

    def _evaluate(self, keys: list[Key]) -> dict[Key, Verdict]:
        actors: dict[tuple[Any, ...], str] = {}
        resources: dict[tuple[Any, ...], str] = {}
        contexts: dict[tuple[Any, ...], str] = {}
        by_action: dict[str, list[tuple[Key, dict[str, str]]]] = {}
        for key in keys:
            roles, principal, action, resource, context = key
            actor = actors.setdefault((roles, principal), f"a{len(actors)}")
            thing = resources.setdefault(resource, f"r{len(resources)}")
            if context not in contexts:
                contexts[context] = json.dumps(self._context.record(context))
            by_action.setdefault(action, []).append(
                (
                    key,
                    {
                        "principal": f'{ACTOR}::"{actor}"',
                        "action": f"Action::{json.dumps(action)}",
                        "resource": f'{RESOURCE_TYPE}::"{thing}"',
                        "context": contexts[context],
                    },
                )
            )
        delta = [
            {
                "uid": {"type": ACTOR, "id": name},
                "attrs": self._principal.record(principal),
                "parents": [{"type": "Role", "id": role} for role in sorted(roles)],
            }
            for (roles, principal), name in actors.items()
        ]
        delta += [
            {
                "uid": {"type": RESOURCE_TYPE, "id": name},
                "attrs": self._resource.record(resource),
                "parents": [],
            }
            for resource, name in resources.items()
        ]
        entities = self._fixed.with_added_json_str(json.dumps(delta, ensure_ascii=False))
        verdicts: dict[Key, Verdict] = {}
        for action, asked in by_action.items():
            answers = cedarpy.is_authorized_batch([r for _, r in asked], self._set(action), entities)
            forbidden = []
            for (key, request), answer in zip(asked, answers, strict=True):
                verdict = verdicts[key] = self._verdict(answer, action)
                if not verdict.allowed and verdict.policies:
                    forbidden.append((key, request))
            # a forbid is no use as a reason to those whom no policy would let in without it
            permits = self._set(action, permits_only=True)
            answers = cedarpy.is_authorized_batch([r for _, r in forbidden], permits, entities)
            for (key, _), answer in zip(forbidden, answers, strict=True):
                if not answer.allowed:
                    verdicts[key] = Verdict(False, (), "")
        self.evaluations += len(keys)
        return verdicts

    def _verdict(self, answer: cedarpy.AuthzResult, action: str) -> Verdict:
        """Cedar passes over a policy that fails while it is evaluated. If that was a forbid, the answer could
        be a yes that should be a no; so any failure is a no here."""
        errors = answer.diagnostics.errors
        if errors or answer.decision is cedarpy.Decision.NoDecision:
            text = "; ".join(errors)
            ids = [p.id for i, p in enumerate(self.edition.policies) if f"`{_name(i)}`" in text]
            failed = ", ".join(ids) or "?"
            if (action, failed) not in self._reported:
                self._reported.add((action, failed))
                _log.error("policy_failed", action=action, policies=failed, reason=text)
            return Verdict(False, (), failed)
        return Verdict(answer.allowed, tuple(sorted(map(_index, answer.diagnostics.reasons))), "")

    def _set(self, action: str, *, permits_only: bool = False) -> cedarpy.PolicySet:
        """The policies whose scope names `action`, parsed once."""
        found = self._sets.get((action, permits_only))
        if found is None:
            static = {
                _name(i): json.loads(policy.body)
                for i, policy in enumerate(self.edition.policies)
                if action in policy.actions and (policy.permit or not permits_only)
            }
            whole = {"staticPolicies": static, "templates": {}, "templateLinks": []}
            found = cedarpy.PolicySet.from_json_str(json.dumps(whole))
            self._sets[action, permits_only] = found
        return found


def _name(index: int) -> str:
    """What Cedar calls the policy at `index` of the edition."""
    return f"policy{index}"


def _index(name: str) -> int:
    return int(name.removeprefix("policy"))
