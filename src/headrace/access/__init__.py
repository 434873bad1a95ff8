"""Access: who is who, what belongs to whom, who may do what, who was allowed to read what, and what was done.

Enters: proofs of identity (passwords, one-time codes, tokens, sessions, assertions of other identity
services, machine certificates), memberships and mandates, policies, grants of owners, acts to be recorded.
Leaves: Principals, Scopes that narrow every query to what a principal's organisations own, decisions with
their reason, certificates and mTLS contexts, a log that shows tampering.
May import: records, bus, gmcrypto, codes, kernel; never a room above.

Its parts, each in a package of its own with its messages.toml; a part may import those before it:
tenancy (organisations, ownership, Scope) → identity (accounts, sessions, tokens) → federation, pki →
decisions → sharing → audit. They share ids and secrets (`ids`), events to other processes (`events`) and
the numbered migrations of the room.
"""
