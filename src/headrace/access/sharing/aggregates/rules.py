"""Primary suppression: the cells whose value would tell too much of one contributor, and how far from the
value an attacker must be kept."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated

import msgspec

from headrace.kernel import messages

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]


class Reason(enum.StrEnum):
    FREQUENCY = "frequency"  # too few contributors
    DOMINANCE = "dominance"  # the largest n have more than k percent
    P_PERCENT = "p-percent"  # the second largest can estimate the largest to within p percent
    ZERO = "zero"  # all contributors have nothing, which the value 0 would tell of each


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a cell is hidden. `minimum`: fewer contributors are too few; `dominance` (n, k) and `p` (percent)
    may be switched off with None. `range`: percent of its value around a cell of too few contributors that
    has to stay possible."""

    minimum: Annotated[int, msgspec.Meta(ge=3)] = 3
    dominance: tuple[Annotated[int, msgspec.Meta(ge=1, le=10)], Percent] | None = (2, 85.0)
    p: Percent | None = 15.0
    range: Percent = 20.0

    def text(self, lang: str) -> str:
        """What the public is told of the rule: not the bounds of dominance, which would help an attacker."""
        return messages.render("aggregate.rule", lang, minimum=self.minimum)


class Sensitive(msgspec.Struct, frozen=True):
    """Why a cell is hidden, and its protection level: an attacker must not be able to exclude any value
    within `level` of the true one, above or (down to 0) below."""

    reasons: tuple[Reason, ...]
    level: float


def sensitive(rule: Rule, amounts: Iterable[float]) -> Sensitive | None:
    """Judge a cell by what each contributor has in it; None where it may be published, or is empty.

    Protection levels: Hundepool et al. 2012, table 4.2: for p% p/100·x₁ − (X − x₁ − x₂), for (n, k)
    100/k·(x₁ + … + xₙ) − X.
    """
    ordered = sorted(amounts, reverse=True)
    if not ordered:
        return None
    total, first = sum(ordered), ordered[0]
    second = ordered[1] if len(ordered) > 1 else 0.0
    found: dict[Reason, float] = {}
    if len(ordered) < rule.minimum:
        found[Reason.FREQUENCY] = rule.range / 100 * total
    if rule.dominance is not None and total > 0:
        n, k = rule.dominance
        largest = sum(ordered[:n])
        if len(ordered) > n and largest > k / 100 * total:
            found[Reason.DOMINANCE] = 100 / k * largest - total
    if rule.p is not None:
        rest = max(0.0, total - first - second)
        if rest < rule.p / 100 * first:
            found[Reason.P_PERCENT] = rule.p / 100 * first - rest
    if total == 0:
        found[Reason.ZERO] = 0.0
    return Sensitive(tuple(found), max(found.values())) if found else None


def level_against(rule: Rule, others: Iterable[float], known: float) -> float:
    """The protection level of a sensitive cell against a contributor who knows `known` of it, his own part,
    and wants to learn of the `others`: by the same formulas with him as the second largest. 0 where what is
    left of the cell would not give anyone away."""
    ordered = sorted(others, reverse=True)
    if not ordered:
        return 0.0
    rest, first = sum(ordered), ordered[0]
    levels = [0.0]
    if len(ordered) + 1 < rule.minimum:
        levels.append(rule.range / 100 * rest)
    if rule.p is not None:
        levels.append(rule.p / 100 * first - (rest - first))
    if rule.dominance is not None and len(ordered) >= rule.dominance[0]:
        n, k = rule.dominance
        levels.append(min(100 / k * (sum(ordered[: n - 1]) + known) - (rest + known), rest))
    return max(levels)
