"""A node with a firm, a plant and two people, and everything of identity over quick password hashes."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from headrace.access.events import Events
from headrace.access.identity import (
    Account,
    Hasher,
    Identity,
    IdentitySettings,
    Sealer,
    SignedIn,
    totp,
)
from headrace.access.tenancy import Members, OrgKind, Orgs, Scope
from headrace.kernel.clock import ManualClock
from headrace.kernel.messages import Text
from headrace.records import Records

NODE = Scope.whole_node()
PASSWORD = "Kiln-Temper7-Ladle"


class World:
    """What the tests of identity stand on. `settings` may be changed before `identity` is first used."""

    def __init__(self, records: Records, clock: ManualClock) -> None:
        self.records = records
        self.clock = clock
        self.settings = IdentitySettings()
        self.events = Events(records, clock)
        self.orgs = Orgs(self.events)
        self.members = Members(self.events, rule=_anything)
        self.identity = self.process()
        self.firm = self.orgs.create(OrgKind.FIRM, Text("甲", "A"), NODE, by="t").id
        self.plant = self.orgs.create(OrgKind.PLANT, Text("甲厂", "A1"), NODE, by="t", parent=self.firm).id
        self.other = self.orgs.create(OrgKind.FIRM, Text("乙", "B"), NODE, by="t").id

    def process(self, events: Events | None = None, settings: IdentitySettings | None = None) -> Identity:
        """Identity as another process of the node has it."""
        return Identity(
            events or self.events,
            settings or self.settings,
            sealer=Sealer(b"k" * 32),
            hasher=Hasher(time_cost=1, memory_kib=8, lanes=1),
        )

    def person(self, login: str, home: str = "", role: str = "operator", org: str = "") -> Account:
        """An account with a password and a role at `org` (its home)."""
        home = home or self.firm
        made = self.identity.accounts.create(login, f"{login.title()} Name", home, NODE, by="t")
        secret = self.identity.accounts.make_link(made.id, NODE, by="t")
        signed = self.identity.proofs.redeem(secret)
        self.identity.proofs.set_password(signed.principal, PASSWORD)
        self.identity.sessions.sign_out(signed.secret)
        self.members.add(made.id, org or home, role, NODE, by="t")
        return self.identity.accounts.get(made.id, NODE)

    def sign_in(self, login: str, **factors: str) -> SignedIn:
        return self.identity.proofs.sign_in(login, PASSWORD, **factors)

    def code(self, enrolled: Enrolled) -> str:
        return totp.code_at(enrolled.secret, totp.step_at(self.clock.now()))

    def enrol(self, signed: SignedIn) -> Enrolled:
        """Set up TOTP; the clock goes on by a step, so that the first code is not the next."""
        begun = self.identity.proofs.begin_totp(signed.principal)
        secret = totp_secret(begun.text)
        code = totp.code_at(secret, totp.step_at(self.clock.now()))
        codes = self.identity.proofs.confirm_totp(signed.principal, begun.pending, code)
        self.clock.advance(totp.STEP_S)
        return Enrolled(secret, codes)


class Enrolled:
    def __init__(self, secret: bytes, codes: tuple[str, ...]) -> None:
        self.secret = secret
        self.codes = codes


def totp_secret(text: str) -> bytes:
    plain = text.replace(" ", "")
    return base64.b32decode(plain + "=" * (-len(plain) % 8))


def _anything(role: str, kind: OrgKind, held: Sequence[str]) -> None:
    """A rule that allows every role."""
