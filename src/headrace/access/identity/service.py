"""All of identity, put together once per process."""

from __future__ import annotations

from headrace.access.events import Events
from headrace.access.identity.accounts import Accounts
from headrace.access.identity.config import IdentitySettings
from headrace.access.identity.handlers import Handlers
from headrace.access.identity.passwords import Hasher
from headrace.access.identity.principal import Held, Principal, PrincipalKind, Strength
from headrace.access.identity.proofs import Proofs
from headrace.access.identity.sealing import Sealer
from headrace.access.identity.sessions import Sessions
from headrace.access.identity.tokens import Tokens


class Identity:
    """`authenticate` for every request; the parts for everything else. Thread-safe."""

    def __init__(
        self,
        events: Events,
        settings: IdentitySettings,
        *,
        sealer: Sealer,
        hasher: Hasher | None = None,
        issuer: str = "Headrace",
    ) -> None:
        hasher = hasher or Hasher()
        self.accounts = Accounts(events, settings, hasher)
        self.sessions = Sessions(events, settings)
        self.tokens = Tokens(events, settings)
        self.handlers = Handlers(events)
        self.proofs = Proofs(
            events, settings, self.accounts, self.sessions, sealer=sealer, hasher=hasher, issuer=issuer
        )

    def authenticate(self, *, token: str = "", session: str = "") -> Principal | None:
        """Who sends a request, by its bearer token or else by its session cookie; None where neither proves
        anything. A wrong token is not made good by a cookie."""
        if token:
            return self.tokens.prove(token)
        return self.sessions.prove(session) if session else None


def service_principal(role: str, org: str) -> Principal:
    """A process of this node, acting for itself: what it is trusted with is its service role in the node's
    own organisation, whatever user started it."""
    return Principal(
        kind=PrincipalKind.SERVICE,
        id=role,
        name=role,
        roles=(Held(role, org),),
        strength=Strength.ONE_FACTOR,
        method="process",
    )
