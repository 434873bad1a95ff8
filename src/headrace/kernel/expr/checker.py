"""Names, types and units: a syntax tree into a typed tree, or an error that says what disagrees."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

import msgspec

from headrace.kernel import clock, config
from headrace.kernel.expr import syntax, units
from headrace.kernel.expr.errors import ExpressionError
from headrace.kernel.expr.typed import (
    BOOL,
    DURATION,
    NUMBER,
    TEXT,
    TIMESTAMP,
    Base,
    Formula,
    Term,
    Type,
    names_of,
)
from headrace.kernel.expr.units import Unit, find_unit
from headrace.kernel.model import Kind, Tag

_INT64 = 2**63


class Symbol(msgspec.Struct, frozen=True):
    """What is known of a name: the kind of its values and its unit ("" where it has none)."""

    kind: Kind
    unit: str = ""


def symbols_of(tags: Iterable[Tag]) -> dict[str, Symbol]:
    """The symbols of these tags by name."""
    return {tag.name: Symbol(tag.kind, tag.unit) for tag in tags}


def check(
    expression: syntax.Expression, symbols: Mapping[str, Symbol], expect: Base | None = None
) -> Formula:
    """The typed form of `expression`. Raises ExpressionError: unknown names and functions (with the nearest
    known one), operands of the wrong type, units that do not agree, a result that is not `expect`."""
    checker = _Checker(expression.text, symbols)
    try:
        root = checker.term(expression.root)
    except OverflowError:
        raise ExpressionError("expr.units_range", expression.text, expression.root.at) from None
    if expect is not None and root.type.base is not expect:
        raise ExpressionError(
            "expr.wrong_result",
            expression.text,
            expression.root.at,
            found=root.type.title,
            expected=Type(expect).title,
        )
    return Formula(expression.text, root, names_of(root))


_COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}


class _Checker:
    def __init__(self, text: str, symbols: Mapping[str, Symbol]) -> None:
        self._text = text
        self._symbols = symbols

    # --- nodes -------------------------------------------------------------------------------------------

    def term(self, node: syntax.Node) -> Term:
        match node:
            case syntax.Number():
                unit = None if node.unit is None else self._unit(node.unit, node)
                return _at(node, "const", Type(Base.NUMBER, unit), value=node.value)
            case syntax.Bool():
                return _at(node, "const", BOOL, value=node.value)
            case syntax.Text():
                return _at(node, "const", TEXT, value=node.value)
            case syntax.Duration():
                return _at(node, "const", DURATION, value=node.ns)
            case syntax.Name():
                return _at(node, "tag", self._type_of(node), value=node.path)
            case syntax.Unary():
                return self._unary(node)
            case syntax.Binary():
                return self._binary(node)
            case syntax.Conditional():
                condition = self._typed(node.condition, Base.BOOL, "?")
                then, other = self._unified([self.term(node.then), self.term(node.other)], node, "?:")
                return _at(node, "if", then.type, (condition, then, other))
            case syntax.Call():
                return self._call(node)
        raise AssertionError(node)  # the parser lets lists stand only in `in`

    def _unary(self, node: syntax.Unary) -> Term:
        if node.op == "!":
            return _at(node, "not", BOOL, (self._typed(node.operand, Base.BOOL, "!"),))
        operand = self.term(node.operand)
        if operand.type.base is Base.DURATION:
            zero = _at(node, "const", DURATION, value=0)
            return _at(node, "span.sub", DURATION, (zero, operand))
        self._want(operand, {Base.NUMBER}, "-")
        return _at(node, "neg", operand.type, (operand,))

    def _binary(self, node: syntax.Binary) -> Term:
        if node.op in ("&&", "||"):
            sides = (self._typed(node.left, Base.BOOL, node.op), self._typed(node.right, Base.BOOL, node.op))
            return _at(node, "and" if node.op == "&&" else "or", BOOL, sides)
        left = self.term(node.left)
        if node.op == "in":
            assert isinstance(node.right, syntax.List)
            items = [self.term(item) for item in node.right.items]
            return _at(node, "in", BOOL, tuple(self._unified([left, *items], node, "in")))
        right = self.term(node.right)
        if node.op in _COMPARE:
            if node.op not in ("==", "!="):
                for side in (left, right):
                    self._want(side, {Base.NUMBER, Base.TEXT, Base.DURATION, Base.TIMESTAMP}, node.op)
            left, right = self._unified([left, right], node, node.op)
            return _at(node, _COMPARE[node.op], BOOL, (left, right))
        return self._arithmetic(node, left, right)

    def _arithmetic(self, node: syntax.Binary, left: Term, right: Term) -> Term:
        op = node.op
        kinds = {Base.NUMBER, Base.DURATION}
        if op in "+-":
            kinds |= {Base.TIMESTAMP}
        self._want(left, kinds, op)
        self._want(right, kinds, op)
        bases = (left.type.base, right.type.base)
        if bases != (Base.NUMBER, Base.NUMBER):
            made = self._spans(node, left, right)
            if made is not None:
                return made
            if Base.TIMESTAMP in bases:
                raise self._disagree(node, op, left, right)
            if op in "+-%" and not (left.type.unit or right.type.unit):
                raise self._disagree(node, op, left, right)
            left, right = self._seconds(left), self._seconds(right)
        if op in "+-":
            left, right, type_ = self._sum(node, left, right)
        elif op == "%":
            left, right = self._unified([left, right], node, op)
            type_ = left.type
        else:
            return self._product(node, left, right)
        return _at(node, _ARITHMETIC[op], type_, (left, right))

    def _spans(self, node: syntax.Binary, left: Term, right: Term) -> Term | None:
        """Arithmetic in whole nanoseconds, None where the operands are not such."""
        shape = (left.type.base, node.op, right.type.base)
        match shape:
            case (Base.TIMESTAMP, "-", Base.TIMESTAMP) | (Base.DURATION, "+" | "-", Base.DURATION):
                type_ = DURATION
            case (Base.TIMESTAMP, "+" | "-", Base.DURATION) | (Base.DURATION, "+", Base.TIMESTAMP):
                type_ = TIMESTAMP
            case (Base.DURATION, "*", Base.NUMBER) if right.type.unit is None:
                return _at(node, "span.mul", DURATION, (left, right))
            case (Base.NUMBER, "*", Base.DURATION) if left.type.unit is None:
                return _at(node, "span.mul", DURATION, (right, left))
            case (Base.DURATION, "/", Base.NUMBER) if right.type.unit is None:
                one = _at(node, "const", NUMBER, value=1.0)
                inverse = _hidden(right, "div", NUMBER, (one, right))
                return _at(node, "span.mul", DURATION, (left, inverse))
            case (Base.DURATION, "/", Base.DURATION):
                return _at(node, "span.div", NUMBER, (left, right))
            case _:
                return None
        return _at(node, "span.add" if node.op == "+" else "span.sub", type_, (left, right))

    def _sum(self, node: syntax.Binary, left: Term, right: Term) -> tuple[Term, Term, Type]:
        one, two = left.type.unit, right.type.unit
        if one is None or two is None:
            return left, right, Type(Base.NUMBER, one or two)
        if not one.agrees(two):
            raise self._disagree(node, node.op, left, right)
        if one.offset and two.offset:
            if node.op == "-":
                return left, _converted(right, one), Type(Base.NUMBER, one.difference)
            if right.op == "const":
                return left, _converted(right, one, difference=True), left.type
            if left.op == "const":
                return _converted(left, two, difference=True), right, right.type
            if one.same(two):  # the first half of a mean value
                return left, right, left.type
            raise self._offset(node, left)
        if one.offset:
            return left, _converted(right, one, difference=True), left.type
        if two.offset and node.op == "+":
            return _converted(left, two, difference=True), right, right.type
        if two.offset:
            if one.delta:
                raise self._offset(node, right)
            return left, _converted(right, one), Type(Base.NUMBER, two.difference)
        left, right = self._unified([left, right], node, node.op)
        return left, right, left.type

    def _product(self, node: syntax.Binary, left: Term, right: Term) -> Term:
        one, two = left.type.unit, right.type.unit
        op = _ARITHMETIC[node.op]
        if two is None:
            return _at(node, op, left.type, (left, right))
        if one is None:
            if op == "mul":
                return _at(node, op, right.type, (left, right))
            one = units.ONE
        for side in (left, right):
            if side.type.unit and side.type.unit.offset:
                raise self._offset(node, side)
        unit = units.product(one, two, 1 if op == "mul" else -1)
        made = _at(node, op, Type(Base.NUMBER, unit), (left, right))
        if unit.dims:
            return made
        plain = Type(Base.NUMBER, units.ONE)
        if unit.scale == 1:
            return msgspec.structs.replace(made, type=plain)
        inner = msgspec.structs.replace(made, hidden=True)
        return _at(node, "scale", plain, (inner,), value=(float(unit.scale), 0.0))

    # --- functions ---------------------------------------------------------------------------------------

    def _call(self, node: syntax.Call) -> Term:
        function = FUNCTIONS.get(node.function)
        if function is None:
            near = difflib.get_close_matches(node.function, FUNCTIONS, n=1, cutoff=0.5)
            if near:
                raise ExpressionError(
                    "expr.unknown_function_near", self._text, node.at, function=node.function, near=near[0]
                )
            raise ExpressionError(
                "expr.unknown_function",
                self._text,
                node.at,
                function=node.function,
                known=", ".join(sorted(FUNCTIONS)),
            )
        least, most, build = function
        count = len(node.arguments)
        if not least <= count <= most:
            wanted = str(least) if least == most else f"{least}…{most}" if most < 99 else f"{least}…"
            raise ExpressionError(
                "expr.wrong_count",
                self._text,
                node.at,
                function=node.function,
                wanted=wanted,
                count=count,
            )
        return build(self, node)

    def of_tag(self, node: syntax.Call) -> Term:
        """has, good, bad, quality and time look at the tag itself, not at its value."""
        name = node.arguments[0]
        if not isinstance(name, syntax.Name):
            raise ExpressionError("expr.not_a_tag", self._text, name.at, function=node.function)
        self._type_of(name)
        type_ = {"quality": NUMBER, "time": TIMESTAMP}.get(node.function, BOOL)
        return _at(node, node.function, type_, value=name.path)

    def rounded(self, node: syntax.Call) -> Term:
        """abs, round, floor and ceil keep the unit."""
        operand = self.term(node.arguments[0])
        if node.function == "abs" and operand.type.base is Base.DURATION:
            zero = _at(node, "const", DURATION, value=0)
            negative = _hidden(operand, "span.sub", DURATION, (zero, operand))
            return _at(node, "max", DURATION, (operand, negative))
        self._want(operand, {Base.NUMBER}, node.function)
        return _at(node, node.function, operand.type, (operand,))

    def square_root(self, node: syntax.Call) -> Term:
        operand = self.term(node.arguments[0])
        self._want(operand, {Base.NUMBER}, node.function)
        unit = operand.type.unit
        result = None if unit is None else units.root(unit)
        if unit is not None and result is None:
            raise ExpressionError("expr.no_root", self._text, node.at, unit=unit.name)
        return _at(node, "sqrt", Type(Base.NUMBER, result), (operand,))

    def extremes(self, node: syntax.Call) -> Term:
        """min, max and clamp(x, low, high): operands in one unit."""
        operands = [self.term(argument) for argument in node.arguments]
        for operand in operands:
            self._want(operand, {Base.NUMBER, Base.DURATION, Base.TIMESTAMP}, node.function)
        operands = self._unified(operands, node, node.function)
        if node.function == "clamp":
            return _at(node, "clamp", operands[0].type, tuple(operands))
        made = operands[0]
        for operand in operands[1:]:
            made = _at(node, node.function, operands[0].type, (made, operand))
        return made

    def classified(self, node: syntax.Call) -> Term:
        operand = self.term(node.arguments[0])
        self._want(operand, {Base.NUMBER}, node.function)
        return _at(node, node.function, BOOL, (operand,))

    def conversion(self, node: syntax.Call) -> Term:
        """convert(x, "K") is x in K; number(x, "K") the plain number of that."""
        operand = self._seconds(self.term(node.arguments[0]))
        self._want(operand, {Base.NUMBER}, node.function)
        name = node.arguments[1]
        if not isinstance(name, syntax.Text):
            raise ExpressionError("expr.not_constant", self._text, name.at, function=node.function)
        unit = self._unit(name.value, name)
        type_ = Type(Base.NUMBER, unit if node.function == "convert" else None)
        if operand.type.unit is None:
            one, zero = Fraction(1), Fraction(0)
        elif not operand.type.unit.agrees(unit):
            raise self._disagree(node, node.function, operand, _at(name, "const", Type(Base.NUMBER, unit)))
        elif operand.type.unit.delta and unit.offset:
            one, zero = units.factor(operand.type.unit, unit, difference=True)
        else:
            one, zero = units.factor(operand.type.unit, unit)
        return _at(node, "scale", type_, (operand,), value=(float(one), float(zero)))

    def constant_time(self, node: syntax.Call) -> Term:
        """duration("90s") and timestamp("2026-01-31T08:00:00+08:00"), as CEL has them."""
        text = node.arguments[0]
        if not isinstance(text, syntax.Text):
            raise ExpressionError("expr.not_constant", self._text, text.at, function=node.function)
        try:
            if node.function == "duration":
                ns, type_ = int(config.duration(text.value)), DURATION
            else:
                ns, type_ = clock.parse_time(text.value), TIMESTAMP
        except (ValueError, OverflowError):
            ns, type_ = _INT64, DURATION
        if not -_INT64 <= ns < _INT64:
            raise ExpressionError(
                "expr.bad_time", self._text, text.at, value=text.value, function=node.function
            )
        return _at(node, "const", type_, value=ns)

    # --- names, types, units -----------------------------------------------------------------------------

    def _type_of(self, node: syntax.Name) -> Type:
        symbol = self._symbols.get(node.path)
        if symbol is None:
            raise self._unknown(node)
        match symbol.kind:
            case Kind.BOOL:
                return BOOL
            case Kind.TEXT:
                return TEXT
        return Type(Base.NUMBER, find_unit(symbol.unit) if symbol.unit else None)

    def _unknown(self, node: syntax.Name) -> ExpressionError:
        """Says which name is near, or that an operator in the name wants spaces around it."""
        for at, character in enumerate(node.path):
            left, right = node.path[:at], node.path[at + 1 :]
            if character in "/-" and left in self._symbols and (right in self._symbols or _is_number(right)):
                return ExpressionError(
                    "expr.operator_wants_spaces",
                    self._text,
                    node.at + at,
                    name=node.path,
                    meant=f"{left} {character} {right}",
                )
        near = difflib.get_close_matches(node.path, list(self._symbols), n=1, cutoff=0.6)
        if near:
            return ExpressionError("expr.unknown_tag_near", self._text, node.at, tag=node.path, near=near[0])
        return ExpressionError("expr.unknown_tag", self._text, node.at, tag=node.path)

    def _unit(self, name: str, node: syntax.Node) -> Unit:
        unit = units.parse_unit(name)
        if unit is not None:
            return unit
        if name and any(symbol.unit == name for symbol in self._symbols.values()):
            return find_unit(name)
        near = units.nearest(name)
        if near:
            raise ExpressionError("expr.unknown_unit_near", self._text, node.at, unit=name, near=near)
        raise ExpressionError("expr.unknown_unit", self._text, node.at, unit=name)

    def _typed(self, node: syntax.Node, base: Base, op: str) -> Term:
        term = self.term(node)
        self._want(term, {base}, op)
        return term

    def _want(self, term: Term, bases: set[Base], op: str) -> None:
        if term.type.base not in bases:
            expected = Type(next(b for b in Base if b in bases)).title
            raise ExpressionError(
                "expr.wrong_type", self._text, term.at, op=op, found=term.type.title, expected=expected
            )

    def _unified(self, terms: list[Term], node: syntax.Node, op: str) -> list[Term]:
        """All terms in one type and unit: that of the first one that has a unit and is no constant, else of
        the first one that has a unit."""
        if {t.type.base for t in terms} == {Base.NUMBER, Base.DURATION} and any(t.type.unit for t in terms):
            terms = [self._seconds(t) for t in terms]
        first = terms[0]
        for other in terms[1:]:
            if other.type.base is not first.type.base:
                raise self._disagree(node, op, first, other)
        if first.type.base is not Base.NUMBER:
            return terms
        with_unit = [t for t in terms if t.type.unit]
        if not with_unit:
            return terms
        lead = next((t for t in with_unit if t.op != "const"), with_unit[0])
        unit = lead.type.unit
        assert unit is not None
        out = []
        for term in terms:
            mine = term.type.unit
            if mine is None:
                out.append(term)
                continue
            if not mine.agrees(unit):
                raise self._disagree(node, op, lead, term)
            difference = False
            if (unit.delta and mine.offset) or (mine.delta and unit.offset):
                if term.op != "const" and lead.op != "const":
                    raise self._offset(node, term if mine.offset else lead)
                difference = True
            out.append(_converted(term, unit, difference=difference))
        if out[0].type.unit is None:  # the result of min, ?: … has the unit even where a plain number leads
            out[0] = msgspec.structs.replace(out[0], type=lead.type)
        return out

    def _seconds(self, term: Term) -> Term:
        if term.type.base is not Base.DURATION:
            return term
        unit = units.parse_unit("s")
        type_ = Type(Base.NUMBER, unit)
        if term.op == "const":
            return msgspec.structs.replace(term, type=type_, value=float(term.value) / clock.NS_PER_S)
        return _hidden(term, "seconds", type_, (term,))

    def _disagree(self, node: syntax.Node, op: str, left: Term, right: Term) -> ExpressionError:
        one, two = left.type.unit, right.type.unit
        if one is not None and two is not None:
            return ExpressionError(
                "expr.units_differ", self._text, node.at, op=op, left=one.name, right=two.name
            )
        return ExpressionError(
            "expr.types_differ", self._text, node.at, op=op, left=left.type.title, right=right.type.title
        )

    def _offset(self, node: syntax.Node, term: Term) -> ExpressionError:
        unit = term.type.unit
        assert unit is not None
        return ExpressionError(
            "expr.offset_unit", self._text, node.at, unit=unit.name, base=unit.difference.name
        )


def _at(node: syntax.Node, op: str, type_: Type, args: tuple[Term, ...] = (), value: object = None) -> Term:
    return Term(op, type_, args, value, node.at, node.end)


def _hidden(like: Term, op: str, type_: Type, args: tuple[Term, ...], value: object = None) -> Term:
    return Term(op, type_, args, value, like.at, like.end, True)


def _converted(term: Term, unit: Unit, *, difference: bool = False) -> Term:
    """`term` in `unit`. Constants are converted here and exactly, so that the rows never pay for it."""
    source = term.type.unit
    assert source is not None
    one, zero = units.factor(source, unit, difference=difference)
    type_ = Type(Base.NUMBER, unit)
    if one == 1 and zero == 0:
        return term if source.name == unit.name else msgspec.structs.replace(term, type=type_)
    if term.op == "const":
        exact = float(Fraction(repr(term.value)) * one + zero)  # the decimal number as it was written
        return msgspec.structs.replace(term, type=type_, value=exact)
    return _hidden(term, "scale", type_, (term,), (float(one), float(zero)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


_Build = Callable[[_Checker, syntax.Call], Term]

FUNCTIONS: dict[str, tuple[int, int, _Build]] = {
    "abs": (1, 1, _Checker.rounded),
    "bad": (1, 1, _Checker.of_tag),
    "ceil": (1, 1, _Checker.rounded),
    "clamp": (3, 3, _Checker.extremes),
    "convert": (2, 2, _Checker.conversion),
    "duration": (1, 1, _Checker.constant_time),
    "floor": (1, 1, _Checker.rounded),
    "good": (1, 1, _Checker.of_tag),
    "has": (1, 1, _Checker.of_tag),
    "isinf": (1, 1, _Checker.classified),
    "isnan": (1, 1, _Checker.classified),
    "max": (2, 99, _Checker.extremes),
    "min": (2, 99, _Checker.extremes),
    "number": (2, 2, _Checker.conversion),
    "quality": (1, 1, _Checker.of_tag),
    "round": (1, 1, _Checker.rounded),
    "sqrt": (1, 1, _Checker.square_root),
    "time": (1, 1, _Checker.of_tag),
    "timestamp": (1, 1, _Checker.constant_time),
}
"""Every function: least and most arguments, and how its term is made."""
