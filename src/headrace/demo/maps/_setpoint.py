"""Writers for the maps: set an attribute of a unit within the range its controller allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.demo.physics import Workshop
from headrace.kernel.messages import Text


def t(zh: str, en: str) -> Text:
    return Text(zh=zh, en=en)


def setter(path: str, low: float, high: float) -> Callable[[Workshop, Any], None]:
    """Sets the number at `path` (dotted below the workshop), clamped to [low, high]."""
    owner, _, name = path.rpartition(".")

    def put(shop: Workshop, value: Any) -> None:
        setattr(_find(shop, owner), name, min(max(float(value), low), high))

    return put


def switch(path: str) -> Callable[[Workshop, Any], None]:
    """Sets the boolean at `path`."""
    owner, _, name = path.rpartition(".")

    def put(shop: Workshop, value: Any) -> None:
        setattr(_find(shop, owner), name, bool(value))

    return put


def button(name: str, act: Callable[[Workshop], None]) -> Callable[[Workshop, Any], None]:
    """A momentary command: `act` when 1 is written."""

    def put(shop: Workshop, value: Any) -> None:
        if value:
            shop.press(name)
            act(shop)

    return put


def _find(shop: Workshop, path: str) -> Any:
    node: Any = shop
    for step in path.split("."):
        node = getattr(node, step)
    return node
