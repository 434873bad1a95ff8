"""The words of policies, read from vocabulary.toml: groups, actions, roles; and what Cedar must know of them.

Facts that a policy may ask for (Cedar attributes) are listed here once, in `PRINCIPAL`, `RESOURCE` and
`CONTEXT`; `_facts.py` provides exactly these.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from headrace.access.tenancy import OrgKind
from headrace.kernel.messages import Text

ACTOR = "Actor"
RESOURCE_TYPE = "Resource"
ANYONE = "anyone"

_S, _B, _L = {"type": "String"}, {"type": "Boolean"}, {"type": "Long"}
_IP = {"type": "Extension", "name": "ipaddr", "required": False}

PRINCIPAL: dict[str, dict[str, Any]] = {
    "id": _S,
    "kind": _S,  # account (a person in a session) | token | service | machine | anonymous
    "conflict": _B,  # holds roles that exclude each other
}
RESOURCE: dict[str, dict[str, Any]] = {
    "id": _S,
    "kind": _S,
    "owner": _S,  # organisation
    "machine": _S,  # "" where the resource belongs to none
    "reach": _S,  # inside | party | outside
    "own": _B,  # about the principal itself: its account, session, token, approval
    "granted": _B,  # a valid grant of the owner covers exactly this
    "public": _B,  # published, by a grant or rule that the decision cites
    "risk": _S,  # dangerous | routine
    "separated": _B,  # the owner has named its three administrators
}
CONTEXT: dict[str, dict[str, Any]] = {
    "second_factor": _S,  # recent | old | none
    "approved": _B,  # a second person approved exactly this
    "standing": _B,  # a standing grant of an activated rule covers exactly this
    "channel": _S,  # console | api | cli | bus | link
    "local_hour": _L,  # 0 to 23 at the node
    "weekday": _L,  # 1 Monday to 7 Sunday at the node
    "address": _IP,
}


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may be done. From outside the owning organisation it can be reached only where a flag
    says so: `share` by a grant or by publication, `party` by those whom the record names, `own` by the
    account whose affair it is."""

    zh: str
    en: str
    groups: tuple[str, ...] = ()
    share: bool = False
    party: bool = False
    own: bool = False

    @property
    def title(self) -> Text:
        return Text(self.zh, self.en)


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an account may be in an organisation. `kinds`: of the organisations where it may be held, () any.
    `implicit`: everybody has it, nobody is given it."""

    zh: str
    en: str
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    kinds: tuple[OrgKind, ...] = ()
    service: bool = False
    implicit: bool = False

    @property
    def title(self) -> Text:
        return Text(self.zh, self.en)


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Groups, actions and roles by id."""

    groups: dict[str, Text]
    actions: dict[str, Action]
    roles: dict[str, Role]

    def held(self, roles: Iterable[str]) -> frozenset[str]:
        """`roles` with all that they include, and `anyone`. Unknown roles count for nothing."""
        found: set[str] = {ANYONE}
        todo = [r for r in roles if r in self.roles]
        while todo:
            role = todo.pop()
            if role not in found:
                found.add(role)
                todo.extend(self.roles[role].includes)
        return frozenset(found)

    def conflicts(self, roles: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs among `roles` that exclude each other, in order of name."""
        have = sorted(set(roles) & self.roles.keys())
        return [
            (a, b)
            for i, a in enumerate(have)
            for b in have[i + 1 :]
            if b in self.roles[a].excludes or a in self.roles[b].excludes
        ]

    def in_group(self, group: str) -> list[str]:
        """The actions of a group, in the order of the file."""
        return [name for name, action in self.actions.items() if group in action.groups]

    def schema(self) -> dict[str, Any]:
        """Cedar's JSON schema: what policies are checked against, strictly, when they are loaded."""
        applies = {
            "principalTypes": [ACTOR],
            "resourceTypes": [RESOURCE_TYPE],
            "context": {"type": "Record", "attributes": CONTEXT},
        }
        actions: dict[str, Any] = {group: {} for group in self.groups}
        for name, action in self.actions.items():
            actions[name] = {"memberOf": [{"id": g} for g in action.groups], "appliesTo": applies}
        return {
            "": {
                "entityTypes": {
                    "Role": {"memberOfTypes": ["Role"]},
                    ACTOR: {
                        "memberOfTypes": ["Role"],
                        "shape": {"type": "Record", "attributes": PRINCIPAL},
                    },
                    RESOURCE_TYPE: {"shape": {"type": "Record", "attributes": RESOURCE}},
                },
                "actions": actions,
            }
        }

    def entities(self) -> list[dict[str, Any]]:
        """Cedar's entities that never change: roles with what they include, actions with their groups."""
        rows = [
            _entity("Role", role, [("Role", r) for r in body.includes]) for role, body in self.roles.items()
        ]
        rows += [_entity("Action", group, []) for group in self.groups]
        rows += [
            _entity("Action", a, [("Action", g) for g in body.groups]) for a, body in self.actions.items()
        ]
        return rows


def _entity(kind: str, name: str, parents: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "uid": {"type": kind, "id": name},
        "attrs": {},
        "parents": [{"type": t, "id": i} for t, i in parents],
    }


@cache
def vocabulary() -> Vocabulary:
    """The built-in vocabulary. Raises ValueError where the file contradicts itself."""
    path = Path(__file__).with_name("vocabulary.toml")
    found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Vocabulary)
    for name, action in found.actions.items():
        if unknown := set(action.groups) - found.groups.keys():
            raise ValueError(f"action {name}: unknown groups {unknown}")
    for name, role in found.roles.items():
        if unknown := set(role.includes + role.excludes) - found.roles.keys():
            raise ValueError(f"role {name}: unknown roles {unknown}")
        if clash := found.conflicts(found.held([name])):
            raise ValueError(f"role {name} includes roles that exclude each other: {clash}")
    return found
