"""What enters a decision and what leaves it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from headrace.access.decisions.vocabulary import vocabulary
from headrace.access.identity import Principal
from headrace.access.tenancy import Directory
from headrace.kernel import messages
from headrace.kernel.messages import Text


class Resource(msgspec.Struct, frozen=True):
    """What is acted on.

    `owner`: the organisation that owns it, "" where nobody does. `within`: the organisations whose roles
    reach it, the owner and those above it in its tenant; empty is reached by nobody, save by `subject`,
    `parties` or `public_by`. Make it with `owned`.
    `machine`: the machine it belongs to. `risk`: "routine" only where the owner has said so of this very tag;
    all else is "dangerous".
    `parties`: other organisations that stand in the record (an application's applicant).
    `subject`: the account whose affair it is (a session's account).
    `public_by`: the grant, rule or publication that makes it public; "" is not public.
    `separated`: the tenant has named its three administrators.
    """

    kind: str
    id: str = ""
    owner: str = ""
    within: frozenset[str] = frozenset()
    machine: str = ""
    risk: str = "dangerous"
    parties: tuple[str, ...] = ()
    subject: str = ""
    public_by: str = ""
    separated: bool = False

    @classmethod
    def owned(cls, directory: Directory, owner: str, kind: str, id: str = "", **more: Any) -> Resource:
        """A resource of `owner`. Nobody reaches what belongs to an organisation that is not active."""
        within = directory.above(owner) if directory.active(owner) else frozenset()
        return cls(kind, id, owner, within, **more)


class Grant(msgspec.Struct, frozen=True):
    """A valid grant of a data owner, as the sharing part found and verified it for this very resource.

    Times are UTC ns, `start` inclusive, `end` exclusive. `resource` is the resource's id.
    """

    id: str
    owner: str
    grantee: str
    actions: frozenset[str]
    kind: str
    resource: str
    start: int
    end: int


class Approved(msgspec.Struct, frozen=True):
    """An approval as stored (see `approvals`), reduced to what binds it."""

    id: str
    state: str
    action: str
    kind: str
    resource: str
    owner: str
    payload_hash: str
    requester: str
    approver: str
    expires: int


class Standing(msgspec.Struct, frozen=True):
    """A standing grant as stored (see `standing`), found to cover this very write."""

    id: str
    owner: str
    resource: str
    service: str
    start: int
    end: int


class Context(msgspec.Struct, frozen=True):
    """The circumstances. `payload_hash` is of exactly what will be done; an approval counts for that only.
    `address`: the client's IP address, "" where there is none."""

    channel: str = "api"
    address: str = ""
    payload_hash: str = ""
    approval: Approved | None = None
    standing: Standing | None = None
    grant: Grant | None = None


PLAIN = Context()
"""No evidence, nothing special."""


class Request(msgspec.Struct, frozen=True):
    """One question. `principal` None: nobody has signed in."""

    principal: Principal | None
    action: str
    resource: Resource
    context: Context = PLAIN


class PolicyRef(msgspec.Struct, frozen=True, order=True):
    """A version of a policy, as decisions cite it."""

    id: str
    version: int
    source: str


class Reason(msgspec.Struct, frozen=True):
    """A policy that decided, in its own words."""

    policy: PolicyRef
    text: Text


class Step(msgspec.Struct, frozen=True):
    """One thing that would have to change; a row of the message table with its parameters."""

    code: str
    params: dict[str, Any] = {}

    def text(self, lang: str = "en") -> str:
        return messages.render(self.code, lang, **self.params)


class Help(msgspec.Struct, frozen=True):
    """Steps that, all together, turn the refusal into a permission; the policies were asked to be sure."""

    steps: tuple[Step, ...]

    def text(self, lang: str = "en") -> str:
        return ("，并且" if lang == "zh" else ", and ").join(step.text(lang) for step in self.steps)


class Decision(msgspec.Struct, frozen=True):
    """The answer. `code` is a row of the message table and `params` fill it.

    `reasons`: the policies that decided; none where no policy said yes. `edition`: digest of all policies in
    force at `time`. `evidence`: the approval, standing grant, data grant or publication that it rests on.
    `conceal`: answer as if the thing did not exist. `what_would_help`: alternatives, the least first.
    """

    allowed: bool
    code: str
    params: dict[str, Any]
    action: str
    time: int
    edition: str
    reasons: tuple[Reason, ...] = ()
    evidence: str = ""
    conceal: bool = False
    what_would_help: tuple[Help, ...] = ()

    @property
    def policies(self) -> tuple[PolicyRef, ...]:
        return tuple(reason.policy for reason in self.reasons)

    def text(self, lang: str = "en") -> str:
        """The answer in one sentence."""
        return messages.render(self.code, lang, **self.params)

    def explain(self, lang: str = "en") -> str:
        """The answer, the policies that decided, and what would help; one line each."""
        lines = [self.text(lang)]
        said, by = ("依据", "第 {} 版") if lang == "zh" else ("by", "version {}")
        for reason in self.reasons:
            ref = reason.policy
            lines.append(
                f"{said}: {reason.text.get(lang)} ({ref.id}, {by.format(ref.version)}, {ref.source})"
            )
        helps = "这样可以" if lang == "zh" else "this would help"
        lines += [f"{helps}: {h.text(lang)}" for h in self.what_would_help]
        return "\n".join(lines)


def payload_hash(action: str, resource: Resource, payload: Any) -> str:
    """SHA-256 over the action, the resource, its owner and `payload` as canonical JSON (keys sorted, no
    spaces, UTF-8). Raises ValueError for what has no JSON form (NaN, infinities)."""
    whole = {
        "action": action,
        "kind": resource.kind,
        "resource": resource.id,
        "owner": resource.owner,
        "payload": payload,
    }
    return hashlib.sha256(canonical(whole).encode()).hexdigest()


def canonical(value: Any) -> str:
    """`value` as JSON in one form only, so that equal values have equal hashes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def action_title(action: str) -> Text | str:
    """The action's name for messages; an unknown one stands as it was given."""
    found = vocabulary().actions.get(action)
    return found.title if found else action
