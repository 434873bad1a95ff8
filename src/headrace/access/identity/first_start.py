"""The first start of a node: its organisations, its owner, and the one-time link that lets the owner in.

There is no password to begin with. Whoever may read DIR/run/owner.link (mode 0600) may use it once, sets a
password, and the file is of no use any more. The same file, asked for on the machine itself, is the way back
for an owner who has lost the password.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from headrace.access import files
from headrace.access.events import Change, Events
from headrace.access.identity._tables import account
from headrace.access.identity.accounts import Account, Accounts, AccountState, as_account, normal_login
from headrace.access.identity.roles import OWNER
from headrace.access.tenancy import Members, OrgKind, Orgs, Ownership, Scope
from headrace.kernel.errors import InputError, NotFound
from headrace.kernel.messages import Text

FOUNDING: dict[str, tuple[OrgKind, ...]] = {
    "plant": (OrgKind.FIRM, OrgKind.PLANT),
    "platform": (OrgKind.OPERATOR_COMPANY,),
    "region": (OrgKind.REGION,),
}
"""The organisations a node of each profile begins with, from the top down."""

OWNER_LOGIN = "owner"
_NODE = "node"


def link_file(data_dir: Path) -> Path:
    return data_dir / "run" / "owner.link"


class FirstStart:
    """Idempotent; of several processes at once one founds and the others find."""

    def __init__(
        self, events: Events, orgs: Orgs, members: Members, ownership: Ownership, accounts: Accounts
    ) -> None:
        self._events = events
        self._orgs = orgs
        self._members = members
        self._ownership = ownership
        self._accounts = accounts

    def prepare(self, data_dir: Path, *, node: str, profile: str, title: Text) -> str:
        """Found the node where it has no account yet. The owner's one-time secret while the owner has not
        signed in, else "".

        Raises InputError (`identity.unknown_profile`). The secret is in the file too, and whole there before
        this returns; one that is too old or lost is replaced.
        """
        if profile not in FOUNDING:
            raise InputError("identity.unknown_profile", profile=profile, known=", ".join(FOUNDING))
        path = link_file(data_dir)
        with self._events.begin() as change:
            owner = self._owner(change.connection)
            if owner is None:
                owner = self._found(change, node, profile, title)
            if owner.state is not AccountState.INVITED:
                path.unlink(missing_ok=True)
                return ""
            return self._link(change, owner, path)

    def renew(self, data_dir: Path, login: str = OWNER_LOGIN) -> str:
        """A new one-time link for an account, for who may write in the data directory and so owns the node;
        its earlier link is void. A second factor is still asked for.

        Raises NotFound (`identity.unknown_account`), Conflict (`identity.account_disabled`).
        """
        login = normal_login(login)
        with self._events.begin() as change:
            row = change.connection.execute(sa.select(account).where(account.c.login == login)).first()
            if row is None:
                raise NotFound("identity.unknown_account", account=login)
            return self._write(change, as_account(row), link_file(data_dir), "recovery")

    def _owner(self, connection: sa.Connection) -> Account | None:
        row = connection.execute(sa.select(account).order_by(account.c.created).limit(1)).first()
        return as_account(row) if row is not None else None

    def _found(self, change: Change, node: str, profile: str, title: Text) -> Account:
        everything, parent = Scope.whole_node(), ""
        made = []
        for kind in FOUNDING[profile]:
            founded = self._orgs.create(kind, title, everything, by=_NODE, parent=parent, within=change)
            made.append(founded.id)
            parent = founded.id
        top, bottom = made[0], made[-1]
        self._ownership.own("tag", node, bottom, by=_NODE, within=change)
        for stream in ("data", "event", "status"):
            self._ownership.own("subject", f"{stream}.{node}", bottom, by=_NODE, within=change)
        owner = self._accounts.create(OWNER_LOGIN, "所有者 Owner", top, everything, by=_NODE, within=change)
        self._members.add(owner.id, top, OWNER, everything, by=_NODE, within=change)
        change.note("node.founded", top, by=_NODE, org=top, detail={"profile": profile, "node": node})
        return owner

    def _link(self, change: Change, owner: Account, path: Path) -> str:
        try:
            secret = path.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            secret = ""
        if secret and self._accounts.link_is_good(change, secret, owner.id):
            path.chmod(0o600)  # a copy from elsewhere may have been readable to all
            return secret
        return self._write(change, owner, path, "first-start")

    def _write(self, change: Change, owner: Account, path: Path, purpose: str) -> str:
        secret = self._accounts.make_link(
            owner.id, Scope.whole_node(), by=_NODE, purpose=purpose, within=change
        )
        # Before the commit: a crash in between leaves a file that opens nothing, and the next start mends it.
        files.replace(path, secret)
        return secret
