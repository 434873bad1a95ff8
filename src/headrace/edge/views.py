"""The state of the edge as it is published each second on `status.<node>.<source>`."""

from __future__ import annotations

import msgspec

from headrace.edge.group import GroupView
from headrace.kernel.messages import Text


class ErrorView(msgspec.Struct, frozen=True):
    """Why a line is not connected, for people and for machines."""

    code: str
    zh: str
    en: str


class ConnectionView(msgspec.Struct, frozen=True):
    """One line. `state`: connected, connecting, backoff or offline; `since`: RFC 3339 time of that state.
    `reads` are requests, `faults` requests without values, `bad_tags` tags whose newest value is bad,
    `isolated` tags whose address the device does not have, `requests_saved_ratio` how many times as many
    requests one per tag would take."""

    name: str
    title: Text | None
    driver: str
    state: str
    endpoint: str
    error: ErrorView | None
    since: str
    groups: list[GroupView]
    values_per_s: float
    reads: int
    faults: int
    bad_tags: int
    isolated: list[str]
    reconnects: int
    writes: int
    requests_saved_ratio: float


class BufferView(msgspec.Struct, frozen=True):
    """What the bus has not acknowledged yet. `oldest_ms`: the age of its oldest message; `dropped`: messages
    lost since the start; `fault`: why the disk takes nothing, empty while it does."""

    depth_messages: int
    depth_bytes: int
    quota_bytes: int
    oldest_ms: int
    dropped: int
    held_messages: int = 0
    fault: str = ""


class EdgeView(msgspec.Struct, frozen=True):
    """The whole edge. `published`: messages that the bus has acknowledged since the start; `lag_ms`: from the
    making of a message to its acknowledgement, of the newest one or of the oldest that still waits."""

    source: str
    updated: str
    buffer: BufferView
    published: int
    lag_ms: float
    connections: list[ConnectionView]
    bus: str = "up"  # or "down"
