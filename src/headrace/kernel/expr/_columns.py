"""Columns in and out of a program, and the program's operations."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.kernel.expr.typed import Base
from headrace.kernel.model import Batch

Mask = npt.NDArray[np.bool_]

NO_TIME = -(2**63)
"""Stands in a column's `times` where the tag has had no sample yet; `time(tag)` is unknown there."""

DTYPE: dict[Base, Any] = {
    Base.NUMBER: np.float64,
    Base.BOOL: np.bool_,
    Base.TEXT: object,
    Base.DURATION: np.int64,
    Base.TIMESTAMP: np.int64,
}


class Column(msgspec.Struct, frozen=True):
    """Values of one term, shape (n,): float64, bool, object (str) or int64 ns.

    `unknown` marks rows without a usable value (None: there are none; what `values` holds there means
    nothing). `quality` (uint16) and `times` (UTC ns or NO_TIME) only of inputs; None: all good, not known.
    """

    values: npt.NDArray[Any]
    unknown: Mask | None = None
    quality: npt.NDArray[np.uint16] | None = None
    times: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        values: npt.ArrayLike,
        quality: npt.ArrayLike | None = None,
        missing: npt.ArrayLike | None = None,
        times: npt.ArrayLike | None = None,
    ) -> Column:
        """An input column: unknown is where a value is `missing` or its quality is bad. Integers of 64 bits
        become float64, exact up to 2^53."""
        array = np.asarray(values)
        if array.dtype.kind in "iuf" and array.dtype != np.float64:
            array = array.astype(np.float64)
        elif array.dtype.kind in "US":
            array = array.astype(object)
        unknown: Mask | None = None if missing is None else np.asarray(missing, np.bool_)
        if array.dtype == object and unknown is None:
            unknown = np.array([value is None for value in array], np.bool_)
        qualities = None if quality is None else np.asarray(quality, np.uint16)
        if qualities is not None:
            bad = qualities >= 0x8000
            unknown = bad if unknown is None else bad | unknown
        if unknown is not None and not unknown.any():
            unknown = None
        return cls(array, unknown, qualities, None if times is None else np.asarray(times, np.int64))

    @classmethod
    def of_batch(cls, batch: Batch) -> Column:
        """All rows of a Batch of one tag."""
        return cls.of(batch.values, batch.qualities, batch.missing, batch.times)

    def true(self) -> Mask:
        """Of a boolean column: rows that are known to be true."""
        return self.values if self.unknown is None else self.values & ~self.unknown


class Op(msgspec.Struct, frozen=True):
    """One node of the program: operands are indexes of earlier nodes."""

    op: str
    base: Base
    args: tuple[int, ...]
    value: Any
