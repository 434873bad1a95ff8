"""The owner's token, sessions and the brake."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from headrace.api.auth import Brake, Gate, owner_token
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.records import Records, open_records

HOUR = 3600 * NS_PER_S


@pytest.fixture
def records(tmp_path: Path) -> Records:
    opened = open_records(tmp_path / "records.sqlite")
    opened.migrate(["api"])
    return opened


def gate(records: Records, clock: ManualClock, token: str = "secret") -> Gate:
    made = Gate(token, records, clock, session_ns=HOUR)
    made.load()
    return made


def test_token_is_long_private_and_stays(tmp_path: Path) -> None:
    token = owner_token(tmp_path)
    path = tmp_path / "run" / "owner.token"
    assert len(token) == 43, "256 bits in base64"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert owner_token(tmp_path) == token
    path.chmod(0o644)
    owner_token(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["owner.token"]
    assert owner_token(tmp_path / "other") != token


def test_many_at_once_make_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: owner_token(tmp_path), range(32)))) == 1


def test_session_lives_until_it_expires(records: Records) -> None:
    clock = ManualClock()
    ours = gate(records, clock)
    secret, session = ours.sign_in("owner")
    assert session.user == "owner"
    assert ours.session(secret) == session
    assert ours.session(secret + "x") is None
    assert ours.session("") is None
    clock.advance(3599)
    assert ours.session(secret) is not None
    clock.advance(1)
    assert ours.session(secret) is None


def test_restart_keeps_sessions_and_records_hold_no_secret(records: Records) -> None:
    clock = ManualClock()
    secret, _ = gate(records, clock).sign_in("owner")
    assert gate(records, clock).session(secret) is not None
    with records.read() as connection:
        rows = connection.execute(sa.text("SELECT * FROM api_session")).all()
    assert len(rows) == 1
    assert all(secret not in str(value) for value in rows[0])


def test_sign_out_holds_after_a_restart(records: Records) -> None:
    clock = ManualClock()
    ours = gate(records, clock)
    secret, _ = ours.sign_in("owner")
    ours.sign_out(secret)
    ours.sign_out("never was")
    assert ours.session(secret) is None
    assert gate(records, clock).session(secret) is None


def test_new_token_ends_the_sessions_of_the_old(records: Records) -> None:
    clock = ManualClock()
    secret, _ = gate(records, clock, "one").sign_in("owner")
    assert gate(records, clock, "two").session(secret) is None
    assert gate(records, clock, "one").session(secret) is None, "gone for good"


def test_token_compares_whole() -> None:
    ours = Gate("secret", None, ManualClock(), session_ns=1)  # type: ignore[arg-type]
    assert ours.token_is("secret")
    for wrong in ("", "secre", "secret ", "SECRET", "sécret", "\udcff"):
        assert not ours.token_is(wrong)


def test_brake_slows_down_who_fails_and_no_one_else() -> None:
    clock = ManualClock()
    brake = Brake(clock)
    for _ in range(5):
        assert brake.wait_s("a") == 0
        brake.failed("a")
    assert brake.wait_s("a") == 1
    assert brake.wait_s("b") == 0
    clock.advance(1)
    assert brake.wait_s("a") == 0
    brake.failed("a")
    assert brake.wait_s("a") == 2
    for _ in range(20):
        brake.failed("a")
    assert brake.wait_s("a") == 60
    brake.passed("a")
    assert brake.wait_s("a") == 0


def test_brake_forgets_the_least_recent_address() -> None:
    brake = Brake(ManualClock(), free=1, addresses=3)
    for address in "abcd":
        brake.failed(address)
    assert [brake.wait_s(a) for a in "abcd"] == [0, 1, 1, 1]
