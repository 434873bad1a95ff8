"""SM2 signatures and certificate chains, by the OpenSSL 3 command.

`cryptography` has no SM2 (its curve is refused when a public key is read), so the two checks that a sign-in
needs run `openssl`: `pkeyutl -verify` with SM3, and `verify` with the signer's identity. One sign-in costs a
few processes of some ten milliseconds. Everything goes by files in a private folder; nothing of a stranger's
stands on a command line. Source: GB/T 32918.2 (SM2 signature), GB/T 35276 §10 (user identity);
openssl-pkeyutl(1), openssl-verification-options(1)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Denied, Unavailable

DISTID = "1234567812345678"
_CURVE = bytes.fromhex("06082a811ccf5501822d")  # object identifier 1.2.156.10197.1.301, DER
_TIMEOUT_S = 10.0
_RAW = 64  # r and s, 32 bytes each, as USB keys give them


async def verify(
    certificate: bytes, message: bytes, signature: bytes, *, distid: str = DISTID, sm2: bool = True
) -> None:
    """That the key in `certificate` (PEM) signed `message`: SM2 with SM3, or, not `sm2`, ECDSA or RSA with
    SHA-256. `signature`: DER, or r and s of 32 bytes each. Raises Denied (`federation.bad_signature`),
    Unavailable (`federation.no_openssl`)."""
    if sm2 and len(signature) == _RAW:
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        signature = encode_dss_signature(r, s)
    with tempfile.TemporaryDirectory(prefix="headrace-sm2-") as folder:
        at = Path(folder)
        (at / "certificate.pem").write_bytes(certificate)
        (at / "message").write_bytes(message)
        (at / "signature").write_bytes(signature)
        how = ["-digest", "sm3", "-pkeyopt", f"distid:{distid}"] if sm2 else ["-digest", "sha256"]
        ok, _ = await _run(
            "pkeyutl", "-verify", "-rawin", *how, "-in", str(at / "message"), "-certin",
            "-inkey", str(at / "certificate.pem"), "-sigfile", str(at / "signature"),
        )  # fmt: skip
    if not ok:
        raise Denied("federation.bad_signature")


async def verify_chain(
    certificate: bytes, *, trust: Sequence[Path], now: int, distid: str = DISTID, sm2: bool = True
) -> None:
    """That `certificate` (PEM, one) leads to one of the self-signed certificates in `trust` at `now` (UTC ns)
    and may be used to sign in. `sm2`: the chain is of SM2 keys. Raises Denied (`federation.bad_chain`, with
    OpenSSL's reason), Unavailable (`federation.no_openssl`)."""
    with tempfile.TemporaryDirectory(prefix="headrace-sm2-") as folder:
        at = Path(folder)
        (at / "certificate.pem").write_bytes(certificate)
        (at / "trust.pem").write_bytes(b"\n".join(path.read_bytes() for path in trust))
        identity = ["-vfyopt", f"distid:{distid}"] if sm2 else []
        ok, said = await _run(
            "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", str(at / "trust.pem"),
            "-purpose", "sslclient", "-attime", str(now // NS_PER_S), *identity, str(at / "certificate.pem"),
        )  # fmt: skip
    if not ok:
        reason = next((line.partition(": ")[2] for line in said.splitlines() if ": " in line), "")
        raise Denied("federation.bad_chain", reason=reason[:120])


def is_sm2(certificate: x509.Certificate) -> bool:
    """Whether its key is on the SM2 curve, which `cryptography` cannot load."""
    key = certificate.public_key_algorithm_oid.dotted_string == "1.2.840.10045.2.1"
    return key and _CURVE in certificate.tbs_certificate_bytes


async def version() -> str:
    """What `openssl version` says; 3.0 or later is needed. Raises Unavailable (`federation.no_openssl`)."""
    ok, said = await _run("version")
    words = said.split()
    if not ok or len(words) < 2 or words[0] != "OpenSSL" or int(words[1].partition(".")[0]) < 3:
        raise Unavailable("federation.no_openssl", found=said.strip()[:80])
    return words[1]


async def _run(*arguments: str) -> tuple[bool, str]:
    """Whether `openssl` with `arguments` succeeded, and what it said."""
    program = shutil.which("openssl")
    if program is None:
        raise Unavailable("federation.no_openssl", found="")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"OPENSSL_CONF": "/dev/null", "LC_ALL": "C"},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise Unavailable("federation.no_openssl", found="timeout") from None
    return process.returncode == 0, out.decode("utf-8", "replace")
