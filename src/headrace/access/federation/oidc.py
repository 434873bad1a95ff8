"""OpenID Connect as a relying party: authorization code with PKCE, ID token checked.

Source: OpenID Connect Core 1.0 §3.1 (code flow), §3.1.3.7 (ID token validation), Discovery 1.0 §4.3; RFC 7636
(PKCE); RFC 9207 (issuer in the response); RFC 9700.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from headrace.access.federation import external
from headrace.access.federation._http import Http, check_url
from headrace.access.federation.config import OidcProvider
from headrace.access.federation.flows import Flow, Flows
from headrace.access.identity.principal import Strength
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import Corrupt, Denied

_log = structlog.get_logger(__name__)

LEEWAY_S = 60
_MAX_AGE_S = 600  # an ID token is read seconds after it was made
_METADATA_S = 3600.0
_KEYS_AGAIN_S = 10.0  # an unknown key makes us ask again, but not more often than this


class Metadata(msgspec.Struct, frozen=True):
    """The part of a provider's metadata that is used. Source: Discovery 1.0 §3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class Oidc:
    """One provider. `redirect_uri`: where it sends browsers back to, as registered there."""

    def __init__(
        self,
        id: str,
        provider: OidcProvider,
        flows: Flows,
        http: Http,
        clock: Clock,
        *,
        redirect_uri: str,
        secret: str = "",
    ) -> None:
        self.id = id
        self.provider = provider
        self._flows = flows
        self._http = http
        self._clock = clock
        self._redirect_uri = redirect_uri
        self._secret = secret
        self._metadata: tuple[Metadata, int] | None = None
        self._keys: tuple[KeySet, int] | None = None

    async def begin(self, flow: Flow) -> str:
        """The address to send the browser to. Raises Unavailable, Corrupt (`federation.bad_metadata`)."""
        metadata = await self._discover()
        return str(
            prepare_grant_uri(
                metadata.authorization_endpoint,
                client_id=self.provider.client_id,
                response_type="code",
                redirect_uri=self._redirect_uri,
                scope=" ".join(self.provider.scopes),
                state=flow.state,
                nonce=flow.nonce,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
            )
        )

    async def finish(self, query: dict[str, str], *, browser: str) -> tuple[external.External, Flow]:
        """Who came back with `query`. Raises Denied (`federation.no_flow`, `federation.provider_refused`,
        `federation.other_issuer`, `federation.code_refused`, `federation.bad_id_token`,
        `federation.replay`), Unavailable, Corrupt."""
        flow = self._flows.take(query.get("state", ""), self.id, browser=browser)
        metadata = await self._discover()
        names_itself = "iss" in query or metadata.authorization_response_iss_parameter_supported
        if names_itself and query.get("iss") != metadata.issuer:
            raise Denied("federation.other_issuer")
        if "error" in query or not query.get("code"):
            raise Denied("federation.provider_refused", reason=query.get("error", "")[:80])
        tokens = await self._exchange(metadata, query["code"], flow)
        claims = await self._claims(metadata, tokens, flow)
        self._flows.once(self.id, tokens.id_token, until=(int(claims["exp"]) + LEEWAY_S) * NS_PER_S)
        time = claims.get("auth_time", claims["iat"])
        said = {name: _values(value) for name, value in claims.items()}
        found = external.read(
            self.id, self.provider, said, subject=claims["sub"], method="oidc", time=int(time) * NS_PER_S,
            base=Strength.ONE_FACTOR,
        )  # fmt: skip
        return found, flow

    async def _discover(self) -> Metadata:
        now = self._clock.monotonic()
        if self._metadata is not None and now - self._metadata[1] < _METADATA_S * NS_PER_S:
            return self._metadata[0]
        issuer = self.provider.issuer
        body = await self._http.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            metadata = msgspec.json.decode(body, type=Metadata)
        except msgspec.DecodeError as error:
            raise Corrupt("federation.bad_metadata", issuer=issuer, reason=str(error)[:200]) from None
        if metadata.issuer != issuer:
            raise Corrupt("federation.bad_metadata", issuer=issuer, reason="issuer")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            check_url(url)
        self._metadata = (metadata, now)
        return metadata

    async def _exchange(self, metadata: Metadata, code: str, flow: Flow) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": flow.verifier,
        }
        basic = None
        if self.provider.authentication == "basic":
            basic = (self.provider.client_id, self._secret)
        else:
            form["client_id"] = self.provider.client_id
            if self.provider.authentication == "post":
                form["client_secret"] = self._secret
        status, body = await self._http.post(metadata.token_endpoint, form, basic=basic)
        if status != 200:
            _log.warning("oidc_code_refused", provider=self.id, status=status)
            raise Denied("federation.code_refused")
        try:
            return msgspec.json.decode(body, type=_Tokens)
        except msgspec.DecodeError as error:
            raise Denied("federation.bad_id_token", reason=str(error)[:200]) from None

    async def _claims(self, metadata: Metadata, tokens: _Tokens, flow: Flow) -> dict[str, Any]:
        now = self._clock.now() // NS_PER_S
        try:
            token = await self._verified(metadata, tokens.id_token)
            checked = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": metadata.issuer},
                    "sub": {"essential": True},
                    "aud": {"essential": True, "value": self.provider.client_id},
                    "nonce": {"essential": True, "value": flow.nonce},
                },
                {
                    "nonce": flow.nonce,
                    "client_id": self.provider.client_id,
                    "access_token": tokens.access_token,
                },
            )
            checked.validate(now=now, leeway=LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            _log.warning("oidc_token_refused", provider=self.id, reason=repr(error))
            raise Denied("federation.bad_id_token", reason=type(error).__name__) from None
        claims = dict(token.claims)
        self._beyond_the_library(claims, now)
        return claims

    def _beyond_the_library(self, claims: dict[str, Any], now: int) -> None:
        """Types, several audiences, and age, which the library leaves open."""
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        times = [claims["exp"], claims["iat"], claims.get("auth_time", claims["iat"])]
        if not isinstance(claims["sub"], str) or not all(type(t) in (int, float) for t in times):
            raise Denied("federation.bad_id_token", reason="claim types")
        if len(audience) > 1 and claims.get("azp") != self.provider.client_id:
            raise Denied("federation.bad_id_token", reason="azp")
        if not now - _MAX_AGE_S <= claims["iat"] <= now + LEEWAY_S:
            raise Denied("federation.bad_id_token", reason="iat")

    async def _verified(self, metadata: Metadata, text: str) -> jwt.Token:
        """The token, its signature checked by a key of the provider. One that no key fits makes us fetch the
        keys again: the provider may have changed them."""
        algorithms = list(self.provider.algorithms)
        keys = await self._key_set(metadata, again=False)
        try:
            return jwt.decode(text, keys, algorithms=algorithms)
        except (JoseError, ValueError):
            fresh = await self._key_set(metadata, again=True)
            if fresh is keys:
                raise
            return jwt.decode(text, fresh, algorithms=algorithms)

    async def _key_set(self, metadata: Metadata, *, again: bool) -> KeySet:
        now = self._clock.monotonic()
        if self._keys is not None:
            age = now - self._keys[1]
            if age < (_KEYS_AGAIN_S if again else _METADATA_S) * NS_PER_S:
                return self._keys[0]
        body = await self._http.get(metadata.jwks_uri)
        try:
            listed = msgspec.json.decode(body, type=dict[str, list[dict[str, Any]]])["keys"]
            # Only public signature keys: a symmetric one here would let whoever reads the page sign.
            usable = [
                key
                for key in listed
                if key.get("kty") in ("RSA", "EC", "OKP")
                and key.get("use", "sig") == "sig"
                and "d" not in key
            ]
            keys = KeySet.import_key_set({"keys": usable})
        except (msgspec.DecodeError, KeyError, JoseError, ValueError, TypeError) as error:
            reason = repr(error)[:200]
            raise Corrupt("federation.bad_metadata", issuer=metadata.issuer, reason=reason) from None
        self._keys = (keys, now)
        return keys

    async def close(self) -> None:
        await self._http.close()


def _values(value: Any) -> tuple[str, ...]:
    """A claim as texts; objects are left out."""
    if isinstance(value, list):
        return tuple(str(v) for v in value if isinstance(v, str | int | float))
    return (str(value),) if isinstance(value, str | int | float) else ()
