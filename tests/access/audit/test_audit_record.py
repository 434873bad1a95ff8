"""Canonical JSON, hashes and lines of entries."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.audit import MAX_INTEGER, Act, Outcome, canonical
from headrace.access.audit.record import GENESIS, body, entry_of, hash_of, of_json, search_text, to_json
from headrace.kernel.errors import InputError

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [  # RFC 8785 appendix B, and §3.2.3 for the order of keys
        (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"), (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"), (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"), (999999999999999700000.0, "999999999999999700000"),
        (999999999999999900000.0, "999999999999999900000"), (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"), (0.000001, "0.000001"),
        (333333333.33333325, "333333333.33333325"), (333333333.3333333, "333333333.3333333"),
        (0.002, "0.002"), (1.5, "1.5"), (-0.5, "-0.5"), (1e-27, "1e-27"), (4.5, "4.5"), (120.0, "120"),
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
         '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'),
        ("\u20ac$\u000f\nA'B\"\\\\\"/", '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
        ([56, {"d": True, "10": None, "1": []}], '[56,{"1":[],"10":null,"d":true}]'),
    ],
)  # fmt: skip
def test_rfc_8785(value: object, text: str) -> None:
    assert canonical(value) == text


@given(JSON)
def test_canonical_is_json_of_the_same_value(value: object) -> None:
    act = Act(actor="a", action="b", details={"value": value})
    entry = entry_of(act, 1, 0, GENESIS)
    assert of_json(to_json(entry)) == entry
    json.loads(canonical(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1: 2}, {"a": object()}, b"x"])
def test_what_is_no_canonical_json_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="canonical"):
        canonical(value)


@given(
    actor=st.text(alphabet=st.characters(), max_size=20),
    reason=st.text(alphabet=st.characters(), max_size=20),
    details=st.dictionaries(TEXT, JSON, max_size=3),
)
def test_the_hash_covers_the_canonical_json_of_everything_else(
    actor: str, reason: str, details: dict
) -> None:
    act = Act(actor=actor, action="a.b", reason=reason, details=details, outcome=Outcome.DENIED)
    entry = entry_of(act, 7, 1_700_000_000_123_456_789, GENESIS)
    raw = json.loads(body(entry), parse_int=lambda d: int(d) if abs(int(d)) <= MAX_INTEGER else float(d))
    assert canonical(raw) == body(entry)
    assert raw["time"] == "1700000000123456789"
    assert entry.hash == hashlib.sha256(body(entry).encode()).hexdigest() == hash_of(entry)
    line = to_json(entry)
    assert json.loads(line).keys() == raw.keys() | {"hash"}
    assert of_json(line) == entry


def test_texts_that_are_too_long_are_cut_and_still_logged() -> None:
    act = Act(actor="a" * 5000, action="x", reason="理" * 5000, details={"k": "v" * 50_000})
    entry = entry_of(act, 1, 0, GENESIS)
    assert len(entry.actor) == 200 and entry.actor.endswith("…")
    assert len(entry.reason) == 2000
    assert list(json.loads(entry.details)) == ["cut"]
    assert of_json(to_json(entry)) == entry


def test_search_text_is_folded() -> None:
    entry = entry_of(Act(actor="u1", actor_name="Ｗang 王芳", action="X.Y"), 1, 0, GENESIS)
    assert "wang 王芳" in search_text(entry)
