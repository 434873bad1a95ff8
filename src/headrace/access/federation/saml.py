"""SAML 2.0 as a service provider: web browser single sign-on with signed assertions.

An assertion is read only from what its signature covers: the bytes that were verified are parsed anew and
nothing else of the response is looked at. A response with a second assertion, a repeated ID, a signature in
another place or another kind of transform is refused before that, which leaves signature wrapping no room.
Encrypted assertions and single logout are not supported.
Source: SAML Core 2.0 §2-3, §5.4 (signatures); Profiles §4.1.4 (browser SSO); Bindings §3.4-3.5; OWASP SAML.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from urllib.parse import urlencode

import structlog
from cryptography import x509
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from headrace.access.federation import _xml, external
from headrace.access.federation.config import SamlProvider
from headrace.access.federation.flows import Flow, Flows
from headrace.kernel.clock import NS_PER_S, Clock, iso, parse_time
from headrace.kernel.errors import Denied

_log = structlog.get_logger(__name__)

SKEW_S = 60
_MAX_LIFE_S = 600  # an assertion that claims to be good for longer is remembered, and taken, so long only
_P = "{urn:oasis:names:tc:SAML:2.0:protocol}"
_A = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_D = "{http://www.w3.org/2000/09/xmldsig#}"
_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_TRANSFORMS = {
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2001/10/xml-exc-c14n#",
}
_METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})


class Saml:
    """One identity provider. `entity_id`: who we are to it; `acs`: where it posts its responses to."""

    def __init__(
        self,
        id: str,
        provider: SamlProvider,
        certificates: Sequence[x509.Certificate],
        flows: Flows,
        clock: Clock,
        *,
        entity_id: str,
        acs: str,
    ) -> None:
        self.id = id
        self.provider = provider
        self.entity_id = entity_id
        self.acs = acs
        self._certificates = tuple(certificates)
        self._flows = flows
        self._clock = clock

    def begin(self, flow: Flow) -> str:
        """The address to send the browser to: an AuthnRequest by HTTP redirect. The state travels as
        RelayState; the request's ID is bound to the flow."""
        request = etree.Element(
            f"{_P}AuthnRequest",
            {
                "ID": _request_id(flow),
                "Version": "2.0",
                "IssueInstant": iso(flow.created)[:19] + "Z",
                "Destination": self.provider.sign_on,
                "AssertionConsumerServiceURL": self.acs,
                "ProtocolBinding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
            },
            nsmap={"samlp": _P[1:-1], "saml": _A[1:-1]},
        )
        etree.SubElement(request, f"{_A}Issuer").text = self.entity_id
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(etree.tostring(request)) + packer.flush()
        query = urlencode({"SAMLRequest": base64.b64encode(packed).decode(), "RelayState": flow.state})
        return f"{self.provider.sign_on}{'&' if '?' in self.provider.sign_on else '?'}{query}"

    def finish(self, form: dict[str, str], *, browser: str) -> tuple[external.External, Flow]:
        """Who came back, from the posted form. Raises Denied (`federation.no_flow`, `federation.bad_xml`,
        `federation.provider_refused`, `federation.bad_assertion`, `federation.replay`,
        `federation.no_subject`, `federation.bad_attribute`)."""
        flow = self._flows.take(form.get("RelayState", ""), self.id, browser=browser)
        try:
            data = base64.b64decode(form.get("SAMLResponse", "").encode(), validate=True)
        except (binascii.Error, ValueError):
            raise Denied("federation.bad_xml", reason="base64") from None
        assertion = self.verified(data)
        until = self._conditions(assertion)
        confirmed = self._confirmation(assertion, flow)
        self._flows.once(self.id, assertion.get("ID", ""), until=min(until, confirmed) + SKEW_S * NS_PER_S)
        statement = assertion.find(f"{_A}AuthnStatement")
        if statement is None:
            raise self._bad("no AuthnStatement")
        said = _attributes(assertion)
        context = _xml.text(statement.find(f"{_A}AuthnContext/{_A}AuthnContextClassRef"))
        if context:
            said.setdefault("AuthnContextClassRef", (context,))
        name_id = _xml.text(assertion.find(f"{_A}Subject/{_A}NameID"))
        moment = self._time(statement.get("AuthnInstant"), "AuthnInstant")
        found = external.read(self.id, self.provider, said, subject=name_id, method="saml", time=moment)
        return found, flow

    def verified(self, data: bytes) -> etree._Element:
        """The assertion in `data`, parsed from the very bytes that its signature covers. Raises Denied
        (`federation.bad_xml`, `federation.provider_refused`, `federation.bad_assertion`)."""
        root = _xml.parse(data)
        if root.tag != f"{_P}Response":
            raise self._bad("not a Response")
        status = root.find(f"{_P}Status/{_P}StatusCode")
        if status is None or status.get("Value") != _SUCCESS:
            inner = status.find(f"{_P}StatusCode") if status is not None else None
            reason = (inner if inner is not None else status).get("Value", "") if status is not None else ""
            raise Denied("federation.provider_refused", reason=reason.rpartition(":")[2][:80])
        assertion = self._only_assertion(root)
        result = self._check_signature(root)
        if result.tag != f"{_A}Assertion" or result.get("ID") != assertion.get("ID"):
            raise self._bad("signature covers something else")
        if _xml.text(result.find(f"{_A}Issuer")) != self.provider.entity_id:
            raise self._bad("Issuer")
        return result

    def _only_assertion(self, root: etree._Element) -> etree._Element:
        """The one assertion, with its one signature in its place; else an error."""
        found = list(root.iter(f"{_A}Assertion"))
        if len(found) != 1 or found[0].getparent() is not root:
            raise self._bad("number or place of assertions")
        if next(root.iter(f"{_A}EncryptedAssertion"), None) is not None:
            raise self._bad("EncryptedAssertion")
        ids = [
            value
            for element in root.iter()
            for name, value in element.attrib.items()
            if etree.QName(name).localname.lower() == "id"
        ]
        if len(ids) != len(set(ids)):
            raise self._bad("repeated ID")
        assertion = found[0]
        signatures = list(assertion.iter(f"{_D}Signature"))
        if len(signatures) != 1 or signatures[0].getparent() is not assertion:
            raise self._bad("number or place of signatures")
        others = [s for s in root.iter(f"{_D}Signature") if s is not signatures[0]]
        if any(s.getparent() is not root for s in others):
            raise self._bad("number or place of signatures")
        references = list(signatures[0].iter(f"{_D}Reference"))
        if len(references) != 1 or references[0].get("URI") != f"#{assertion.get('ID')}":
            raise self._bad("Reference")
        if next(signatures[0].iter(f"{_D}Object"), None) is not None:
            raise self._bad("Object")
        transforms = [t.get("Algorithm") for t in signatures[0].iter(f"{_D}Transform")]
        if not set(transforms) <= _TRANSFORMS or len(transforms) > 2:
            raise self._bad("Transform")
        return assertion

    def _check_signature(self, root: etree._Element) -> etree._Element:
        config = SignatureConfiguration(
            location=f"./{_A}Assertion/",
            expect_references=1,
            signature_methods=_METHODS,
            digest_algorithms=_DIGESTS,
        )
        reason = "no certificate"
        for certificate in self._certificates:
            try:
                result = XMLVerifier().verify(
                    etree.tostring(root), x509_cert=certificate, expect_config=config, id_attribute="ID"
                )
            except (SignXMLException, etree.LxmlError, ValueError, TypeError, KeyError) as error:
                reason = type(error).__name__
                continue
            signed = result.signed_xml  # type: ignore[union-attr]
            if signed is None:
                break
            return _xml.parse(etree.tostring(signed))
        raise self._bad(reason)

    def _conditions(self, assertion: etree._Element) -> int:
        """Until when the assertion is good, UTC ns, where it is good now and for us; else an error."""
        conditions = assertion.find(f"{_A}Conditions")
        if conditions is None:
            raise self._bad("no Conditions")
        until = self._window(conditions, "Conditions", required=False)
        audiences = conditions.findall(f"{_A}AudienceRestriction")
        if not audiences:
            raise self._bad("no AudienceRestriction")
        for restriction in audiences:
            if self.entity_id not in [_xml.text(a) for a in restriction.findall(f"{_A}Audience")]:
                raise self._bad("Audience")
        issued = self._time(assertion.get("IssueInstant"), "IssueInstant")
        if issued > self._clock.now() + SKEW_S * NS_PER_S:
            raise self._bad("IssueInstant")
        return min(until, self._clock.now() + _MAX_LIFE_S * NS_PER_S)

    def _confirmation(self, assertion: etree._Element, flow: Flow) -> int:
        """Until when a bearer may present it, where one confirmation answers our request; else an error."""
        for confirmation in assertion.findall(f"{_A}Subject/{_A}SubjectConfirmation"):
            data = confirmation.find(f"{_A}SubjectConfirmationData")
            if confirmation.get("Method") != _BEARER or data is None or data.get("NotBefore"):
                continue
            if data.get("Recipient") != self.acs or data.get("InResponseTo") != _request_id(flow):
                continue
            return self._window(data, "SubjectConfirmationData", required=True)
        raise self._bad("SubjectConfirmation")

    def _window(self, element: etree._Element, what: str, *, required: bool) -> int:
        now, skew = self._clock.now(), SKEW_S * NS_PER_S
        start, end = element.get("NotBefore"), element.get("NotOnOrAfter")
        if start is not None and self._time(start, what) > now + skew:
            raise self._bad(f"{what} NotBefore")
        if end is None:
            if required:
                raise self._bad(f"{what} NotOnOrAfter")
            return now + _MAX_LIFE_S * NS_PER_S
        moment = self._time(end, what)
        if moment <= now - skew:
            raise self._bad(f"{what} NotOnOrAfter")
        return moment

    def _time(self, value: str | None, what: str) -> int:
        try:
            return parse_time(value or "")
        except ValueError:
            raise self._bad(what) from None

    def _bad(self, reason: str) -> Denied:
        _log.warning("saml_assertion_refused", provider=self.id, reason=reason)
        return Denied("federation.bad_assertion", reason=reason)

    def metadata(self) -> bytes:
        """What the provider needs to know of us: an EntityDescriptor (SAML Metadata 2.0 §2.4.4)."""
        md = "{urn:oasis:names:tc:SAML:2.0:metadata}"
        entity = etree.Element(f"{md}EntityDescriptor", {"entityID": self.entity_id}, nsmap={"md": md[1:-1]})
        role = etree.SubElement(
            entity,
            f"{md}SPSSODescriptor",
            {
                "AuthnRequestsSigned": "false",
                "WantAssertionsSigned": "true",
                "protocolSupportEnumeration": _P[1:-1],
            },
        )
        etree.SubElement(
            role,
            f"{md}AssertionConsumerService",
            {"Binding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST", "Location": self.acs, "index": "0"},
        )
        return bytes(etree.tostring(entity, xml_declaration=True, encoding="UTF-8"))


def _request_id(flow: Flow) -> str:
    """An XML ID: it may not start with a digit."""
    return f"_{flow.nonce}"


def _attributes(assertion: etree._Element) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for attribute in assertion.findall(f"{_A}AttributeStatement/{_A}Attribute"):
        name = attribute.get("Name", "")
        values = tuple(_xml.text(v) for v in attribute.findall(f"{_A}AttributeValue"))
        found[name] = found.get(name, ()) + values
    return found
