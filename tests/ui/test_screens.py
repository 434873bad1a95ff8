"""Screens as data: what is refused, and that every widget type survives JSON."""

import importlib.util
from pathlib import Path

import msgspec
import pytest

from headrace.kernel.messages import Text
from headrace.ui import LineMimic, Param, Query, Row, Screen, Screens, Stat, Stats, TextBlock, Trend, Widget

T = Text(zh="标题", en="title")


def screen(**changes: object) -> Screen:
    given = {"id": "a", "path": "/a", "title": T, "icon": "list", "order": 1, **changes}
    return Screen(**given)  # type: ignore[arg-type]


def test_sorted_by_order_and_found_by_id() -> None:
    late, early = screen(order=9), screen(id="b", path="/b", order=2)
    screens = Screens([late, early])
    assert [s.id for s in screens] == ["b", "a"]
    assert len(screens) == 2
    assert screens.get("a") is late
    assert screens.get("c") is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([screen(), screen(path="/other")], "share the id a"),
        ([screen(), screen(id="b")], "share the path /a"),
        (
            [
                screen(path="/x/:one", params=(Param("one"),), menu=False),
                screen(id="b", path="/x/:two", params=(Param("two"),), menu=False),
            ],
            "share the path",
        ),
        ([screen(path="a")], "must start with /"),
        ([screen(path="/a/:machine", menu=False)], "does not match its params"),
        ([screen(path="/a/:m", params=(Param("m"),))], "menu cannot need"),
        ([screen(rows=(Row((Trend(query=Query("/machines/{machine}")),)),))], "needs a parameter machine"),
        (
            [screen(rows=(Row((Trend(query=Query("/series", params={"tag": "{tag}"})),)),))],
            "needs a parameter tag",
        ),
        ([screen(rows=(Row((TextBlock(body=T, span=8), TextBlock(body=T, span=5))),))], "1 to 12 columns"),
        ([screen(rows=(Row(()),))], "1 to 12 columns"),
        ([screen(rows=(Row((LineMimic(),)),))], "link /machines/{id} leads to no screen"),
        (
            [
                screen(
                    rows=(
                        Row((Stats(query=Query("/summary"), items=(Stat(field="x", title=T, link="/no"),)),)),
                    )
                )
            ],
            "link /no leads to no screen",
        ),
    ],
)
def test_mistakes_are_refused(wrong: list[Screen], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Screens(wrong)


def test_link_with_query_string_leads_to_the_screen_of_its_path() -> None:
    target = screen(id="machine", path="/machines/:machine", params=(Param("machine"),), menu=False)
    Screens([target, screen(rows=(Row((LineMimic(link="/machines/{id}?x={y}"),)),))])


def test_every_widget_type_round_trips_and_names_its_type() -> None:
    types = Widget.__args__  # type: ignore[attr-defined]
    for type_ in types:
        given: dict[str, object] = {}
        if type_ is Stats:
            given = {"query": Query("/summary"), "items": (Stat(field="x", title=T),)}
        if type_ is TextBlock:
            given = {"body": T}
        widget = type_(**given)
        data = msgspec.json.encode(widget)
        assert msgspec.json.decode(data)["type"] == type_.__struct_config__.tag
        assert msgspec.json.decode(data, type=Widget) == widget
    assert len({t.__struct_config__.tag for t in types}) == len(types)


def test_span_is_bounded() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "trend", "span": 13}, Trend)


def test_rooms_screens_fit_together() -> None:
    root = Path(importlib.util.find_spec("headrace").submodule_search_locations[0])  # type: ignore[union-attr,index]
    found = []
    for path in sorted(root.glob("*/screens.py")):
        if path.parent.name in ("ui", "api"):  # what they are made of, and all of them together
            continue
        spec = importlib.util.spec_from_file_location(f"screens_of_{path.parent.name}", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.extend(module.SCREENS)
    screens = Screens(found)
    assert {"overview", "machine", "trend", "alarms", "gateway"} <= {s.id for s in screens}
    for s in screens:
        assert s.title.zh and s.title.en and s.title.zh != s.title.en
