"""Batches of every kind, and a store on a clock that the test owns."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.history import HistorySettings, Store
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.kernel.config import Duration
from headrace.kernel.model import Batch, Header, Kind

T0 = 1_760_000_000 * NS_PER_S


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def settings() -> HistorySettings:
    return HistorySettings(seal_every=Duration(60 * NS_PER_S), seal_rows=100_000, fan_out=4)


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock, settings: HistorySettings) -> Iterator[Store]:
    opened = Store.open(tmp_path / "h", clock=clock, settings=settings)
    yield opened
    opened.close()


Make = Callable[..., tuple[int, Header, Batch]]


@pytest.fixture
def message() -> Make:
    """message(n): the n-th message of source edge with tags 1..5 at second n; more by keyword."""

    def make(
        number: int,
        *,
        source: str = "edge",
        sequence: int | None = None,
        tags: Sequence[int] = (1, 2, 3, 4, 5),
        time: int | None = None,
        values: Any = None,
        quality: int = 0,
        kind: Kind = Kind.F64,
    ) -> tuple[int, Header, Batch]:
        at = T0 + number * NS_PER_S if time is None else time
        said = [number + tag / 10 for tag in tags] if values is None else values
        batch = Batch.of(kind, tags, np.full(len(tags), at), said, np.full(len(tags), quality))
        return number, Header("plant", source, number if sequence is None else sequence), batch

    return make
