"""A whole sign-in against a provider over HTTP, and every way in which its word may be wrong."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from headrace.access.federation import Arrival, Federation, LinkState, OidcProvider
from headrace.access.federation.config import Assurance, Attributes, Rule
from headrace.access.identity.principal import Strength
from headrace.kernel.errors import Denied, HeadraceError
from headrace.kernel.messages import Text

CLIENT, SECRET = "headrace", "s3cret:&%+ü"
RSA_KEY = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig"})
EC_KEY = ECKey.generate_key("P-256", parameters={"kid": "two", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig"})


class Peer:
    """An identity provider: authorization, token and key endpoints, with what tests bend."""

    def __init__(self, serve: Callable[..., str], now: Callable[[], int]) -> None:
        self.now = now
        self.keys: list[Any] = [RSA_KEY]
        self.sign_with: Any = RSA_KEY
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "one"}
        self.claims: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.callback: dict[str, str] = {}
        self.raw_token = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.base = serve(self.answer)

    def authorize(self, url: str) -> dict[str, str]:
        """What the person's browser brings back after they have proven themselves."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code" and query["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return {"code": code, "state": query["state"], **self.callback}

    def answer(self, method: str, path: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return self._json(
                {
                    "issuer": self.base,
                    "authorization_endpoint": f"{self.base}/authorize",
                    "token_endpoint": f"{self.base}/token",
                    "jwks_uri": f"{self.base}/keys",
                    **self.metadata,
                }
            )
        if path == "/keys":
            return self._json({"keys": [k.as_dict(private=False) for k in self.keys]})
        if path == "/token" and method == "POST":
            return self._token(params, headers)
        return 404, "text/plain", b""

    def _token(self, form: dict[str, str], headers: dict[str, str]) -> Any:
        expected = base64.b64encode(b"headrace:s3cret%3A%26%25%2B%C3%BC").decode()
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            asked is None
            or headers.get("authorization", headers.get("Authorization")) != f"Basic {expected}"
            or asked["code_challenge"] != challenge.decode().rstrip("=")
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return self._json({"error": "invalid_grant"}, 400)
        now = self.now() // 1_000_000_000
        claims = {
            "iss": self.base, "sub": "u-1", "aud": CLIENT, "exp": now + 300, "iat": now, "auth_time": now - 5,
            "nonce": asked["nonce"], "name": "王工", "org": "code", "amr": ["pwd", "otp"], **self.claims,
        }  # fmt: skip
        claims = {k: v for k, v in claims.items() if v is not None}
        token = self.raw_token or jwt.encode(
            self.header, claims, self.sign_with, algorithms=[self.header["alg"]]
        )
        return self._json({"access_token": "at", "token_type": "Bearer", "id_token": token})

    @staticmethod
    def _json(value: Any, status: int = 200) -> Any:
        return status, "application/json", json.dumps(value).encode()


@pytest.fixture
def peer(serve: Callable[..., str], node: Any) -> Peer:
    return Peer(serve, node.clock.now)


def provider(peer: Peer, **changes: Any) -> OidcProvider:
    values: dict[str, Any] = {
        "title": Text("测试", "Test"),
        "issuer": peer.base,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "attributes": Attributes(org_code="code"),
        "assurance": Assurance("amr", two_factors=("otp",), hardware=("hwk",)),
        "rules": (Rule("by-code", "viewer"),),
    }
    return OidcProvider(**values | changes)


async def sign_in(node: Any, peer: Peer, federation: Federation | None = None, **changes: Any) -> Arrival:
    own = federation or node.federation({"idp": provider(peer, **changes)})
    try:
        started = await own.begin("idp", browser="b", return_to="/machines/oven")
        return await own.finish("idp", peer.authorize(started.url), browser="b")
    finally:
        if federation is None:
            await own.close()


async def refused(code: str, node: Any, peer: Peer, **changes: Any) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        await sign_in(node, peer, **changes)
    assert error.value.code == code, error.value
    with node.records.read() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM external_identity").scalar_one()
    assert count == 0
    return error.value


async def test_a_sign_in_waits_for_review_then_succeeds(node: Any, peer: Peer) -> None:
    peer.claims = {"code": node.code.lower(), "secret_detail": "x"}
    first = await sign_in(node, peer)
    assert first.link.state is LinkState.PENDING and first.link.account is None
    assert (first.external.subject, first.external.name, first.external.org_code) == (
        "u-1",
        "王工",
        node.code,
    )
    assert first.external.strength is Strength.TWO_FACTORS
    assert "secret_detail" not in first.external.attributes  # what nobody asked for is dropped
    assert (first.link.org, first.link.role, first.link.rule) == (node.firm, "viewer", "by-code")
    assert first.return_to == "/machines/oven"
    links = node.federation({}).links
    links.approve(first.link.id, node.wang, node.all, by=node.reviewer, version=first.link.version)
    second = await sign_in(node, peer)
    assert (second.link.state, second.link.account) == (LinkState.LINKED, node.wang)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://evil.test"}, "InvalidClaimError"),
        ({"iss": None}, "MissingClaimError"),
        ({"aud": "another"}, "InvalidClaimError"),
        ({"aud": ["another", "third"]}, "InvalidClaimError"),
        ({"aud": ["headrace", "another"], "azp": "another"}, None),
        ({"aud": ["headrace", "another"]}, None),
        ({"aud": None}, "MissingClaimError"),
        ({"exp": 1}, "ExpiredTokenError"),
        ({"exp": None}, "MissingClaimError"),
        ({"exp": "never"}, None),
        ({"iat": 1}, "iat"),
        ({"iat": None}, "MissingClaimError"),
        ({"nbf": 99_999_999_999}, None),
        ({"nonce": "planted"}, "InvalidClaimError"),
        ({"nonce": None}, "MissingClaimError"),
        ({"sub": None}, "MissingClaimError"),
        ({"sub": 7}, None),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "InvalidClaimError"),
    ],
)
async def test_claims_that_are_refused(
    node: Any, peer: Peer, claims: dict[str, Any], reason: str | None
) -> None:
    peer.claims = claims
    error = await refused("federation.bad_id_token", node, peer)
    assert reason is None or error.params["reason"] == reason


async def test_a_token_signed_by_a_stranger_is_refused(node: Any, peer: Peer) -> None:
    peer.sign_with = STRANGER
    await refused("federation.bad_id_token", node, peer)


async def test_unsigned_and_symmetric_tokens_are_refused(node: Any, peer: Peer) -> None:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    peer.raw_token = f"{part({'alg': 'none'})}.{part({'iss': peer.base, 'sub': 'u'})}."
    await refused("federation.bad_id_token", node, peer)
    peer.raw_token = "not.a.token"
    await refused("federation.bad_id_token", node, peer)
    peer.raw_token = ""
    # The classic confusion: the provider's public key, taken as the secret of an HMAC.
    for secret in (RSA_KEY.as_pem(private=False), SECRET.encode()):
        signed = f"{part({'alg': 'HS256', 'kid': 'one'})}.{part({'iss': peer.base, 'sub': 'u'})}"
        digest = hmac.digest(secret, signed.encode(), "sha256")
        peer.raw_token = f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        await refused("federation.bad_id_token", node, peer)


async def test_an_algorithm_that_was_not_agreed_is_refused(node: Any, peer: Peer) -> None:
    peer.header = {"alg": "RS512", "kid": "one"}
    await refused("federation.bad_id_token", node, peer)


async def test_the_provider_may_change_its_keys(node: Any, peer: Peer) -> None:
    federation = node.federation({"idp": provider(peer)})
    await sign_in(node, peer, federation)
    peer.keys, peer.sign_with, peer.header = [EC_KEY], EC_KEY, {"alg": "ES256", "kid": "two"}
    asked = peer.asked.count("/keys")
    with pytest.raises(Denied):  # keys were asked for a moment ago
        await sign_in(node, peer, federation)
    assert peer.asked.count("/keys") == asked
    node.clock.ahead_s = 11
    await sign_in(node, peer, federation)
    assert peer.asked.count("/keys") == asked + 1
    peer.sign_with, peer.header = RSA_KEY, {"alg": "RS256", "kid": "one"}
    with pytest.raises(Denied):  # the old key is gone
        await sign_in(node, peer, federation)
    await federation.close()


async def test_state_is_one_browsers_and_works_once(node: Any, peer: Peer) -> None:
    federation = node.federation({"idp": provider(peer), "idp2": provider(peer)})
    for given_to, browser in (("idp", "thief"), ("idp2", "b")):
        started = await federation.begin("idp", browser="b")
        with pytest.raises(Denied, match="not begun in this browser"):
            await federation.finish(given_to, peer.authorize(started.url), browser=browser)
    started = await federation.begin("idp", browser="b")
    back = peer.authorize(started.url)
    await federation.finish("idp", back, browser="b")
    with pytest.raises(Denied, match="timed out"):
        await federation.finish("idp", back, browser="b")
    started = await federation.begin("idp", browser="b")
    node.clock.ahead_s = 601
    with pytest.raises(Denied, match="timed out"):
        await federation.finish("idp", peer.authorize(started.url), browser="b")
    with pytest.raises(Denied):
        await federation.finish("idp", {}, browser="b")
    await federation.close()


async def test_a_stolen_code_is_worth_nothing(node: Any, peer: Peer) -> None:
    """Injected into another flow it meets another PKCE verifier."""
    federation = node.federation({"idp": provider(peer)})
    victim = peer.authorize((await federation.begin("idp", browser="victim")).url)
    thief = peer.authorize((await federation.begin("idp", browser="thief")).url)
    with pytest.raises(Denied) as error:
        await federation.finish("idp", {"code": victim["code"], "state": thief["state"]}, browser="thief")
    assert error.value.code == "federation.code_refused"
    await federation.close()


async def test_a_token_is_taken_once(node: Any, peer: Peer) -> None:
    federation = node.federation({"idp": provider(peer)})
    flows = node.flows
    flows.once("idp", "token", until=node.clock.now() + 10**12)
    with pytest.raises(Denied, match="used before"):
        flows.once("idp", "token", until=node.clock.now() + 10**12)
    flows.once("other", "token", until=node.clock.now() + 10**12)
    await federation.close()


async def test_another_issuer_in_the_answer_is_refused(node: Any, peer: Peer) -> None:
    peer.callback = {"iss": "https://evil.test"}
    await refused("federation.other_issuer", node, peer)
    peer.callback, peer.metadata = {}, {"authorization_response_iss_parameter_supported": True}
    await refused("federation.other_issuer", node, peer)
    peer.callback = {"iss": peer.base}
    assert (await sign_in(node, peer)).external.subject == "u-1"


async def test_metadata_of_another_issuer_or_in_the_clear_is_refused(node: Any, peer: Peer) -> None:
    peer.metadata = {"issuer": "https://evil.test"}
    await refused("federation.bad_metadata", node, peer)
    peer.metadata = {"token_endpoint": "http://evil.test/token"}
    await refused("federation.not_https", node, peer)
    peer.metadata = {"jwks_uri": 7}
    await refused("federation.bad_metadata", node, peer)


async def test_a_provider_that_says_no_or_nothing(node: Any, peer: Peer) -> None:
    peer.callback = {"error": "access_denied"}
    await refused("federation.provider_refused", node, peer)
    peer.callback = {}
    await refused("federation.code_refused", node, peer, client_secret="wrong")
    gone = node.federation({"idp": provider(peer, issuer="http://127.0.0.1:9")})
    with pytest.raises(HeadraceError) as error:
        await gone.begin("idp", browser="b")
    assert error.value.code == "federation.no_answer"
    await gone.close()


async def test_only_paths_of_this_node_are_returned_to(node: Any) -> None:
    for wanted, kept in (
        ("/trend?tag=a", "/trend?tag=a"), ("//evil.test", "/"), ("/\\evil.test", "/"),
        ("https://evil.test", "/"), ("/a\nb", "/"), ("", "/"), ("javascript:alert(1)", "/"),
    ):  # fmt: skip
        assert node.flows.begin("idp", browser="b", return_to=wanted).return_to == kept


async def test_a_huge_or_redirected_answer_is_refused(serve: Callable[..., str], node: Any) -> None:
    base = serve(lambda m, p, q, h: (200, "application/json", b" " * (2 << 20)))
    with pytest.raises(HeadraceError, match="cannot be used"):
        await node.federation({"x": provider_at(base)}).begin("x", browser="b")
    base = serve(lambda m, p, q, h: (302, "text/plain", b"http://127.0.0.1:9/"))
    with pytest.raises(HeadraceError, match="HTTP 302"):
        await node.federation({"x": provider_at(base)}).begin("x", browser="b")


def provider_at(base: str) -> OidcProvider:
    return OidcProvider(title=Text("x", "x"), issuer=base, client_id=CLIENT)
