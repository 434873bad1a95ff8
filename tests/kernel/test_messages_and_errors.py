"""One message table in two languages, and the error tree that speaks with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.kernel import errors, messages
from headrace.kernel.errors import (
    BusUnavailable,
    ConfigError,
    Conflict,
    Corrupt,
    Denied,
    DeviceUnavailable,
    HeadraceError,
    InputError,
    NotFound,
    Problem,
    Unavailable,
)
from headrace.kernel.messages import Text


@pytest.mark.parametrize(
    ("kind", "base", "status"),
    [
        (InputError, HeadraceError, 400),
        (NotFound, InputError, 404),
        (Conflict, InputError, 409),
        (Denied, HeadraceError, 403),
        (Unavailable, HeadraceError, 503),
        (BusUnavailable, Unavailable, 503),
        (DeviceUnavailable, Unavailable, 503),
        (Corrupt, HeadraceError, 500),
    ],
)
def test_the_tree(kind: type[HeadraceError], base: type[HeadraceError], status: int) -> None:
    error = kind("batch.null_column")
    assert isinstance(error, base) and error.status == status
    assert kind.__name__ in (errors.__doc__ or "")


def test_an_error_reads_in_both_languages() -> None:
    error = InputError("config.not_duration", value="5 s")
    assert (
        str(error) == error.text("en") == '5 s is not a duration; write a text such as "250ms", "1s" or "5m"'
    )
    assert error.text("zh") == '5 s 不是时长；请写成 "250ms"、"1s"、"5m" 这样的文本'


def test_a_problem_says_where() -> None:
    problem = Problem("h.toml", "edge.name", "config.missing", {"field": "name"})
    assert problem.text() == "h.toml: edge.name: name is missing; add it"
    assert problem.text("zh") == "h.toml: edge.name：缺少必填项 name；请补上该项"
    assert Problem("h.toml", "", "config.no_file").text().startswith("h.toml: there is no such")


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError([Problem("h.toml", k, "config.missing", {"field": k}) for k in ("a", "b")])
    assert len(error.text().splitlines()) == 2 and error.params["count"] == 2 and error.status == 400


def test_rendering_is_forgiving() -> None:
    assert messages.render("no.such.code", x=1) == "no.such.code"
    assert "{field}" in messages.render("config.missing")  # a parameter that was not given stays visible
    assert messages.get("no.such.code") is None
    text = Text("甲", "A")
    assert messages.render("config.missing", "zh", field=text).startswith("缺少必填项 甲")
    assert (text.get("zh"), text.get("en"), text.get("fr")) == ("甲", "A", "A")


def test_plugins_add_their_own_rows_once(tmp_path: Path) -> None:
    file = tmp_path / "messages.toml"
    file.write_text('[plugin.odd]\nzh = "怪事 {n}"\nen = "odd {n}"\n', encoding="utf-8")
    messages.register(file)
    assert messages.render("plugin.odd", "zh", n=3) == "怪事 3"
    with pytest.raises(ValueError, match="taken"):
        messages.register(file)
    file.write_text('[config.missing]\nzh = "甲"\nen = "a"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="taken"):
        messages.register(file)


def test_rows_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "messages.toml"
    file.write_text('[a.b]\nzh = "甲"\nen = "a"\nfr = "a"\n', encoding="utf-8")
    with pytest.raises(ValueError):
        messages.read(file)


@pytest.mark.parametrize(
    ("environ", "lang"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LC_MESSAGES": "zh_TW"}, "zh"),
        ({"HEADRACE_LANG": "zh", "LC_ALL": "en_US"}, "zh"),
        ({"HEADRACE_LANG": "", "LANG": "ZH"}, "zh"),
    ],
)
def test_the_readers_language(environ: dict[str, str], lang: str) -> None:
    assert messages.reader_language(environ) == lang
