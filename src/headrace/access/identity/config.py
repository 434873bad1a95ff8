"""The `[identity]` section."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from headrace.kernel.config import Duration, Section, Settings

_S = 1_000_000_000
_M, _H, _D = 60 * _S, 3600 * _S, 86_400 * _S

Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class IdentitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How identities are proven and for how long a proof counts.

    The defaults are meant to meet what GB/T 22239-2019 §8.1.4.1 asks of level 3, save that
    `second_factor = "required"` and `password_max_age` are the operator's to set.
    """

    session_idle: Duration = Duration(30 * _M)  # a session not used for so long is over
    session_longest: Duration = Duration(12 * _H)  # and any session after so long
    sessions: Count = 5  # of one account at once; one more ends the one not used for longest
    free_failures: Count = 5  # wrong tries before the first pause, which doubles with each further one
    longest_pause: Duration = Duration(15 * _M)
    password_length: Annotated[int, msgspec.Meta(ge=12, le=128)] = 12
    password_max_age: Duration = Duration(0)  # 0: passwords need no change for their age alone
    second_factor: Literal["optional", "required"] = "optional"
    link_life: Duration = Duration(24 * _H)  # of one-time links for first start, invitation and recovery
    token_longest: Duration = Duration(365 * _D)


def _check(identity: IdentitySettings, _: Settings) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for name, least in (
        ("session_idle", _M),
        ("session_longest", _M),
        ("longest_pause", _M),
        ("link_life", _M),
        ("token_longest", _H),
    ):
        if getattr(identity, name) < least:
            yield name, "identity.too_short", {"least": f"{least // _S} s"}
    if identity.session_idle > identity.session_longest:
        yield "session_idle", "identity.idle_beyond_longest", {}


IDENTITY: Section[IdentitySettings] = Section("identity", IdentitySettings, check=_check)
