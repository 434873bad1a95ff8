"""The one message table, Chinese and English.

Each room keeps its rows in a `messages.toml` beside its code; the rows of all rooms form one table and a
code stands in it once. A row:

    [modbus.bad_address]          # the code is "modbus.bad_address"
    zh = "寄存器地址 {address} 超出范围"
    en = "register address {address} is out of range"
    fix_zh = "请填写 0 到 65535 之间的地址"
    fix_en = "give an address from 0 to 65535"

Third-party drivers and apps add theirs with `register`.
"""

from __future__ import annotations

import errno
import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

LANGS = ("zh", "en")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table."""

    zh: str
    en: str
    fix_zh: str = ""
    fix_en: str = ""


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A short text in both languages, as configuration and screens carry it."""

    zh: str
    en: str

    def get(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en


_extra: dict[str, Message] = {}


def read(path: Path) -> dict[str, Message]:
    """The rows of one messages.toml, flattened to dotted codes."""
    rows: dict[str, Message] = {}

    def walk(prefix: str, node: dict[str, Any]) -> None:
        if isinstance(node.get("en"), str):
            rows[prefix] = msgspec.convert(node, Message)
            return
        for key, child in node.items():
            walk(f"{prefix}.{key}" if prefix else key, child)

    walk("", tomllib.loads(path.read_text(encoding="utf-8")))
    return rows


@cache
def table() -> dict[str, Message]:
    """All rows of the built-in rooms. Raises ValueError where a code stands twice."""
    root = Path(__file__).resolve().parent.parent
    rows: dict[str, Message] = {}
    for path in sorted(root.rglob("messages.toml")):
        for code, row in read(path).items():
            if code in rows:
                raise ValueError(f"message code {code} stands twice (second time in {path})")
            rows[code] = row
    return rows


def register(path: Path) -> None:
    """Add a plugin's rows; a code that is taken raises ValueError."""
    for code, row in read(path).items():
        if code in _extra or code in table():
            raise ValueError(f"message code {code} of {path} is taken")
        _extra[code] = row


def get(code: str) -> Message | None:
    """The row of `code`, or None."""
    return table().get(code) or _extra.get(code)


class _Params(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def render(code: str, lang: str = "en", **params: Any) -> str:
    """The message and, where the row has one, its fix. An unknown code renders as itself."""
    row = get(code)
    if row is None:
        return code
    filled = _Params({k: _in(v, lang) for k, v in params.items()})
    what = (row.zh if lang == "zh" else row.en).format_map(filled)
    fix = (row.fix_zh if lang == "zh" else row.fix_en).format_map(filled)
    if not fix:
        return what
    return f"{what}；{fix}" if lang == "zh" else f"{what}; {fix}"


def _in(value: Any, lang: str) -> Any:
    if isinstance(value, dict) and value.keys() == set(LANGS):  # a Text that has crossed the bus as JSON
        return value[lang]
    return value.get(lang) if isinstance(value, Text) else value


def both(code: str, /, **params: Any) -> Text:
    """The message in both languages, as a parameter of another message: a reason within an error."""
    return Text(*(render(code, lang, **params) for lang in LANGS))


_OS_REASONS = {
    errno.ECONNREFUSED: "os.refused",
    errno.ECONNRESET: "os.reset",
    errno.ETIMEDOUT: "os.timed_out",
    errno.EHOSTUNREACH: "os.unreachable",
    errno.ENETUNREACH: "os.unreachable",
    errno.ENOENT: "os.missing",
    errno.EACCES: "os.forbidden",
    errno.EPERM: "os.forbidden",
    errno.EEXIST: "os.exists",
    errno.EISDIR: "os.folder",
    errno.ENOTDIR: "os.not_folder",
    errno.ENOSPC: "os.full",
    errno.EROFS: "os.read_only",
    errno.EADDRINUSE: "os.address_used",
    errno.EADDRNOTAVAIL: "os.address_foreign",
}


def os_reason(error: OSError) -> Text:
    """Why the operating system refused, in both languages; its own words where the table has none."""
    if type(error).__name__ == "gaierror":  # the kernel does not import socket to name its class
        return both("os.name_unknown")
    code = _OS_REASONS.get(error.errno or 0)
    if code is not None:
        return both(code)
    own = error.strerror or str(error) or type(error).__name__
    return Text(own, own)


def reader_language(environ: dict[str, str] | None = None) -> str:
    """The language of whoever reads this terminal: HEADRACE_LANG, then the POSIX locale variables."""
    env = os.environ if environ is None else environ
    for name in ("HEADRACE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = env.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
