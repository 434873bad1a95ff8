"""The manifest: the one file that says what history consists of.

`manifest.json` is replaced atomically, and that rename is the only commit there is: sealing puts the new
segments in and the sealed generations of the log out (`log_from`) in one step, so a reader that goes by one
manifest sees every row either in the log or in a segment, never in both and never in neither. A file that
no manifest names is no part of history: the leavings of a crash, removed by the next writer.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from headrace.history.files import replace_file, translated
from headrace.kernel.errors import Corrupt
from headrace.kernel.model import Kind

FORMAT = 1
NAME = "manifest.json"
MINUTE = 60 * 1_000_000_000
HOUR = 60 * MINUTE
RAW = 0


class FileInfo(msgspec.Struct, frozen=True):
    """One segment (`every` 0) or rollup (`every` ns per bucket) as the manifest knows it.

    It holds all points of `kind` from the messages `first`..`last` of `stream`; `points` counts those points
    and `rows` the rows that stand for them, which are the same in a segment.
    """

    name: str
    kind: Kind
    stream: str
    first: int
    last: int
    level: int
    every: int
    rows: int
    points: int
    bytes: int
    crc: int
    min_time: int
    max_time: int

    @property
    def folder(self) -> str:
        return "rollups" if self.every else "segments"

    def path(self, root: Path) -> Path:
        return root / self.folder / self.name


_EVERY = {RAW: "raw", MINUTE: "1m", HOUR: "1h"}


def file_name(kind: Kind, every: int, stream: str, first: int, last: int, level: int) -> str:
    """The name says what is in the file: kind, resolution, stream, sequence range, level of compaction."""
    return f"{kind}-{_EVERY[every]}-{stream}-{first:020d}-{last:020d}-L{level}.parquet"


class Manifest(msgspec.Struct, frozen=True):
    """`version` counts commits. `log_from`: the log's generations from here on are not sealed yet.
    `streams`: per stream the last sequence that is sealed. `seen`: per node/source the header sequences of
    all sealed messages as closed intervals. `dropped`: points removed because their time was up.
    `last`: the file with the last value of every tag as of this commit."""

    format: int = FORMAT
    version: int = 0
    log_from: int = 1
    streams: dict[str, int] = {}
    seen: dict[str, list[tuple[int, int]]] = {}
    files: tuple[FileInfo, ...] = ()
    dropped: int = 0
    last: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Manifest)


class _Format(msgspec.Struct):
    format: int


def load(root: Path) -> Manifest | None:
    """The manifest of the store in `root`, None where there is none yet.

    Raises Corrupt (`history.bad_manifest`, `history.newer_format`).
    """
    path = root / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version > FORMAT:
            raise Corrupt("history.newer_format", path=str(path), format=version, known=FORMAT)
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Corrupt("history.bad_manifest", path=str(path), reason=str(error)) from error


def save(root: Path, manifest: Manifest) -> None:
    """Commit. Raises Unavailable, and then the old manifest stands."""
    path = root / NAME
    with translated(path):
        replace_file(path, _encoder.encode(manifest))
