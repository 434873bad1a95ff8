"""Screen, Row and the checked set of all screens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from headrace.kernel.config import Name
from headrace.kernel.messages import Text
from headrace.ui.widgets import Query, Widget

Icon = Literal["overview", "machine", "trend", "alarm", "gateway", "list", "chart", "settings"]


class Param(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of a screen's address: a `:name` of its path, or a key of its query string (`many`: may
    be repeated)."""

    name: str
    place: Literal["path", "query"] = "path"
    many: bool = False


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Widgets side by side on twelve columns; on a narrow window they stand below each other."""

    widgets: tuple[Widget, ...]


class Screen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One page. `path` is its address in the console, with `:name` for parameters; a screen with `menu`
    stands in the navigation by `order`."""

    id: Name
    path: str
    title: Text
    icon: Icon
    order: int
    menu: bool = True
    params: tuple[Param, ...] = ()
    rows: tuple[Row, ...] = ()


_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PATH_PARAM = re.compile(r":([a-z_]+)")


class Screens:
    """All screens of a node in order. Raises ValueError, naming the screen, where two share an id or an
    address, a path and its params disagree, a query names a parameter the screen has not, a row is wider
    than twelve columns, or a link leads to no screen: these are mistakes of whoever declared it."""

    def __init__(self, screens: Iterable[Screen]) -> None:
        self._screens = sorted(screens, key=lambda s: (s.order, s.id))
        self._by_id = {s.id: s for s in self._screens}
        _unique((s.id for s in self._screens), "id")
        _unique((_PATH_PARAM.sub(":", s.path) for s in self._screens), "path")
        for screen in self._screens:
            self._check(screen)

    def __iter__(self) -> Iterator[Screen]:
        return iter(self._screens)

    def __len__(self) -> int:
        return len(self._screens)

    def get(self, id_: str) -> Screen | None:
        return self._by_id.get(id_)

    def _check(self, screen: Screen) -> None:
        if not screen.path.startswith("/"):
            raise ValueError(f"screen {screen.id}: path {screen.path} must start with /")
        declared = [p.name for p in screen.params if p.place == "path"]
        if _PATH_PARAM.findall(screen.path) != declared:
            raise ValueError(f"screen {screen.id}: path {screen.path} does not match its params {declared}")
        if screen.menu and declared:
            raise ValueError(f"screen {screen.id}: a screen of the menu cannot need parameters of its path")
        known = {p.name for p in screen.params}
        for row in screen.rows:
            if not row.widgets or sum(w.span for w in row.widgets) > 12:
                raise ValueError(f"screen {screen.id}: a row holds widgets of 1 to 12 columns together")
            for widget in row.widgets:
                for query in _queries(widget):
                    texts = [query.path, *query.params.values()]
                    for name in [n for text in texts for n in _PLACEHOLDER.findall(text)]:
                        if name not in known:
                            raise ValueError(f"screen {screen.id}: {query.path} needs a parameter {name}")
                for link in _links(widget):
                    if not self._leads_somewhere(link):
                        raise ValueError(f"screen {screen.id}: link {link} leads to no screen")

    def _leads_somewhere(self, link: str) -> bool:
        target = _PLACEHOLDER.sub(":", link.partition("?")[0])
        return any(_PATH_PARAM.sub(":", s.path) == target for s in self._screens)


def _queries(widget: Widget) -> list[Query]:
    return [v for v in msgspec.structs.asdict(widget).values() if isinstance(v, Query)]


def _links(widget: Widget) -> list[str]:
    parts = [widget, *getattr(widget, "items", ())]
    return [link for part in parts if (link := getattr(part, "link", ""))]


def _unique(values: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"two screens share the {what} {value}")
        seen.add(value)
