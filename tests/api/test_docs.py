"""The documentation names everything there is, in both languages."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.api import ApiSettings
from headrace.api.shield import CSP
from headrace.api.stream import TOPICS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["api.md", "api.zh-CN.md"])
@pytest.mark.asyncio(loop_scope="module")
async def test_operations_topics_and_settings_are_documented(shared: Any, name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    told = {(m, p) for m, p in re.findall(r"`(GET|POST|DELETE) (/[^`?\s]*)", text)}
    described = await shared.get("/openapi.json")
    there = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, item in described["paths"].items()
        for method in item
    }
    assert told == there
    for topic in TOPICS:
        assert f"`{topic}`" in text
    for field in msgspec.structs.fields(ApiSettings):
        assert re.search(rf"(?m)^{field.name} = ", text), field.name
    assert CSP in text.replace("\n", " ")
