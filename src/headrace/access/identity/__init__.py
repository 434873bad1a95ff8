"""Identity: accounts, proofs, sessions, tokens, and who may act for a firm. The result is a Principal.

Enters: logins with passwords and one-time codes, one-time links, cookies, tokens; accounts that federation or
pki vouch for. Leaves: Principals; events of what began and ended.
May import: access.ids, access.files, access.events, access.tenancy, records, kernel.
"""

from headrace.access.identity.accounts import Account, AccountKind, Accounts, AccountState
from headrace.access.identity.config import IDENTITY, IdentitySettings
from headrace.access.identity.errors import Unproven
from headrace.access.identity.factors import Enrolment
from headrace.access.identity.first_start import FirstStart, link_file
from headrace.access.identity.handlers import Authorisation, Handlers, covers
from headrace.access.identity.passwords import Hasher
from headrace.access.identity.principal import Held, Principal, PrincipalKind, Strength
from headrace.access.identity.proofs import Proofs, SignedIn
from headrace.access.identity.roles import HANDLER, OWNER, REPRESENTATIVE, roles_of
from headrace.access.identity.sealing import Sealer, load_key
from headrace.access.identity.service import Identity, service_principal
from headrace.access.identity.sessions import Session, Sessions
from headrace.access.identity.tokens import Token, Tokens

__all__ = [
    "HANDLER",
    "IDENTITY",
    "OWNER",
    "REPRESENTATIVE",
    "Account",
    "AccountKind",
    "AccountState",
    "Accounts",
    "Authorisation",
    "Enrolment",
    "FirstStart",
    "Handlers",
    "Hasher",
    "Held",
    "Identity",
    "IdentitySettings",
    "Principal",
    "PrincipalKind",
    "Proofs",
    "Sealer",
    "Session",
    "Sessions",
    "SignedIn",
    "Strength",
    "Token",
    "Tokens",
    "Unproven",
    "covers",
    "link_file",
    "load_key",
    "roles_of",
    "service_principal",
]
