"""The grammar: what parses into what, and errors that say where and how to mend it, in both languages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kernel.expr import MAX_DEPTH, MAX_LENGTH, MAX_PARTS, ExpressionError, parse
from headrace.kernel.expr.syntax import (
    Binary,
    Bool,
    Call,
    Conditional,
    Duration,
    List,
    Name,
    Node,
    Number,
    Text,
    Unary,
)


def lisp(node: Node) -> str:
    """The tree in brackets."""
    match node:
        case Number():
            return f"{node.value:g}" + (f"[{node.unit}]" if node.unit is not None else "")
        case Bool():
            return str(node.value).lower()
        case Text():
            return repr(node.value)
        case Duration():
            return f"{node.ns}ns"
        case Name():
            return node.path
        case Unary():
            return f"({node.op} {lisp(node.operand)})"
        case Binary():
            return f"({node.op} {lisp(node.left)} {lisp(node.right)})"
        case Conditional():
            return f"(? {lisp(node.condition)} {lisp(node.then)} {lisp(node.other)})"
        case Call():
            return f"({' '.join([node.function, *map(lisp, node.arguments)])})"
        case List():
            return f"[{' '.join(map(lisp, node.items))}]"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a/b", "a/b"),
        ("a / b", "(/ a b)"),
        ("a/b / c/d", "(/ a/b c/d)"),
        ("a-1", "a-1"),
        ("a - 1", "(- a 1)"),
        ("`3d/x` / 2", "(/ 3d/x 2)"),
        ("10/2 - 3", "(- (/ 10 2) 3)"),
        ("1 - 2 - 3", "(- (- 1 2) 3)"),
        ("1 + 2 * 3 % 4", "(+ 1 (% (* 2 3) 4))"),
        ("a || b && c == d + 1", "(|| a (&& b (== c (+ d 1))))"),
        ("!a && -b < -1", "(&& (! a) (< (- b) -1))"),
        ("--a", "(- (- a))"),
        ("!(a < b) == true", "(== (! (< a b)) true)"),
        ("a ? b : c ? d : e", "(? a b (? c d e))"),
        ("(a ? b : c) ? d : e", "(? (? a b c) d e)"),
        ("a ? b ? 1 : 2 : 3", "(? a (? b 1 2) 3)"),
        ("a in ['x', \"y\"] && b", "(&& (in a ['x' 'y']) b)"),
        ("x > 220[Cel]", "(> x 220[Cel])"),
        ("x > 428[[degF]] + 1.5e3[kW.h]", "(> x (+ 428[[degF]] 1500[kW.h]))"),
        ("x == -5[Cel]", "(== x -5[Cel])"),
        (
            "x > 1.5s || x > 250ms || x > 2h",
            "(|| (|| (> x 1500000000ns) (> x 250000000ns)) (> x 7200000000000ns))",
        ),
        ("max(a/b, 1, min(2, c))", "(max a/b 1 (min 2 c))"),
        ("a == 'it\\'s \\n'", '(== a "it\'s \\n")'),
        ("a // a comment\n  > 1", "(> a 1)"),
        ("in/put/x > 1", "(> in/put/x 1)"),
        ("or-gate/x", "or-gate/x"),
        ("a < b < c", "(< (< a b) c)"),
    ],
)
def test_trees(text: str, tree: str) -> None:
    expression = parse(text)
    assert lisp(expression.root) == tree
    assert expression.source(expression.root).strip("()") in text


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("", "expr.empty", 1),
        ("   ", "expr.empty", 1),
        ("a >", "expr.ends", 4),
        ("(a > 1", "expr.ends_without", 7),
        ("a > 1)", "expr.unexpected", 6),
        ("a b", "expr.unexpected", 3),
        ("a and b", "expr.word_meant", 3),
        ("not a", "expr.word_meant", 1),
        ("a = 1", "expr.character_meant", 3),
        ("a & b", "expr.character_meant", 3),
        ("a ≥ 1", "expr.character_meant", 3),
        ("max（a, 1)", "expr.character_meant", 4),
        ("a > 1；", "expr.character", 6),
        ("温度 > 1", "expr.character", 1),
        ("a > 'x", "expr.unterminated", 5),
        ("a > 'x\n'", "expr.unterminated", 5),
        ("`a > 1", "expr.unterminated", 1),
        ("a > 1[Cel", "expr.unterminated", 6),
        ("`a b` > 1", "expr.bad_name", 1),
        ("a == '\\q'", "expr.bad_escape", 7),
        ("3d/x > 1", "expr.glued_number", 1),
        ("220Cel > 1", "expr.glued_number", 1),
        ("a > 1e999", "expr.number_range", 5),
        ("a > 999999999d", "expr.number_range", 5),
        ("a > 1e3s", "expr.bad_duration", 5),
        ("a in 3", "expr.list_alone", 6),
        ("[1, 2]", "expr.list_alone", 1),
        ("a + [1]", "expr.list_alone", 5),
        ("![1]", "expr.list_alone", 2),
        ("a ? [1] : 2", "expr.list_alone", 5),
        ("f([1])", "expr.list_alone", 3),
        ("a in [1] in [2]", None, 0),
        ("a in []", "expr.empty_list", 6),
        ("a ? b", "expr.ends_without", 6),
        ("f(a b)", "expr.expected", 5),
        ("a in", "expr.ends", 5),
        ("in a", "expr.unexpected", 1),
        ("a && && b", "expr.unexpected", 6),
        ("x" * (MAX_LENGTH + 1), "expr.too_long", MAX_LENGTH + 1),
    ],
)
def test_errors(text: str, code: str | None, column: int) -> None:
    if code is None:
        parse(text)
        return
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    error = caught.value
    assert (error.code, error.params["column"]) == (code, column)
    for lang in ("zh", "en"):
        said = error.text(lang)
        assert said != code and not re.search(r"\{\w+\}", said)


def test_errors_count_lines() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("a > 1 &&\n  b >> 2")
    assert (caught.value.params["line"], caught.value.params["column"]) == (2, 6)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(" * (MAX_DEPTH + 5) + "a" + ")" * (MAX_DEPTH + 5), "expr.too_deep"),
        ("!" * (MAX_DEPTH * 2) + "a", "expr.too_deep"),
        ("- " * 1000 + "a", "expr.too_deep"),
        (" + ".join(["a"] * (MAX_DEPTH + 5)), "expr.too_deep"),
        ("a ? b : " * (MAX_DEPTH + 5) + "c", "expr.too_deep"),
        ("[" * 500, "expr.too_deep"),
        ("f(" * 500, "expr.too_deep"),
        (f"a in [{', '.join(['1'] * (MAX_PARTS + 5))}]", "expr.too_many_parts"),
    ],
)
def test_hostile_sizes_are_refused(text: str, code: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.code == code


def test_the_limits_leave_room_for_real_conditions() -> None:
    parse(" || ".join(f"m/p{n}/t > {n}" for n in range(90)))
    parse("(" * 90 + "a" + ")" * 90)


_PIECES = [
    "a",
    "a/b",
    "1",
    "2.5[Cel]",
    "5s",
    "'x'",
    "true",
    "(",
    ")",
    "[",
    "]",
    ",",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "<",
    "==",
    "in",
    "max",
    "`",
    "'",
    "\\",
    "//",
    "\n",
    " ",
    "温",
    "\x00",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_PIECES), max_size=30).map(" ".join)))
def test_any_text_parses_or_is_an_error_with_a_place(text: str) -> None:
    try:
        expression = parse(text)
    except ExpressionError as error:
        assert 0 <= error.at <= len(text)
        assert error.params["line"] >= 1 and error.params["column"] >= 1
        assert error.text("zh") and error.text("en")
    else:
        assert 0 <= expression.root.at < expression.root.end <= len(text)
