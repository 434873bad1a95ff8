"""Values in JSON, and what a write may be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.api.values import column, to_json, written
from headrace.kernel.errors import InputError
from headrace.kernel.model import Kind, Tag

BIG = 2**53


def tag(kind: Kind, **more: object) -> Tag:
    return Tag(id=1, name="m/p/v", kind=kind, writable=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (1.5, 1.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (BIG - 1, BIG - 1),
        (BIG, str(BIG)),
        (-BIG, str(-BIG)),
        (True, True),
        ("text", "text"),
        (None, None),
        (np.float64(2.5), 2.5),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
    ],
)
def test_to_json(value: object, json: object) -> None:
    assert to_json(value) == json
    assert type(to_json(value)) is type(json)


@given(st.lists(st.floats() | st.just(float(BIG))))
def test_column_of_floats_agrees_with_one_by_one(values: list[float]) -> None:
    assert column(np.array(values, np.float64)) == [to_json(v) for v in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_column_of_integers_agrees_with_one_by_one(values: list[int]) -> None:
    assert column(np.array(values, np.int64)) == [to_json(v) for v in values]


def test_column_of_unsigned_and_missing() -> None:
    values = np.array([1, 2**64 - 1, 3], np.uint64)
    assert column(values, np.array([False, False, True])) == [1, str(2**64 - 1), None]
    assert column(np.array([True, False]), np.array([False, True])) == [True, None]
    assert column(np.array(["a", None], object), np.array([False, True])) == ["a", None]


@pytest.mark.parametrize(
    ("kind", "given_", "means"),
    [
        (Kind.F64, 3, 3.0),
        (Kind.F64, -0.5, -0.5),
        (Kind.I64, str(BIG + 1), BIG + 1),
        (Kind.I64, 7.0, 7),
        (Kind.U64, str(2**64 - 1), 2**64 - 1),
        (Kind.BOOL, False, False),
        (Kind.TEXT, "run", "run"),
    ],
)
def test_written(kind: Kind, given_: object, means: object) -> None:
    value = written(tag(kind), given_)  # type: ignore[arg-type]
    assert value == means
    assert type(value) is type(means)


@pytest.mark.parametrize(
    ("kind", "given_", "code"),
    [
        (Kind.F64, "3", "api.write_type"),
        (Kind.F64, True, "api.write_type"),
        (Kind.F64, None, "api.write_type"),
        (Kind.F64, "NaN", "api.write_not_finite"),
        (Kind.F64, 10**400, "api.write_not_finite"),
        (Kind.I64, 1.5, "api.write_type"),
        (Kind.I64, True, "api.write_type"),
        (Kind.I64, "1e3", "api.write_type"),
        (Kind.I64, str(2**63), "api.write_range"),
        (Kind.U64, -1, "api.write_range"),
        (Kind.BOOL, 1, "api.write_type"),
        (Kind.TEXT, 1, "api.write_type"),
    ],
)
def test_what_is_not_written(kind: Kind, given_: object, code: str) -> None:
    with pytest.raises(InputError) as caught:
        written(tag(kind), given_)  # type: ignore[arg-type]
    assert caught.value.code == code


def test_range_is_inclusive_and_told() -> None:
    limited = tag(Kind.F64, low=0.0, high=250.0, unit="Cel")
    assert written(limited, 0) == 0.0
    assert written(limited, 250) == 250.0
    with pytest.raises(InputError) as caught:
        written(limited, 250.1)
    assert caught.value.code == "api.write_range"
    assert "0 – 250 Cel" in caught.value.text("en")
    assert "0 – 250 Cel" in caught.value.text("zh")
    with pytest.raises(InputError) as caught:
        written(tag(Kind.F64, high=250.0), 251)
    assert "… – 250" in caught.value.text("en")
