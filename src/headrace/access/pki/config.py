"""The `[pki]` section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from headrace.kernel.config import Duration, Section, Settings

_DAY = 86_400 * 1_000_000_000

Years = Annotated[int, msgspec.Meta(ge=1, le=40)]


class PkiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lives of what the built-in certification authority signs."""

    life: Duration = Duration(90 * _DAY)  # of a machine's certificate
    renew_before: Duration = Duration(30 * _DAY)  # its end: from then on the machine renews it
    overlap: Duration = Duration(1 * _DAY)  # how long a renewed certificate still works
    code: Duration = Duration(1 * _DAY)  # of an enrolment code
    crl: Duration = Duration(30 * _DAY)  # of a revocation list: without one, nobody is let in
    crl_every: Duration = Duration(1 * _DAY)  # a new one at least so often
    root_years: Years = 20
    issuing_years: Years = 5


def _check(value: PkiSettings, _settings: Settings) -> Iterable[tuple[str, str, dict[str, Any]]]:
    if value.renew_before >= value.life:
        yield "renew_before", "pki.renewal_window", {}
    if value.overlap >= value.renew_before:
        yield "overlap", "pki.overlap_window", {}
    if value.crl_every * 2 > value.crl:
        yield "crl_every", "pki.crl_window", {}
    if value.issuing_years >= value.root_years:
        yield "issuing_years", "pki.issuing_outlives", {}


PKI = Section("pki", PkiSettings, check=_check)
