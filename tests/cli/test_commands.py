"""The command as a user meets it: as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import headrace, headrace_process

from headrace import __version__
from headrace.kernel import messages

COMMANDS = [
    [],
    ["up"],
    ["run"],
    ["config"],
    ["config", "check"],
    ["replay"],
    ["edge"],
    ["edge", "plan"],
    ["edge", "status"],
    ["history"],
    ["history", "query"],
    ["history", "export"],
    ["history", "compact"],
    ["history", "stats"],
    ["history", "fsck"],
    ["demo"],
    ["doctor"],
]

RIGHT = """
[[edge.connections]]
name = "oven"
driver = "modbus"
settings = { host = "127.0.0.1", port = 5020 }
[[edge.connections.tags]]
name = "oven/temperature"
address = "holding:1"
type = "u16"
[[edge.connections.tags]]
name = "oven/set-point"
address = "holding:5"
type = "u16"
"""


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_help_of_every_command(lang: str) -> None:
    environ = {**os.environ, "HEADRACE_LANG": lang, "COLUMNS": "100", "NO_COLOR": "1"}
    lines = "\n".join(" ".join(command) for command in COMMANDS)
    script = Path(__file__).parents[1] / "support" / "all_help.py"
    done = subprocess.run(
        [sys.executable, script],
        input=lines or "\n",
        capture_output=True,
        encoding="utf-8",
        env=environ,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == ""
    pages = done.stdout.split("\f")[:-1]
    assert len(pages) == len(COMMANDS)
    for command, page in zip(COMMANDS, pages, strict=True):
        row = messages.get(".".join(["cli", *command, "help"]))
        assert row is not None
        usage, text = ("用法：", row.zh) if lang == "zh" else ("Usage:", row.en)
        assert page.endswith("exit 0")
        assert " ".join([usage, "headrace", *command]) in page
        shown = "".join(c for c in page if c not in "│ \n")
        assert text.replace(" ", "") in shown
        assert ("Show this" in page) == (lang == "en")
        assert ("Options" in page) == (lang == "en"), "typer's own words too"


def test_help_answers_at_once() -> None:
    """0.3 s on an idle machine; CPU time is counted here, because test machines are not idle."""
    least = 9.0
    for _ in range(3):
        before = os.times()
        assert headrace_process("--help").returncode == 0
        after = os.times()
        spent = after.children_user - before.children_user + after.children_system - before.children_system
        least = min(least, spent)
    assert least < 0.6


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom headrace.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pyarrow', 'sqlalchemy', 'litestar', 'nats', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_version() -> None:
    done = headrace("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"headrace {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["hist"], "cli.no_such_command"),
        (["up", "--nope"], "cli.no_such_option"),
        (["history", "query"], "cli.missing"),
        (["replay"], "cli.missing"),
        (["history", "query", "--tag", "a/b", "--limit", "0"], "cli.bad_value"),
        (["history", "query", "--tag", "a/b", "--from", "yesterday"], "cli.bad_time"),
        (["history", "query", "--tag", "a/b", "--from", "now", "--to", "-1h"], "cli.empty_span"),
        (["history", "query", "--tag", "a/b", "--every", "often"], "cli.bad_every"),
        (["history", "query", "--tag", "a/b", "--every", "1m", "--agg", "median"], "cli.bad_aggregate"),
    ],
)
def test_asked_wrongly_is_exit_code_2(arguments: list[str], code: str) -> None:
    done = headrace(*arguments, "--json")
    assert done.returncode == 2 and done.stdout == ""
    told = json.loads(done.stderr)["error"]
    assert told["code"] == code and told["zh"] != told["en"]
    plain = headrace(*arguments)
    assert (plain.returncode, plain.stdout) == (2, "")
    assert plain.stderr == f"error: {told['en']}\n"


def test_asked_wrongly_in_chinese() -> None:
    done = headrace_process("run", "miller", lang="zh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "错误：没有名为 miller 的角色；可用的有：edge, ingest, rules, api\n"


def test_config_check_right(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT, encoding="utf-8")
    done = headrace("config", "check", "-c", path)
    assert (done.returncode, done.stdout) == (0, f"{path} is right: 1 connections, 2 tags\n")
    found = json.loads(headrace("config", "check", "-c", path, "--json").stdout)
    assert (found["ok"], found["tags"], found["connections"]) == (True, 2, 1)


def test_config_check_wrong(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT.replace("u16", "u17").replace("5020", "99999"), encoding="utf-8")
    done = headrace("config", "check", "-c", path, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["ok"] is False and all(p["file"] == str(path) and p["zh"] for p in found["problems"])
    plain = headrace_process("config", "check", "-c", path, lang="zh")
    assert plain.returncode == 1 and plain.stdout == "" and plain.stderr.startswith("错误：")
    assert "Traceback" not in plain.stderr
    absent = headrace("config", "check", "-c", tmp_path / "nope.toml")
    assert absent.returncode == 1 and "there is no such configuration file" in absent.stderr


def test_edge_plan(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT, encoding="utf-8")
    found = json.loads(headrace("edge", "plan", "-c", path, "--json").stdout)
    assert (found["tags"], found["requests"], found["one_per_tag"], found["ratio"]) == (2, 1, 2, 2.0)
    assert found["connections"][0]["requests"][0]["gap_units"] == 3
    assert "in all: 1 requests" in headrace("edge", "plan", "-c", path).stdout


def test_what_needs_data_says_so_where_there_is_none(tmp_path: Path) -> None:
    for arguments, code in (
        (["edge", "status"], "cli.no_node"),
        (["history", "query", "--tag", "a/b"], "cli.no_history"),
        (["history", "stats"], "cli.no_history"),
        (["history", "fsck"], "cli.no_history"),
        (["history", "compact"], "cli.no_history"),
        (["history", "export", "out.csv"], "cli.no_history"),
    ):
        done = headrace(*arguments, "--data", tmp_path / "none", "--json")
        assert done.returncode == 1 and done.stdout == ""
        assert json.loads(done.stderr)["error"]["code"] == code
    assert not (tmp_path / "none").exists(), "asking makes nothing"


def test_doctor(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    found = json.loads(headrace("doctor", "-c", path, "--data", tmp_path, "--json").stdout)
    checks = {c["name"]: c for c in found["checks"]}
    assert checks["bus"]["ok"] and checks["drivers"]["ok"] and checks["python"]["ok"]
    assert "modbus" in checks["drivers"]["detail"]
    path.write_text("[node]\nname = 7\n")
    done = headrace("doctor", "-c", path, "--data", tmp_path)
    assert done.returncode == 1 and "✗ configuration: " in done.stdout


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "headrace.toml"
    path.write_text(RIGHT, encoding="utf-8")
    command = f"{sys.executable} -m headrace.cli edge plan -c {path} | head -c 1 >/dev/null"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
