"""Configuration: each fault names file, key and fix, in both languages, and all are found in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from headrace.kernel import config
from headrace.kernel.config import Duration, Name, Port, Section, Settings, duration
from headrace.kernel.errors import ConfigError, Problem


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    every: Duration = Duration(0)
    kind: Literal["fast", "slow"] = "fast"


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Port = 80
    ratio: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    items: list[Item] = []
    by_name: dict[str, Item] = {}
    text: str = ""
    flag: bool = False


def _check(box: Box, settings: Settings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if box.text == "bad":
        yield "text", "config.bad_value", {"value": "bad", "reason": "test"}
    for index, item in enumerate(box.items):
        if item.name == "no":
            yield f"items[{index}].name", "config.bad_value", {"value": "no", "reason": "test"}


BOX: Section[Box] = Section("box", Box, check=_check)
LIST: Section[list[Item]] = Section("list", list[Item], default=list)
NEEDED: Section[Box] = Section("needed", Box, required=True)


def load(
    tmp_path: Path, text: str | bytes, *sections: Section[Any], env: dict[str, str] | None = None
) -> Settings:
    file = tmp_path / "headrace.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(file, sections or (BOX, LIST), env)


def problems(
    tmp_path: Path, text: str | bytes, *sections: Section[Any], env: dict[str, str] | None = None
) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *sections, env=env)
    for problem in caught.value.problems:
        zh, en = problem.text("zh"), problem.text("en")
        assert zh != en and problem.file in zh and problem.key in en and "{" not in en.replace("{0", "")
    return list(caught.value.problems)


def test_defaults_and_values(tmp_path: Path) -> None:
    settings = load(tmp_path, '[box]\nport = 90\nitems = [{ name = "a-1", every = "1.5s" }]\n')
    assert settings[BOX] == Box(port=90, items=[Item("a-1", Duration(1_500_000_000))])
    assert settings[LIST] == []
    assert settings.path("x/y.csv") == (tmp_path / "x" / "y.csv").resolve()
    assert load(tmp_path, "")[BOX] == Box()


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        ("[box\n", "", "config.not_toml"),
        (b"[box]\ntext = '\xff'", "", "config.not_utf8"),
        ("[bux]\n", "bux", "config.unknown_key_near"),
        ("[zebra]\n", "zebra", "config.unknown_key"),
        ("[box]\nprot = 1", "box.prot", "config.unknown_key_near"),
        ("[box]\nzzz = 1", "box.zzz", "config.unknown_key"),
        ('[box]\nport = "80"', "box.port", "config.wrong_type"),
        ("[box]\nport = 70000", "box.port", "config.out_of_range"),
        ("[box]\nratio = 0", "box.ratio", "config.out_of_range"),
        ("[box]\nflag = 1", "box.flag", "config.wrong_type"),
        ("box = 3", "box", "config.wrong_type"),
        ("[box]\nitems = [{}]", "box.items[0].name", "config.missing"),
        ('[box]\nitems = [{ name = "Bad Name" }]', "box.items[0].name", "config.not_name"),
        ('[box]\nitems = [{ name = "a", kind = "fsat" }]', "box.items[0].kind", "config.not_one_of"),
        ('[box]\nitems = [{ name = "a", every = "5 s" }]', "box.items[0].every", "config.not_duration"),
        ('[box]\nitems = [{ name = "a", every = 5 }]', "box.items[0].every", "config.not_duration"),
        ('[box]\nitems = [{ name = "a", evry = "5s" }]', "box.items[0].evry", "config.unknown_key_near"),
        ('[box]\ntext = "bad"', "box.text", "config.bad_value"),
        ('[[list]]\nname = "a"\n[[list]]\nname = 3', "list[1].name", "config.wrong_type"),
    ],
)
def test_each_fault_names_its_key(tmp_path: Path, text: str | bytes, key: str, code: str) -> None:
    found = problems(tmp_path, text)
    assert [(p.key, p.code) for p in found] == [(key, code)]


def test_near_names_and_choices_are_offered(tmp_path: Path) -> None:
    (near,) = problems(tmp_path, "[box]\nprot = 1")
    assert near.params["near"] == "port"


def test_the_choices_of_a_literal_are_listed(tmp_path: Path) -> None:
    (choice,) = problems(tmp_path, '[box]\nitems = [{ name = "a", kind = "fsat" }]')
    assert choice.params["choices"] == "fast, slow"


def test_faults_of_several_sections_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "[box]\nport = -1\n[[list]]\n[zebra]\n", BOX, LIST, NEEDED)
    assert [(p.key, p.code) for p in found] == [
        ("zebra", "config.unknown_key"),
        ("box.port", "config.out_of_range"),
        ("list[0].name", "config.missing"),
        ("needed", "config.missing"),
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.toml", "config.no_file"), (tmp_path, "config.is_folder")):
        with pytest.raises(ConfigError) as caught:
            config.load(path, [BOX])
        assert caught.value.problems[0].code == code
    if os.geteuid() != 0:  # root may read everything
        locked = tmp_path / "locked.toml"
        locked.write_text("")
        locked.chmod(0)
        with pytest.raises(ConfigError) as caught:
            config.load(locked, [BOX])
        assert caught.value.problems[0].code == "config.no_permission"


def test_the_environment_lies_over_the_file(tmp_path: Path) -> None:
    env = {
        "HEADRACE_BOX__PORT": "90",
        "HEADRACE_BOX__TEXT": "plain text",
        "HEADRACE_BOX__FLAG": "true",
        "HEADRACE_LANG": "zh",
        "PATH": "/bin",
        "HEADRACE_BOX__BY_NAME__A__NAME": "a",
    }
    box = load(tmp_path, "[box]\nport = 1\nratio = 2.0", env=env)[BOX]
    assert (box.port, box.text, box.flag, box.ratio) == (90, "plain text", True, 2.0)
    assert box.by_name == {"a": Item("a")}


def test_faults_of_the_environment_name_the_variable(tmp_path: Path) -> None:
    (unknown,) = problems(tmp_path, "", env={"HEADRACE_BXO__PORT": "1"})
    assert unknown.file == "environment HEADRACE_BXO__PORT" and unknown.params["near"] == "box"
    (flat,) = problems(tmp_path, "[box]\nport = 1", env={"HEADRACE_BOX__PORT__X": "1"})
    assert flat.code == "config.env_not_table"


@pytest.mark.parametrize(
    ("text", "ns"),
    [("250ms", 250_000_000), ("1s", 10**9), ("1.5s", 1_500_000_000), ("5m", 300 * 10**9),
     ("2h", 7200 * 10**9), ("7d", 7 * 86400 * 10**9), ("10us", 10_000)],
)  # fmt: skip
def test_durations(text: str, ns: int) -> None:
    assert duration(text) == ns and isinstance(duration(text), Duration)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1w", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        duration(text)


def test_a_check_that_points_to_another_file(tmp_path: Path) -> None:
    def check(box: Box, settings: Settings) -> Iterator[tuple[str, str, dict[str, Any]]]:
        yield "x", "config.bad_value", {"value": 1, "reason": "r", "file": "tags.csv", "at": "row 3"}

    (found,) = problems(tmp_path, "[box]\n", Section("box", Box, check=check))
    assert (found.file, found.key) == ("tags.csv", "row 3")
