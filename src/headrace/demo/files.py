"""The files below DIR/demo that devices, plant and check share.

devices.json   Record: written once every device listens
faults.jsonl   faults.Event per line: what truly happened
probe.jsonl    Served per line: each value of the probe signal that a device served
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

PROBE = "utilities/electricity/energy"
"""The signal whose every served value is recorded: a 64-bit total that never stands still."""


class Record(msgspec.Struct, frozen=True):
    """devices.json."""

    pid: int
    ports: dict[str, int]
    seed: int
    speed: float
    host: str
    started: int  # UTC ns


class Served(msgspec.Struct, frozen=True):
    """The probe's value as it stood in the answer to a read at `time` (UTC ns)."""

    time: int
    value: int


def folder(data: Path) -> Path:
    return data / "demo"


def record_file(data: Path) -> Path:
    return folder(data) / "devices.json"


def faults_file(data: Path) -> Path:
    return folder(data) / "faults.jsonl"


def probe_file(data: Path) -> Path:
    return folder(data) / "probe.jsonl"


def read_record(data: Path) -> Record | None:
    """The record of the last start below `data`, or None where there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(record_file(data).read_bytes(), type=Record)
    return None


def read_served(data: Path, since: int) -> list[Served]:
    """The probe's served values from `since` (UTC ns) on, in order."""
    served = []
    with contextlib.suppress(FileNotFoundError):
        for line in probe_file(data).read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):  # the last line may be half written
                served.append(msgspec.json.decode(line, type=Served))
    return [s for s in served if s.time >= since]
