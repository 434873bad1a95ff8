"""Identity: accounts, proofs, sessions, tokens, and who may act for a firm. The result is a Principal.

Enters: logins with passwords and one-time codes, one-time links, cookies, tokens, assertions checked by
federation or pki. Leaves: Principals; events of what ended.
May import: access.ids, access.events, access.tenancy, records, bus, kernel.
"""

from headrace.access.identity.principal import Held, Principal, PrincipalKind, Strength

__all__ = ["Held", "Principal", "PrincipalKind", "Strength"]
