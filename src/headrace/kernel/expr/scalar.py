"""One moment: the value of a formula, and the explanation of that value part by part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from headrace.kernel.clock import NS_PER_S, iso
from headrace.kernel.expr.typed import TAG_OPS, Base, Formula, Term
from headrace.kernel.model import Quality, severity

Value = float | bool | str | int

_INT64 = 2**63


class Point(msgspec.Struct, frozen=True):
    """What a tag was at the moment. `value` None: there is none. `time`: UTC ns, None where not known."""

    value: Value | None
    quality: int = Quality.GOOD
    time: int | None = None


NOTHING = Point(None, Quality.BAD_NO_DATA)


class Step(msgspec.Struct, frozen=True):
    """One part of an explanation. `value` None is unknown. `decides`: the part takes part in the result
    (of `false && x` only the left side does)."""

    text: str
    type: str  # a Base
    value: Value | None
    unit: str = ""
    quality: int | None = None  # of a tag
    time: int | None = None  # of a tag
    decides: bool = True
    parts: tuple[Step, ...] = ()

    def render(self, lang: str) -> str:
        """The tree as indented lines in "zh" or "en"."""
        return "\n".join(self._lines(lang, 0))

    def _lines(self, lang: str, level: int) -> list[str]:
        line = f"{'  ' * level}{self.text} = {_shown(self, lang)}"
        notes = []
        if self.quality is not None:
            notes.append(_QUALITY[severity(self.quality)][lang == "en"] + f" 0x{self.quality:04X}")
        if self.time is not None:
            notes.append(iso(self.time))
        if not self.decides:
            notes.append("不影响结果" if lang == "zh" else "does not decide")
        if notes:
            line += f"（{'，'.join(notes)}）" if lang == "zh" else f" ({', '.join(notes)})"
        return [line, *(text for part in self.parts for text in part._lines(lang, level + 1))]


_QUALITY = {"good": ("质量好", "good"), "uncertain": ("质量存疑", "uncertain"), "bad": ("质量坏", "bad")}


def _shown(step: Step, lang: str) -> str:
    value = step.value
    if value is None:
        return "未知" if lang == "zh" else "unknown"
    match step.type:
        case Base.BOOL:
            return ("真" if value else "假") if lang == "zh" else ("true" if value else "false")
        case Base.DURATION:
            return f"{int(value) / NS_PER_S:g}s"
        case Base.TIMESTAMP:
            return iso(int(value))
        case Base.TEXT:
            return f'"{value}"'
    return f"{float(value):.10g} {step.unit}".rstrip()


def evaluate(formula: Formula, values: Mapping[str, Point]) -> Value | None:
    """The value at one moment, None where it is unknown. A name that `values` lacks is a tag without data."""
    return _value(formula.root, values)


def explain(formula: Formula, values: Mapping[str, Point]) -> Step:
    """The same with every part."""
    return _step(formula.root, formula.text, values, True)


def _value(term: Term, values: Mapping[str, Point]) -> Value | None:
    if term.op == "const":
        return term.value  # type: ignore[no-any-return]
    if term.op in TAG_OPS:
        return _tag(term, values)
    return combine(term.op, term.value, [_value(arg, values) for arg in term.args])


def _step(term: Term, text: str, values: Mapping[str, Point], decides: bool) -> Step:
    parts = [_step(arg, text, values, decides) for arg in term.args]
    if term.op == "const":
        value = term.value
    elif term.op in TAG_OPS:
        value = _tag(term, values)
    else:
        value = combine(term.op, term.value, [part.value for part in parts])
    if decides:
        parts = _deciding(term.op, value, parts)
    shown: list[Step] = []
    for arg, part in zip(term.args, parts, strict=True):
        if arg.op == "const" and term.op not in ("and", "or", "if"):
            continue  # the text shows a constant as it is
        # a conversion repeats the text of what it converts, and so does `max` of more than two
        same = not term.hidden and (arg.at, arg.end) == (term.at, term.end)
        shown.extend(part.parts if arg.hidden or same else (part,))
    unit = term.type.unit.name if term.type.unit else ""
    source = text[term.at : term.end]
    if term.op in TAG_OPS:
        point = values.get(term.value, NOTHING)
        return Step(source, term.type.base, value, unit, point.quality, point.time, decides)
    return Step(source, term.type.base, value, unit, decides=decides, parts=tuple(shown))


def _deciding(op: str, value: Value | None, parts: list[Step]) -> list[Step]:
    """Marks the parts that do not matter to the value of an `and`, `or` or `if`."""
    matters: Callable[[int], bool]
    if op in ("and", "or") and value is (op == "or"):
        matters = lambda n: parts[n].value is value  # noqa: E731
    elif op == "if" and parts[0].value is not None:
        matters = lambda n: n == 0 or (n == 1) == bool(parts[0].value)  # noqa: E731
    else:
        return parts
    return [part if matters(n) else _undecided(part) for n, part in enumerate(parts)]


def _undecided(step: Step) -> Step:
    return msgspec.structs.replace(step, decides=False, parts=tuple(_undecided(p) for p in step.parts))


def _tag(term: Term, values: Mapping[str, Point]) -> Value | None:
    point = values.get(term.value, NOTHING)
    known = point.value is not None and point.quality < 0x8000
    match term.op:
        case "has":
            return known
        case "good":
            return point.value is not None and point.quality < 0x4000
        case "bad":
            return not known
        case "quality":
            return float(point.quality)
        case "time":
            return point.time
    if not known or point.value is None:
        return None
    return float(point.value) if term.type.base is Base.NUMBER else point.value


def combine(op: str, constant: Any, args: list[Value | None]) -> Value | None:
    """The value of one operation from the values of its operands; None is unknown."""
    match op:
        case "and":
            return False if False in args else None if None in args else True
        case "or":
            return True if True in args else None if None in args else False
        case "if":
            return None if args[0] is None else args[1] if args[0] else args[2]
        case "in":
            if args[0] is None:
                return None
            if any(item is not None and args[0] == item for item in args[1:]):
                return True
            return None if None in args else False
    if None in args:
        return None
    if op == "scale":
        scaled = float(args[0]) * constant[0]  # type: ignore[arg-type]
        return scaled + constant[1] if constant[1] else scaled  # type: ignore[no-any-return]
    return _STRICT[op](*args)


def _span(value: int) -> int | None:
    return value if -_INT64 <= value < _INT64 else None


def _span_times(span: int, number: float) -> int | None:
    made = float(span) * number
    return int(made) if -float(_INT64) <= made < float(_INT64) else None


def _span_ratio(left: int, right: int) -> float:
    return _divide(float(left), float(right))


def _divide(left: float, right: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.divide(left, right))


def _remainder(left: float, right: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.fmod(left, right))


def _round(x: float) -> float:
    """Ties away from zero, as CEL's math.round."""
    if not math.isfinite(x):
        return x
    whole = float(math.trunc(x))
    return whole + math.copysign(1.0, x) if abs(x - whole) >= 0.5 else whole


def _whole(rounding: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(rounding(x)) if math.isfinite(x) else x


def _least(left: Any, right: Any) -> Any:
    return left if left != left or left <= right else right


def _most(left: Any, right: Any) -> Any:
    return left if left != left or left >= right else right


_STRICT: dict[str, Callable[..., Value | None]] = {
    "neg": lambda x: -x,
    "not": lambda x: not x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _divide,
    "mod": _remainder,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "abs": abs,
    "min": _least,
    "max": _most,
    "clamp": lambda x, low, high: _least(_most(x, low), high),
    "round": _round,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "isnan": math.isnan,
    "isinf": math.isinf,
    "seconds": lambda span: float(span) / NS_PER_S,
    "span.add": lambda x, y: _span(x + y),
    "span.sub": lambda x, y: _span(x - y),
    "span.mul": _span_times,
    "span.div": _span_ratio,
}
