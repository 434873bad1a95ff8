"""What would turn a refusal into a permission, found by asking the policies again under changed facts.

Nothing here knows what the policies say, so advice cannot drift away from them: each alternative that is
given was answered with a yes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from headrace.access.decisions._facts import Facts
from headrace.access.decisions.engine import Engine
from headrace.access.decisions.model import Help, Step
from headrace.access.decisions.vocabulary import CONTEXT, PRINCIPAL, RESOURCE, Vocabulary

_KIND = list(PRINCIPAL).index("kind")
_CONFLICT = list(PRINCIPAL).index("conflict")
_FACTOR = list(CONTEXT).index("second_factor")
_APPROVED = list(CONTEXT).index("approved")
_STANDING = list(CONTEXT).index("standing")
_GRANTED = list(RESOURCE).index("granted")
_REACH = list(RESOURCE).index("reach")

_LIMIT = 6  # alternatives; more would not be read

Change = Callable[[Facts], Facts]
Lever = tuple[Step, Change]


def alternatives(engine: Engine, words: Vocabulary, facts: Facts, action: str) -> tuple[Help, ...]:
    """The least changes that help, in order of their number; roles only where nothing else does."""
    levers = _levers(facts, action, words)
    subsets = [s for size in range(len(levers) + 1) for s in combinations(levers, size)]

    def allowed(cases: Sequence[Facts]) -> list[bool]:
        return [v.allowed for v in engine.ask([engine.key(case, action) for case in cases])]

    answers = allowed([_apply(facts, subset) for subset in subsets[1:]])
    helping = [s for s, yes in zip(subsets[1:], answers, strict=True) if yes]
    if helping:
        return tuple(Help(tuple(step for step, _ in s)) for s in _least(helping))
    return _by_role(facts, subsets, words, allowed)


def _by_role(
    facts: Facts,
    subsets: Sequence[tuple[Lever, ...]],
    words: Vocabulary,
    allowed: Callable[[Sequence[Facts]], list[bool]],
) -> tuple[Help, ...]:
    """Roles that would do: given to this account where they exclude nothing it holds, else held by others."""
    service = facts.principal[_KIND] in ("service", "machine")
    candidates: list[tuple[str, Step, Facts]] = []
    for name, role in words.roles.items():
        if role.implicit or role.service != service or name in facts.roles:
            continue
        if words.conflicts({*facts.roles, name}) or facts.principal[_CONFLICT]:
            changed = facts._replace(roles=words.held([name]), principal=_no_conflict(facts.principal))
            step = Step("decision.help_holder", {"role": role.title})
        else:
            changed = facts._replace(roles=facts.roles | words.held([name]))
            step = Step("decision.help_role", {"role": role.title})
        candidates.append((name, step, changed))
    bounds = [case for _, _, changed in candidates for case in (changed, _apply(changed, subsets[-1]))]
    answers = allowed(bounds)
    found: list[tuple[str, Help]] = []
    for i, (name, step, changed) in enumerate(candidates):
        if not any(answers[2 * i : 2 * i + 2]):
            continue
        yes = allowed([_apply(changed, subset) for subset in subsets])
        least = next(s for s, ok in zip(subsets, yes, strict=True) if ok)
        found.append((name, Help((step, *(s for s, _ in least)))))
    names = {name for name, _ in found}
    kept = [h for name, h in found if not (words.held([name]) - {name}) & names]
    return tuple(sorted(kept, key=lambda h: len(h.steps))[:_LIMIT])


def _levers(facts: Facts, action: str, words: Vocabulary) -> list[Lever]:
    """What this principal could change about the circumstances."""
    kind = facts.principal[_KIND]
    levers: list[Lever] = []
    if facts.principal[_CONFLICT]:
        levers.append(
            (Step("decision.help_resign"), lambda f: f._replace(principal=_no_conflict(f.principal)))
        )
    if kind == "token":
        levers.append(
            (
                Step("decision.help_in_person"),
                lambda f: f._replace(principal=_with(f.principal, _KIND, "account")),
            )
        )
    if kind in ("account", "token"):
        if facts.context[_FACTOR] != "recent":
            levers.append((Step("decision.help_second_factor"), lambda f: _context(f, _FACTOR, "recent")))
        if not facts.context[_APPROVED]:
            levers.append((Step("decision.help_approval"), lambda f: _context(f, _APPROVED, True)))
    if kind in ("service", "machine") and action == "machine.write" and not facts.context[_STANDING]:
        levers.append((Step("decision.help_standing"), lambda f: _context(f, _STANDING, True)))
    if words.actions[action].share and facts.resource[_REACH] == "outside":
        levers.append(
            (Step("decision.help_grant"), lambda f: f._replace(resource=_with(f.resource, _GRANTED, True)))
        )
    return levers


def supposing_approval(facts: Facts) -> Facts:
    """The same with a second person's approval and a recent second factor."""
    return _context(_context(facts, _FACTOR, "recent"), _APPROVED, True)


def _least(subsets: Sequence[tuple[Lever, ...]]) -> list[tuple[Lever, ...]]:
    """Without those that contain another one; `subsets` come in order of size."""
    kept: list[tuple[Lever, ...]] = []
    for subset in subsets:
        codes = {step.code for step, _ in subset}
        if not any({step.code for step, _ in k} <= codes for k in kept):
            kept.append(subset)
    return kept


def _apply(facts: Facts, levers: Sequence[Lever]) -> Facts:
    for _, change in levers:
        facts = change(facts)
    return facts


def _context(facts: Facts, index: int, value: object) -> Facts:
    return facts._replace(context=_with(facts.context, index, value))


def _no_conflict(values: tuple[object, ...]) -> tuple[object, ...]:
    return _with(values, _CONFLICT, False)


def _with(values: tuple[object, ...], index: int, value: object) -> tuple[object, ...]:
    return (*values[:index], value, *values[index + 1 :])
