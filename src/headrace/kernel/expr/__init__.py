"""The one expression language: alarms, computed tags, app conditions and report formulas are written in it.

A typed subset of CEL (github.com/google/cel-spec) with units, quality and three-valued logic. Enters: text,
and what is known of each tag (type, unit). Leaves: typed terms, values for one moment or for whole columns,
and explanations. Imports only the kernel. Nothing is ever handed to Python to evaluate.

    oven/zone1/temperature > 220                      a bare number takes the unit of the other side
    oven/zone1/temperature > 428[[degF]]              a number with a UCUM unit stands before [unit]
    abs(a/t - b/t) > 5[K] && good(a/t)                names contain / and -, so the operators need spaces
    bath/level / bath/volume < 20[%] ? true : false
    line/state in ["run", "idle"] && time(a/t) - time(b/t) < 5s
    `3d/zone/temperature` > 40                        backquotes: a name that does not begin with a letter

Grammar (precedence from loose to tight; all binary operators group to the left):

    expression  = or [ "?" or ":" expression ]
    or          = and { "||" and }                    and = relation { "&&" relation }
    relation    = sum { ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") sum }
    sum         = product { ("+" | "-") product }     product = unary { ("*" | "/" | "%") unary }
    unary       = { "!" | "-" } primary
    primary     = number [ "[" unit "]" ] | duration | text | "true" | "false" | name | function "(" … ")"
                | "[" expression { "," expression } "]" | "(" expression ")"
    name        = segment { "/" segment }             segment = letters, digits, "_" and "-"
    duration    = number ("us" | "ms" | "s" | "m" | "h" | "d")         text = '…' or "…", backslash escapes
    comment     = "//" to the end of the line

Division and subtraction of names need a space (or backquotes): `a/b` is the tag a/b, `a / b` is a quotient.

Values are numbers (float64, with a unit or plain), booleans, texts, durations and timestamps (int64 ns).
A tag whose value is missing or of bad quality is *unknown*; unknown spreads through every operation except
where the rest decides alone: `false && unknown` is false, `true || unknown` is true (Kleene). `has`, `good`,
`bad` and `quality` of a tag are always known. Numbers follow IEEE 754: x / 0 is infinite, NaN compares false.
"""

from headrace.kernel.expr._columns import NO_TIME, Column
from headrace.kernel.expr._parser import parse
from headrace.kernel.expr.checker import FUNCTIONS, Symbol, check, symbols_of
from headrace.kernel.expr.errors import MAX_DEPTH, MAX_LENGTH, MAX_PARTS, ExpressionError
from headrace.kernel.expr.scalar import Point, Step, evaluate, explain
from headrace.kernel.expr.syntax import Expression
from headrace.kernel.expr.typed import Base, Formula, Term, Type
from headrace.kernel.expr.units import Unit, find_unit, parse_unit
from headrace.kernel.expr.vector import Program

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_PARTS",
    "NO_TIME",
    "Base",
    "Column",
    "Expression",
    "ExpressionError",
    "Formula",
    "Point",
    "Program",
    "Step",
    "Symbol",
    "Term",
    "Type",
    "Unit",
    "check",
    "evaluate",
    "explain",
    "find_unit",
    "parse",
    "parse_unit",
    "symbols_of",
]
