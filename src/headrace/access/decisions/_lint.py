"""What a policy may be made of, checked when it is loaded: Cedar's strict validation against the schema, the
annotations that explanations need, no words outside the vocabulary, and no naming of single principals or
resources as entities (they are attributes here: `resource.id == "oven/zone1/setpoint"`), so that decisions
depend on attributes alone and equal attributes can share one evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.access.decisions.vocabulary import ACTOR, RESOURCE_TYPE, Vocabulary

Json = dict[str, Any]
Fault = tuple[str, dict[str, Any]]

_VARS = ("principal", "resource", "context")


class References(msgspec.Struct):
    """Attributes that a policy looks at, by variable. What is not here cannot change its outcome."""

    principal: set[str] = msgspec.field(default_factory=set)
    resource: set[str] = msgspec.field(default_factory=set)
    context: set[str] = msgspec.field(default_factory=set)

    def add(self, other: References) -> None:
        self.principal |= other.principal
        self.resource |= other.resource
        self.context |= other.context


def actions_of(body: Json, words: Vocabulary) -> frozenset[str]:
    """The actions that a policy's scope lets through; the policy cannot decide any other."""
    scope = body["action"]
    if scope["op"] == "All":
        return frozenset(words.actions)
    named = [e["id"] for e in scope.get("entities", [scope.get("entity")])]
    found: set[str] = set()
    for name in named:
        if name in words.actions:
            found.add(name)
        elif scope["op"] == "in":
            found.update(words.in_group(name))
    return frozenset(found)


def inspect(body: Json, words: Vocabulary) -> tuple[References, list[Fault]]:
    """The references of one policy (Cedar's JSON form), and what is wrong with it."""
    references = References()
    faults: list[Fault] = []
    for name, allowed in (("principal", {ACTOR}), ("resource", {RESOURCE_TYPE})):
        scope = body[name]
        single = scope["op"] == "==" or (name == "resource" and "entity" in scope)
        if single or (scope["op"] == "is" and scope["entity_type"] not in allowed):
            faults.append(("decision.policy_names_entity", {"part": name}))
    for entity in _entities({"scope": [body["principal"], [c["body"] for c in body["conditions"]]]}):
        if entity["type"] == "Role":
            if entity["id"] not in words.roles:
                faults.append(("decision.policy_unknown_role", {"role": entity["id"]}))
        elif entity["type"] != "Action":
            faults.append(("decision.policy_names_entity", {"part": f'{entity["type"]}::"{entity["id"]}"'}))
    for condition in body["conditions"]:
        _walk(condition["body"], references, faults)
    return references, faults


def _walk(node: Any, references: References, faults: list[Fault]) -> None:
    """Collects `variable.attribute` and `variable has attribute`; any other use of a variable as a whole
    could compare identities, which stand for classes here, so it is a fault."""
    if isinstance(node, list):
        for item in node:
            _walk(item, references, faults)
        return
    if not isinstance(node, dict):
        return
    for operator, arguments in node.items():
        if operator in (".", "has"):
            variable = arguments["left"].get("Var")
            if variable in _VARS:
                getattr(references, variable).add(arguments["attr"].partition(".")[0])
                continue
        elif operator == "in" and arguments["left"].get("Var") in ("principal", "action"):
            _walk(arguments["right"], references, faults)
            continue
        elif operator == "is" and arguments["left"].get("Var"):
            continue
        elif operator == "Var":
            if arguments != "action":
                faults.append(("decision.policy_names_entity", {"part": arguments}))
            continue
        elif operator == "Value":
            continue
        _walk(list(arguments.values()) if isinstance(arguments, dict) else arguments, references, faults)


def _entities(node: Any) -> Iterator[dict[str, str]]:
    """Every entity literal below `node`, in scopes and in conditions."""
    if isinstance(node, list):
        for item in node:
            yield from _entities(item)
    elif isinstance(node, dict):
        if node.keys() == {"type", "id"}:
            yield node
        else:
            for value in node.values():
                yield from _entities(value)
