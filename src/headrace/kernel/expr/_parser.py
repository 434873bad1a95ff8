"""Tokens into a syntax tree, by precedence climbing (Pratt)."""

from __future__ import annotations

from headrace.kernel.expr._lexer import Token, tokens
from headrace.kernel.expr.errors import MAX_DEPTH, MAX_PARTS, ExpressionError
from headrace.kernel.expr.syntax import (
    Binary,
    Bool,
    Call,
    Conditional,
    Duration,
    Expression,
    List,
    Name,
    Node,
    Number,
    Text,
    Unary,
)

_POWER = {
    "||": 2,
    "&&": 3,
    "==": 4,
    "!=": 4,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "in": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "%": 6,
}
_TERNARY = 1
_UNARY = 7
# words of other languages, and our operators
_WORDS = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "True": "true"}
_WORDS |= {"False": "false", "TRUE": "true", "FALSE": "false", "mod": "%", "IN": "in"}


def parse(text: str) -> Expression:
    """The tree of `text`. Raises ExpressionError with line and column."""
    parser = _Parser(text)
    root = parser.expression(0, 1)
    parser.expect_end()
    if isinstance(root, List):
        raise ExpressionError("expr.list_alone", text, root.at)
    return Expression(text, root)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._place = 0
        self._parts = 0

    def expression(self, power: int, level: int) -> Node:
        if level > MAX_DEPTH:
            raise ExpressionError("expr.too_deep", self._text, self._here.at, limit=MAX_DEPTH)
        left = self._unary(level)
        while True:
            token = self._here
            op = token.text if token.kind == "operator" or token.text == "in" else ""
            if op == "?" and power <= _TERNARY:
                left = self._conditional(left, level)
            elif op in _POWER and _POWER[op] > power:
                self._advance()
                right = self.expression(_POWER[op], level + 1)
                if isinstance(left, List) or (isinstance(right, List) != (op == "in")):
                    raise ExpressionError(
                        "expr.list_alone", self._text, left.at if isinstance(left, List) else right.at
                    )
                left = self._made(
                    Binary(
                        op=op, left=left, right=right, at=left.at, end=right.end, depth=_depth(left, right)
                    )
                )
            else:
                return left

    def expect_end(self) -> None:
        token = self._here
        if token.kind == "end":
            return
        if token.text in _WORDS:
            raise ExpressionError(
                "expr.word_meant", self._text, token.at, word=token.text, meant=_WORDS[token.text]
            )
        raise self._unexpected(token)

    def _conditional(self, condition: Node, level: int) -> Node:
        self._advance()
        then = self.expression(_TERNARY, level + 1)
        self._take(":")
        other = self.expression(0, level + 1)
        for part in (condition, then, other):
            if isinstance(part, List):
                raise ExpressionError("expr.list_alone", self._text, part.at)
        return self._made(
            Conditional(
                condition=condition,
                then=then,
                other=other,
                at=condition.at,
                end=other.end,
                depth=_depth(condition, then, other),
            )
        )

    def _unary(self, level: int) -> Node:
        token = self._here
        if token.kind != "operator" or token.text not in "!-":
            return self._primary(level)
        self._advance()
        number = self._here
        if token.text == "-" and number.kind in ("number", "quantity"):
            self._advance()
            return self._number(number, token.at, -1.0)
        operand = self.expression(_UNARY, level + 1)
        if isinstance(operand, List):
            raise ExpressionError("expr.list_alone", self._text, operand.at)
        return self._made(
            Unary(op=token.text, operand=operand, at=token.at, end=operand.end, depth=_depth(operand))
        )

    def _primary(self, level: int) -> Node:
        token = self._here
        self._advance()
        match token.kind:
            case "number" | "quantity":
                return self._number(token, token.at, 1.0)
            case "duration":
                return self._made(Duration(ns=int(token.value), at=token.at, end=token.end))
            case "text":
                return self._made(Text(value=str(token.value), at=token.at, end=token.end))
            case "quoted":
                return self._made(Name(path=str(token.value), at=token.at, end=token.end))
            case "name":
                return self._name(token, level)
        if token.text == "(":
            inside = self.expression(0, level + 1)
            self._take(")")
            return inside
        if token.text == "[":
            items = self._arguments("]", level)
            if not items:
                raise ExpressionError("expr.empty_list", self._text, token.at)
            return self._made(
                List(items=items, at=token.at, end=self._tokens[self._place - 1].end, depth=_depth(*items))
            )
        raise self._unexpected(token)

    def _number(self, token: Token, at: int, sign: float) -> Node:
        unit = token.unit if token.kind == "quantity" else None
        return self._made(Number(value=sign * float(token.value), unit=unit, at=at, end=token.end))

    def _name(self, token: Token, level: int) -> Node:
        if token.text in ("true", "false"):
            return self._made(Bool(value=token.text == "true", at=token.at, end=token.end))
        if token.text in _WORDS and self._here.text != "(":
            raise ExpressionError(
                "expr.word_meant", self._text, token.at, word=token.text, meant=_WORDS[token.text]
            )
        if token.text == "in":
            raise self._unexpected(token)
        if self._here.text == "(" and self._here.kind == "operator":
            self._advance()
            arguments = self._arguments(")", level)
            end = self._tokens[self._place - 1].end
            return self._made(
                Call(function=token.text, arguments=arguments, at=token.at, end=end, depth=_depth(*arguments))
            )
        return self._made(Name(path=token.text, at=token.at, end=token.end))

    def _arguments(self, closing: str, level: int) -> tuple[Node, ...]:
        items: list[Node] = []
        if self._here.text == closing and self._here.kind == "operator":
            self._advance()
            return ()
        while True:
            item = self.expression(0, level + 1)
            if isinstance(item, List):
                raise ExpressionError("expr.list_alone", self._text, item.at)
            items.append(item)
            if self._here.text == "," and self._here.kind == "operator":
                self._advance()
                continue
            self._take(closing)
            return tuple(items)

    def _made(self, node: Node) -> Node:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ExpressionError("expr.too_many_parts", self._text, node.at, limit=MAX_PARTS)
        if node.depth > MAX_DEPTH:
            raise ExpressionError("expr.too_deep", self._text, node.at, limit=MAX_DEPTH)
        return node

    @property
    def _here(self) -> Token:
        return self._tokens[self._place]

    def _advance(self) -> None:
        self._place = min(self._place + 1, len(self._tokens) - 1)

    def _take(self, text: str) -> None:
        token = self._here
        if token.kind != "operator" or token.text != text:
            raise self._unexpected(token, text)
        self._advance()

    def _unexpected(self, token: Token, wanted: str = "") -> ExpressionError:
        if token.kind == "end":
            if not self._text.strip():
                return ExpressionError("expr.empty", self._text, 0)
            if wanted:
                return ExpressionError("expr.ends_without", self._text, token.at, wanted=wanted)
            return ExpressionError("expr.ends", self._text, token.at)
        if wanted:
            return ExpressionError(
                "expr.expected", self._text, token.at, wanted=wanted, found=token.text[:40]
            )
        return ExpressionError("expr.unexpected", self._text, token.at, found=token.text[:40])


def _depth(*parts: Node) -> int:
    return 1 + max(part.depth for part in parts) if parts else 1
