"""Who is acting: what every part above receives once an identity is proven."""

from __future__ import annotations

import enum

import msgspec

from headrace.kernel.clock import NS_PER_S


class PrincipalKind(enum.StrEnum):
    ACCOUNT = "account"  # a person in a session
    TOKEN = "token"  # a program with an API token of an account
    MACHINE = "machine"  # a machine or node with a certificate
    SERVICE = "service"  # a process of this node


class Strength(enum.IntEnum):
    """How well the identity was proven. Compare with >=."""

    NONE = 0
    LINK = 1  # a one-time link: proves that someone with authority handed it over
    ONE_FACTOR = 2  # a password, a token, or an assertion that names no second factor
    TWO_FACTORS = 3  # a password and a one-time code, or an assertion that says as much
    HARDWARE = 4  # a private key in a device: a USB key, a machine's certificate


class Held(msgspec.Struct, frozen=True, order=True):
    """A role in an organisation, and so in all that is below it within the same tenant.

    `via`: "" for a membership; else the id of the mandate or the handler authorisation it comes from.
    `matters`: what a handler's authorisation is limited to; () is no such limit.
    """

    role: str
    org: str
    via: str = ""
    matters: tuple[str, ...] = ()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A proven identity, as it was when it was proven; ask again for each request.

    `id`: of the account, token or machine, or the name of the service. `account`: the account that stands
    behind it ("" for machines and services). `roles` are in force now. `scopes`: the actions a token is
    limited to ("alarm.read", "alarm.*"); ("*",) is no limit beyond the account's own roles.
    `authenticated`, `second_factor`: UTC ns of the latest proof and of the latest second factor, for step-up.
    """

    kind: PrincipalKind
    id: str
    name: str
    account: str = ""
    roles: tuple[Held, ...] = ()
    scopes: tuple[str, ...] = ("*",)
    strength: Strength = Strength.NONE
    authenticated: int = 0
    second_factor: int | None = None
    session: str = ""
    method: str = ""  # link | password | oidc | saml | cas | certificate | token | process
    must_enrol: str = ""  # "", or what has to be set before anything else: password | totp
    language: str = "zh"

    @property
    def orgs(self) -> tuple[str, ...]:
        """The organisations in which a role is held, sorted, once each: the roots of the Scope."""
        return tuple(sorted({held.org for held in self.roles}))

    def recent_second_factor(self, now: int, within_s: float) -> bool:
        """Whether a second factor was shown no longer than `within_s` ago: what step-up asks for."""
        return self.second_factor is not None and 0 <= now - self.second_factor <= within_s * NS_PER_S

    def in_token_scope(self, action: str) -> bool:
        """Whether `scopes` names the action: exactly, by its group ("alarm.*"), or by "*"."""
        group = action.partition(".")[0]
        return any(scope in ("*", action, f"{group}.*") for scope in self.scopes)
