"""The one decision point: every question "may they do this?" of every room is asked here.

A process makes one DecisionPoint and shares it. It keeps no state but memos; approvals, standing grants and
data grants come with the request as evidence and are checked against it.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from headrace.access.decisions._facts import Facts, Gatherer, Moment, Wall
from headrace.access.decisions._help import alternatives, supposing_approval
from headrace.access.decisions.book import Edition, PolicyBook
from headrace.access.decisions.engine import Engine, Key, Verdict
from headrace.access.decisions.model import (
    PLAIN,
    Context,
    Decision,
    Help,
    PolicyRef,
    Reason,
    Request,
    Resource,
    Step,
    action_title,
)
from headrace.access.identity import Principal
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import Denied

_HELP_LIMIT = 10_000
_WALL_HELP = {
    "decision.sign_in": (Help((Step("decision.help_sign_in"),)),),
    "decision.out_of_scope": (Help((Step("decision.help_scope"),)), Help((Step("decision.help_in_person"),))),
    "decision.other_organisation": (
        Help((Step("decision.help_grant"),)),
    ),  # where grants can open the action
}


class Refusal(Denied):
    """A decision that says no, as an error. Its status is 404 where the thing must not even seem to exist,
    401 where nobody has signed in, else 403."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.code, **decision.params)
        self.decision = decision
        if decision.conceal:
            self.status = 404
        elif decision.code == "decision.sign_in":
            self.status = 401


class _Outcome(NamedTuple):
    """The part of a Decision that depends on the policies alone."""

    allowed: bool
    code: str
    params: dict[str, Any]
    reasons: tuple[Reason, ...]


class _Current:
    """The engine of the edition in force, and what was made of its answers."""

    def __init__(self, edition: Edition, book: PolicyBook) -> None:
        self.engine = Engine(edition, book.words)
        self.edition = edition
        self.outcomes: dict[tuple[Verdict, str], _Outcome] = {}
        self.help: dict[tuple[Any, ...], tuple[Help, ...]] = {}

    def serves(self, now: int) -> bool:
        return self.edition.start <= now and (self.edition.end is None or now < self.edition.end)


class DecisionPoint:
    """Decides by the policies in force at the moment of the question.

    `step_up_s`: how long a second factor counts as recent. `timezone`: the node's, for policies that look at
    the hour; an unknown name raises ZoneInfoNotFoundError.
    """

    def __init__(
        self, book: PolicyBook, clock: Clock, *, step_up_s: float = 300.0, timezone: str = "Asia/Shanghai"
    ) -> None:
        self._clock = clock
        self._zone = zoneinfo.ZoneInfo(timezone)
        self._step_up_s = step_up_s
        self.replace(book)

    def replace(self, book: PolicyBook) -> None:
        """Decide by other policies from now on."""
        self.book = book
        self._gatherer = Gatherer(book.words, self._step_up_s)
        self._now: _Current = _Current(book.edition(self._clock.now()), book)

    def decide(
        self, principal: Principal | None, action: str, resource: Resource, context: Context = PLAIN
    ) -> Decision:
        """The answer with what would help where it is no."""
        return self.decide_many([Request(principal, action, resource, context)], explain=True)[0]

    def decide_many(self, requests: Sequence[Request], *, explain: bool = False) -> list[Decision]:
        """One decision per request, in order, all of one moment. `explain`: with `what_would_help`."""
        now = self._clock.now()
        current = self._current(now)
        engine, digest = current.engine, current.edition.digest
        moment = self._moment(now)
        gather = self._gatherer.gather
        answers = [gather(request, moment) for request in requests]
        keys = [
            None if isinstance(answer, Wall) else engine.key(answer, request.action)
            for answer, request in zip(answers, requests, strict=True)
        ]
        verdicts = iter(engine.ask([key for key in keys if key is not None]))
        decisions: list[Decision] = []
        for request, answer, key in zip(requests, answers, keys, strict=True):
            action = request.action
            if key is None or isinstance(answer, Wall):
                assert isinstance(answer, Wall)
                decisions.append(self._walled(answer, action, now, digest))
                continue
            outcome = self._outcome(current, next(verdicts), action)
            helpless = not explain or outcome.allowed or outcome.code == "decision.policy_failed"
            decisions.append(
                Decision(
                    outcome.allowed,
                    outcome.code,
                    outcome.params,
                    action,
                    now,
                    digest,
                    outcome.reasons,
                    answer.evidence if outcome.allowed else "",
                    False,
                    () if helpless else self._help(current, key, answer, action),
                )
            )
        return decisions

    def require(
        self, principal: Principal | None, action: str, resource: Resource, context: Context = PLAIN
    ) -> Decision:
        """The decision where it is yes. Raises Refusal, which carries it, where it is no."""
        decision = self.decide(principal, action, resource, context)
        if not decision.allowed:
            raise Refusal(decision)
        return decision

    def actions(
        self,
        principal: Principal | None,
        actions: Iterable[str],
        resource: Resource,
        context: Context = PLAIN,
    ) -> dict[str, Decision]:
        """A decision for each action on one resource: what a screen needs to show or explain its controls."""
        names = list(actions)
        requests = [Request(principal, name, resource, context) for name in names]
        return dict(zip(names, self.decide_many(requests, explain=True), strict=True))

    def allowed_once_approved(self, principal: Principal | None, action: str, resource: Resource) -> Decision:
        """What the answer would be with a second person's approval and a recent second factor: whether it
        makes sense to ask for approval, and who is able to give it."""
        now = self._clock.now()
        current = self._current(now)
        answer = self._gatherer.gather(Request(principal, action, resource), self._moment(now))
        if isinstance(answer, Wall):
            return self._walled(answer, action, now, current.edition.digest)
        facts = supposing_approval(answer)
        verdict = current.engine.ask([current.engine.key(facts, action)])[0]
        allowed, code, params, reasons = self._outcome(current, verdict, action)
        return Decision(allowed, code, params, action, now, current.edition.digest, reasons)

    @property
    def edition(self) -> Edition:
        """The policies in force now."""
        return self._current(self._clock.now()).edition

    @property
    def evaluations(self) -> int:
        """How many questions the policies in force now were really evaluated for; the rest were equal."""
        return self._now.engine.evaluations

    def _current(self, now: int) -> _Current:
        current = self._now
        if not current.serves(now):
            current = self._now = _Current(self.book.edition(now), self.book)
        return current

    def _moment(self, now: int) -> Moment:
        local = datetime.datetime.fromtimestamp(now // NS_PER_S, self._zone)
        return Moment(now, local.hour, local.isoweekday())

    def _walled(self, wall: Wall, action: str, now: int, digest: str) -> Decision:
        return Decision(
            False,
            wall.code,
            {"action": action_title(action)},
            action,
            now,
            digest,
            conceal=wall.conceal,
            what_would_help=()
            if wall.conceal and not self._shareable(action)
            else _WALL_HELP.get(wall.code, ()),
        )

    def _shareable(self, action: str) -> bool:
        return self.book.words.actions[action].share

    def _outcome(self, current: _Current, verdict: Verdict, action: str) -> _Outcome:
        found = current.outcomes.get((verdict, action))
        if found is None:
            if len(current.outcomes) > _HELP_LIMIT:
                current.outcomes.clear()
            found = current.outcomes[verdict, action] = _outcome(verdict, current.edition, action)
        return found

    def _help(self, current: _Current, key: Key, facts: Facts, action: str) -> tuple[Help, ...]:
        at = (key, facts.principal[1:], facts.resource[4:], facts.context[:3])
        found = current.help.get(at)
        if found is None:
            if len(current.help) > _HELP_LIMIT:
                current.help.clear()
            found = current.help[at] = alternatives(current.engine, self.book.words, facts, action)
        return found


def _outcome(verdict: Verdict, edition: Edition, action: str) -> _Outcome:
    decided = [edition.policies[i] for i in verdict.policies]
    reasons = tuple(Reason(PolicyRef(p.id, p.version, p.source), p.text) for p in decided)
    params: dict[str, Any] = {"action": action_title(action)}
    if verdict.failed:
        return _Outcome(False, "decision.policy_failed", {**params, "policy": verdict.failed}, ())
    if verdict.allowed:
        return _Outcome(True, "decision.allowed", params, reasons)
    if not decided:
        return _Outcome(False, "decision.no_permit", params, ())
    first = decided[0]
    if first.code == "decision.forbidden":
        params["policy"] = first.text
    return _Outcome(False, first.code, params, reasons)
