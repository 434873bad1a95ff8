"""The syntax tree. Every node knows where it stands in the text: characters `at` to `end`."""

from __future__ import annotations

import msgspec


class Node(msgspec.Struct, frozen=True, kw_only=True):
    at: int
    end: int
    depth: int = 1


class Number(Node, frozen=True):
    """`value` in `unit` (UCUM); None where the number is plain."""

    value: float
    unit: str | None = None


class Bool(Node, frozen=True):
    value: bool


class Text(Node, frozen=True):
    value: str


class Duration(Node, frozen=True):
    ns: int


class Name(Node, frozen=True):
    """A reference to a tag by its path."""

    path: str


class Unary(Node, frozen=True):
    """`op` is "!" or "-"."""

    op: str
    operand: Node


class Binary(Node, frozen=True):
    """`op` is one of || && == != < <= > >= in + - * / %."""

    op: str
    left: Node
    right: Node


class Conditional(Node, frozen=True):
    condition: Node
    then: Node
    other: Node


class Call(Node, frozen=True):
    function: str
    arguments: tuple[Node, ...]


class List(Node, frozen=True):
    """Stands only on the right of `in`."""

    items: tuple[Node, ...]


class Expression(msgspec.Struct, frozen=True):
    """A parsed text."""

    text: str
    root: Node

    def source(self, node: Node) -> str:
        return self.text[node.at : node.end]
