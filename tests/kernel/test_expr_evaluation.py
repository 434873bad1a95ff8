"""Scalar, vector (both paths) and an independent interpreter of the syntax tree agree on every expression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.kernel.expr import (
    FUNCTIONS,
    NO_TIME,
    Base,
    Column,
    ExpressionError,
    Point,
    Program,
    Symbol,
    check,
    evaluate,
    explain,
    parse,
)
from headrace.kernel.expr import syntax as ast
from headrace.kernel.model import Batch, Kind, Quality

SYMBOLS = {
    "n/a": Symbol(Kind.F64),
    "n/b": Symbol(Kind.F64),
    "n/i": Symbol(Kind.I64),
    "b/a": Symbol(Kind.BOOL),
    "b/b": Symbol(Kind.BOOL),
    "s/a": Symbol(Kind.TEXT),
    "t/a": Symbol(Kind.F64, "Cel"),
}

# --- the reference: a plain interpreter of the syntax tree, written apart from the checker ------------------

UNKNOWN = object()


def reference(node: ast.Node, points: dict[str, Point]) -> Any:
    """CEL with Kleene's logic and IEEE 754, for plain numbers."""
    match node:
        case ast.Number() | ast.Bool() | ast.Text():
            return node.value
        case ast.Duration():
            return node.ns
        case ast.Name():
            point = points.get(node.path, Point(None, Quality.BAD_NO_DATA))
            if point.value is None or point.quality >= 0x8000:
                return UNKNOWN
            return float(point.value) if SYMBOLS[node.path].kind in (Kind.F64, Kind.I64) else point.value
        case ast.Unary():
            x = reference(node.operand, points)
            return UNKNOWN if x is UNKNOWN else (not x) if node.op == "!" else -x
        case ast.Conditional():
            condition = reference(node.condition, points)
            if condition is UNKNOWN:
                return UNKNOWN
            return reference(node.then if condition else node.other, points)
        case ast.Call():
            return _called(node, points)
        case ast.Binary():
            return _joined(node, points)
    raise AssertionError(node)


def _joined(node: ast.Binary, points: dict[str, Point]) -> Any:
    left = reference(node.left, points)
    if node.op == "in":
        assert isinstance(node.right, ast.List)
        items = [reference(item, points) for item in node.right.items]
        if left is UNKNOWN:
            return UNKNOWN
        if any(item is not UNKNOWN and left == item for item in items):
            return True
        return UNKNOWN if UNKNOWN in items else False
    right = reference(node.right, points)
    if node.op in ("&&", "||"):
        decisive = node.op == "||"
        if left is decisive or right is decisive:
            return decisive
        return UNKNOWN if UNKNOWN in (left, right) else not decisive
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    match node.op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            if right == 0:
                sign = math.copysign(1, left) * math.copysign(1, right)
                return math.nan if left == 0 or math.isnan(left) else math.inf * sign
            return left / right
        case "%":
            if right == 0 or math.isinf(left) or math.isnan(left) or math.isnan(right):
                return math.nan
            return math.fmod(left, right)
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
    return left >= right


def _called(node: ast.Call, points: dict[str, Point]) -> Any:
    if node.function in ("has", "good", "bad", "quality"):
        name = node.arguments[0]
        assert isinstance(name, ast.Name)
        point = points.get(name.path, Point(None, Quality.BAD_NO_DATA))
        has = point.value is not None and point.quality < 0x8000
        return {
            "has": has,
            "good": has and point.quality < 0x4000,
            "bad": not has,
            "quality": float(point.quality),
        }[node.function]
    args = [reference(argument, points) for argument in node.arguments]
    if UNKNOWN in args:
        return UNKNOWN
    if node.function in ("min", "max", "clamp"):
        if any(math.isnan(a) for a in args):
            return math.nan
        if node.function == "clamp":
            return min(max(args[0], args[1]), args[2])
        return (min if node.function == "min" else max)(args)
    (x,) = args
    match node.function:
        case "abs":
            return abs(x)
        case "sqrt":
            return math.sqrt(x) if x >= 0 else math.nan
        case "isnan":
            return math.isnan(x)
        case "isinf":
            return math.isinf(x)
    if math.isnan(x) or math.isinf(x):
        return x
    if node.function == "round":
        return math.copysign(math.floor(abs(x) + 0.5) if abs(x) < 2**52 else abs(x), x)
    return float(math.floor(x) if node.function == "floor" else math.ceil(x))


# --- random expressions -----------------------------------------------------------------------------------

NUMBERS = st.sampled_from(["0", "1", "2", "0.5", "3.25", "-1", "-2.5", "1e300", "7"])
leaf_number = st.one_of(NUMBERS, st.sampled_from(["n/a", "n/b", "n/i", "quality(n/a)"]))
leaf_bool = st.sampled_from(["true", "false", "b/a", "b/b", "has(n/a)", "good(n/b)", "bad(s/a)", "good(b/a)"])


Texts = st.SearchStrategy[str]


def grown(number: Texts, boolean: Texts) -> tuple[Texts, Texts]:
    """Expressions one level deeper than these."""

    def made(form: str, *parts: Texts) -> Texts:
        return st.tuples(*parts).map(lambda values: form.format(*values))

    arithmetic, comparison = st.sampled_from("+-*/%"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    logic = st.sampled_from(["&&", "||", "==", "!="])
    rounding = st.sampled_from(["abs", "sqrt", "round", "floor", "ceil"])
    return st.one_of(
        leaf_number,
        made("({} {} {})", number, arithmetic, number),
        made("{}({})", rounding, number),
        made("-({})", number),
        made("{}({}, {})", st.sampled_from(["min", "max"]), number, number),
        made("clamp({}, {}, {})", number, number, number),
        made("({} ? {} : {})", boolean, number, number),
    ), st.one_of(
        leaf_bool,
        made("({} {} {})", number, comparison, number),
        made("({} {} {})", boolean, logic, boolean),
        made("!{}", boolean),
        made("{}({})", st.sampled_from(["isnan", "isinf"]), number),
        made("({} in [{}, {}])", number, number, number),
        made("({} ? {} : {})", boolean, boolean, boolean),
        st.sampled_from(["(s/a == 'x')", "(s/a < 'm')", "(s/a in ['x', 'y'])", "(s/a != 'x')"]),
    )


expressions = st.one_of(*grown(*grown(*grown(leaf_number, leaf_bool))))

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.F64: st.sampled_from(
        [0.0, 1.0, -1.0, 2.5, -2.5, 0.49999999999999994, 1e300, math.inf, -math.inf, math.nan]
    ),
    Kind.I64: st.integers(-3, 3),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: st.sampled_from(["x", "y", ""]),
}


@st.composite
def rows(draw: st.DrawFn, doubtful: bool) -> list[dict[str, Point]]:
    qualities = [0, 0, 0x4000, 0x4090, 0x8005] if doubtful else [0, 0x4000]
    out = []
    for _ in range(draw(st.integers(1, 6))):
        row = {}
        for name, symbol in SYMBOLS.items():
            missing = doubtful and draw(st.integers(0, 5)) == 0
            value = None if missing else draw(VALUES[symbol.kind])
            row[name] = Point(value, draw(st.sampled_from(qualities)))
        out.append(row)
    return out


DTYPE: dict[Kind, Any] = {Kind.F64: float, Kind.I64: np.int64, Kind.BOOL: bool, Kind.TEXT: object}


def columns(table: list[dict[str, Point]]) -> dict[str, Column]:
    made = {}
    for name, symbol in SYMBOLS.items():
        points = [row[name] for row in table]
        empty: Any = "" if symbol.kind is Kind.TEXT else 0
        made[name] = Column.of(
            np.array([empty if p.value is None else p.value for p in points], DTYPE[symbol.kind]),
            [p.quality for p in points],
            [p.value is None for p in points],
        )
    return made


def same(one: Any, other: Any) -> bool:
    """The sign of a zero, and what hangs on it alone, is left free: minimum(0, -0) may be either."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or one == other
    return bool(one == other)


def vector(column: Column, row: int) -> Any:
    if column.unknown is not None and column.unknown[row]:
        return None
    return column.values[row].item() if isinstance(column.values[row], np.generic) else column.values[row]


def negative_zero(text: str) -> bool:
    """Whether a division may meet a zero whose sign depends on who computes it."""
    return "/ " in text and any(f in text for f in ("min(", "max(", "clamp("))


@settings(deadline=None, max_examples=150)
@given(st.lists(expressions, min_size=1, max_size=4), st.booleans().flatmap(rows))
def test_all_evaluators_agree(texts: list[str], table: list[dict[str, Point]]) -> None:
    formulas = [check(parse(text), SYMBOLS) for text in texts if not negative_zero(text)]
    results = Program(formulas).run(columns(table))
    for formula, column in zip(formulas, results, strict=True):
        for number, row in enumerate(table):
            expected = reference(parse(formula.text).root, row)
            expected = None if expected is UNKNOWN else expected
            scalar = evaluate(formula, row)
            assert same(scalar, expected), (formula.text, row, scalar, expected)
            assert same(vector(column, number), expected), (formula.text, row, column, expected)
            step = explain(formula, row)
            assert same(step.value, expected)
            assert step.render("zh") and step.render("en")


@settings(deadline=None, max_examples=60)
@given(st.lists(expressions, min_size=1, max_size=4), rows(doubtful=False))
def test_the_fast_path_and_the_masked_path_agree(texts: list[str], table: list[dict[str, Point]]) -> None:
    program = Program([check(parse(text), SYMBOLS) for text in texts])
    fast = program.run(columns(table))
    # one more row without any value forces the other path
    masked = program.run(columns([*table, {name: Point(None, 0x8005) for name in SYMBOLS}]))
    for one, other in zip(fast, masked, strict=True):
        for row in range(len(table)):
            a, b = vector(one, row), vector(other, row)
            assert same(a, b) or any(negative_zero(text) for text in texts)


@settings(deadline=None, max_examples=40)
@given(expressions, rows(doubtful=True), st.integers(1, 7))
def test_blocks_and_repeated_runs_change_nothing(
    text: str, table: list[dict[str, Point]], block: int
) -> None:
    from headrace.kernel.expr import _straight

    program = Program([check(parse(text), SYMBOLS)])
    inputs = columns(table)
    (first,) = program.run(inputs)
    kept = first.values.copy()
    whole = _straight._BLOCK
    try:
        _straight._BLOCK = block
        (again,) = program.run(inputs)
    finally:
        _straight._BLOCK = whole
    program.run(columns(table[:1] * len(table)))
    assert first.values.tobytes() == kept.tobytes() or first.values.dtype == object
    for row in range(len(table)):
        assert same(vector(again, row), vector(first, row))


# --- single things ----------------------------------------------------------------------------------------

P = {
    "n/a": Point(3.0, 0, 10**18),
    "n/b": Point(None, 0x8005, 10**18 + 5),
    "b/a": Point(True),
    "b/b": Point(None),
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("b/b && false", False),
        ("false && b/b", False),
        ("b/b || true", True),
        ("b/b || false", None),
        ("!b/b", None),
        ("n/b > 1", None),
        ("n/b > 1 || n/a > 1", True),
        ("b/b ? 1 : 1", None),
        ("b/a ? n/a : n/b", 3.0),
        ("n/b in [1, 2]", None),
        ("n/a in [n/b, 3]", True),
        ("n/a in [n/b, 2]", None),
        ("n/a / 0 > 1e308", True),
        ("isnan((n/a - 3) / 0)", True),
        ("n/a % 0 == 0", False),
        ("-7 % 4", -3.0),
        ("round(-2.5)", -3.0),
        ("round(2.5)", 3.0),
        ("quality(n/b) == 32773", True),
        ("quality(never/seen) == 32923", "expr.unknown_tag"),
        ("has(t/a)", False),
        ("time(n/a) < time(n/b)", True),
        ("time(n/b) - time(n/a)", 5),
        ("time(t/a) > time(n/a)", None),
        ("time(n/a) == timestamp('2001-09-09T01:46:40Z')", True),
        ("time(n/a) + 1s", 10**18 + 10**9),
        ("timestamp('2026-01-01T00:00:00+08:00') - timestamp('2025-12-31T16:00:00Z')", 0),
        ("duration('90s') == 1.5m", True),
        ("5s * n/a == 15s", True),
        ("n/a * 5s == 15s", True),
        ("10s / 4 == 2.5s", True),
        ("1h / 1m", 60.0),
        ("-5s < 0s", True),
        ("abs(-5s) == 5s", True),
        ("max(1s, 2s, 500ms)", 2 * 10**9),
        ("90000d + 90000d", None),
        ("time(n/a) + 100000d", None),
        ("5s * 1e300", None),
        ("timestamp('9999-01-01T00:00:00Z')", "expr.bad_time"),
        ("timestamp('nonsense')", "expr.bad_time"),
        ("duration('1 s')", "expr.bad_time"),
        ("duration(s/a)", "expr.not_constant"),
        ("5s + n/a", "expr.types_differ"),
        ("time(n/a) * 2", "expr.wrong_type"),
        ("5s - time(n/a)", "expr.types_differ"),
        ("time(n/a) > 5s", "expr.types_differ"),
        ("b/a > true", "expr.wrong_type"),
        ("b/a + 1", "expr.wrong_type"),
        ("-s/a", "expr.wrong_type"),
        ("s/a == 1", "expr.types_differ"),
        ("b/a ? 1 : 's'", "expr.types_differ"),
        ("n/a ? 1 : 2", "expr.wrong_type"),
        ("has(1)", "expr.not_a_tag"),
        ("has(n/c)", "expr.unknown_tag_near"),
        ("abs(1, 2)", "expr.wrong_count"),
        ("min(1)", "expr.wrong_count"),
        ("sqroot(1)", "expr.unknown_function_near"),
        ("__import__(1)", "expr.unknown_function"),
        ("n/a/2 > 1", "expr.operator_wants_spaces"),
        ("n/a-n/b > 1", "expr.operator_wants_spaces"),
        ("n/a-2 > 1", "expr.operator_wants_spaces"),
        ("sqrt(b/a)", "expr.wrong_type"),
        ("abs(s/a)", "expr.wrong_type"),
        ("max(1, 's')", "expr.wrong_type"),
        ("isnan(b/a)", "expr.wrong_type"),
        ("convert(b/a, 'K')", "expr.wrong_type"),
        ("convert(n/a, n/a)", "expr.not_constant"),
    ],
)
def test_values_and_errors(text: str, result: Any) -> None:
    if isinstance(result, str):
        with pytest.raises(ExpressionError) as caught:
            check(parse(text), SYMBOLS)
        assert caught.value.code == result
        assert caught.value.text("zh") != caught.value.text("en")
        return
    formula = check(parse(text), SYMBOLS)
    scalar = evaluate(formula, P)
    assert same(scalar, result) and type(scalar) is type(result)
    table = [{**{name: Point(None, 0x809B) for name in SYMBOLS}, **P}]
    inputs = columns(table)
    timed = {
        n: Column(c.values, c.unknown, c.quality,
                  np.array([NO_TIME if table[0][n].time is None else table[0][n].time], np.int64))
        for n, c in inputs.items()
    }  # fmt: skip
    assert same(vector(Program([formula]).run(timed)[0], 0), result)


def test_every_function_is_exercised_here() -> None:
    assert set(FUNCTIONS) == {
        "abs", "bad", "ceil", "clamp", "convert", "duration", "floor", "good", "has", "isinf", "isnan", "max",
        "min", "number", "quality", "round", "sqrt", "time", "timestamp",
    }  # fmt: skip


def test_a_wrong_result_is_refused() -> None:
    with pytest.raises(ExpressionError) as caught:
        check(parse("n/a + 1"), SYMBOLS, Base.BOOL)
    assert caught.value.code == "expr.wrong_result"
    assert "布尔值" in caught.value.text("zh")


def test_names_in_the_order_of_their_mention() -> None:
    assert check(parse("has(b/b) && n/b > n/a && n/b < 3"), SYMBOLS).names == ("b/b", "n/b", "n/a")


def test_shared_and_constant_parts_are_computed_once() -> None:
    texts = ["n/a + n/b > 2 * 3", "n/a + n/b > 6 && true", "n/a + n/b > 6 || 1 > 2", "false && n/a > 1"]
    program = Program([check(parse(text), SYMBOLS) for text in texts])
    assert program.size == 2  # one sum, one comparison
    results = program.run({n: Column.of([3.0, 4.0]) for n in ("n/a", "n/b")})
    assert [r.values.tolist() for r in results] == [[False, True]] * 3 + [[False, False]]


def test_results_are_the_callers_own() -> None:
    program = Program([check(parse(t), SYMBOLS) for t in ("n/a", "n/a", "n/a + 1", "7", "n/a + 1")])
    source = np.array([1.0, 2.0])
    first = program.run({"n/a": Column.of(source)})
    for column in first:
        column.values[:] = -1
    assert source.tolist() == [1.0, 2.0]
    second = program.run({"n/a": Column.of(source)})
    assert [c.values.tolist() for c in second] == [[1, 2], [1, 2], [2, 3], [7, 7], [2, 3]]


def test_columns_of_unequal_length_are_refused() -> None:
    program = Program([check(parse("n/a > n/b"), SYMBOLS)])
    with pytest.raises(ValueError, match="length"):
        program.run({"n/a": Column.of([1.0]), "n/b": Column.of([1.0, 2.0])})


def test_a_batch_is_a_column() -> None:
    batch = Batch.of(Kind.I64, [1, 1, 1], [1, 2, 3], [5, 6, 7], [0, 0x8005, 0])
    (found,) = Program([check(parse("n/i > 5 && time(n/i) > timestamp('1970-01-01')"), SYMBOLS)]).run(
        {"n/i": Column.of_batch(batch)}
    )
    assert found.unknown is not None and found.unknown.tolist() == [False, True, False]
    assert found.true().tolist() == [False, False, True]


def test_empty_columns_give_empty_results() -> None:
    (found,) = Program([check(parse("n/a > 1 && s/a == 'x'"), SYMBOLS)]).run(
        {"n/a": Column.of(np.empty(0)), "s/a": Column.of(np.empty(0, object))}
    )
    assert len(found.values) == 0


def test_explanations_read_well() -> None:
    formula = check(parse("n/a > 2 || n/b > 1 && !b/a"), SYMBOLS)
    assert explain(formula, P).render("en") == (
        "n/a > 2 || n/b > 1 && !b/a = true\n"
        "  n/a > 2 = true\n"
        "    n/a = 3 (good 0x0000, 2001-09-09T01:46:40.000000000Z)\n"
        "  n/b > 1 && !b/a = false (does not decide)\n"
        "    n/b > 1 = unknown (does not decide)\n"
        "      n/b = unknown (bad 0x8005, 2001-09-09T01:46:40.000000005Z, does not decide)\n"
        "    !b/a = false (does not decide)\n"
        "      b/a = true (good 0x0000, does not decide)"
    )
    assert explain(check(parse("t/a - 5[K] > 300[K]"), SYMBOLS), {"t/a": Point(40.0)}).render("zh") == (
        "t/a - 5[K] > 300[K] = 真\n  t/a - 5[K] = 35 Cel\n    t/a = 40 Cel（质量好 0x0000）"
    )
    assert explain(check(parse("max(n/a, 1, 2) > 2.5"), SYMBOLS), P).render("en").count("n/a = 3") == 1
    spans = explain(check(parse("time(n/b) - time(n/a) < 5s && s/a == 'x'"), SYMBOLS), P).render("zh")
    assert "time(n/b) - time(n/a) = 5e-09s" in spans and "s/a == 'x' = 未知" in spans


def test_deep_expressions_stay_within_the_stack() -> None:
    for text in ("!" * 95 + "b/a", " + ".join(["n/a"] * 95) + " > 1", "(" * 95 + "n/a > 1" + ")" * 95):
        formula = check(parse(text), SYMBOLS)
        assert evaluate(formula, P) is not None
        assert explain(formula, P).value is not None
        Program([formula]).run({"n/a": Column.of([3.0]), "b/a": Column.of([True])})
