"""The machine's end: its key never leaves it; requests, certificates and lists in one folder (mode 0700).

`certificate.pem` and `key-….pem` are what it uses, `next.key` is the key of a request under way, `trust.pem`
the root, `lists.json` the revocation lists it saw last. A key file carries the fingerprint of its public key
and is written before the certificate is replaced, so a crash at any point leaves a matching pair."""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from headrace.access.pki import _files, keys, names, requests
from headrace.access.pki.lists import SignedList
from headrace.access.pki.revocation import Revocations
from headrace.access.pki.tls import Credentials
from headrace.access.pki.views import Issued
from headrace.kernel.errors import Corrupt, Denied


class Machine:
    """The credentials of one gateway, or of one server. One process at a time changes them."""

    def __init__(self, folder: Path, gateway: str, hosts: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.gateway = names.check_name(gateway)
        self.hosts = hosts

    def request(self) -> bytes:
        """A signing request in PEM for a fresh key; the same one until `install`, so that it can be sent
        again when the answer was lost."""
        path = self.folder / "next.key"
        if path.exists():
            key = keys.load(_files.read_private(path), None, path=str(path))
        else:
            key = keys.generate()
            _files.write(path, keys.dump(key), private=True)
        return requests.make(key, self.gateway, self.hosts)

    def install(self, issued: Issued, *, trust_fingerprint: str = "") -> None:
        """Take the answer to `request`. `trust_fingerprint` (as handed over with the code) is needed the
        first time, when there is no root yet; later the root may not change. Raises Denied
        (`pki.wrong_root`), Corrupt (`pki.wrong_answer`: another key, another name, another signer;
        `pki.bad_list`)."""
        root = x509.load_pem_x509_certificate(issued.trust.encode())
        held = self.folder / "trust.pem"
        known = x509.load_pem_x509_certificate(_files.read(held)) if held.exists() else None
        expected = known.fingerprint(hashes.SHA256()).hex() if known else trust_fingerprint.lower()
        if root.fingerprint(hashes.SHA256()).hex() != expected:
            raise Denied("pki.wrong_root")
        pending = self.folder / "next.key"
        key = keys.load(_files.read_private(pending), None, path=str(pending))
        try:
            leaf, issuer = x509.load_pem_x509_certificates(issued.certificate.encode())
            leaf.verify_directly_issued_by(issuer)
            issuer.verify_directly_issued_by(root)
        except Exception as error:  # cryptography raises ValueError, TypeError, InvalidSignature here
            raise Corrupt("pki.wrong_answer") from error
        if leaf.public_key() != key.public_key() or names.peer_of(leaf).identity.gateway != self.gateway:
            raise Corrupt("pki.wrong_answer")
        Revocations(issued.trust.encode()).load(issued.lists)
        keyed = self._key_of(leaf)
        _files.write(keyed, keys.dump(key), private=True)
        _files.write(held, issued.trust.encode(), private=False)
        self.keep_lists(issued.lists)
        _files.write(self.folder / "certificate.pem", issued.certificate.encode(), private=False)
        pending.unlink()
        for old in self.folder.glob("key-*.pem"):
            if old != keyed:
                old.unlink()
        _files.sync(self.folder)

    @property
    def credentials(self) -> Credentials:
        """Raises NotFound (`pki.no_file`) before the first `install`."""
        path = self.folder / "certificate.pem"
        return Credentials(path, self._key_of(self._leaf()), self.folder / "trust.pem")

    @property
    def peer(self) -> names.Peer:
        """Who this machine is, by its certificate. Raises NotFound (`pki.no_file`)."""
        return names.peer_of(self._leaf())

    def revocations(self) -> Revocations:
        """With the lists seen last, so that it can connect before it has asked for newer ones."""
        found = Revocations(_files.read(self.folder / "trust.pem"))
        text = _files.read(self.folder / "lists.json")
        found.load(msgspec.json.decode(text, type=tuple[SignedList, ...]))
        return found

    def keep_lists(self, signed: tuple[SignedList, ...]) -> None:
        """Remember lists for the next start."""
        _files.write(self.folder / "lists.json", msgspec.json.encode(signed), private=False)

    def renewal_due(self, now: int, renew_before: int) -> bool:
        """Whether the certificate ends within `renew_before` ns of `now` (UTC ns)."""
        return self.peer.not_after - now <= renew_before

    def _leaf(self) -> x509.Certificate:
        path = self.folder / "certificate.pem"
        try:
            return x509.load_pem_x509_certificates(_files.read(path))[0]
        except ValueError as error:
            raise Corrupt("pki.bad_certificate_file", path=str(path)) from error

    def _key_of(self, leaf: x509.Certificate) -> Path:
        return self.folder / f"key-{keys.fingerprint(keys.check(leaf.public_key()))[:16]}.pem"
