"""One-time codes: the vectors of the standards, replay, windows, and the exact share of guesses that pass."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.identity import totp

S = 1_000_000_000
SEED = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "sha1", "sha256", "sha512"),
    [  # RFC 6238 appendix B
        (59, "94287082", "46119246", "90693936"),
        (1111111109, "07081804", "68084774", "25091201"),
        (1111111111, "14050471", "67062674", "99943326"),
        (1234567890, "89005924", "91819424", "93441116"),
        (2000000000, "69279037", "90698825", "38618901"),
        (20000000000, "65353130", "77737706", "47863826"),
    ],
)
def test_vectors_of_rfc_6238(seconds: int, sha1: str, sha256: str, sha512: str) -> None:
    step = totp.step_at(seconds * S)
    seed32, seed64 = (SEED * 2)[:32], (SEED * 4)[:64]
    assert totp.code_at(SEED, step, digits=8) == sha1
    assert totp.code_at(seed32, step, digits=8, algorithm="sha256") == sha256
    assert totp.code_at(seed64, step, digits=8, algorithm="sha512") == sha512


def test_vectors_of_rfc_4226() -> None:
    codes = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489"  # appendix D
    assert [totp.code_at(SEED, count) for count in range(10)] == codes.split()


@given(st.binary(min_size=20, max_size=20), st.integers(10**9 * S, 4 * 10**9 * S), st.integers(-5, 5))
def test_only_steps_within_the_window_match(secret: bytes, now: int, away: int) -> None:
    step = totp.step_at(now) + away
    found = totp.match(secret, totp.code_at(secret, step), now, after=0)
    near = {totp.code_at(secret, totp.step_at(now) + n) for n in (-1, 0, 1)}
    assert (found is not None) == (totp.code_at(secret, step) in near)
    if found is not None:
        assert abs(found - totp.step_at(now)) <= totp.WINDOW


@given(st.binary(min_size=20, max_size=20), st.lists(st.integers(0, 90), min_size=1, max_size=12))
def test_no_code_counts_twice(secret: bytes, waits: list[int]) -> None:
    now, last, used = 1_700_000_000 * S, 0, []
    for wait in waits:
        now += wait * S
        code = totp.code_at(secret, totp.step_at(now))
        step = totp.match(secret, code, now, after=last)
        if step is not None:
            assert step > last
            used.append(step)
            last = step
        assert totp.match(secret, code, now, after=totp.step_at(now) + totp.WINDOW) is None
    assert len(used) == len(set(used))


@given(st.text(max_size=12))
def test_any_text_is_judged_without_a_fault(text: str) -> None:
    now = 1_700_000_000 * S
    right = {totp.code_at(SEED, totp.step_at(now) + n) for n in (-1, 0, 1)}
    assert (totp.match(SEED, text, now, after=0) is not None) == ("".join(text.split()) in right)


def test_a_guess_passes_at_most_three_times_in_a_million() -> None:
    now = 1_700_000_000 * S
    passing = sum(totp.match(SEED, f"{n:06d}", now, after=0) is not None for n in range(0, 1_000_000, 499))
    right = [totp.code_at(SEED, totp.step_at(now) + n) for n in (-1, 0, 1)]
    assert passing <= 3 and all(totp.match(SEED, code, now, after=0) for code in right)


def test_the_uri_is_what_apps_read() -> None:
    secret = bytes(range(20))
    parts = urlsplit(totp.uri(secret, "li.hua@甲", "Headrace 涂装"))
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert query["secret"] == [base64.b32encode(secret).decode().rstrip("=")]
    assert query["issuer"] == ["Headrace 涂装"] and query["period"] == ["30"] and query["digits"] == ["6"]
    assert "+" not in parts.query  # apps take it for a plus
    assert totp.text(secret) == "AAAQ EAYE AUDA OCAJ BIFQ YDIO B4IB CEQT"
