"""Values in JSON without loss: what JSON cannot say is said as text.

NaN and the infinities become "NaN", "Infinity", "-Infinity"; integers that a double cannot hold exactly
(beyond ±(2^53 - 1), RFC 8259 §6, RFC 7493 §2.2) become their decimal text; a missing value is null.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.kernel.clock import NS_PER_MS
from headrace.kernel.errors import InputError
from headrace.kernel.model import Kind, Tag

JsonValue = float | int | bool | str | None

_EXACT = 2**53 - 1
_LIMITS = {Kind.I64: (-(2**63), 2**63 - 1), Kind.U64: (0, 2**64 - 1)}


def to_json(value: Any) -> JsonValue:
    """One value, as the module says. Accepts NumPy scalars."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and not -_EXACT <= value <= _EXACT:
        return str(value)
    return value  # type: ignore[no-any-return]


def column(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> list[JsonValue]:
    """A column of n values; null where `missing`. Only the rare ones are looked at one by one."""
    out: list[JsonValue] = values.tolist()
    if values.dtype.kind == "f":
        odd = np.flatnonzero(~np.isfinite(values))
    elif values.dtype.kind in "iu":
        odd = np.flatnonzero((values > _EXACT) | (values < -_EXACT if values.dtype.kind == "i" else False))
    else:
        odd = np.empty(0, np.int64)
    for i in odd.tolist():
        out[i] = to_json(out[i])
    if missing is not None:
        for i in np.flatnonzero(missing).tolist():
            out[i] = None
    return out


def milliseconds(ns: int) -> float:
    """Float milliseconds since the epoch, as series and stream carry them."""
    return ns / NS_PER_MS


def written(tag: Tag, value: JsonValue) -> float | int | bool | str:
    """The value that a write means for `tag`, in the tag's own kind.

    Raises InputError: `api.write_type` where the type does not fit, `api.write_range` outside the measuring
    range or the kind's limits, `api.write_not_finite` for NaN and infinities, which no actuator takes.
    """
    if tag.kind is Kind.BOOL:
        if not isinstance(value, bool):
            raise InputError("api.write_type", tag=tag.name, expected="true | false")
        return value
    if tag.kind is Kind.TEXT:
        if not isinstance(value, str):
            raise InputError("api.write_type", tag=tag.name, expected="text")
        return value
    number: float | int
    if tag.kind is Kind.F64:
        if isinstance(value, bool) or not isinstance(value, int | float):
            if value in ("NaN", "Infinity", "-Infinity"):
                raise InputError("api.write_not_finite", tag=tag.name)
            raise InputError("api.write_type", tag=tag.name, expected="number")
        try:
            number = float(value)
        except OverflowError:
            raise InputError("api.write_not_finite", tag=tag.name) from None
        if not math.isfinite(number):
            raise InputError("api.write_not_finite", tag=tag.name)
    else:
        number = _integer(tag, value)
    low, high = _range(tag)
    if (low is not None and number < low) or (high is not None and number > high):
        shown = f"{'…' if low is None else f'{low:g}'} – {'…' if high is None else f'{high:g}'}"
        raise InputError("api.write_range", tag=tag.name, value=value, range=f"{shown} {tag.unit}".strip())
    return number


def _integer(tag: Tag, value: JsonValue) -> int:
    if isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii() and len(value) <= 21:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError("api.write_type", tag=tag.name, expected="integer")
    return value


def _range(tag: Tag) -> tuple[float | None, float | None]:
    low, high = tag.low, tag.high
    if tag.kind in _LIMITS:
        least, most = _LIMITS[tag.kind]
        low = least if low is None else max(low, least)
        high = most if high is None else min(high, most)
    return low, high
