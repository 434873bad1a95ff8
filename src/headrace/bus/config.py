"""The `[bus]` section."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headrace.kernel.config import Port, Section

MIB = 1 << 20

Bytes = Annotated[int, msgspec.Meta(ge=MIB)]


class BusSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node's bus is and how much it may hold.

    Without `url` the node starts its own server on `host`:`port` with its store below the data directory.
    `max_bytes` bounds the stream of values: a full stream refuses and the edge keeps what it has;
    `events_max_bytes` bounds the stream of events, which drops its oldest.
    """

    kind: Literal["nats"] = "nats"
    host: str = "127.0.0.1"
    port: Port = 4222
    max_bytes: Bytes = 2048 * MIB
    events_max_bytes: Bytes = 64 * MIB
    url: str = ""  # an external server: nats://host:port
    user: str = ""
    password: str = ""


BUS: Section[BusSettings] = Section("bus", BusSettings)
