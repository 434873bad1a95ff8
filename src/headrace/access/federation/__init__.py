"""Federation: other services say who somebody is; reviewers say which account that is.

Enters: what browsers bring back from OpenID Connect, SAML and CAS services, signatures of USB keys, decisions
of reviewers. Leaves: External identities whose proof was checked; Links to accounts, each decided by a
person. May import: access.ids, access.events, access.tenancy, access.identity, records, kernel.

A sign-in: `Federation.begin` notes a flow, bound to one browser → the service, or the USB key, does its part
→ `finish` takes the flow once, checks the proof, reads the attributes by the provider's data, and looks for a
Link. A new identity waits as pending: no account is made, no role given, until a reviewer approves."""

from headrace.access.federation.certificate import Challenge
from headrace.access.federation.config import (
    FEDERATION,
    CasProvider,
    CertificateProvider,
    OidcProvider,
    Profile,
    Provider,
    SamlProvider,
    profiles,
)
from headrace.access.federation.external import External
from headrace.access.federation.links import Link, Links, LinkState
from headrace.access.federation.service import Arrival, Choice, Federation, Started

__all__ = [
    "FEDERATION",
    "Arrival",
    "CasProvider",
    "CertificateProvider",
    "Challenge",
    "Choice",
    "External",
    "Federation",
    "Link",
    "LinkState",
    "Links",
    "OidcProvider",
    "Profile",
    "Provider",
    "SamlProvider",
    "Started",
    "profiles",
]
