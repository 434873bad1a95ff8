"""The `[federation.<id>]` sections: other services that may say who somebody is, and what their words
mean."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from headrace.kernel.config import Name, Section, Settings
from headrace.kernel.messages import Text

_PROFILES = Path(__file__).parent / "profiles"
OIDC_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s#]+$", max_length=2048)]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Attributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which names the service gives what is needed; "" where it gives no such thing.

    `keep`: further attributes that reviewers need to see. All others are dropped when they arrive.
    """

    subject: str = ""  # what never changes for a person; "": the protocol's own subject
    name: str = "name"
    org_code: str = ""  # unified social credit code of the organisation acted for
    org_name: str = ""
    keep: tuple[str, ...] = ()


class Assurance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which values of which attribute mean that more than a password was shown."""

    attribute: str = ""
    two_factors: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A proposal for the reviewer, never a decision: where every attribute in `when` has one of its values,
    the person stands for `org` ("by-code": the organisation registered under the code they came with; else an
    organisation's id) in `role`. The first rule that fits counts."""

    id: Name
    role: str
    org: str = "by-code"
    when: dict[str, tuple[str, ...]] = {}


class _Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    title: Text
    active: bool = True
    profile: str = ""  # takes attributes, assurance and rules that are not set here from a profile
    attributes: Attributes | None = None
    assurance: Assurance | None = None
    rules: tuple[Rule, ...] | None = None
    ca_file: str = ""  # PEM, relative to the configuration; "": the system's authorities


class OidcProvider(_Provider, frozen=True, tag="oidc", kw_only=True):
    """OpenID Connect, authorization code with PKCE."""

    issuer: Url
    client_id: str
    client_secret: str = ""  # better by HEADRACE_FEDERATION__<ID>__CLIENT_SECRET or by the file
    client_secret_file: str = ""
    authentication: Literal["basic", "post", "none"] = "basic"
    scopes: tuple[str, ...] = ("openid", "profile")
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")


class SamlProvider(_Provider, frozen=True, tag="saml", kw_only=True):
    """SAML 2.0 web browser single sign-on: redirect to the service, signed assertion by POST."""

    entity_id: str  # of the service
    sign_on: Url
    certificates: tuple[str, ...]  # PEM files of its signing certificates; two while it changes them


class CasProvider(_Provider, frozen=True, tag="cas", kw_only=True):
    """CAS 2.0 or 3.0: a ticket, validated by a request of ours."""

    base: Url  # the path above /login and /serviceValidate
    version: Literal["2.0", "3.0"] = "3.0"
    renew: bool = False  # ask for the password again even where the service has a session


class CertificateProvider(_Provider, frozen=True, tag="certificate", kw_only=True):
    """A certificate on a USB key (SM2, or ECDSA and RSA): our challenge, signed by its key."""

    trust: tuple[str, ...]  # PEM files of the authorities, roots and issuers
    revocation: tuple[str, ...] = ()  # PEM files of their lists, kept fresh by the operator
    without_revocation: bool = False  # said aloud where an authority publishes no list
    distid: str = "1234567812345678"  # SM2's user identity, GB/T 35276 §10
    attributes_by_oid: dict[str, str] = {}  # name → object identifier in subject or extensions


Provider = OidcProvider | SamlProvider | CasProvider | CertificateProvider


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a service beforehand. `verified`: tried against the service itself; where False, the
    names come from `source` and have to be confirmed with its operator before use."""

    title: Text
    source: str
    verified: bool
    attributes: Attributes
    assurance: Assurance = Assurance()
    rules: tuple[Rule, ...] = ()


@cache
def profiles() -> dict[str, Profile]:
    """The profiles that come with the package, by name."""
    return {
        path.stem: msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Profile)
        for path in sorted(_PROFILES.glob("*.toml"))
    }


def completed(provider: Provider) -> Provider:
    """`provider` with what it leaves open taken from its profile, else from the defaults."""
    base = profiles().get(provider.profile)
    attributes = provider.attributes or (base.attributes if base else Attributes())
    assurance = provider.assurance or (base.assurance if base else Assurance())
    rules = provider.rules if provider.rules is not None else (base.rules if base else ())
    return msgspec.structs.replace(provider, attributes=attributes, assurance=assurance, rules=rules)


def _check(value: dict[str, Provider], _settings: Settings) -> Iterable[tuple[str, str, dict[str, Any]]]:
    for id_, provider in value.items():
        if provider.profile and provider.profile not in profiles():
            known = ", ".join(profiles())
            yield f"{id_}.profile", "federation.no_profile", {"profile": provider.profile, "known": known}
        if isinstance(provider, OidcProvider):
            for name in provider.algorithms:
                if name not in OIDC_ALGORITHMS:
                    choices = ", ".join(OIDC_ALGORITHMS)
                    params = {"algorithm": name, "choices": choices}
                    yield f"{id_}.algorithms", "federation.weak_algorithm", params
        if (
            isinstance(provider, CertificateProvider)
            and not provider.revocation
            and not provider.without_revocation
        ):
            yield f"{id_}.revocation", "federation.revocation_unset", {}


FEDERATION: Section[dict[str, Provider]] = Section(
    "federation", dict[Name, Provider], check=_check, default=dict
)
