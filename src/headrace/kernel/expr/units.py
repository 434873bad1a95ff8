"""Units by their UCUM names (The Unified Code for Units of Measure, 2.1, case-sensitive symbols).

A unit is a dimension (powers of base units), a scale and, for Celsius and Fahrenheit, an offset: the value in
base units is `value * scale + offset`. Scales are fractions, so 0.25 MPa is exactly 250 kPa. A few spellings
that plants really use (°C, kWh, rpm, psi …) are taken as the UCUM units they mean.
"""

from __future__ import annotations

import difflib
import math
import re
from fractions import Fraction
from functools import cache, lru_cache

import msgspec

_Dims = tuple[tuple[str, int], ...]


class Unit(msgspec.Struct, frozen=True):
    """`dims`: powers of base units, sorted. `delta`: the difference of two values that have an offset."""

    name: str
    dims: _Dims
    scale: Fraction
    offset: Fraction = Fraction(0)
    delta: bool = False

    def agrees(self, other: Unit) -> bool:
        """Whether values of the two can be compared and added."""
        return self.dims == other.dims

    def same(self, other: Unit) -> bool:
        """Whether the two need no conversion."""
        return self.agrees(other) and self.scale == other.scale and self.offset == other.offset

    @property
    def difference(self) -> Unit:
        """The unit of a difference: itself, or K and [degR] for Celsius and Fahrenheit."""
        if not self.offset:
            return self
        name = "K" if self.scale == 1 else "[degR]" if self.scale == Fraction(5, 9) else f"({self.name})"
        return Unit(name, self.dims, self.scale, Fraction(0), True)


def factor(source: Unit, target: Unit, *, difference: bool = False) -> tuple[Fraction, Fraction]:
    """(a, b) so that a value x in `source` is a*x + b in `target`; of a difference b is 0."""
    scale = source.scale / target.scale
    return scale, Fraction(0) if difference else (source.offset - target.offset) / target.scale


def product(left: Unit, right: Unit, power: int = 1) -> Unit:
    """left · right^power, for units without an offset."""
    dims = dict(left.dims)
    for base, exponent in right.dims:
        dims[base] = dims.get(base, 0) + power * exponent
    if power > 0:
        name = f"{left.name}.{right.name}" if left.name != "1" else right.name
    else:
        divisor = f"({right.name})" if re.search(r"[./]", right.name) else right.name
        name = f"{left.name}/{divisor}" if left.name != "1" else f"/{divisor}"
    return Unit(name, _sorted(dims), left.scale * right.scale**power)


def root(unit: Unit) -> Unit | None:
    """The unit of the square root, None where there is none."""
    if unit.offset or any(exponent % 2 for _, exponent in unit.dims):
        return None
    scale = math.sqrt(unit.scale)
    return Unit(
        f"({unit.name})^0.5", tuple((base, exponent // 2) for base, exponent in unit.dims), Fraction(scale)
    )


def _sorted(dims: dict[str, int]) -> _Dims:
    return tuple(sorted((base, exponent) for base, exponent in dims.items() if exponent))


ONE = Unit("1", (), Fraction(1))

_PREFIX = {"da": 1, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18}
_PREFIX |= {"h": 2, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_PI = Fraction(math.pi)
_LEAST = Fraction(1, 10**60)

# symbol: (definition in units further up, factor as text or Fraction, takes metric prefixes)
_BASE = ("m", "g", "s", "K", "A", "cd", "mol", "rad", "bit")
_DERIVED: dict[str, tuple[str, str | Fraction, bool]] = {
    "Hz": ("s-1", "1", True),
    "N": ("kg.m.s-2", "1", True),
    "Pa": ("N.m-2", "1", True),
    "J": ("N.m", "1", True),
    "W": ("J.s-1", "1", True),
    "C": ("A.s", "1", True),
    "V": ("W.A-1", "1", True),
    "F": ("C.V-1", "1", True),
    "Ohm": ("V.A-1", "1", True),
    "S": ("A.V-1", "1", True),
    "Wb": ("V.s", "1", True),
    "T": ("Wb.m-2", "1", True),
    "H": ("Wb.A-1", "1", True),
    "sr": ("1", "1", False),
    "lm": ("cd", "1", True),
    "lx": ("lm.m-2", "1", True),
    "Bq": ("s-1", "1", True),
    "kat": ("mol.s-1", "1", True),
    "min": ("s", "60", False),
    "h": ("s", "3600", False),
    "d": ("s", "86400", False),
    "wk": ("d", "7", False),
    "mo": ("d", "30.4375", False),
    "a": ("d", "365.25", False),
    "l": ("m3", "1/1000", True),
    "L": ("m3", "1/1000", True),
    "t": ("kg", "1000", True),
    "bar": ("Pa", "100000", True),
    "atm": ("Pa", "101325", False),
    "eV": ("J", Fraction("1.602176634e-19"), True),
    "deg": ("rad", _PI / 180, False),
    "'": ("deg", "1/60", False),
    "gon": ("deg", "0.9", False),
    "circ": ("rad", 2 * _PI, False),
    "%": ("1", "1/100", False),
    "[ppth]": ("1", "1/1000", False),
    "[ppm]": ("1", "1/1000000", False),
    "[ppb]": ("1", "1/1000000000", False),
    "[pH]": ("1", "1", False),
    "10*": ("1", "10", False),
    "10^": ("1", "10", False),
    "cal": ("J", "4.184", True),
    "[Btu_IT]": ("J", "1055.05585262", False),
    "[HP]": ("W", "745.69987158227022", False),
    "ar": ("m2", "100", True),
    "[in_i]": ("m", "0.0254", False),
    "[ft_i]": ("m", "0.3048", False),
    "[yd_i]": ("m", "0.9144", False),
    "[mi_i]": ("m", "1609.344", False),
    "[mil_i]": ("m", "0.0000254", False),
    "[lb_av]": ("g", "453.59237", False),
    "[oz_av]": ("g", "28.349523125", False),
    "[lbf_av]": ("N", "4.4482216152605", False),
    "[gal_us]": ("l", "3.785411784", False),
    "[psi]": ("Pa", Fraction("4.4482216152605") / Fraction("0.0254") ** 2, False),
    "m[Hg]": ("kPa", "133.322", True),
    "m[H2O]": ("kPa", "9.80665", True),
    "[in_i'Hg]": ("m[Hg]", "0.0254", False),
    "[in_i'H2O]": ("m[H2O]", "0.0254", False),
    "[degR]": ("K", "5/9", False),
    "St": ("m2.s-1", "1/10000", True),
    "P": ("Pa.s", "1/10", True),
    "G": ("T", "1/10000", True),
    "gf": ("N", "0.00980665", True),
    "[g]": ("m.s-2", "9.80665", True),
    "By": ("bit", "8", True),
    "Bd": ("s-1", "1", True),
    "var": ("W", "1", True),
}
_OFFSET = {
    "Cel": (Fraction(1), Fraction("273.15")),
    "[degF]": (Fraction(5, 9), Fraction("459.67") * Fraction(5, 9)),
}
_ALIAS = {
    "°C": "Cel",
    "℃": "Cel",
    "degC": "Cel",
    "°F": "[degF]",
    "℉": "[degF]",
    "degF": "[degF]",
    "°": "deg",
    "Ω": "Ohm",
    "kΩ": "kOhm",
    "MΩ": "MOhm",
    "ohm": "Ohm",
    "kWh": "kW.h",
    "MWh": "MW.h",
    "Wh": "W.h",
    "kVA": "kV.A",
    "VA": "V.A",
    "kvar": "kvar",
    "Ah": "A.h",
    "mAh": "mA.h",
    "rpm": "{r}/min",
    "r/min": "{r}/min",
    "psi": "[psi]",
    "mmHg": "mm[Hg]",
    "mmH2O": "mm[H2O]",
    "ppm": "[ppm]",
    "ppb": "[ppb]",
    "pH": "[pH]",
    "pcs": "{pcs}",
    "‰": "[ppth]",
    "μm": "um",
    "µm": "um",
    "Nm": "N.m",
    "N·m": "N.m",
    "m³": "m3",
    "m²": "m2",
    "m³/h": "m3/h",
    "kg/m³": "kg/m3",
    "in": "[in_i]",
    "ft": "[ft_i]",
    "lb": "[lb_av]",
    "hp": "[HP]",
}
_PART = re.compile(
    r"(?P<atom>10\*|10\^|\[[^\]]+\]|[A-Za-z]+(?:\[[^\]]+\])?|%|')(?P<power>[+-]?\d+)?(?P<note>\{[^{}]*\})?"
    r"|(?P<number>\d+)|(?P<only>\{[^{}]*\})"
)


@lru_cache(4096)
def parse_unit(name: str) -> Unit | None:
    """The unit of a UCUM name or a known other spelling; None where it is neither."""
    if len(name) > 60:
        return None
    text = _ALIAS.get(name, name)
    if text in _OFFSET:
        scale, offset = _OFFSET[text]
        return Unit(name, (("K", 1),), scale, offset)
    found = _term(text, 0)
    if found is None or found[1] != len(text) or not _LEAST <= found[0].scale <= 1 / _LEAST:
        return None
    return Unit(name, found[0].dims, found[0].scale)


def find_unit(name: str) -> Unit:
    """The unit of a tag: of an unknown name (件, coil …) a dimension of its own, which agrees only with
    itself."""
    return parse_unit(name) or Unit(name, ((f"?{name}", 1),), Fraction(1))


def nearest(name: str) -> str | None:
    """A known unit that is spelled much like `name`."""
    known = [*_BASE, *_DERIVED, *_OFFSET, *_ALIAS, "kPa", "MPa", "kW", "kW.h", "mA", "mm", "m/min", "m3/h"]
    lower = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(name.lower(), lower, n=4, cutoff=0.5)
    swapped = [found for found in near if sorted(found) == sorted(name.lower())]
    return lower[(swapped or near)[0]] if near else None


def _term(text: str, at: int) -> tuple[Unit, int] | None:
    total = ONE
    sign = 1
    if text[at : at + 1] == "/":
        sign, at = -1, at + 1
    while True:
        if text[at : at + 1] == "(":
            inner = _term(text, at + 1)
            if inner is None or text[inner[1] : inner[1] + 1] != ")":
                return None
            part, at = inner[0], inner[1] + 1
        else:
            match = _PART.match(text, at)
            found = _component(match) if match else None
            if match is None or found is None:
                return None
            part, at = found, match.end()
        total = product(total, part, sign)
        follows = text[at : at + 1]
        if follows not in (".", "/"):
            return total, at
        sign, at = (1 if follows == "." else -1), at + 1


def _component(match: re.Match[str]) -> Unit | None:
    if match["only"]:
        return ONE
    if match["number"]:
        return Unit(match["number"], (), Fraction(int(match["number"]))) if int(match["number"]) else None
    unit = _atom(match["atom"])
    power = int(match["power"] or 1)
    if unit is None or not -30 <= power <= 30 or power == 0:
        return None
    return Unit(
        match["atom"], tuple((base, exponent * power) for base, exponent in unit.dims), unit.scale**power
    )


@cache
def _atom(symbol: str) -> Unit | None:
    if symbol in _BASE:
        return Unit(symbol, ((symbol, 1),), Fraction(1))
    if symbol in _DERIVED:
        definition, amount, _ = _DERIVED[symbol]
        found = _term(definition, 0)
        assert found is not None
        return Unit(symbol, found[0].dims, found[0].scale * Fraction(amount))
    for prefix, exponent in _PREFIX.items():
        rest = symbol.removeprefix(prefix)
        if rest == symbol:
            continue
        metric = rest in _BASE or (rest in _DERIVED and _DERIVED[rest][2])
        inner = _atom(rest) if metric else None
        if inner is not None:
            return Unit(symbol, inner.dims, inner.scale * Fraction(10) ** exponent)
    return None
