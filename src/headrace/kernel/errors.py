"""One error root; every error has a code in the message table (see `messages`).

HeadraceError
├── ConfigError        a configuration with one or more Problems
├── InputError         a request, file or value that its giver can mend            400
│   ├── NotFound       a thing that was named and does not exist                   404
│   └── Conflict       right in itself, but not in the present state               409
├── Denied             not signed in, or not allowed                               401 / 403
├── Unavailable        a part that is needed does not answer; try again            503
│   ├── BusUnavailable
│   └── DeviceUnavailable
└── Corrupt            stored bytes are not what was written                       500
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.kernel import messages


class HeadraceError(Exception):
    """An error that a user can read. `code` is a row of the message table, `params` fill its braces."""

    status = 500

    def __init__(self, code: str, **params: Any) -> None:
        self.code = code
        self.params = params
        super().__init__(code, params)

    def text(self, lang: str = "en") -> str:
        """What happened and how to mend it, in `lang` ("zh" or "en")."""
        return messages.render(self.code, lang, **self.params)

    def __str__(self) -> str:
        return self.text("en")


class InputError(HeadraceError):
    status = 400


class NotFound(InputError):
    status = 404


class Conflict(InputError):
    status = 409


class Denied(HeadraceError):
    status = 403


class Unavailable(HeadraceError):
    status = 503


class BusUnavailable(Unavailable):
    pass


class DeviceUnavailable(Unavailable):
    pass


class Corrupt(HeadraceError):
    status = 500


class Problem(msgspec.Struct, frozen=True):
    """One fault of a configuration: where it stands, what is wrong, how to mend it."""

    file: str
    key: str  # dotted, with [n] for list items counted from 0: edge.connections[2].tags[5].type
    code: str  # a row of the message table
    params: dict[str, Any] = {}

    def text(self, lang: str = "en") -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        sep = "：" if lang == "zh" else ": "
        return f"{where}{sep}{messages.render(self.code, lang, **self.params)}"


class ConfigError(HeadraceError):
    """Everything that is wrong with a configuration, all at once, so that one pass mends it."""

    status = 400

    def __init__(self, problems: Sequence[Problem], *, file: str = "") -> None:
        """`file`: the configuration itself, where problems may stand in files that it names."""
        self.problems = tuple(problems)
        super().__init__("config.invalid", count=len(self.problems), file=file or problems[0].file)

    def text(self, lang: str = "en") -> str:
        return "\n".join(p.text(lang) for p in self.problems)
