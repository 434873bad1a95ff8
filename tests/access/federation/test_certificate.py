"""Sign-in by USB key, with SM2 certificates made by the OpenSSL command, as an authority and a key would."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from headrace.access.federation import CertificateProvider, Federation
from headrace.access.federation import sm2 as sm2_module
from headrace.access.federation.config import Attributes
from headrace.access.identity.principal import Strength
from headrace.kernel.errors import HeadraceError, Unavailable
from headrace.kernel.messages import Text

DISTID = "distid:1234567812345678"
CREDIT_OID = "1.2.156.10260.4.1.4"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=20)


class Authority:
    """A test authority and the certificates it gives."""

    def __init__(self, folder: Path, algorithm: str = "SM2") -> None:
        self.folder = folder
        self.sm2 = algorithm == "SM2"
        folder.mkdir(exist_ok=True)
        self.key("ca", algorithm)
        (folder / "ca.cnf").write_text(
            "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\n"
            "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
            "[leaf]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
            f"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{CREDIT_OID}=ASN1:UTF8String:CODE\n"
            "[server]\nbasicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            "[authority]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=default\n"
        )
        (folder / "index.txt").write_text("")
        (folder / "number").write_text("01\n")
        openssl(folder, "req", "-new", "-x509", *self._digest(), "-key", "ca.key", "-subj", "/CN=Test CA",
                "-days", "3000", "-config", "ca.cnf", "-extensions", "ca", "-out", "ca.pem")  # fmt: skip

    def _digest(self) -> list[str]:
        return ["-sm3", "-sigopt", DISTID] if self.sm2 else ["-sha256"]

    def key(self, name: str, algorithm: str = "SM2") -> None:
        kind = ["SM2"] if algorithm == "SM2" else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl(self.folder, "genpkey", "-algorithm", *kind, "-out", f"{name}.key")

    def certificate(
        self, name: str, code: str, *, algorithm: str = "SM2", days: int = 30, kind: str = "leaf"
    ) -> bytes:
        self.key(name, algorithm)
        config = (self.folder / "ca.cnf").read_text().replace("CODE", code)
        (self.folder / f"{name}.cnf").write_text(config)
        digest = ["-sm3", "-sigopt", DISTID] if algorithm == "SM2" else ["-sha256"]
        openssl(
            self.folder, "req", "-new", *digest, "-key", f"{name}.key", "-subj", "/CN=赵总/O=甲厂", "-utf8",
            "-config", f"{name}.cnf", "-out", f"{name}.csr",
        )  # fmt: skip
        given = ["-vfyopt", DISTID] if algorithm == "SM2" else []
        openssl(
            self.folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", *self._digest(), *given, "-days", str(days), "-extfile", f"{name}.cnf",
            "-extensions", kind, "-out", f"{name}.pem",
        )  # fmt: skip
        return (self.folder / f"{name}.pem").read_bytes()

    def sign(self, name: str, text: str, distid: str = DISTID, algorithm: str = "SM2") -> bytes:
        (self.folder / "message").write_text(text)
        how = ["-digest", "sm3", "-pkeyopt", distid] if algorithm == "SM2" else ["-digest", "sha256"]
        openssl(self.folder, "pkeyutl", "-sign", "-rawin", *how, "-in", "message", "-inkey", f"{name}.key",
                "-out", "signature")  # fmt: skip
        return (self.folder / "signature").read_bytes()

    def revoke(self, name: str | None) -> None:
        crl = ["-config", "ca.cnf", "-name", "authority", "-keyfile", "ca.key", "-cert", "ca.pem",
               "-md", "sm3" if self.sm2 else "sha256"]  # fmt: skip
        if name:
            openssl(self.folder, "ca", *crl, "-revoke", f"{name}.pem")
        openssl(self.folder, "ca", *crl, "-sigopt", DISTID, "-gencrl", "-crldays", "30", "-out", "ca.crl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.certificate("zhao", "X")
    made.certificate("qian", "X")
    return made


def federation(node: Any, authority: Authority, **changes: Any) -> Federation:
    provider = CertificateProvider(
        title=Text("USB Key", "USB key"),
        attributes=Attributes(org_code="credit"),
        attributes_by_oid={"credit": CREDIT_OID},
        **{"trust": (str(authority.folder / "ca.pem"),), "without_revocation": True, **changes},
    )
    return node.federation({"key": provider})


async def sign_in(own: Federation, certificate: bytes, sign: Any, browser: str = "b") -> Any:
    challenge = (await own.begin("key", browser="b")).challenge
    assert challenge is not None
    given = {
        "state": challenge.state,
        "certificate": certificate.decode("latin-1"),
        "signature": sign(challenge.text).hex(),
    }
    return await own.finish("key", given, browser=browser)


async def refused(code: str, own: Federation, certificate: bytes, sign: Any, **how: Any) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        await sign_in(own, certificate, sign, **how)
    assert error.value.code == code, error.value
    return error.value


def pem(authority: Authority, name: str) -> bytes:
    return (authority.folder / f"{name}.pem").read_bytes()


async def test_an_sm2_key_signs_in(node: Any, authority: Authority) -> None:
    certificate = authority.certificate("boss", node.code)
    own = federation(node, authority)
    arrived = await sign_in(own, certificate, lambda text: authority.sign("boss", text))
    found = arrived.external
    assert (found.name, found.org_code, found.strength) == ("赵总", node.code, Strength.HARDWARE)
    assert len(found.subject) == 64  # the certificate's fingerprint: a new certificate is looked at anew

    def raw(text: str) -> bytes:
        """r and s side by side, as the keys' own interface gives them."""
        r, s = decode_dss_signature(authority.sign("boss", text))
        return r.to_bytes(32) + s.to_bytes(32)

    again = await sign_in(own, certificate, raw)
    assert again.external.subject == found.subject


async def test_what_was_signed_has_to_fit(node: Any, authority: Authority) -> None:
    own, certificate = federation(node, authority), pem(authority, "zhao")
    sign = authority.sign
    await refused("federation.bad_signature", own, certificate, lambda t: sign("qian", t))
    await refused("federation.bad_signature", own, certificate, lambda t: sign("zhao", t + " "))
    await refused(
        "federation.bad_signature", own, certificate,
        lambda t: sign("zhao", t.replace("https://node.test", "https://evil.test")),
    )  # fmt: skip
    await refused(
        "federation.bad_signature", own, certificate, lambda t: sign("zhao", t, "distid:another-user0000")
    )
    await refused("federation.bad_signature", own, certificate, lambda t: b"")
    await refused("federation.bad_signature", own, certificate, lambda t: bytes(64))
    await refused("federation.bad_certificate", own, certificate, lambda t: bytes(5000))
    await refused("federation.bad_certificate", own, b"-----BEGIN nonsense", lambda t: sign("zhao", t))
    await refused("federation.no_flow", own, certificate, lambda t: sign("zhao", t), browser="thief")


async def test_a_challenge_is_answered_once(node: Any, authority: Authority) -> None:
    own = federation(node, authority)
    challenge = (await own.begin("key", browser="b")).challenge
    assert challenge is not None and "https://node.test" in challenge.text
    given = {
        "state": challenge.state,
        "certificate": pem(authority, "zhao").decode(),
        "signature": authority.sign("zhao", challenge.text).hex(),
    }
    await own.finish("key", given, browser="b")
    with pytest.raises(HeadraceError, match="not begun"):
        await own.finish("key", given, browser="b")


async def test_chains_that_are_refused(node: Any, authority: Authority, tmp_path: Path) -> None:
    own = federation(node, authority)
    stranger = Authority(tmp_path / "stranger")
    theirs = stranger.certificate("zhao", "X")
    await refused("federation.bad_chain", own, theirs, lambda t: stranger.sign("zhao", t))
    await refused(
        "federation.bad_chain", own, (stranger.folder / "ca.pem").read_bytes(),
        lambda t: stranger.sign("ca", t),
    )  # fmt: skip
    server = authority.certificate("www", "X", kind="server")
    error = await refused("federation.bad_chain", own, server, lambda t: authority.sign("www", t))
    assert "purpose" in error.params["reason"]
    node.clock.ahead_s = 31 * 86_400
    error = await refused(
        "federation.bad_chain", own, pem(authority, "zhao"), lambda t: authority.sign("zhao", t)
    )
    assert "expired" in error.params["reason"]


async def test_a_revoked_certificate_is_refused(node: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca2")
    good, bad = authority.certificate("good", "X"), authority.certificate("bad", "X")
    authority.revoke("bad")
    own = federation(
        node, authority, without_revocation=False, revocation=(str(authority.folder / "ca.crl"),)
    )
    assert (await sign_in(own, good, lambda t: authority.sign("good", t))).external.name == "赵总"
    error = await refused("federation.bad_chain", own, bad, lambda t: authority.sign("bad", t))
    assert error.params["reason"] == "revoked"
    late = authority.certificate("late", "X", days=300)
    node.clock.ahead_s = 31 * 86_400  # nobody brought a newer list
    error = await refused("federation.bad_chain", own, late, lambda t: authority.sign("late", t))
    assert error.params["reason"] == "no valid revocation list"


async def test_a_list_of_a_stranger_says_nothing(node: Any, tmp_path: Path) -> None:
    """Same name, another key: neither its word against a certificate counts, nor its word for one."""
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    good = authority.certificate("good", "X")
    stranger.revoke(None)
    lists = (str(stranger.folder / "ca.crl"),)
    own = federation(node, authority, without_revocation=False, revocation=lists)
    error = await refused("federation.bad_chain", own, good, lambda t: authority.sign("good", t))
    assert error.params["reason"] == "no valid revocation list"


async def test_keys_of_other_kinds_go_the_same_way(node: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ec", "EC")
    certificate = authority.certificate("zhao", "X", algorithm="EC")
    own = federation(node, authority)
    arrived = await sign_in(own, certificate, lambda t: authority.sign("zhao", t, algorithm="EC"))
    assert arrived.external.strength is Strength.HARDWARE


def test_unreadable_authorities_are_found_at_start(node: Any, authority: Authority) -> None:
    for name in ("nothing.pem", str(authority.folder / "ca.key")):
        with pytest.raises(HeadraceError) as error:
            federation(node, authority, trust=(name,))
        assert error.value.code == "federation.bad_file"


async def test_without_openssl_the_slot_says_so(
    node: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await sm2_module.version()).startswith("3.")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable):
        await sm2_module.version()
    own = federation(node, authority)
    await refused("federation.no_openssl", own, pem(authority, "zhao"), lambda t: b"x" * 70)
