"""What the configuration may say of an alarm, how a hysteresis moves the limits, what can be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.kernel import config
from headrace.kernel.errors import ConfigError, InputError
from headrace.kernel.expr import Point, evaluate, symbols_of
from headrace.kernel.model import Kind, Tag
from headrace.rules import ALARMS, Limit, Priority, compile_alarm, limits_of, problems_of

TAGS = [
    Tag(1, "oven/zone1/temperature", Kind.F64, unit="Cel"),
    Tag(2, "bath/tank/pressure", Kind.F64, unit="bar"),
    Tag(3, "oven/door/open", Kind.BOOL),
    Tag(4, "oven/burner/count", Kind.I64),
]
SYMBOLS = symbols_of(TAGS)


def load(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "headrace.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, [ALARMS])[ALARMS]


def one(tmp_path: Path, when: str, more: str = "") -> Any:
    text = f"""[[alarms]]\nid = "a-1"\nwhen = '''{when}'''\ntitle = {{ zh = "甲", en = "A" }}\n{more}"""
    return load(tmp_path, text)[0]


def test_a_whole_definition(tmp_path: Path) -> None:
    alarm = one(
        tmp_path,
        "oven/zone1/temperature > 220",
        'priority = "high"\nhysteresis = 2\ndelay_on = "5s"\ndelay_off = "250ms"\nshelve_max = "8h"\n',
    )
    assert (alarm.priority, alarm.hysteresis) == (Priority.HIGH, 2.0)
    assert (alarm.delays.on, alarm.delays.off, alarm.shelve_max) == (5 * 10**9, 250 * 10**6, 8 * 3600 * 10**9)
    assert compile_alarm(alarm, SYMBOLS).machine == "oven"
    assert load(tmp_path, "") == []


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        ('when = "a/b > "', "alarms[0].when", "expr.ends"),
        ('when = "a/b > 1"\npriority = "hihg"', "alarms[0].priority", "config.not_one_of"),
        ('when = "a/b > 1"\nhysteresis = -1', "alarms[0].hysteresis", "config.out_of_range"),
        ('when = "a/b > 1"\ndelay_on = "5 s"', "alarms[0].delay_on", "config.not_duration"),
        ('when = "a/b > 1"\nwhenn = 1', "alarms[0].whenn", "config.unknown_key_near"),
        ("", "alarms[0].when", "config.missing"),
    ],
)
def test_faults_name_their_key(tmp_path: Path, text: str, key: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[[alarms]]\nid = "a-1"\ntitle = {{ zh = "甲", en = "A" }}\n{text}')
    assert [(p.key, p.code) for p in caught.value.problems] == [(key, code)]
    assert caught.value.text("zh") != caught.value.text("en")


def test_ids_are_unique(tmp_path: Path) -> None:
    entry = '[[alarms]]\nid = "a"\nwhen = "b/c > 1"\ntitle = { zh = "甲", en = "A" }\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, entry * 2)
    assert [(p.key, p.code, p.params["first"]) for p in caught.value.problems] == [
        ("alarms[1].id", "alarm.id_twice", 0)
    ]


@pytest.mark.parametrize(
    ("when", "more", "key", "code"),
    [
        ("oven/zone1/temprature > 1", "", "when", "expr.unknown_tag_near"),
        ("nothing/like/it > 1", "", "when", "expr.unknown_tag"),
        ("oven/zone1/temperature", "", "when", "expr.wrong_result"),
        ("oven/zone1/temperature > bath/tank/pressure", "", "when", "expr.units_differ"),
        ("1 > 2", "", "when", "alarm.no_tag"),
        ("oven/door/open", "hysteresis = 1", "hysteresis", "alarm.no_limit"),
        (
            "oven/zone1/temperature > 1 || bath/tank/pressure > 1",
            "hysteresis = 1",
            "hysteresis",
            "alarm.mixed_limits",
        ),
        (
            "oven/zone1/temperature > 1",
            'hysteresis = { value = 1, unit = "bar" }',
            "hysteresis",
            "alarm.hysteresis_unit",
        ),
        (
            "oven/zone1/temperature > 1",
            'hysteresis = { value = 1, unit = "gnu" }',
            "hysteresis",
            "alarm.hysteresis_unit",
        ),
        ("oven/zone1/temperature > 1", "hysteresis = inf", "hysteresis", "alarm.hysteresis_finite"),
    ],
)
def test_faults_that_need_the_tags(tmp_path: Path, when: str, more: str, key: str, code: str) -> None:
    (problem,) = problems_of([one(tmp_path, when, more)], SYMBOLS, "headrace.toml")
    assert (problem.key, problem.code) == (f"alarms[0].{key}", code)
    for lang in ("zh", "en"):
        assert "{" not in problem.text(lang).replace("{ value", "")


@pytest.mark.parametrize(
    ("when", "hysteresis", "kept", "not_kept"),
    [
        ("oven/zone1/temperature > 220", "2.0", 218.5, 218.0),
        ("oven/zone1/temperature >= 220", "2.0", 218.0, 217.9),
        ("oven/zone1/temperature < 100", "2.0", 101.5, 102.0),
        ("220 < oven/zone1/temperature", "2.0", 218.5, 218.0),
        ("!(oven/zone1/temperature <= 220)", "2.0", 218.5, 218.0),
        ("!(oven/zone1/temperature > 100)", "2.0", 102.0, 102.5),
        ("oven/zone1/temperature > 220", '{ value = 9, unit = "[degF]" }', 215.5, 215.0),
        ("oven/zone1/temperature > 220", '{ value = 2, unit = "K" }', 218.5, 218.0),
        ("oven/zone1/temperature > 493.15[K]", "2.0", 218.5, 218.0),
        ("oven/zone1/temperature * 1 > oven/zone1/temperature * 0 + 220", "2.0", 218.5, 218.0),
        ("oven/door/open ? oven/zone1/temperature > 220 : false", "2.0", 218.5, 218.0),
        ("oven/burner/count != 3 && oven/zone1/temperature > 220", "2.0", 218.5, 218.0),
    ],
)
def test_the_hysteresis_keeps_what_it_should(
    tmp_path: Path, when: str, hysteresis: str, kept: float, not_kept: float
) -> None:
    compiled = compile_alarm(one(tmp_path, when, f"hysteresis = {hysteresis}"), SYMBOLS)

    def points(value: float) -> dict[str, Point]:
        return {
            "oven/zone1/temperature": Point(value),
            "oven/door/open": Point(True),
            "oven/burner/count": Point(4),
        }

    assert evaluate(compiled.hold, points(kept)) is True
    assert evaluate(compiled.hold, points(not_kept)) is False
    for value in (kept, not_kept):
        assert evaluate(compiled.trigger, points(value)) is False


def test_a_hysteresis_with_a_unit_moves_only_limits_that_have_it(tmp_path: Path) -> None:
    compiled = compile_alarm(
        one(
            tmp_path,
            "oven/zone1/temperature > 220 || bath/tank/pressure > 3",
            'hysteresis = { value = 20000, unit = "Pa" }',
        ),
        SYMBOLS,
    )
    points = {"oven/zone1/temperature": Point(219.9), "bath/tank/pressure": Point(2.9)}
    assert evaluate(compiled.hold, points) is True
    assert evaluate(compiled.hold, points | {"bath/tank/pressure": Point(2.75)}) is False


def test_limits_that_can_be_drawn(tmp_path: Path) -> None:
    when = (
        "oven/zone1/temperature > 428[[degF]] || 2 > bath/tank/pressure || oven/door/open"
        " || !(bath/tank/pressure < 900000[Pa]) || oven/zone1/temperature > bath/tank/pressure * 1[K/bar]"
    )
    compiled = compile_alarm(one(tmp_path, when, 'priority = "low"'), SYMBOLS)
    assert limits_of([compiled]) == [
        Limit("oven/zone1/temperature", 220.0, "high", Priority.LOW, "a-1"),
        Limit("bath/tank/pressure", 2.0, "low", Priority.LOW, "a-1"),
        Limit("bath/tank/pressure", 9.0, "high", Priority.LOW, "a-1"),
    ]


@pytest.mark.parametrize(
    ("when", "limits"),
    [
        ("oven/zone1/temperature < 1 && oven/burner/count > 0", []),
        ("oven/zone1/temperature > 220 && oven/door/open", []),
        ("oven/zone1/temperature > 220 || oven/burner/count > 9 && oven/door/open", [(220.0, "high")]),
        ("!(oven/zone1/temperature < 20 && oven/door/open)", [(20.0, "high")]),
        ("!(oven/zone1/temperature < 20 || oven/door/open)", []),
        ("oven/door/open ? oven/zone1/temperature > 90 : oven/zone1/temperature > 220", []),
    ],
)
def test_a_limit_that_needs_another_condition_is_not_drawn(tmp_path: Path, when: str, limits: Any) -> None:
    compiled = compile_alarm(one(tmp_path, when), SYMBOLS)
    assert [(limit.value, limit.side) for limit in limits_of([compiled])] == limits


def test_a_definition_that_makes_no_sense_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        compile_alarm(one(tmp_path, "oven/door/open > 3"), SYMBOLS)
