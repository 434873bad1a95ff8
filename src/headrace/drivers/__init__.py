"""Drivers: one folder a protocol, each with codec, client, simulator, manifest, strings and quality scale.

Enters: a connection's settings and the points of its tags. Leaves: kernel Batches with a time and a quality
on every point, and the results of writes. May import: kernel. Drivers do not import each other.

Built-ins and strangers come through the same door, the entry points `headrace.drivers`.
"""

from headrace.drivers.loader import load, names
from headrace.drivers.manifest import read_manifest

__all__ = ["load", "names", "read_manifest"]
