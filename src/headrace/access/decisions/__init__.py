"""Decisions: who may do what, by policies that are data, with the reason and what would change it.

Enters: a Principal, an action, a Resource, the Context with its evidence; policy files. Leaves: Decisions;
approvals by a second person; standing grants of automatic rules; the rule by which roles are given.
May import: access.ids, access.events, access.tenancy, access.identity, records, kernel.
"""

from headrace.access.decisions.approvals import Approval, Approvals, ApprovalState
from headrace.access.decisions.book import Edition, Policy, PolicyBook, load_policies
from headrace.access.decisions.matrix import Cell, matrix
from headrace.access.decisions.model import (
    Approved,
    Context,
    Decision,
    Grant,
    Help,
    PolicyRef,
    Reason,
    Request,
    Resource,
    Standing,
    Step,
    payload_hash,
)
from headrace.access.decisions.point import DecisionPoint, Refusal
from headrace.access.decisions.roles import ADMINISTRATORS, role_rule, separated_tenants
from headrace.access.decisions.standing import Activation, StandingGrant, StandingGrants, Target
from headrace.access.decisions.vocabulary import Action, Role, Vocabulary, vocabulary

__all__ = [
    "ADMINISTRATORS",
    "Action",
    "Activation",
    "Approval",
    "ApprovalState",
    "Approvals",
    "Approved",
    "Cell",
    "Context",
    "Decision",
    "DecisionPoint",
    "Edition",
    "Grant",
    "Help",
    "Policy",
    "PolicyBook",
    "PolicyRef",
    "Reason",
    "Refusal",
    "Request",
    "Resource",
    "Role",
    "Standing",
    "StandingGrant",
    "StandingGrants",
    "Step",
    "Target",
    "Vocabulary",
    "load_policies",
    "matrix",
    "payload_hash",
    "role_rule",
    "separated_tenants",
    "vocabulary",
]
