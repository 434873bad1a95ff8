"""SAML responses of a provider over HTTP: the good one, and the attacks that are known against such
readers."""

import base64
import copy
import datetime as dt
import re
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from headrace.access.federation import Federation, SamlProvider, _xml
from headrace.access.federation.config import Assurance, Attributes
from headrace.access.identity.principal import Strength
from headrace.kernel.clock import iso
from headrace.kernel.errors import Denied, HeadraceError
from headrace.kernel.messages import Text

A = "urn:oasis:names:tc:SAML:2.0:assertion"
P = "urn:oasis:names:tc:SAML:2.0:protocol"
DS = "http://www.w3.org/2000/09/xmldsig#"
NS = {"saml": A, "samlp": P, "ds": DS}
IDP = "https://idp.test/metadata"
ENTITY = "https://node.test/api/v1/federation/idp/metadata"
ACS = "https://node.test/api/v1/federation/idp/callback"


def certificate(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 7, now - dt.timedelta(days=1), now + dt.timedelta(days=30)
    )
    return builder.sign(key, hashes.SHA256())


KEY = rsa.generate_private_key(65537, 2048)
CERT = certificate(KEY)
NEXT_KEY = ec.generate_private_key(ec.SECP256R1())
NEXT_CERT = certificate(NEXT_KEY)
STRANGER = rsa.generate_private_key(65537, 2048)
STRANGER_CERT = certificate(STRANGER)


class Peer:
    """An identity provider that answers an AuthnRequest with a Response, bent as a test wishes."""

    def __init__(self, serve: Callable[..., str], now: Callable[[], int]) -> None:
        self.now = now
        self.changes: dict[str, str] = {}  # replacements in the unsigned XML
        self.bend: Callable[[etree._Element], etree._Element | bytes] = lambda root: root
        self.key: Any = KEY
        self.cert = CERT
        self.method = SignatureMethod.RSA_SHA256
        self.digest = DigestAlgorithm.SHA256
        self.base = serve(self.answer)

    def authorize(self, url: str) -> dict[str, str]:
        """The browser goes there and posts back what it got."""
        with urllib.request.urlopen(url) as reply:
            fields = re.findall(r'name="(\w+)" value="([^"]*)"', reply.read().decode())
        return dict(fields)

    def answer(self, method: str, path: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        packed = base64.b64decode(params["SAMLRequest"])
        request = etree.fromstring(zlib.decompress(packed, wbits=-15))
        assert request.get("AssertionConsumerServiceURL") == ACS
        assert request.findtext("saml:Issuer", namespaces=NS) == ENTITY
        data = self.response(request.get("ID"))
        encoded = base64.b64encode(data).decode()
        state = params["RelayState"]
        form = f'<input name="SAMLResponse" value="{encoded}"><input name="RelayState" value="{state}">'
        return 200, "text/html", form.encode()

    def response(self, request_id: str) -> bytes:
        text = self.text(request_id)
        for old, new in self.changes.items():
            assert old in text, old
            text = text.replace(old, new)
        root = etree.fromstring(text.encode())
        assertion = root.find("saml:Assertion", NS)
        if assertion is not None and assertion.find("ds:Signature", NS) is not None:
            self.sign(root)
        bent = self.bend(root)
        return bent if isinstance(bent, bytes) else etree.tostring(bent)

    def sign(self, root: etree._Element) -> None:
        assertion = root.find("saml:Assertion", NS)
        signer = XMLSigner(
            signature_algorithm=self.method,
            digest_algorithm=self.digest,
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        pem = self.cert.public_bytes(serialization.Encoding.PEM).decode()
        signed = signer.sign(assertion, key=self.key, cert=pem, reference_uri=f"#{assertion.get('ID')}")
        root.replace(assertion, signed)

    def text(self, request_id: str) -> str:
        now = self.now()
        soon, ago = iso(now + 300 * 10**9), iso(now - 5 * 10**9)
        return f"""<samlp:Response xmlns:samlp="{P}" xmlns:saml="{A}" ID="_r1" Version="2.0"
          IssueInstant="{iso(now)}" InResponseTo="{request_id}" Destination="{ACS}">
          <saml:Issuer>{IDP}</saml:Issuer>
          <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
          <saml:Assertion ID="_a1" Version="2.0" IssueInstant="{iso(now)}">
            <saml:Issuer>{IDP}</saml:Issuer><ds:Signature xmlns:ds="{DS}" Id="placeholder"/>
            <saml:Subject><saml:NameID>u-7</saml:NameID>
              <saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
                <saml:SubjectConfirmationData NotOnOrAfter="{soon}" Recipient="{ACS}"
                  InResponseTo="{request_id}"/>
              </saml:SubjectConfirmation></saml:Subject>
            <saml:Conditions NotBefore="{ago}" NotOnOrAfter="{soon}"><saml:AudienceRestriction>
              <saml:Audience>{ENTITY}</saml:Audience></saml:AudienceRestriction></saml:Conditions>
            <saml:AuthnStatement AuthnInstant="{ago}"><saml:AuthnContext>
              <saml:AuthnContextClassRef>urn:mfa</saml:AuthnContextClassRef></saml:AuthnContext>
            </saml:AuthnStatement>
            <saml:AttributeStatement>
              <saml:Attribute Name="name"><saml:AttributeValue>李主任</saml:AttributeValue></saml:Attribute>
            </saml:AttributeStatement>
          </saml:Assertion></samlp:Response>"""


@pytest.fixture
def peer(serve: Callable[..., str], node: Any) -> Peer:
    for name, cert in (("idp.pem", CERT), ("next.pem", NEXT_CERT)):
        (node.folder / name).write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return Peer(serve, node.clock.now)


@pytest.fixture
def federation(node: Any, peer: Peer) -> Federation:
    provider = SamlProvider(
        title=Text("测试", "Test"),
        entity_id=IDP,
        sign_on=f"{peer.base}/sso",
        certificates=("idp.pem", "next.pem"),
        attributes=Attributes(),
        assurance=Assurance("AuthnContextClassRef", two_factors=("urn:mfa",)),
    )
    return node.federation({"idp": provider})


async def sign_in(federation: Federation, peer: Peer) -> Any:
    started = await federation.begin("idp", browser="b")
    return await federation.finish("idp", peer.authorize(started.url), browser="b")


async def refused(code: str, federation: Federation, peer: Peer) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        await sign_in(federation, peer)
    assert error.value.code == code, error.value
    return error.value


async def test_a_signed_assertion_is_read(federation: Federation, peer: Peer) -> None:
    found = (await sign_in(federation, peer)).external
    assert (found.subject, found.name, found.method) == ("u-7", "李主任", "saml")
    assert found.strength is Strength.TWO_FACTORS


async def test_the_provider_may_change_its_key(federation: Federation, peer: Peer) -> None:
    peer.key, peer.cert, peer.method = NEXT_KEY, NEXT_CERT, SignatureMethod.ECDSA_SHA256
    assert (await sign_in(federation, peer)).external.subject == "u-7"
    peer.key, peer.cert, peer.method = STRANGER, STRANGER_CERT, SignatureMethod.RSA_SHA256
    await refused("federation.bad_assertion", federation, peer)


async def test_weak_signatures_are_refused(federation: Federation, peer: Peer) -> None:
    class Careless(XMLSigner):
        def check_deprecated_methods(self) -> None:
            """The library will not sign so; attackers will."""

    def sign(root: etree._Element) -> None:
        assertion = root.find("saml:Assertion", NS)
        signer = Careless(
            signature_algorithm=SignatureMethod.RSA_SHA1,
            digest_algorithm=DigestAlgorithm.SHA1,
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        pem = CERT.public_bytes(serialization.Encoding.PEM).decode()
        root.replace(assertion, signer.sign(assertion, key=KEY, cert=pem, reference_uri="#_a1"))

    peer.sign = sign  # type: ignore[method-assign]
    await refused("federation.bad_assertion", federation, peer)


async def test_unsigned_is_refused(federation: Federation, peer: Peer) -> None:
    peer.changes = {'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>': ""}
    await refused("federation.bad_assertion", federation, peer)


@pytest.mark.parametrize(
    "changes",
    [
        {f"<saml:Audience>{ENTITY}": "<saml:Audience>https://other.test"},
        {f'Recipient="{ACS}"': 'Recipient="https://other.test/acs"'},
        {"cm:bearer": "cm:holder-of-key"},
        {f"<saml:Issuer>{IDP}": "<saml:Issuer>https://evil.test"},
    ],
)
async def test_assertions_for_others_are_refused(
    federation: Federation, peer: Peer, changes: dict[str, str]
) -> None:
    peer.changes = changes
    await refused("federation.bad_assertion", federation, peer)


async def test_an_assertion_for_another_request_is_refused(federation: Federation, peer: Peer) -> None:
    """Also one that was not asked for at all (login cross-site request forgery)."""
    real = peer.text
    peer.text = lambda request_id: real("_another")  # type: ignore[method-assign]
    await refused("federation.bad_assertion", federation, peer)
    with pytest.raises(Denied, match="not begun in this browser"):
        data = base64.b64encode(peer.response("_x")).decode()
        await federation.finish("idp", {"SAMLResponse": data, "RelayState": "x"}, browser="b")


async def test_the_time_window_is_kept(node: Any, federation: Federation, peer: Peer) -> None:
    for late in (-400, 400):  # the provider's clock against ours, beyond life and skew
        peer.now = lambda late=late: node.clock.now() + late * 10**9
        await refused("federation.bad_assertion", federation, peer)
    peer.now = lambda: node.clock.now() + 50 * 10**9
    assert (await sign_in(federation, peer)).external.subject == "u-7"


async def test_conditions_are_required(federation: Federation, peer: Peer) -> None:
    for bend in ("Conditions", "AuthnStatement", "Subject"):
        real = Peer.sign

        def sign(root: etree._Element, what: str = bend, real: Any = real) -> None:
            element = root.find(f"saml:Assertion/saml:{what}", NS)
            element.getparent().remove(element)
            real(peer, root)

        peer.sign = sign  # type: ignore[method-assign]
        await refused("federation.bad_assertion", federation, peer)


async def test_an_assertion_is_taken_once(federation: Federation, peer: Peer) -> None:
    started = await federation.begin("idp", browser="b")
    back = peer.authorize(started.url)
    await federation.finish("idp", back, browser="b")
    with pytest.raises(Denied, match="not begun"):
        await federation.finish("idp", back, browser="b")
    await refused("federation.replay", federation, peer)  # the same assertion ID in another response


async def test_a_failure_is_told(federation: Federation, peer: Peer) -> None:
    peer.changes = {
        '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>':
            '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder">'
            '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/></samlp:StatusCode>'
    }  # fmt: skip
    error = await refused("federation.provider_refused", federation, peer)
    assert error.params["reason"] == "AuthnFailed"


# --- signature wrapping: eight shapes after Somorovsky et al., "On Breaking SAML" (USENIX Security 2012)


def evil(root: etree._Element) -> etree._Element:
    """A copy of the assertion that names the attacker's victim, without a signature."""
    forged = copy.deepcopy(root.find("saml:Assertion", NS))
    forged.remove(forged.find("ds:Signature", NS))
    forged.find("saml:Subject/saml:NameID", NS).text = "admin"
    return forged


def xsw1(root: etree._Element) -> etree._Element:
    """A forged response around the signed one."""
    outer = copy.deepcopy(root)
    outer.replace(outer.find("saml:Assertion", NS), evil(root))
    outer.append(root)
    return outer


def xsw2(root: etree._Element) -> etree._Element:
    """The forged assertion before the signed one."""
    forged = evil(root)
    forged.set("ID", "_evil")
    root.insert(2, forged)
    return root


def xsw3(root: etree._Element) -> etree._Element:
    """The forged one first, with the same ID."""
    root.insert(2, evil(root))
    return root


def xsw4(root: etree._Element) -> etree._Element:
    """The signed assertion inside the forged one."""
    signed = root.find("saml:Assertion", NS)
    forged = evil(root)
    forged.set("ID", "_evil")
    root.replace(signed, forged)
    forged.append(signed)
    return root


def xsw5(root: etree._Element) -> etree._Element:
    """The signature moved into the forged assertion; the signed one, without it, at the end."""
    signed = root.find("saml:Assertion", NS)
    forged = evil(root)
    forged.set("ID", "_evil")
    forged.insert(1, signed.find("ds:Signature", NS))
    root.insert(2, forged)
    return root


def xsw6(root: etree._Element) -> etree._Element:
    """The signed assertion inside the signature, which sits in the forged one."""
    signed = root.find("saml:Assertion", NS)
    forged = evil(root)
    forged.set("ID", "_evil")
    signature = signed.find("ds:Signature", NS)
    forged.insert(1, signature)
    root.replace(signed, forged)
    signature.append(signed)
    return root


def xsw7(root: etree._Element) -> etree._Element:
    """The forged one in an extension element."""
    extensions = etree.Element(f"{{{P}}}Extensions")
    extensions.append(evil(root))
    root.insert(1, extensions)
    return root


def xsw8(root: etree._Element) -> etree._Element:
    """The signed one in an Object of the signature."""
    signed = root.find("saml:Assertion", NS)
    forged = evil(root)
    signature = signed.find("ds:Signature", NS)
    forged.insert(1, signature)
    root.replace(signed, forged)
    etree.SubElement(signature, f"{{{DS}}}Object").append(signed)
    return root


@pytest.mark.parametrize("bend", [xsw1, xsw2, xsw3, xsw4, xsw5, xsw6, xsw7, xsw8])
async def test_signature_wrapping_is_refused(
    federation: Federation, peer: Peer, bend: Callable[[etree._Element], etree._Element]
) -> None:
    peer.bend = bend
    await refused("federation.bad_assertion", federation, peer)


def changed_text(root: etree._Element) -> etree._Element:
    root.find("saml:Assertion/saml:Subject/saml:NameID", NS).text = "admin"
    return root


def added_transform(root: etree._Element) -> etree._Element:
    """An XPath that cuts the forged part out before the digest is made."""
    transforms = next(root.iter(f"{{{DS}}}Transforms"))
    algorithm = "http://www.w3.org/TR/1999/REC-xpath-19991116"
    xpath = etree.SubElement(transforms, f"{{{DS}}}Transform", Algorithm=algorithm)
    etree.SubElement(xpath, f"{{{DS}}}XPath").text = "not(self::x)"
    return root


def whole_document(root: etree._Element) -> etree._Element:
    next(root.iter(f"{{{DS}}}Reference")).set("URI", "")
    return root


def lower_case_id(root: etree._Element) -> etree._Element:
    root.set("Id", "_a1")
    return root


def not_a_response(root: etree._Element) -> etree._Element:
    return root.find("saml:Assertion", NS)


def encrypted(root: etree._Element) -> etree._Element:
    etree.SubElement(root, f"{{{A}}}EncryptedAssertion")
    return root


@pytest.mark.parametrize(
    "bend", [changed_text, added_transform, whole_document, lower_case_id, not_a_response, encrypted]
)
async def test_bent_responses_are_refused(
    federation: Federation, peer: Peer, bend: Callable[[etree._Element], etree._Element]
) -> None:
    peer.bend = bend
    await refused("federation.bad_assertion", federation, peer)


async def test_a_comment_does_not_shorten_a_name(federation: Federation, peer: Peer) -> None:
    """CVE-2017-11427 and its kin: canonical XML drops comments, so one may be put into signed text. The name
    has to be read whole."""
    peer.changes = {"u-7": "u-7.evil.test"}

    def bend(root: etree._Element) -> bytes:
        return etree.tostring(root).replace(b"u-7.evil", b"u-7<!-- -->.evil")

    peer.bend = bend
    assert (await sign_in(federation, peer)).external.subject == "u-7.evil.test"


BOMB = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10 if n else "x"}">' for n in range(9))


@pytest.mark.parametrize(
    "prefix",
    [
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/evil.dtd">',
        f"<!DOCTYPE r [{BOMB}]>",
        "<!DOCTYPE r>",
    ],
)
async def test_document_types_and_entities_are_refused(
    federation: Federation, peer: Peer, prefix: str
) -> None:
    peer.bend = lambda root: prefix.encode() + etree.tostring(root).replace(b"u-7", b"&x8;")
    await refused("federation.bad_xml", federation, peer)
    peer.bend = lambda root: prefix.encode() + etree.tostring(root)
    await refused("federation.bad_xml", federation, peer)


@pytest.mark.parametrize("data", [b"", b"<a", b"<a>" * 50 + b"</a>" * 50, b"<a>" + b"<b/>" * 30_000 + b"</a>",
                                  b" " * (2 << 20), b"<a>\0</a>"])  # fmt: skip
def test_xml_has_bounds(data: bytes) -> None:
    with pytest.raises(Denied):
        _xml.parse(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_answered_with_an_error_of_ours(data: bytes) -> None:
    try:
        _xml.parse(data)
    except Denied as error:
        assert error.code == "federation.bad_xml"


async def test_what_is_not_base64_is_refused(federation: Federation, peer: Peer) -> None:
    started = await federation.begin("idp", browser="b")
    state = parse_qs(urlsplit(started.url).query)["RelayState"][0]
    with pytest.raises(Denied):
        await federation.finish("idp", {"SAMLResponse": "***", "RelayState": state}, browser="b")


def test_our_metadata_says_where_to_post(federation: Federation) -> None:
    root = etree.fromstring(federation.metadata("idp"))
    assert root.get("entityID") == ENTITY
    assert root.find(".//{*}AssertionConsumerService").get("Location") == ACS
    assert root.find("{*}SPSSODescriptor").get("WantAssertionsSigned") == "true"
