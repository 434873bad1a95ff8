"""Twenty faults planted one at a time in a right configuration: each is told once, with its file, its key,
what is wrong and how to mend it, in both languages."""

from pathlib import Path

import pytest

from headrace.kernel.errors import ConfigError, Problem
from headrace.node import load

RIGHT = """
[node]
name = "coating-1"
profile = "plant"
title = { zh = "涂装车间", en = "Coating workshop" }
timezone = "Asia/Shanghai"

[machines.oven]
title = { zh = "固化炉", en = "Curing oven" }

[api]
port = 0

[bus]
port = 0
max_bytes = 268435456

[edge]
linger = "100ms"

[[edge.connections]]
name = "oven"
driver = "modbus"
every = "1s"
settings = { host = "127.0.0.1", port = 5020, unit = 1 }

[[edge.connections.tags]]
name = "oven/zone1/temperature"
unit = "Cel"
low = 0
high = 300
report = { absolute = 0.1 }
address = "holding:100"
type = "f32"

[[edge.connections.tags]]
name = "oven/fan/running"
address = "coil:1"
type = "bool"

[[alarms]]
id = "oven-hot"
when = "oven/zone1/temperature > 220"
title = { zh = "炉温过高", en = "Oven too hot" }
priority = "high"
"""

TAG0 = "edge.connections[0].tags[0]"

# what stands in the right file, what the fault makes of it, the key and code that must be told, and a word
# of the English and of the Chinese text that helps the reader
FAULTS: dict[str, tuple[str, str, str, str, str, str]] = {
    "not TOML": ("[api]", "[api", "", "config.not_toml", "line", "行列"),
    "unknown section": (
        "[machines.oven]",
        "[machine.oven]",
        "machine",
        "config.unknown_key_near",
        "machines",
        "machines",
    ),
    "unknown key": (
        'name = "coating-1"',
        'nmae = "coating-1"',
        "node.nmae",
        "config.unknown_key_near",
        "did you mean name",
        "name",
    ),
    "bad name": (
        'name = "coating-1"',
        'name = "Coating 1"',
        "node.name",
        "config.not_name",
        "lower-case",
        "小写",
    ),
    "wrong type": (
        "port = 0\n\n[bus]",
        'port = "http"\n\n[bus]',
        "api.port",
        "config.wrong_type",
        "whole number",
        "整数",
    ),
    "out of range": (
        "port = 0\nmax_bytes",
        "port = 70000\nmax_bytes",
        "bus.port",
        "config.out_of_range",
        "65535",
        "65535",
    ),
    "too little room": (
        "max_bytes = 268435456",
        "max_bytes = 10",
        "bus.max_bytes",
        "config.out_of_range",
        "1048576",
        "1048576",
    ),
    "not a choice": (
        'profile = "plant"',
        'profile = "factory"',
        "node.profile",
        "config.not_one_of",
        "plant",
        "plant",
    ),
    "unknown time zone": (
        "Asia/Shanghai",
        "Asia/Beijing",
        "node.timezone",
        "node.bad_timezone",
        "Asia/Shanghai",
        "Asia/Shanghai",
    ),
    "half a title": (
        '{ zh = "涂装车间", en = "Coating workshop" }',
        '{ zh = "涂装车间" }',
        "node.title.en",
        "config.missing",
        "add it",
        "补上",
    ),
    "not a duration": (
        'every = "1s"',
        'every = "1 second"',
        "edge.connections[0].every",
        "config.not_duration",
        "250ms",
        "250ms",
    ),
    "number for a duration": (
        'linger = "100ms"',
        "linger = 100",
        "edge.linger",
        "config.not_duration",
        "250ms",
        "250ms",
    ),
    "unknown driver": (
        'driver = "modbus"',
        'driver = "modbas"',
        "edge.connections[0].driver",
        "edge.unknown_driver_near",
        "modbus",
        "modbus",
    ),
    "unknown driver setting": (
        "unit = 1",
        "unti = 1",
        "edge.connections[0].settings.unti",
        "config.unknown_key_near",
        "unit",
        "unit",
    ),
    "missing driver key": (
        'address = "holding:100"\n',
        "",
        f"{TAG0}.address",
        "config.missing",
        "add it",
        "补上",
    ),
    "empty range": ("high = 300", "high = -5", f"{TAG0}.high", "edge.range_empty", "", ""),
    "two reports": (
        "{ absolute = 0.1 }",
        "{ absolute = 0.1, swing = 1 }",
        f"{TAG0}.report",
        "edge.report_conflict",
        "absolute, swing",
        "absolute, swing",
    ),
    "tag twice": (
        'name = "oven/fan/running"',
        'name = "oven/zone1/temperature"',
        "edge.connections[0].tags[1].name",
        "edge.tag_twice",
        "oven/zone1/temperature",
        "oven/zone1/temperature",
    ),
    "tag name without a machine": (
        'name = "oven/fan/running"',
        'name = "running"',
        "edge.connections[0].tags[1].name",
        "edge.tag_name",
        "running",
        "running",
    ),
    "unknown priority": (
        'priority = "high"',
        'priority = "highest"',
        "alarms[0].priority",
        "config.not_one_of",
        "urgent",
        "urgent",
    ),
    "alarm on no tag": (
        "oven/zone1/temperature > 220",
        "oven/zone9/temperature > 220",
        "alarms[0].when",
        "expr.unknown_tag_near",
        "oven/zone1/temperature",
        "oven/zone1/temperature",
    ),
    "alarm that is no condition": (
        'temperature > 220"',
        'temperature > > 220"',
        "alarms[0].when",
        "expr.unexpected",
        "",
        "",
    ),
}


def _problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as failed:
        load(path, {})
    return list(failed.value.problems)


def test_the_right_configuration_is_right(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT, encoding="utf-8")
    load(path, {})


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault(tmp_path: Path, name: str) -> None:
    before, after, key, code, english, chinese = FAULTS[name]
    assert RIGHT.count(before) == 1, "the fault is planted in one place"
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT.replace(before, after), encoding="utf-8")
    problems = _problems(path)
    assert [(p.file, p.key, p.code) for p in problems] == [(str(path), key, code)]
    for lang, word in (("en", english), ("zh", chinese)):
        text = problems[0].text(lang)
        assert text.startswith(f"{path}: {key}" if key else str(path))
        assert word in text
        assert "{" not in text.replace(after, ""), "every brace is filled"
    assert problems[0].text("en") != problems[0].text("zh")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    text = RIGHT.replace('profile = "plant"', 'profile = "factory"')
    text = text.replace('driver = "modbus"', 'driver = "modbas"').replace('"high"', '"highest"')
    path.write_text(text, encoding="utf-8")
    assert {p.key for p in _problems(path)} >= {"node.profile", "alarms[0].priority"}


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, "config.no_file"),
        (lambda path: path.mkdir(), "config.is_folder"),
        (lambda path: path.write_bytes("[node]\nname = '车间'".encode("gb18030")), "config.not_utf8"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, make: object, code: str) -> None:
    path = tmp_path / "headrace.toml"
    make(path)  # type: ignore[operator]
    assert [(p.file, p.code) for p in _problems(path)] == [(str(path), code)]


def test_the_environment_is_laid_over_the_file_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT, encoding="utf-8")
    from headrace.bus import BUS

    assert load(path, {"HEADRACE_BUS__PORT": "4999"})[BUS].port == 4999
    with pytest.raises(ConfigError) as failed:
        load(path, {"HEADRACE_BUSS__PORT": "4999"})
    assert failed.value.problems[0].file == "environment HEADRACE_BUSS__PORT"
