"""Codes, requests, renewal and revocation, by the records."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from headrace.access.pki import Machine, Revocations, Usage, keys, lists, requests
from headrace.access.pki.codes import code_hash, new_code
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Corrupt, Denied, HeadraceError, InputError, NotFound


def csr(key: Any, subject: list[tuple[x509.ObjectIdentifier, str]], *extensions: x509.ExtensionType) -> bytes:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


CN = x509.NameOID.COMMON_NAME
GATEWAY = [(CN, "oven")]


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(HeadraceError) as error:
        call()
    assert error.value.code == code
    assert error.value.text("zh") != error.value.text("en") != code


def test_a_code_works_once_for_one_gateway_within_its_time(node: Any) -> None:
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    request = csr(keys.generate(), GATEWAY)
    refused("pki.code_unknown", lambda: node.pki.enrol(new_code(), "oven", request))
    refused("pki.code_unknown", lambda: node.pki.enrol("", "oven", request))
    refused("pki.code_gateway", lambda: node.pki.enrol(code.secret, "booth", request))
    typed = code.secret.lower().replace("-", " ").replace("1", "l").replace("0", "o")
    issued = node.pki.enrol(typed, "oven", request)
    assert issued.not_after - issued.renew_from == node.settings.renew_before
    refused("pki.code_used", lambda: node.pki.enrol(code.secret, "oven", csr(keys.generate(), GATEWAY)))

    late = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    node.clock.ahead_s = 86_401
    refused("pki.code_expired", lambda: node.pki.enrol(late.secret, "oven", csr(keys.generate(), GATEWAY)))

    other = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    node.pki.cancel_code(other.id, node.all, by="admin")
    refused("pki.code_unknown", lambda: node.pki.enrol(other.secret, "oven", csr(keys.generate(), GATEWAY)))
    refused("pki.no_code", lambda: node.pki.cancel_code(other.id, node.all, by="admin"))


def test_the_secret_is_not_stored(node: Any) -> None:
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    node.records.close()
    plain = code.secret.replace("-", "")
    for path in Path(node.folder).glob("records.sqlite*"):
        assert plain.encode() not in path.read_bytes() and code.secret.encode() not in path.read_bytes()


def test_of_two_that_race_with_one_code_one_wins(node: Any) -> None:
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")

    def enrol(_n: int) -> str:
        try:
            return str(node.pki.enrol(code.secret, "oven", csr(keys.generate(), GATEWAY)).serial)
        except Denied as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(enrol, range(8)))
    assert sorted(results)[1:] == ["pki.code_used"] * 7


def test_codes_stay_within_the_scope(node: Any) -> None:
    foreign = Scope.of([node.other])
    refused("pki.no_org", lambda: node.pki.issue_code(gateway="x", org=node.firm, scope=foreign, by="b"))
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=Scope.of([node.firm]), by="a")
    refused("pki.no_code", lambda: node.pki.cancel_code(code.id, foreign, by="b"))
    machine = node.machine("booth")
    assert node.pki.certificates(foreign) == ([], 0)
    refused("pki.no_certificate", lambda: node.pki.revoke(machine.peer.serial, foreign, by="b"))
    assert node.pki.revoke_gateway(node.firm, "booth", foreign, by="b") == 0
    found, total = node.pki.certificates(Scope.of([node.firm]), gateway="booth")
    assert total == 1 and found[0].state(node.clock.now()) == "active"


RSA_WEAK = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("pki.weak_key", lambda: csr(RSA_WEAK, GATEWAY)),
        ("pki.weak_key", lambda: csr(ec.generate_private_key(ec.SECP256K1()), GATEWAY)),
        ("pki.weak_key", lambda: csr(ec.generate_private_key(ec.SECP224R1()), GATEWAY)),
        ("pki.csr_subject", lambda: csr(keys.generate(), [(CN, "booth")])),
        ("pki.csr_subject", lambda: csr(keys.generate(), [])),
        ("pki.csr_subject", lambda: csr(keys.generate(), [(CN, "oven"), (CN, "booth")])),
        (
            "pki.csr_subject",
            lambda: csr(keys.generate(), [(CN, "oven"), (x509.NameOID.ORGANIZATION_NAME, "B")]),
        ),
        (
            "pki.csr_names",
            lambda: csr(keys.generate(), GATEWAY, x509.SubjectAlternativeName([x509.DNSName("evil.test")])),
        ),
        (
            "pki.csr_names",
            lambda: csr(
                keys.generate(),
                GATEWAY,
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier("spiffe://plant-1/org/b/server/hub")]
                ),
            ),
        ),
        (
            "pki.csr_names",
            lambda: csr(keys.generate(), GATEWAY, x509.SubjectAlternativeName([x509.RFC822Name("a@b.c")])),
        ),
        (
            "pki.csr_extension",
            lambda: csr(keys.generate(), GATEWAY, x509.BasicConstraints(ca=True, path_length=None)),
        ),
        (
            "pki.bad_csr",
            lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        ),
        ("pki.bad_csr", lambda: b""),
        ("pki.bad_csr", lambda: b"x" * 20_000),
    ],
)
def test_requests_that_are_refused(node: Any, code: str, make: Callable[[], bytes]) -> None:
    one = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    refused(code, lambda: node.pki.enrol(one.secret, "oven", make()))
    assert node.pki.certificates(node.all) == ([], 0)
    node.pki.enrol(one.secret, "oven", csr(keys.generate(), GATEWAY))  # refusals do not burn it


def test_a_request_signed_by_another_key_is_refused() -> None:
    mine, theirs = csr(keys.generate(), GATEWAY), csr(keys.generate(), GATEWAY)
    one = x509.load_pem_x509_csr(mine).public_bytes(serialization.Encoding.DER)
    two = x509.load_pem_x509_csr(theirs)
    mixed = one[: -len(two.signature)] + two.signature if len(one) == len(
        two.public_bytes(serialization.Encoding.DER)
    ) else one[:-1] + bytes([one[-1] ^ 1])  # fmt: skip
    pem = x509.load_der_x509_csr(mixed).public_bytes(serialization.Encoding.PEM)
    refused("pki.csr_signature", lambda: requests.check(pem, gateway="oven", hosts=()))


@pytest.mark.parametrize("make", [keys.generate, ed25519.Ed25519PrivateKey.generate])
def test_strong_keys_of_other_kinds_are_taken(make: Callable[[], Any]) -> None:
    requests.check(csr(make(), GATEWAY), gateway="oven", hosts=())


def test_a_server_gets_the_names_it_was_allowed(node: Any) -> None:
    server = node.machine("hub", Usage.SERVER, ("127.0.0.1", "hub.plant.test"))
    leaf = x509.load_pem_x509_certificates(server.credentials.certificate.read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.plant.test"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    scope = node.all
    refused(
        "pki.machine_hosts",
        lambda: node.pki.issue_code(gateway="g", org=node.firm, scope=scope, by="a", hosts=("h.test",)),
    )
    for host in ("*.test", "a b", "-x.test", "1.2.3", "", "x" * 64):
        with pytest.raises(InputError):
            node.pki.issue_code(
                gateway="g", org=node.firm, scope=scope, by="a", usage=Usage.SERVER, hosts=(host,)
            )


def test_renewal_overlaps_and_the_old_one_retires(node: Any) -> None:
    machine = node.machine("oven")
    first = machine.peer
    refused("pki.too_early", lambda: node.pki.renew(first, machine.request()))
    node.clock.ahead_s = 61 * 86_400
    assert machine.renewal_due(node.clock.now(), node.settings.renew_before)
    request = machine.request()
    issued = node.pki.renew(first, request)
    assert node.pki.renew(first, machine.request()).serial == issued.serial  # the answer was lost
    machine.install(issued)
    states = {c.serial: c.state(node.clock.now()) for c in node.pki.certificates(node.all)[0]}
    assert states == {first.serial: "retiring", issued.serial: "active"}
    assert machine.peer.serial == issued.serial
    assert len(list(machine.folder.glob("key-*.pem"))) == 1

    node.clock.ahead_s += 86_400 - 60
    node.pki.maintain()
    assert not machine.revocations().load(node_lists(node)) or not revoked(node, first)
    node.clock.ahead_s += 120
    node.pki.maintain()
    assert revoked(node, first) and not revoked(node, machine.peer)
    refused("pki.revoked", lambda: node.pki.renew(first, csr(keys.generate(), GATEWAY)))


def node_lists(node: Any) -> Any:
    return lists.read(node.records)


def revoked(node: Any, peer: Any) -> bool:
    known = Revocations(node.pki.trust)
    known.load(node_lists(node))
    return known.is_revoked(peer)


def test_a_second_renewal_of_one_certificate_revokes_the_line(node: Any) -> None:
    machine = node.machine("oven")
    first = machine.peer
    node.clock.ahead_s = 61 * 86_400
    thief = node.pki.renew(first, csr(keys.generate(), GATEWAY))  # the copy is faster than its owner
    refused("pki.cloned", lambda: node.pki.renew(first, machine.request()))
    states = {c.serial: (c.state(node.clock.now()), c.reason) for c in node.pki.certificates(node.all)[0]}
    assert states == {
        first.serial: ("revoked", "key_compromise"), thief.serial: ("revoked", "key_compromise"),
    }  # fmt: skip


def test_a_key_serves_one_certificate(node: Any) -> None:
    key = keys.generate()
    for name, expected in (("oven", None), ("booth", "pki.key_reused")):
        code = node.pki.issue_code(gateway=name, org=node.firm, scope=node.all, by="admin")
        request = csr(key, [(CN, name)])
        if expected is None:
            node.pki.enrol(code.secret, name, request)
        else:
            refused(expected, lambda c=code, n=name, r=request: node.pki.enrol(c.secret, n, r))


def test_an_expired_certificate_is_not_renewed(node: Any) -> None:
    machine = node.machine("oven")
    node.clock.ahead_s = 91 * 86_400
    refused("pki.expired", lambda: node.pki.renew(machine.peer, machine.request()))


def test_revoking_a_gateway_ends_all_its_certificates_and_codes(node: Any) -> None:
    heard = []
    node.events.listen(lambda e: heard.append((e.kind, e.subject)))
    one, two = node.machine("oven"), node.machine("booth")
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    assert node.pki.revoke_gateway(node.firm, "oven", node.all, by="admin", reason="key_compromise") == 1
    refused("pki.code_unknown", lambda: node.pki.enrol(code.secret, "oven", csr(keys.generate(), GATEWAY)))
    assert revoked(node, one.peer) and not revoked(node, two.peer)
    assert ("pki.revoked", one.peer.serial) in heard and ("pki.crl", "Headrace plant-1 issuer 1") in heard
    node.pki.revoke(one.peer.serial, node.all, by="admin")  # again: nothing happens
    assert node.pki.certificates(node.all, gateway="oven")[0][0].reason == "key_compromise"
    refused("pki.bad_reason", lambda: node.pki.revoke(two.peer.serial, node.all, by="a", reason="whim"))
    refused("pki.no_certificate", lambda: node.pki.revoke("ff", node.all, by="a"))


def test_the_machine_refuses_what_it_did_not_ask_for(node: Any, make_node: Any, tmp_path: Path) -> None:
    code = node.pki.issue_code(gateway="oven", org=node.firm, scope=node.all, by="admin")
    machine = Machine(tmp_path / "m", "oven")
    issued = node.pki.enrol(code.secret, "oven", machine.request())
    with pytest.raises(Denied):
        machine.install(issued)  # without a fingerprint there is nothing to trust
    with pytest.raises(Denied):
        machine.install(issued, trust_fingerprint="00" * 32)
    stranger = Machine(tmp_path / "s", "oven")
    stranger.request()
    with pytest.raises(Corrupt):
        stranger.install(issued, trust_fingerprint=code.trust_fingerprint)
    machine.install(issued, trust_fingerprint=code.trust_fingerprint.upper())
    with pytest.raises(NotFound):
        stranger.peer  # noqa: B018
    other = make_node("plant-2")
    foreign = other.pki.issue_code(gateway="oven", org=other.firm, scope=other.all, by="a")
    with pytest.raises(Denied):
        machine.install(
            other.pki.enrol(foreign.secret, "oven", machine.request()),
            trust_fingerprint=foreign.trust_fingerprint,
        )


def test_certificates_age_out_of_the_list_a_list_life_later(node: Any) -> None:
    machine = node.machine("oven")
    node.pki.revoke(machine.peer.serial, node.all, by="a")
    node.clock.ahead_s = (90 + 29) * 86_400
    node.pki.maintain()
    assert revoked(node, machine.peer)
    node.clock.ahead_s = (90 + 31) * 86_400
    node.pki.maintain()
    assert not revoked(node, machine.peer)


def test_the_next_issuer_signs_and_both_lists_are_published(node: Any) -> None:
    old = node.machine("oven")
    node.clock.ahead_s = dt.timedelta(days=5 * 365 - 100).total_seconds()
    node.pki.maintain()
    new = node.machine("booth")
    assert new.peer.issuer == "Headrace plant-1 issuer 2"
    assert {entry.issuer for entry in new.revocations().lists} == {
        "Headrace plant-1 root", "Headrace plant-1 issuer 1", "Headrace plant-1 issuer 2",
    }  # fmt: skip
    assert old.peer.issuer == "Headrace plant-1 issuer 1"


@given(st.text(max_size=300))
def test_any_text_may_be_typed_as_a_code(text: str) -> None:
    assert code_hash(text) is None or len(code_hash(text) or "") == 64


@given(st.binary(max_size=2000))
def test_any_bytes_may_be_sent_as_a_request(data: bytes) -> None:
    with pytest.raises(HeadraceError):
        requests.check(data, gateway="oven", hosts=())


def test_codes_read_back_however_typed() -> None:
    code = new_code()
    assert code_hash(code) == code_hash(f"  {code.lower().replace('-', '')} ")
    assert len(code.replace("-", "")) * 5 == 140
    assert code_hash(code[:-1]) is None
