"""Units: UCUM names, exact conversion, and what may not be joined."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kernel.expr import (
    Base,
    ExpressionError,
    Point,
    Symbol,
    check,
    evaluate,
    find_unit,
    parse,
    parse_unit,
)
from headrace.kernel.expr.units import factor
from headrace.kernel.model import Kind

SYMBOLS = {
    "t/c": Symbol(Kind.F64, "Cel"),
    "t/c2": Symbol(Kind.F64, "Cel"),
    "t/f": Symbol(Kind.F64, "[degF]"),
    "t/k": Symbol(Kind.F64, "K"),
    "p/bar": Symbol(Kind.F64, "bar"),
    "p/kpa": Symbol(Kind.F64, "kPa"),
    "e/kwh": Symbol(Kind.F64, "kW.h"),
    "w/kw": Symbol(Kind.F64, "kW"),
    "v/mmin": Symbol(Kind.F64, "m/min"),
    "x/pct": Symbol(Kind.F64, "%"),
    "x/plain": Symbol(Kind.F64),
    "x/pieces": Symbol(Kind.I64, "件"),
    "x/s": Symbol(Kind.F64, "s"),
    "x/m2": Symbol(Kind.F64, "m2"),
    "b": Symbol(Kind.BOOL),
    "s": Symbol(Kind.TEXT),
}


@pytest.mark.parametrize(
    ("one", "other", "amount"),
    [
        ("bar", "Pa", "100000"),
        ("kW.h", "J", "3600000"),
        ("kWh", "MJ", "3.6"),
        ("m/min", "m/s", "1/60"),
        ("m3/h", "l/s", "1000/3600"),
        ("m³/h", "L/min", "1000/60"),
        ("%", "1", "1/100"),
        ("[ppm]", "%", "1/10000"),
        ("rpm", "Hz", "1/60"),
        ("/min", "s-1", "1/60"),
        ("psi", "kPa", None),
        ("kg/m3", "g/cm3", "1/1000"),
        ("W/(m2.K)", "W/m2/K", "1"),
        ("mm[Hg]", "Pa", "133.322"),
        ("A.h", "C", "3600"),
        ("N.m", "J", "1"),
        ("10*3.Pa", "kPa", "1"),
        ("{pcs}/min", "/h", "60"),
        ("um", "mm", "1/1000"),
        ("μm", "um", "1"),
        ("mS/cm", "S/m", "1/10"),
        ("mOhm", "Ohm", "1/1000"),
        ("min", "s", "60"),
        ("t/h", "kg/s", "1000/3600"),
        ("mbar", "hPa", "1"),
    ],
)
def test_conversions_are_exact(one: str, other: str, amount: str | None) -> None:
    first, second = parse_unit(one), parse_unit(other)
    assert first and second and first.agrees(second)
    scale, offset = factor(first, second)
    assert offset == 0
    if amount is None:
        assert float(scale) == pytest.approx(6.894757293168)
    else:
        assert scale == _fraction(amount)


def _fraction(text: str) -> Fraction:
    top, _, bottom = text.partition("/")
    return Fraction(top) / Fraction(bottom or 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "xyz",
        "Cel.m",
        "kg..m",
        "/",
        "m/",
        "(m",
        "m)",
        "{",
        "[nope]",
        "kCel",
        "mm!",
        "m0",
        "0",
        "d" * 99,
        "kmin",
    ],
)
def test_what_is_no_unit(name: str) -> None:
    assert parse_unit(name) is None


def test_unknown_units_of_tags_agree_only_with_themselves() -> None:
    assert find_unit("件").agrees(find_unit("件"))
    assert not find_unit("件").agrees(find_unit("卷"))


@given(st.text(alphabet="mgsKPaNkWh.0123/()[]{}-%*^", max_size=24))
def test_any_text_is_a_unit_or_not(name: str) -> None:
    unit = parse_unit(name)
    assert unit is None or unit.scale > 0


def value(text: str, **points: float) -> float | bool | str | int | None:
    formula = check(parse(text), SYMBOLS)
    return evaluate(formula, {name.replace("__", "/"): Point(v) for name, v in points.items()})


@pytest.mark.parametrize(
    ("text", "points", "result"),
    [
        ("t/c > 220", {"t__c": 220.5}, True),
        ("t/c > 428[[degF]]", {"t__c": 220.0}, False),
        ("t/c >= 428[[degF]]", {"t__c": 220.0}, True),
        ("t/c == 493.15[K]", {"t__c": 220.0}, True),
        ("t/f > t/c", {"t__f": 212.5, "t__c": 100.0}, True),
        ("t/k - 273.15 == 20", {"t__k": 293.15}, True),
        ("t/c - t/f > 5[Cel]", {"t__c": 106.0, "t__f": 212.0}, True),
        ("t/c - t/f > 5[K] ", {"t__c": 104.0, "t__f": 212.0}, False),
        ("t/c - t/c2 > 9[[degF]]", {"t__c": 5.5, "t__c2": 0.0}, True),
        ("t/c + 5[K] == 25", {"t__c": 20.0}, True),
        ("t/c + 9[[degF]] == 25", {"t__c": 20.0}, True),
        ("5[Cel] + t/c == 25", {"t__c": 20.0}, True),
        ("t/c - 9[[degR]] == 15", {"t__c": 20.0}, True),
        ("(t/c + t/c2) / 2", {"t__c": 20.0, "t__c2": 30.0}, 25.0),
        ("t/k - t/c", {"t__k": 300.0, "t__c": 0.0}, 300.0 - 273.15),
        ("t/c * 2", {"t__c": 20.0}, 40.0),
        ("p/bar > 250000[Pa]", {"p__bar": 2.6}, True),
        ("p/bar > p/kpa", {"p__bar": 2.0, "p__kpa": 199.0}, True),
        ("p/bar - p/kpa", {"p__bar": 2.0, "p__kpa": 150.0}, 0.5),
        ("250[kPa] < p/bar", {"p__bar": 2.6}, True),
        ("e/kwh > 7200000[J]", {"e__kwh": 2.5}, True),
        ("w/kw * 2[h] > e/kwh", {"w__kw": 10.0, "e__kwh": 19.0}, True),
        ("w/kw * 30m > e/kwh", {"w__kw": 10.0, "e__kwh": 4.9}, True),
        ("e/kwh / 2h == 5[kW]", {"e__kwh": 10.0}, True),
        ("v/mmin > 1[m/s]", {"v__mmin": 61.0}, True),
        ("x/pct > 50", {"x__pct": 51.0}, True),
        ("p/bar / p/kpa", {"p__bar": 1.0, "p__kpa": 200.0}, 0.5),
        ("p/bar / p/kpa > 40[%]", {"p__bar": 1.0, "p__kpa": 200.0}, True),
        ("x/pct * x/pct", {"x__pct": 50.0}, 0.25),
        ("x/s > 5s", {"x__s": 5.1}, True),
        ("1 / x/s == 2[Hz]", {"x__s": 0.5}, True),
        ("x/pieces > 3[件]", {"x__pieces": 4}, True),
        ("sqrt(x/m2) > 1[m]", {"x__m2": 1.1}, True),
        ("max(p/bar, p/kpa, 1)", {"p__bar": 2.0, "p__kpa": 300.0}, 3.0),
        ("max(1, p/kpa) > 2[bar]", {"p__kpa": 250.0}, True),
        ("clamp(t/c, 32[[degF]], 373.15[K])", {"t__c": 120.0}, 100.0),
        ("t/c in [20, 293.15[K]]", {"t__c": 20.0}, True),
        ("b ? p/bar : p/kpa", {"b": False, "p__bar": 2.0, "p__kpa": 300.0}, 3.0),
        ("convert(t/c, 'K')", {"t__c": 0.0}, 273.15),
        ("number(t/c, '[degF]') > 30 * x/plain", {"t__c": 0.0, "x__plain": 1.0}, True),
        ("convert(x/plain, 'bar') > p/kpa", {"x__plain": 1.0, "p__kpa": 99.0}, True),
        ("convert(t/c - t/c2, '[degF]')", {"t__c": 10.0, "t__c2": 5.0}, 9.0),
        ("p/bar % 150[kPa]", {"p__bar": 2.0}, 0.5),
    ],
)
def test_units_convert_by_themselves(text: str, points: dict[str, float], result: float | bool) -> None:
    found = value(text, **points)
    assert found == (pytest.approx(result) if isinstance(result, float) else result)


@pytest.mark.parametrize(
    ("text", "code", "names"),
    [
        ("t/c > p/bar", "expr.units_differ", ("Cel", "bar")),
        ("t/c + p/bar > 1", "expr.units_differ", ("Cel", "bar")),
        ("p/bar > 3[Cel]", "expr.units_differ", ("bar", "Cel")),
        ("max(t/c, p/bar) > 3", "expr.units_differ", ("Cel", "bar")),
        ("b ? t/c : p/bar", "expr.units_differ", ("Cel", "bar")),
        ("p/bar in [1, 2[s]]", "expr.units_differ", ("bar", "s")),
        ("x/pieces > 3[卷]", "expr.unknown_unit", ()),
        ("p/bar > 3[brr]", "expr.unknown_unit_near", ()),
        ("p/bar > 3[]", "expr.unknown_unit", ()),
        ("t/c * p/bar > 3", "expr.offset_unit", ()),
        ("t/c / t/f > 1", "expr.offset_unit", ()),
        ("t/c + t/f > 1", "expr.offset_unit", ()),
        ("t/c - t/c2 > t/f", "expr.offset_unit", ()),
        ("convert(t/c, 'bar')", "expr.units_differ", ("Cel", "bar")),
        ("convert(t/c, 'brr')", "expr.unknown_unit_near", ()),
        ("sqrt(p/bar) > 1", "expr.no_root", ()),
        ("x/plain > 5s", "expr.types_differ", ()),
        ("x/plain + 5s > 1", "expr.types_differ", ()),
        ("1[Em30.Em30.m] > 1", "expr.unknown_unit", ()),
        (" * ".join(["1[Em3]"] * 40) + " > 1[m]", "expr.units_differ", ()),
    ],
)
def test_what_does_not_agree_is_said(text: str, code: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(parse(text), SYMBOLS)
    assert caught.value.code == code
    for lang in ("zh", "en"):
        said = caught.value.text(lang)
        assert all(name in said for name in names)


def test_conversions_out_of_range_are_said() -> None:
    power = " * ".join(["1[Em]"] * 40)
    with pytest.raises(ExpressionError) as caught:
        check(parse(f"2 * 1[m30.m10] > {power}"), SYMBOLS)
    assert caught.value.code == "expr.units_range"


@pytest.mark.parametrize(
    ("text", "base", "unit"),
    [
        ("t/c - t/c2", Base.NUMBER, "K"),
        ("t/f - 1[[degF]]", Base.NUMBER, "[degR]"),
        ("t/c + 1", Base.NUMBER, "Cel"),
        ("w/kw * 2[h]", Base.NUMBER, "kW.h"),
        ("p/bar / x/s", Base.NUMBER, "bar/s"),
        ("1 / v/mmin", Base.NUMBER, "/(m/min)"),
        ("p/bar / p/kpa", Base.NUMBER, "1"),
        ("number(t/c, 'K')", Base.NUMBER, None),
        ("quality(t/c)", Base.NUMBER, None),
        ("time(t/c) - time(t/f)", Base.DURATION, None),
        ("time(t/c) + 5s", Base.TIMESTAMP, None),
        ("2 * 5s", Base.DURATION, None),
        ("t/c > 1", Base.BOOL, None),
        ("s", Base.TEXT, None),
    ],
)
def test_types_and_units_of_results(text: str, base: Base, unit: str | None) -> None:
    type_ = check(parse(text), SYMBOLS).type
    assert (type_.base, type_.unit.name if type_.unit else None) == (base, unit)
