"""A connected machine as a Principal, for the decision point."""

from __future__ import annotations

from headrace.access.identity.principal import Held, Principal, PrincipalKind, Strength
from headrace.access.pki.names import Peer, Usage

ROLES = {Usage.MACHINE: "edge", Usage.SERVER: "node"}


def principal(peer: Peer, now: int) -> Principal:
    """`peer`, admitted by a Gate, in the role its usage gives it within its own organisation only. The
    private key is what proved it, at `now` (UTC ns)."""
    identity = peer.identity
    return Principal(
        kind=PrincipalKind.MACHINE,
        id=identity.uri,
        name=identity.gateway,
        roles=(Held(ROLES[identity.usage], identity.org),),
        strength=Strength.HARDWARE,
        authenticated=now,
        method="certificate",
    )
