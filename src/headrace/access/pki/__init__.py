"""Machine identity: a small certification authority, enrolment codes, renewal, revocation, mutual TLS.

Enters: enrolment codes, signing requests, certificates of peers. Leaves: certificates, signed revocation
lists, TLS contexts that heed them, Peers.
May import: access.ids, access.events, access.tenancy, access.identity, records, bus, kernel.

The life of a certificate: an administrator makes a code for a gateway (`MachinePki.issue_code`) → the gateway
makes a key and a request (`Machine.request`) → `enrol` checks both and signs → contexts for mTLS (`tls`),
each peer admitted by a `Gate` → `renew` before the end, with overlap → `revoke`: the row, the list and the
event in one transaction; `follow` brings the list to every process, where contexts refuse and gates close.
"""

from headrace.access.pki.authority import Authority
from headrace.access.pki.config import PKI, PkiSettings
from headrace.access.pki.lists import SignedList
from headrace.access.pki.machine import Machine
from headrace.access.pki.names import Identity, Peer, Usage
from headrace.access.pki.principal import principal
from headrace.access.pki.revocation import Revocations, follow, from_bus, from_records, serve
from headrace.access.pki.service import MachinePki
from headrace.access.pki.tls import Credentials, Gate, client_context, server_context
from headrace.access.pki.views import REASONS, Certificate, Code, Issued

__all__ = [
    "PKI",
    "REASONS",
    "Authority",
    "Certificate",
    "Code",
    "Credentials",
    "Gate",
    "Identity",
    "Issued",
    "Machine",
    "MachinePki",
    "Peer",
    "PkiSettings",
    "Revocations",
    "SignedList",
    "Usage",
    "client_context",
    "follow",
    "from_bus",
    "from_records",
    "principal",
    "serve",
    "server_context",
]
