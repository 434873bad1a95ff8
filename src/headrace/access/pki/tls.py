"""Mutual TLS between machines and nodes: contexts with revocation checks, and who is connected now.

TLS 1.3 only, no session tickets: a resumed session would not show its certificate again, and so would outlive
its revocation. OpenSSL checks the whole chain against the lists at each handshake; `Gate` ends connections
that were open when a certificate was revoked or ran out."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog
from cryptography import x509

from headrace.access.pki import _files, names
from headrace.access.pki.revocation import Revocations
from headrace.kernel.clock import Clock
from headrace.kernel.errors import Corrupt, Denied

_log = structlog.get_logger(__name__)


class Credentials(msgspec.Struct, frozen=True):
    """Files of one end: `certificate` (with its issuer after it), its `key`, the `trust` (the root)."""

    certificate: Path
    key: Path
    trust: Path


def server_context(
    own: Credentials, revocations: Revocations, passphrase: str | None = None
) -> ssl.SSLContext:
    """For whoever takes connections of machines: a client without a good certificate gets none.

    The context follows `revocations`; without lists it takes nobody. Raises Corrupt
    (`pki.bad_certificate_file`), Conflict (`pki.key_exposed`), NotFound (`pki.no_file`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    return _finish(context, own, revocations, passphrase)


def client_context(
    own: Credentials, revocations: Revocations, passphrase: str | None = None
) -> ssl.SSLContext:
    """For whoever opens one: the host name has to stand in the server's certificate. Raises as above."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _finish(context, own, revocations, passphrase)


def _finish(
    context: ssl.SSLContext, own: Credentials, revocations: Revocations, passphrase: str | None
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN | ssl.VERIFY_X509_STRICT
    _files.read_private(own.key)
    try:
        context.load_cert_chain(own.certificate, own.key, passphrase)
        context.load_verify_locations(cafile=own.trust)
    except (ssl.SSLError, OSError) as error:
        raise Corrupt("pki.bad_certificate_file", path=str(own.certificate)) from error

    def refresh() -> None:
        if pem := revocations.pem:
            _add_lists(context, pem)

    refresh()
    revocations.listen(refresh)
    return context


def _add_lists(context: ssl.SSLContext, pem: bytes) -> None:
    """Python loads revocation lists from files only. Of several lists of an issuer OpenSSL takes the latest,
    so a live context can be brought up to date."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pem)
        file.flush()
        context.load_verify_locations(cafile=file.name)


class _Connection(msgspec.Struct):
    peer: names.Peer
    address: str
    close: Callable[[], None]


class Gate:
    """The mTLS connections of one process, by certificate.

    `admit` each connection after its handshake and call what it returns when it ends. A revoked certificate's
    connections are closed as soon as the list is loaded; expired ones by `sweep`. One certificate at two
    addresses at once is taken for a copied key: the newcomer is refused and `cloned` is told, because the
    rightful holder cannot be told from the other. A holder that moves gets in again once its old connection
    has timed out.
    """

    def __init__(
        self,
        revocations: Revocations,
        clock: Clock,
        *,
        cloned: Callable[[names.Peer, str, str], None] | None = None,
    ) -> None:
        """`cloned(peer, address of the present connection, address of the newcomer)`."""
        self._revocations = revocations
        self._clock = clock
        self._cloned = cloned
        self._open: dict[int, _Connection] = {}
        self._next = 0
        self._lock = threading.Lock()
        revocations.listen(self.sweep)

    def admit(
        self, certificate: bytes, address: str, close: Callable[[], None]
    ) -> tuple[names.Peer, Callable[[], None]]:
        """Who it is (`certificate`: DER, from the TLS layer), and what to call at the end. `close` is called
        from any thread when the connection has to end. Raises Denied (`pki.not_ours`, `pki.revoked`,
        `pki.expired`, `pki.elsewhere`)."""
        try:
            peer = names.peer_of(x509.load_der_x509_certificate(certificate))
        except ValueError:
            raise Denied("pki.not_ours", found="") from None
        with self._lock:
            self._check(peer)
            elsewhere = next(
                (c for c in self._open.values() if c.peer.serial == peer.serial and c.address != address),
                None,
            )
            if elsewhere is None:
                number = self._next = self._next + 1
                self._open[number] = _Connection(peer, address, close)
        if elsewhere is not None:
            _log.error("certificate_elsewhere", gateway=peer.identity.gateway, serial=peer.serial,
                       present=elsewhere.address, refused=address)  # fmt: skip
            if self._cloned is not None:
                self._cloned(peer, elsewhere.address, address)
            raise Denied("pki.elsewhere", gateway=peer.identity.gateway)

        def leave() -> None:
            with self._lock:
                self._open.pop(number, None)

        return peer, leave

    def sweep(self) -> None:
        """Close what may not stay. Call it every second or so; revocation calls it by itself."""
        with self._lock:
            ended = {}
            for number, connection in self._open.items():
                try:
                    self._check(connection.peer)
                except Denied as error:
                    ended[number] = (connection, error.code)
            for number in ended:
                del self._open[number]
        for connection, code in ended.values():
            gateway, serial = connection.peer.identity.gateway, connection.peer.serial
            _log.warning("machine_connection_ended", gateway=gateway, serial=serial, code=code)
            with contextlib.suppress(RuntimeError):  # its event loop is closed, and so is the connection
                connection.close()

    def _check(self, peer: names.Peer) -> None:
        if self._revocations.is_revoked(peer):
            raise Denied("pki.revoked", gateway=peer.identity.gateway)
        if peer.not_after <= self._clock.now():
            raise Denied("pki.expired", gateway=peer.identity.gateway)

    @property
    def peers(self) -> tuple[names.Peer, ...]:
        """Who is connected now."""
        with self._lock:
            return tuple(connection.peer for connection in self._open.values())
