"""Which passwords are accepted and how they are kept; secrets at rest and on disk."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.identity import Hasher, Sealer, load_key, passwords
from headrace.access.ids import hash_secret, new_id, new_secret, same_secret
from headrace.kernel.errors import Corrupt, InputError


@pytest.mark.parametrize(
    "password",
    [
        "Kiln-Temper7-Ladle",
        "x9!Vq_2mRt#d",
        "correct horse battery staple",
        "炉温每班查三次不可忘记录",
        "Gießerei-Zürich-42",
    ],
)
def test_good_passwords(password: str) -> None:
    passwords.check(password, login="owner", name="Li Hua")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("Sh0rt!", "short"),
        ("A1!" + "x" * 300, "long"),
        ("kilntemperladle", "simple"),
        ("kilntemper99884", "simple"),
        ("Aa1!Aa1!Aa1!Aa1!", "monotonous"),
        ("Password2026!", "common"),
        ("P@ssw0rd2026!!", "common"),
        ("Admin@123456789", "common"),
        ("Qwertyuiop123!", "common"),
        ("Woaini1314520!", "common"),
        ("Abcdefgh1234567!", "common"),
        ("Zaq12wsx!Zaq12wsx", "common"),
        ("Xlihua.weber-88", "personal"),
        ("Auhil-Kiln-Temper7", "personal"),
    ],
)
def test_bad_passwords_and_why(password: str, code: str) -> None:
    with pytest.raises(InputError) as error:
        passwords.check(password, login="lihua@example.cn", name="Li Hua")
    assert error.value.code == f"identity.password_{code}"


@given(st.text(max_size=300))
def test_any_password_is_judged_without_a_fault(password: str) -> None:
    try:
        passwords.check(password, login="lihua", name="Li Hua")
    except InputError as error:
        assert error.code.startswith("identity.password_")


def test_the_same_characters_from_another_keyboard_are_the_same_password() -> None:
    hasher = Hasher(time_cost=1, memory_kib=8, lanes=1)
    stored = hasher.hash("Kiln-7-Ladle-å")
    assert stored.startswith("$argon2id$") and "Kiln" not in stored
    assert hasher.verify(stored, "Ｋiln-7-Ladle-a\u030a")
    assert not hasher.verify(stored, "kiln-7-Ladle-å")
    assert not hasher.verify(stored, "\udcff")
    assert not hasher.verify(None, "nobody's password")
    assert hasher.hash("Kiln-7-Ladle-å") != stored
    assert Hasher(time_cost=2, memory_kib=8, lanes=1).is_outdated(stored)
    assert not hasher.is_outdated(stored)


def test_the_default_hash_costs_what_rfc_9106_recommends() -> None:
    hasher = Hasher()
    began = time.perf_counter()
    stored = hasher.hash("Kiln-Temper7-Ladle")
    took = time.perf_counter() - began
    assert "$m=65536,t=3,p=4$" in stored
    assert 0.005 < took < 5


def test_secrets_are_long_and_compared_whole() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100 and all(len(s) == 43 for s in secrets)
    assert len({new_id() for _ in range(100)}) == 100
    assert same_secret("a", hash_secret("a")) and not same_secret("b", hash_secret("a"))
    assert not same_secret("\udcff", "ä")


@given(st.binary(max_size=64), st.text(max_size=20), st.integers(0, 200))
def test_what_is_sealed_opens_for_its_owner_alone(plain: bytes, about: str, place: int) -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(plain, about)
    assert sealer.open(sealed, about) == plain
    changed = bytearray(sealed)
    changed[place % len(sealed)] ^= 1
    for key, blob, whose in [
        (b"k", bytes(changed), about),
        (b"k", sealed, about + "x"),
        (b"j", sealed, about),
        (b"k", sealed[:-1], about),
    ]:
        with pytest.raises(Corrupt) as error:
            Sealer(key * 32).open(blob, whose)
        assert error.value.code == "identity.cannot_unseal"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "identity.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(path, {}), range(8)))
    assert len(keys) == 1 and len(keys.pop()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["identity.key"]
    given_key = "A" * 43 + "="
    assert load_key(path, {"HEADRACE_IDENTITY_KEY": given_key}) == bytes(32)
    for bad in ("short", "A" * 44 + "!", "AAAA"):
        with pytest.raises(InputError) as error:
            load_key(path, {"HEADRACE_IDENTITY_KEY": bad})
        assert error.value.code == "identity.bad_key"
