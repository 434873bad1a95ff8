"""Tenancy: organisations of all kinds, who is a member, what belongs to whom, and the Scope of a query.

Enters: organisations, memberships, mandates, ownership. Leaves: Orgs; Scopes.
May import: access.ids, access.events, records, kernel.
"""
