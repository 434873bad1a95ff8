"""Habits of the tree that a reviewer would otherwise have to check by eye."""

import ast
import re
from pathlib import Path

import pytest

from headrace.kernel import messages

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "headrace"
MODULES = sorted(SOURCE.rglob("*.py"))
CODE = re.compile(r"^[a-z]+(\.[a-z0-9_-]+)+$")


def _string_literals() -> set[str]:
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def _raised_codes() -> dict[str, str]:
    """First arguments of every call to an error class or Problem, by code, with the place."""
    errors = {
        "HeadraceError", "InputError", "NotFound", "Conflict", "Denied", "Unavailable", "BusUnavailable",
        "DeviceUnavailable", "Corrupt",
    }  # fmt: skip
    codes = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            index = 0 if name in errors else 2 if name == "Problem" else None
            if index is None or len(node.args) <= index:
                continue
            argument = node.args[index]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                codes[argument.value] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return codes


def test_every_raised_code_has_a_message() -> None:
    unknown = {code: at for code, at in _raised_codes().items() if messages.get(code) is None}
    assert unknown == {}


def test_every_message_is_used() -> None:
    literals = _string_literals()
    family = re.compile(r"[a-z]+(\.[a-z0-9_]+)*\.")  # the constant part of f"room.x.{y}"
    families = tuple(text for text in literals if family.fullmatch(text))
    assert [c for c in messages.table() if c not in literals and not c.startswith(families)] == []


def test_messages_are_in_both_languages() -> None:
    chinese = re.compile(r"[\u3001-\u303f\u4e00-\u9fff]")
    for code, row in messages.table().items():
        assert CODE.match(code), code
        assert chinese.search(row.zh), f"{code}: zh has no Chinese"
        assert not chinese.search(row.en), f"{code}: en has Chinese"
        assert bool(row.fix_zh) == bool(row.fix_en), f"{code}: fix in one language only"
        braces = re.compile(r"\{(\w+)\}")
        zh, en = set(braces.findall(row.zh + row.fix_zh)), set(braces.findall(row.en + row.fix_en))
        assert zh == en, f"{code}: the languages name different parameters: {zh ^ en}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600, "a module past 600 lines wants to be a room"
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_every_room_says_what_enters_and_leaves() -> None:
    for init in sorted(SOURCE.glob("*/__init__.py")):
        doc = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        for word in ("Enters", "Leaves", "May import"):
            assert word in doc, f"{init.relative_to(ROOT)} does not say: {word}"
