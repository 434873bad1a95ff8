"""What another service says of somebody, once its word has been checked; reading it by the provider's
data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headrace.access.federation.config import Provider
from headrace.access.identity.principal import Strength
from headrace.kernel.errors import Denied

_MAX_VALUE = 300
_MAX_VALUES = 32


class External(msgspec.Struct, frozen=True):
    """A person as `provider` knows them. `attributes` holds what the provider's data says to keep, nothing
    else. `time`: when they proved themselves there, UTC ns."""

    provider: str
    subject: str
    name: str
    org_code: str
    org_name: str
    strength: Strength
    method: str  # oidc | saml | cas | certificate
    time: int
    attributes: dict[str, tuple[str, ...]] = {}


def read(
    id: str,
    provider: Provider,
    said: Mapping[str, Sequence[str]],
    *,
    subject: str,
    method: str,
    time: int,
    base: Strength = Strength.ONE_FACTOR,
) -> External:
    """`said` (attribute → values) as an External. `subject`: the protocol's own. Raises Denied
    (`federation.no_subject`, `federation.bad_attribute`)."""
    names, assurance = provider.attributes, provider.assurance
    assert names is not None and assurance is not None, "provider is not completed()"

    def one(name: str) -> str:
        values = said.get(name, ()) if name else ()
        if len(values) > 1:
            raise Denied("federation.bad_attribute", attribute=name)
        return _text(values[0], name) if values else ""

    who = one(names.subject) if names.subject else _text(subject, "subject")
    if not who.strip():
        raise Denied("federation.no_subject")
    strength = base
    levels = set(said.get(assurance.attribute, ())) if assurance.attribute else set()
    if levels & set(assurance.two_factors):
        strength = max(strength, Strength.TWO_FACTORS)
    if levels & set(assurance.hardware):
        strength = max(strength, Strength.HARDWARE)
    wanted = {*names.keep, assurance.attribute, *(k for rule in provider.rules or () for k in rule.when)}
    kept = {
        name: tuple(_text(v, name) for v in said[name][:_MAX_VALUES])
        for name in sorted(wanted - {""})
        if said.get(name)
    }
    return External(
        provider=id,
        subject=who,
        name=one(names.name),
        org_code=one(names.org_code).upper(),
        org_name=one(names.org_name),
        strength=strength,
        method=method,
        time=time,
        attributes=kept,
    )


def _text(value: str, name: str) -> str:
    if len(value) > _MAX_VALUE or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise Denied("federation.bad_attribute", attribute=name)
    return value
