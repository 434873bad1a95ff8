"""CAS tickets, validated at a server over HTTP, with the provincial login as profile data."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from headrace.access.federation import CasProvider, Federation, LinkState, profiles
from headrace.access.identity.principal import Strength
from headrace.kernel.errors import Denied, HeadraceError
from headrace.kernel.messages import Text


class Peer:
    """A CAS server: tickets bound to a service, each validated once."""

    def __init__(self, serve: Callable[..., str]) -> None:
        self.tickets: dict[str, str] = {}
        self.attributes = "<cas:name>赵总</cas:name><cas:userType>legal</cas:userType>"
        self.extra = ""
        self.body = ""
        self.paths: list[str] = []
        self.renewed: list[str] = []
        self.base = serve(self.answer)

    def authorize(self, url: str, ticket: str = "") -> dict[str, str]:
        """The browser signs in at /login and comes back to the service with a ticket."""
        query = parse_qs(urlsplit(url).query)
        self.renewed += query.get("renew", [])
        service = query["service"][0]
        ticket = ticket or f"ST-{len(self.tickets)}-abc"
        self.tickets[ticket] = service
        return {"state": parse_qs(urlsplit(service).query)["state"][0], "ticket": ticket}

    def answer(self, method: str, path: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        self.paths.append(path)
        service = self.tickets.pop(params.get("ticket", ""), None)
        if self.body:
            inner = self.body
        elif service is None or service != params.get("service"):
            code = "INVALID_TICKET" if service is None else "INVALID_SERVICE"
            inner = f'<cas:authenticationFailure code="{code}">no</cas:authenticationFailure>'
        else:
            shown = f"<cas:attributes>{self.attributes}</cas:attributes>" if "/p3/" in path else ""
            inner = (
                f"<cas:authenticationSuccess><cas:user>zhao</cas:user>{shown}{self.extra}"
                "</cas:authenticationSuccess>"
            )
        text = f"<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'>{inner}</cas:serviceResponse>"
        return 200, "text/xml", text.encode()


@pytest.fixture
def peer(serve: Callable[..., str]) -> Peer:
    return Peer(serve)


def federation(node: Any, peer: Peer, **changes: Any) -> Federation:
    values = {"title": Text("省统一身份认证", "Unified login"), "base": f"{peer.base}/cas"}
    return node.federation({"sd": CasProvider(**{**values, "profile": "shandong-cas", **changes})})


async def sign_in(own: Federation, peer: Peer, ticket: str = "") -> Any:
    started = await own.begin("sd", browser="b")
    return await own.finish("sd", peer.authorize(started.url, ticket), browser="b")


async def refused(code: str, own: Federation, peer: Peer, ticket: str = "") -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        await sign_in(own, peer, ticket)
    assert error.value.code == code, error.value
    return error.value


async def test_the_provincial_login_by_its_profile(node: Any, peer: Peer) -> None:
    peer.attributes += f"<cas:creditCode>{node.code}</cas:creditCode><cas:idNumber>3701…</cas:idNumber>"
    own = federation(node, peer)
    arrived = await sign_in(own, peer)
    found, link = arrived.external, arrived.link
    assert (found.subject, found.name, found.org_code) == ("zhao", "赵总", node.code)
    assert found.attributes == {"userType": ("legal",)}  # the identity number is not kept
    assert found.strength is Strength.ONE_FACTOR
    assert (link.state, link.org, link.role, link.rule) == (
        LinkState.PENDING, node.firm, "legal-representative", "legal-person",
    )  # fmt: skip
    assert peer.paths == ["/cas/p3/serviceValidate"]
    await own.close()


async def test_version_2_has_no_attributes(node: Any, peer: Peer) -> None:
    own = federation(node, peer, version="2.0", renew=True)
    arrived = await sign_in(own, peer)
    assert (arrived.external.subject, arrived.external.name) == ("zhao", "")
    assert peer.paths == ["/cas/serviceValidate"] and peer.renewed == ["true"]
    await own.close()


async def test_a_ticket_is_for_one_sign_in(node: Any, peer: Peer) -> None:
    own = federation(node, peer)
    await sign_in(own, peer, "ST-1-same")
    await refused("federation.replay", own, peer, "ST-1-same")
    started = await own.begin("sd", browser="b")
    with pytest.raises(Denied, match="not begun in this browser"):
        await own.finish("sd", peer.authorize(started.url), browser="thief")
    stolen = peer.authorize((await own.begin("sd", browser="victim")).url)
    mine = peer.authorize((await own.begin("sd", browser="b")).url)
    with pytest.raises(Denied, match="INVALID_SERVICE"):  # bound to the victim's state
        await own.finish("sd", {"state": mine["state"], "ticket": stolen["ticket"]}, browser="b")
    await own.close()


@pytest.mark.parametrize("ticket", ["PT-1-proxy", "ST-", "ST-a b", "ST-" + "x" * 300, "TGT-1"])
async def test_only_service_tickets_are_sent_on(node: Any, peer: Peer, ticket: str) -> None:
    own = federation(node, peer)
    await refused("federation.provider_refused", own, peer, ticket)
    assert peer.paths == []
    await own.close()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "federation.provider_refused"),
        ("<cas:authenticationSuccess/>", "federation.provider_refused"),
        ("<cas:x><cas:authenticationSuccess><cas:user>a</cas:user></cas:authenticationSuccess></cas:x>",
         "federation.bad_xml"),
        ("<cas:authenticationSuccess><cas:user>a</cas:user></cas:authenticationSuccess>" * 2,
         "federation.bad_xml"),
        ("<cas:authenticationSuccess><cas:user> </cas:user></cas:authenticationSuccess>",
         "federation.no_subject"),
        ("<cas:authenticationSuccess><cas:user>a</cas:user><cas:user>b</cas:user>"
         "</cas:authenticationSuccess>", "federation.provider_refused"),
        ("<cas:authenticationSuccess><cas:user>a</cas:user><cas:attributes><cas:name>x</cas:name>"
         "<cas:name>y</cas:name></cas:attributes></cas:authenticationSuccess>", "federation.bad_attribute"),
        ("<not closed", "federation.bad_xml"),
    ],
)  # fmt: skip
async def test_answers_that_are_refused(node: Any, peer: Peer, body: str, code: str) -> None:
    own = federation(node, peer)
    peer.body = body
    peer.extra = "<cas:proxies><cas:proxy>https://other.test</cas:proxy></cas:proxies>"
    await refused(code, own, peer)
    await own.close()


def test_profiles_say_what_is_not_verified() -> None:
    known = profiles()
    assert known["shandong-cas"].verified is False
    assert known["shandong-cas"].assurance.two_factors == ()
