"""The log: what was committed is read, what was torn is cut, and a reader never sees more than the word."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.log import (
    HEADER_SIZE,
    CommitWord,
    FrameMeta,
    LogWriter,
    frame,
    generations,
    log_path,
    read_log,
)
from headrace.kernel.errors import Corrupt


def _frame(number: int, payload: bytes = b"payload") -> bytes:
    return frame(FrameMeta("DATA", number, "plant", "edge", number, "f64"), payload)


@pytest.fixture
def word(tmp_path: Path) -> CommitWord:
    return CommitWord(tmp_path, write=True)


def test_frames_come_back(tmp_path: Path, word: CommitWord) -> None:
    writer = LogWriter.create(tmp_path, 1, word)
    writer.append([_frame(1, b""), _frame(2, b"x" * 100_000)])
    writer.append([_frame(3)])
    found, end, size = read_log(log_path(tmp_path, 1))
    assert [(f.meta.position, len(f.payload)) for f in found] == [(1, 0), (2, 100_000), (3, 7)]
    assert end == size == writer.size
    assert CommitWord(tmp_path, write=False).get() == (1, writer.size)
    again, _, _ = read_log(log_path(tmp_path, 1), found[1].end)
    assert [f.meta.position for f in again] == [3]
    assert generations(tmp_path) == [1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_cut_or_flip_keeps_whole_frames_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = LogWriter.create(folder, 1, CommitWord(folder, write=True))
    ends = []
    for number in range(1, 6):
        writer.append([_frame(number, bytes([number]) * (number * 13))])
        ends.append(writer.size)
    writer.close()
    path = log_path(folder, 1)
    whole = path.read_bytes()
    at = data.draw(st.integers(HEADER_SIZE, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
    found, end, _ = read_log(path)
    intact = sum(e <= at for e in ends)
    assert [f.meta.position for f in found] == list(range(1, intact + 1))
    assert end == (ends[intact - 1] if intact else HEADER_SIZE)


def test_a_failed_append_leaves_nothing(
    tmp_path: Path, word: CommitWord, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter.create(tmp_path, 1, word)
    writer.append([_frame(1)])
    before = writer.size

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", fails)
        with pytest.raises(Exception) as caught:
            writer.append([_frame(2)])
    assert getattr(caught.value, "code", "") == "history.io_error"
    assert log_path(tmp_path, 1).stat().st_size == before == word.get()[1]
    writer.append([_frame(2)])
    assert [f.meta.position for f in read_log(log_path(tmp_path, 1))[0]] == [1, 2]


def test_another_file_is_not_a_log(tmp_path: Path) -> None:
    path = tmp_path / "00000001.log"
    path.write_bytes(b"something else entirely")
    with pytest.raises(Corrupt) as caught:
        read_log(path)
    assert caught.value.code == "history.not_a_log"
