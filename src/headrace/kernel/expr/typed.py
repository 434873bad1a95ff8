"""Types, and the typed tree that every evaluator walks."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from headrace.kernel.expr.units import Unit
from headrace.kernel.messages import Text


class Base(enum.StrEnum):
    """What kind of value a term has: float64, bool, str, int64 ns, int64 UTC ns."""

    NUMBER = "number"
    BOOL = "bool"
    TEXT = "text"
    DURATION = "duration"
    TIMESTAMP = "timestamp"


_TITLES = {
    Base.NUMBER: Text("数值", "a number"),
    Base.BOOL: Text("布尔值", "a boolean"),
    Base.TEXT: Text("文本", "a text"),
    Base.DURATION: Text("时长", "a duration"),
    Base.TIMESTAMP: Text("时刻", "a timestamp"),
}


class Type(msgspec.Struct, frozen=True):
    """`unit` only of numbers; None is a plain number, which takes the unit of whatever it meets."""

    base: Base
    unit: Unit | None = None

    @property
    def title(self) -> Text:
        """In words, for messages."""
        title = _TITLES[self.base]
        return (
            Text(f"{title.zh}（{self.unit.name}）", f"{title.en} in {self.unit.name}") if self.unit else title
        )


NUMBER = Type(Base.NUMBER)
BOOL = Type(Base.BOOL)
TEXT = Type(Base.TEXT)
DURATION = Type(Base.DURATION)
TIMESTAMP = Type(Base.TIMESTAMP)


class Term(msgspec.Struct, frozen=True):
    """One operation. `op`:

    const (value) · tag, has, good, bad, quality, time (value: the tag's name) · neg not · add sub mul div mod
    · eq ne lt le gt ge · and or if in · abs min max clamp round floor ceil sqrt isnan isinf
    · scale (value: (a, b), the term is a*x + b) · seconds (of a duration, as a number)
    · span.add span.sub span.mul span.div (int64 ns; out of range is unknown)

    `at`..`end` is the place in the text; conversions that the text does not show have the place of what they
    convert, and `hidden`.
    """

    op: str
    type: Type
    args: tuple[Term, ...] = ()
    value: Any = None
    at: int = 0
    end: int = 0
    hidden: bool = False


class Formula(msgspec.Struct, frozen=True):
    """A checked expression. `names`: the tags it reads, in the order of their first mention."""

    text: str
    root: Term
    names: tuple[str, ...]

    @property
    def type(self) -> Type:
        return self.root.type


def names_of(term: Term) -> tuple[str, ...]:
    """The tags a term reads, in the order of their first mention."""
    found: dict[str, None] = {}

    def walk(node: Term) -> None:
        if node.op in TAG_OPS:
            found[node.value] = None
        for arg in node.args:
            walk(arg)

    walk(term)
    return tuple(found)


TAG_OPS = frozenset({"tag", "has", "good", "bad", "quality", "time"})
