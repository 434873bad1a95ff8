"""Ingest: from the bus into history.

Enters: the stream DATA, whose messages are encoded batches. Leaves: history, durable before the bus may
forget; a status once per second; a quarantine of what could not be read. May import: history, bus, records,
kernel.
"""

from headrace.ingest.quarantine import Quarantine, Quarantined
from headrace.ingest.runner import STREAM, IngestStatus, run

__all__ = ["STREAM", "IngestStatus", "Quarantine", "Quarantined", "run"]
