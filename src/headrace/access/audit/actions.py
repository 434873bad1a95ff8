"""Titles of actions in both languages, for search and for reading: those that policies name, and those that
only the log knows (a sign-in that failed is no action that anyone is allowed)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from headrace.kernel.messages import Text


@cache
def titles() -> Mapping[str, Text]:
    """By action. The vocabulary of decisions first, then what stands in actions.toml."""
    from headrace.access.decisions.vocabulary import vocabulary  # a part above; for its words only

    found = {name: action.title for name, action in vocabulary().actions.items()}
    own = tomllib.loads(Path(__file__).with_name("actions.toml").read_text(encoding="utf-8"))
    return {**found, **msgspec.convert(own, dict[str, Text])}


def title(action: str, lang: str) -> str:
    """The title of `action`, or `action` itself where it has none."""
    found = titles().get(action)
    return found.get(lang) if found else action
