"""Tenancy: organisations of all kinds, who is a member, what belongs to whom, and the Scope of a query.

Enters: organisations, memberships, mandates, ownership. Leaves: Orgs; Scopes, which narrow queries in the
database; Directories, which answer the same questions in memory.
May import: access.ids, access.events, records, kernel.
"""

from headrace.access.tenancy.credit_code import is_credit_code
from headrace.access.tenancy.directory import Directories, Directory
from headrace.access.tenancy.kinds import TITLES, MandateKind, OrgKind, OrgState, may_stand
from headrace.access.tenancy.members import Mandate, Members, Membership, RoleRule
from headrace.access.tenancy.orgs import Org, Orgs
from headrace.access.tenancy.ownership import Ownership, tag_resource
from headrace.access.tenancy.scope import Scope

__all__ = [
    "TITLES",
    "Directories",
    "Directory",
    "Mandate",
    "MandateKind",
    "Members",
    "Membership",
    "Org",
    "OrgKind",
    "OrgState",
    "Orgs",
    "Ownership",
    "RoleRule",
    "Scope",
    "is_credit_code",
    "may_stand",
    "tag_resource",
]
