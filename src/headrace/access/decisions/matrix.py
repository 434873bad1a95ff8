"""The matrix role x action, made by asking the policies: for reviewers, for documentation and tests."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from headrace.access.decisions.model import Context, Request, Resource, Standing
from headrace.access.decisions.point import DecisionPoint
from headrace.access.identity import Held, Principal, PrincipalKind

_ORG = "org"


class Cell(enum.StrEnum):
    """What it takes. The letters stand in the documentation."""

    NO = "-"
    YES = "Y"
    SECOND_FACTOR = "S"  # with a recent second factor
    SECOND_PERSON = "SA"  # with a recent second factor and the approval of a second person
    STANDING = "G"  # under the standing grant of an activated rule only


def matrix(point: DecisionPoint, now: int) -> Mapping[str, Mapping[str, Cell]]:
    """For each role held alone, each action on what belongs to the organisation where it is held."""
    found: dict[str, dict[str, Cell]] = {}
    for role, body in point.book.words.roles.items():
        kind = PrincipalKind.SERVICE if body.service else PrincipalKind.ACCOUNT
        found[role] = {
            action: _cell(point, role, kind, action, now, implicit=body.implicit)
            for action in point.book.words.actions
        }
    return found


def _cell(
    point: DecisionPoint, role: str, kind: PrincipalKind, action: str, now: int, *, implicit: bool
) -> Cell:
    # the implicit role is what remains to a member without any other: one whose role no policy knows
    held = (Held("" if implicit else role, _ORG),)
    plain = Principal(kind=kind, id="p", name="p", account="p", roles=held)
    stepped = Principal(kind=kind, id="p", name="p", account="p", roles=held, second_factor=now)
    resource = Resource(action.partition(".")[0], "thing", _ORG, frozenset({_ORG}))
    standing = Standing("g", _ORG, "thing", role, now, now + 1)
    yes, stepped_up, standing_yes = (
        d.allowed
        for d in point.decide_many(
            [
                Request(plain, action, resource),
                Request(stepped, action, resource),
                Request(plain, action, resource, Context(standing=standing)),
            ]
        )
    )
    if yes:
        return Cell.YES
    if stepped_up:
        return Cell.SECOND_FACTOR
    if kind is PrincipalKind.ACCOUNT and point.allowed_once_approved(stepped, action, resource).allowed:
        return Cell.SECOND_PERSON
    return Cell.STANDING if standing_yes else Cell.NO
