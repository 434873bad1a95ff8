"""What the terminal shows while the demo runs."""

import io
from typing import Any

import pytest
from rich.console import Console

from headrace.demo.show import Display, Status


def shown(lang: str, alarms: int) -> str:
    out = io.StringIO()
    display = Display(lang, Console(file=out, width=110, color_system=None))
    display.opened("http://127.0.0.1:8088", "t", "/data")
    display.status = Status(
        values_per_s=302.4,
        connected=7,
        connections=7,
        tags=329,
        alarms=tuple(("high", f"alarm {n}", "cleared-unack") for n in range(alarms)),
    )
    display.console.print(display._render())
    return out.getvalue()


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("zh", ["每秒 302 个值 · 329 个测点 · 7/7 个连接正常", "2  alarm 0  已恢复，待确认", "还有 3 条"]),
        ("en", ["302 values/s · 329 tags · 7 of 7 connections up", "2  alarm 0  cleared", "3 more"]),
    ],
)
def test_alarms_have_their_priority_in_figures_and_the_rest_is_counted(lang: str, words: Any) -> None:
    text = shown(lang, 11)
    for word in words:
        assert word in text, text
    assert text.count("alarm ") == 8


def test_few_alarms_leave_no_rest() -> None:
    assert "more, see the console" not in shown("en", 8)
    assert "none" in shown("en", 0)
