"""The console's message files: both languages say the same things, and nothing is said outside them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "console-ui"
SOURCES = sorted(p for p in (ROOT / "src").rglob("*") if p.suffix in (".ts", ".vue"))
CJK = re.compile(r"[\u3400-\u9fff\uff01-\uff5e]")
BY_VALUE = {
    # keys that are put together from a value the API sends: prefix, and where the values come from
    "machine.kind.": None,  # free terms of the configuration; one without words of its own is shown as it is
    "error.title.": None,  # HTTP statuses
    "quality.reason.": "format/quality.ts",
}


def flat(node: dict[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, child in node.items():
        if isinstance(child, dict):
            yield from flat(child, f"{prefix}{key}.")
        else:
            assert isinstance(child, str)
            yield f"{prefix}{key}", child


def messages(lang: str) -> dict[str, str]:
    return dict(flat(json.loads((ROOT / "src" / "messages" / f"{lang}.json").read_text("utf-8"))))


def source() -> str:
    return "\n".join(p.read_text("utf-8") for p in SOURCES)


def test_both_languages_have_the_same_messages_with_the_same_parameters() -> None:
    zh, en = messages("zh"), messages("en")
    assert zh.keys() == en.keys()
    for key in zh:
        given = [set(re.findall(r"\{(\w+)\}", text)) for text in (zh[key], en[key])]
        assert given[0] == given[1], f"{key}: parameters differ"
        assert zh[key].strip() and en[key].strip(), f"{key}: empty"
        assert key == "shell.other_language" or not CJK.search(en[key]), f"{key}: Chinese in the English file"


def test_every_key_that_is_used_exists() -> None:
    known = messages("en")
    used = set(re.findall(r"""\bt\(\s*['"]([\w.-]+)['"]""", source()))
    assert used - known.keys() == set()
    assert len(used) > 150


def test_every_message_is_used() -> None:
    text = source()
    literal = set(re.findall(r"""['"]([a-z_]+(?:\.[\w-]+)+)['"]""", text))
    patterns = [
        re.compile(re.escape(head).replace(r"\*", ".*") + r"[\w-]+" + re.escape(tail))
        for head, tail in re.findall(r"`([a-z_.]+)\$\{[^}]*\}([\w.]*)`", text)
    ]
    unused = [
        key
        for key in messages("en")
        if key not in literal
        and not any(p.fullmatch(key) for p in patterns)
        and not any(key.startswith(prefix) for prefix in BY_VALUE)
    ]
    assert unused == []


def test_quality_reasons_are_those_of_the_code() -> None:
    text = (ROOT / "src" / "format" / "quality.ts").read_text("utf-8")
    named = set(re.findall(r"\[0x[0-9a-f]{4}, '(\w+)'\]", text))
    assert named == {
        k.removeprefix("quality.reason.") for k in messages("zh") if k.startswith("quality.reason.")
    }


def test_every_quality_that_the_kernel_assigns_has_words() -> None:
    from headrace.kernel.model import Quality

    text = (ROOT / "src" / "format" / "quality.ts").read_text("utf-8")
    codes = {int(code, 16) for code in re.findall(r"\[(0x[0-9a-f]{4}), '", text)}
    plain = {Quality.GOOD, Quality.UNCERTAIN, Quality.BAD}  # said by their severity alone
    assert {int(q) for q in Quality} - plain - codes == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_words_outside_the_message_files(path: Path) -> None:
    text = path.read_text("utf-8")
    code = re.sub(r"/\*.*?\*/|<!--.*?-->", "", text, flags=re.S)
    code = re.sub(r"(?:^|(?<=\s))//\s.*$", "", code, flags=re.M)
    if path.name != "number.ts":  # 万 and 亿 are number words, and stand with their powers of ten
        assert not CJK.search(code), CJK.search(code)
    if path.suffix == ".vue":
        template = re.search(r"<template>\n(.*)\n</template>", code, flags=re.S)
        assert template is not None
        bare = re.sub(r"\{\{.*?\}\}", "", template[1], flags=re.S)
        bare = re.sub(r"<(?:\"[^\"]*\"|[^>\"])*>", " ", bare, flags=re.S)
        words = set(re.findall(r"[A-Za-z]{2,}", bare)) - {"run", "owner", "token"}  # a file's name
        assert words == set()
        said = re.findall(r"""\s(?:aria-label|title|placeholder|alt)="([^"]+)\"""", template[1])
        assert said == [], "a text in an attribute goes through t()"
