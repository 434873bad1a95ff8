"""The quarantine keeps, counts, and never keeps twice."""

import base64
from pathlib import Path

import pytest

from headrace.ingest.quarantine import Quarantine, entry
from headrace.kernel.errors import Unavailable


def _entry(number: int, payload: bytes):
    return entry(
        time=number,
        stream="DATA",
        sequence=number,
        subject="data.plant.edge",
        code="batch.unreadable",
        reason="not an Arrow stream",
        payload=payload,
    )


def test_keeps_everything_with_its_reason(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q")
    payloads = [b"", b"\x00\xff" * 500]
    assert quarantine.add([_entry(1, payloads[0]), _entry(2, payloads[1])], payloads) == 2
    assert quarantine.add([_entry(2, payloads[1]), _entry(3, b"x")], [payloads[1], b"x"]) == 1
    again = Quarantine(tmp_path / "q")
    assert len(again) == 3
    found = list(again.entries())
    assert [base64.b64decode(e.payload) for e in found] == [*payloads, b"x"]
    assert found[1].size == 1000 and found[1].code == "batch.unreadable"
    assert again.add([_entry(3, b"x")], [b"x"]) == 0


def test_beyond_its_quota_it_keeps_the_reason_only(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "q", quota=2_000)
    for number in range(1, 21):
        quarantine.add([_entry(number, b"p" * 300)], [b"p" * 300])
    found = list(quarantine.entries())
    assert len(found) == len(quarantine) == 20
    assert found[0].payload and not found[-1].payload
    assert all(e.size == 300 and e.crc for e in found)


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    Quarantine(tmp_path / "q").add([_entry(1, b"x")], [b"x"])
    path = next((tmp_path / "q").iterdir())
    path.write_bytes(path.read_bytes() + b'{"time": 3, "str\n')
    again = Quarantine(tmp_path / "q")
    assert len(again) == 1
    assert again.add([_entry(2, b"y")], [b"y"]) == 1
    assert [e.sequence for e in Quarantine(tmp_path / "q").entries()] == [1, 2]


def test_a_full_disk_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine(tmp_path / "q")
    quarantine.add([_entry(1, b"x")], [b"x"])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(Unavailable) as caught:
            quarantine.add([_entry(2, b"x")], [b"x"])
    assert caught.value.code == "history.disk_full"
    assert len(list(quarantine.entries())) == 1
    assert quarantine.add([_entry(2, b"x")], [b"x"]) == 1
