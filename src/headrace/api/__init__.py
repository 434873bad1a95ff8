"""The HTTP API and the console's server: everything a person or a program sees of a node.

Enters: requests from browsers, the CLI and other programs; batches, events and health from the bus; records
and history, read. Leaves: JSON, server-sent events, the console's files; commands to edge and rules over the
bus, each write with a row in the audit. May import: every room below (edge, rules, twin, history, records,
bus, ui, kernel); only node and cli import this one.

`run` serves until told to stop; `owner_token` is the secret that signs the owner in.
"""

from typing import TYPE_CHECKING, Any

from headrace.api.config import API, ApiSettings

if TYPE_CHECKING:
    from headrace.api.auth import owner_token
    from headrace.api.context import NodeInfo
    from headrace.api.server import run

__all__ = ["API", "ApiSettings", "NodeInfo", "owner_token", "run"]

_LATER = {"owner_token": "auth", "NodeInfo": "context", "run": "server"}


def __getattr__(name: str) -> Any:
    """Every role reads the `[api]` section; only the api role needs the server and what it imports."""
    if name not in _LATER:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"headrace.api.{_LATER[name]}"), name)
