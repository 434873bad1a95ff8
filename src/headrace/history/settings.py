"""The `[history]` section of headrace.toml."""

from __future__ import annotations

from typing import Annotated

import msgspec

from headrace.kernel.clock import NS_PER_S
from headrace.kernel.config import Duration, Section


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How history is kept.

    `seal_every`, `seal_rows`: the head of the log becomes a segment after this time or this many points,
    whichever comes first. Until then its messages also stay on the bus. `fan_out`: so many segments of one
    level become one of the next. `max_rows`: no segment is merged beyond this many points. `retention`: raw
    points older than this are removed, whole segments at a time; rollups stay; "0s" keeps everything.
    """

    seal_every: Duration = Duration(60 * NS_PER_S)
    seal_rows: Annotated[int, msgspec.Meta(ge=1_000, le=20_000_000)] = 1_000_000
    fan_out: Annotated[int, msgspec.Meta(ge=2, le=256)] = 32
    max_rows: Annotated[int, msgspec.Meta(ge=100_000)] = 512_000_000
    retention: Duration = Duration(0)


HISTORY: Section[HistorySettings] = Section("history", HistorySettings)
