"""The HTTP API and the console's server: everything a person or a program sees of a node.

Enters: requests from browsers, the CLI and other programs; batches, events and health from the bus; records
and history, read. Leaves: JSON, server-sent events, the console's files; commands to edge and rules over the
bus, each write with a row in the audit. May import: every room below (edge, rules, twin, history, records,
bus, ui, kernel); only node and cli import this one.

`run` serves until told to stop; `owner_token` is the secret that signs the owner in.
"""

from headrace.api.auth import owner_token
from headrace.api.config import API, ApiSettings
from headrace.api.context import NodeInfo
from headrace.api.server import run

__all__ = ["API", "ApiSettings", "NodeInfo", "owner_token", "run"]
