"""A driver folder's own files: `manifest.toml`, `strings.toml` and `quality_scale.toml`.

manifest.toml: id, title, summary (each zh and en), standard, docs.
strings.toml: for every key of the driver's settings and point structs its meaning in both languages.
quality_scale.toml: for every rule of RULES the status "done" with the test or document that shows it, or
"exempt" with the reason.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from headrace.kernel.messages import Text
from headrace.kernel.ports import Manifest

RULES: Final = {
    "typed-settings": "settings and points are frozen structs that refuse unknown keys",
    "errors-in-both-languages": "every error a user may meet is a row of messages.toml",
    "pure-compile": "compile does no I/O and a cycle does no work point by point",
    "every-point-every-cycle": "a reading holds every point once, failed ones with a quality that says why",
    "contained-faults": "garbage, half answers, exceptions and silence spoil only their own points",
    "connection-loss": "a lost connection raises DeviceUnavailable and leaves nothing behind",
    "no-leaks": "a thousand reconnects leave as many tasks and descriptors as before",
    "source-or-receipt-time": "each point carries the time of its own answer",
    "write-read-back": "a write is confirmed by reading it back",
    "browse": "browse lists what the device has",
    "simulator": "a simulator with faults belongs to the driver",
    "conformance": "client and simulator are tested against an implementation of others",
    "documented": "both languages under docs/drivers",
}


class Strings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each configuration key means, by key."""

    settings: dict[str, Text]
    point: dict[str, Text]


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one rule is met: `evidence` is a test (tests/…::name) or a document; `reason` is for exempt."""

    status: Literal["done", "exempt"]
    evidence: str = ""
    reason: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: Text
    summary: Text
    standard: str = ""
    docs: str = ""


def read_manifest(folder: Path, settings: type[Any], point: type[Any]) -> Manifest:
    """The Manifest that `folder`/manifest.toml describes."""
    file = msgspec.convert(_read(folder / "manifest.toml"), _File)
    return Manifest(
        id=file.id,
        title=file.title,
        summary=file.summary,
        settings=settings,
        point=point,
        standard=file.standard,
        docs=file.docs,
    )


def read_strings(folder: Path) -> Strings:
    """`folder`/strings.toml; forms and documentation show them."""
    return msgspec.convert(_read(folder / "strings.toml"), Strings)


def read_quality_scale(folder: Path) -> dict[str, Grade]:
    """`folder`/quality_scale.toml by rule."""
    return msgspec.convert(_read(folder / "quality_scale.toml")["rules"], dict[str, Grade])


def lint(folder: Path, manifest: Manifest, root: Path) -> list[str]:
    """What is missing from a driver folder, one text per finding; `root` is the checkout's top folder."""
    findings: list[str] = []
    strings = read_strings(folder)
    for part, struct in (("settings", manifest.settings), ("point", manifest.point)):
        keys = {f.encode_name for f in msgspec.structs.fields(struct)}
        told = set(getattr(strings, part))
        findings += [f"strings.toml lacks {part}.{key}" for key in sorted(keys - told)]
        findings += [f"strings.toml has {part}.{key}, which is no key" for key in sorted(told - keys)]
        if not struct.__struct_config__.frozen or not struct.__struct_config__.forbid_unknown_fields:
            findings.append(f"{part} struct is not frozen, or takes unknown keys")
    scale = read_quality_scale(folder)
    findings += [f"quality_scale.toml lacks {rule}" for rule in sorted(RULES.keys() - scale.keys())]
    findings += [
        f"quality_scale.toml has unknown rule {rule}" for rule in sorted(scale.keys() - RULES.keys())
    ]
    for rule, grade in scale.items():
        if grade.status == "exempt":
            if not grade.reason:
                findings.append(f"{rule}: exempt without a reason")
            continue
        file, _, test = grade.evidence.partition("::")
        path = root / file
        if (
            not file
            or not path.is_file()
            or (test and f"def {test}(" not in path.read_text(encoding="utf-8"))
        ):
            findings.append(f"{rule}: evidence {grade.evidence or '(none)'} does not exist")
    for name in (f"{Path(manifest.docs).stem}.md", f"{Path(manifest.docs).stem}.zh-CN.md"):
        if not (root / "docs" / "drivers" / name).is_file():
            findings.append(f"docs/drivers/{name} does not exist")
    return findings


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
