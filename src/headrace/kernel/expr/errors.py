"""The error of the expression language, and its limits against hostile input."""

from __future__ import annotations

from typing import Any

from headrace.kernel.errors import InputError

MAX_LENGTH = 4000  # characters of one expression
MAX_PARTS = 1000  # nodes of its tree
MAX_DEPTH = 100  # levels of its tree; every walk over a tree recurses at most so deep


class ExpressionError(InputError):
    """What is wrong with an expression, and where: `params` has line and column, counted from 1."""

    def __init__(self, code: str, text: str, at: int, **params: Any) -> None:
        before = text[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1) + 1
        super().__init__(code, line=line, column=column, **params)
        self.at = at
