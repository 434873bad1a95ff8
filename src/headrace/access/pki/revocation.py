"""What is revoked, known in every process that opens or takes mTLS connections.

A process trusts signed lists only: an event merely makes it look. `Revocations` checks each list against its
issuer and never goes back to an older one; `follow` keeps it fresh by events and, where none come, by asking
every second, so that a revocation counts within 5 s whichever of the two paths is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from headrace.access.events import AccessEvent, Events
from headrace.access.pki import keys, lists, names
from headrace.access.pki.lists import SignedList
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Corrupt, Denied, HeadraceError
from headrace.kernel.ports import Bus
from headrace.records import Records

_log = structlog.get_logger(__name__)

EVERY_S = 1.0
_RETRY_S = 0.5
_MAX_LIST = 8 << 20  # bytes; an entry takes 52
_PART = 256 << 10  # bytes of a list in one message

T = TypeVar("T")
Source = Callable[[], Awaitable[Sequence[SignedList]]]


class RevocationList(msgspec.Struct, frozen=True):
    """A list whose signature has been checked. Times in UTC ns; serials in lower-case hexadecimal."""

    issuer: str
    number: int
    this_update: int
    next_update: int
    serials: frozenset[str]
    pem: bytes


class Revocations:
    """The newest list of each issuer below one root. Safe to ask from any thread."""

    def __init__(self, trust: bytes) -> None:
        """`trust`: the root in PEM. Raises Corrupt (`pki.bad_root`)."""
        try:
            self._root = x509.load_pem_x509_certificate(trust)
        except ValueError:
            raise Corrupt("pki.bad_root") from None
        self._lists: dict[str, RevocationList] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a newer list has come, in the thread that brought it."""
        self._listeners.append(listener)

    def load(self, signed: Sequence[SignedList]) -> bool:
        """Take what is newer among these lists; whether there was any. Raises Corrupt (`pki.bad_list`) where
        one is unreadable, or not signed by an issuer below the root; what came before stays in force then."""
        newer = False
        for one in signed:
            found = self._check(one)
            held = self._lists.get(found.issuer)
            if held is None or found.number > held.number:
                self._lists[found.issuer] = found
                newer = True
        if newer:
            for listener in list(self._listeners):
                listener()
        return newer

    def _check(self, one: SignedList) -> RevocationList:
        if len(one.crl) > _MAX_LIST:
            raise Corrupt("pki.bad_list", issuer="", reason=f"> {_MAX_LIST} bytes")
        issuer = ""
        try:
            crl = x509.load_der_x509_crl(one.crl)
            issuer = names.common_name(crl.issuer)
            signer = self._signer(x509.load_der_x509_certificate(one.issuer))
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            if crl.issuer != signer.subject or not crl.is_signature_valid(keys.check(signer.public_key())):
                raise InvalidSignature
        except (ValueError, TypeError, Denied, InvalidSignature, x509.ExtensionNotFound) as error:
            raise Corrupt("pki.bad_list", issuer=issuer, reason=type(error).__name__) from None
        end = crl.next_update_utc
        return RevocationList(
            issuer=issuer,
            number=number,
            this_update=int(crl.last_update_utc.timestamp()) * NS_PER_S,
            next_update=int(end.timestamp()) * NS_PER_S if end else 0,
            serials=frozenset(names.serial_text(entry.serial_number) for entry in crl),
            pem=crl.public_bytes(serialization.Encoding.PEM),
        )

    def _signer(self, certificate: x509.Certificate) -> x509.Certificate:
        """`certificate` where it is the root or an authority that the root signed; else an exception."""
        if certificate == self._root:
            return certificate
        certificate.verify_directly_issued_by(self._root)
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise InvalidSignature
        return certificate

    def is_revoked(self, peer: names.Peer) -> bool:
        """Whether the newest list of the peer's issuer has its serial."""
        held = self._lists.get(peer.issuer)
        return held is not None and peer.serial in held.serials

    @property
    def lists(self) -> tuple[RevocationList, ...]:
        return tuple(self._lists.values())

    @property
    def pem(self) -> bytes:
        """All lists, for OpenSSL."""
        return b"".join(found.pem for found in self._lists.values())

    @property
    def trust_fingerprint(self) -> str:
        return self._root.fingerprint(hashes.SHA256()).hex()


async def follow(
    revocations: Revocations,
    source: Source,
    *,
    stop: asyncio.Event,
    events: Events | None = None,
    every_s: float = EVERY_S,
) -> None:
    """Keep `revocations` fresh until `stop`: look at each event "pki.crl", and every `every_s` seconds. A
    source that fails or lies is tried again; the lists at hand stay in force."""
    loop, stirred = asyncio.get_running_loop(), asyncio.Event()

    def heard(event: AccessEvent) -> None:
        if event.kind == "pki.crl" and not loop.is_closed():
            loop.call_soon_threadsafe(stirred.set)

    if events is not None:
        events.listen(heard)
    ending = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            stirred.clear()
            pause = every_s
            try:
                revocations.load(await source())
            except HeadraceError as error:
                _log.warning("revocations_wait", code=error.code)
                pause = min(_RETRY_S, every_s)
            waking = asyncio.create_task(stirred.wait())
            await asyncio.wait({waking, ending}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
    finally:
        ending.cancel()


def from_records(records: Records) -> Source:
    """The lists of this node's own authority, for its other processes. Lists that were given before are not
    given again."""
    given: dict[str, int] = {}

    async def source() -> Sequence[SignedList]:
        numbers = await asyncio.to_thread(lists.numbers, records)
        if numbers == given:
            return []
        found = await asyncio.to_thread(lists.read, records)
        given.update(numbers)
        return found

    return source


class _Ask(msgspec.Struct, frozen=True):
    """Which lists are there (no `issuer`), or a part of one."""

    issuer: str = ""
    offset: int = 0


class _Part(msgspec.Struct, frozen=True):
    """Part of list `number`: `crl` from the offset asked for, of `size` bytes in all."""

    number: int
    size: int
    crl: bytes
    issuer: bytes


def from_bus(bus: Bus, node: str) -> Source:
    """The lists of the authority of `node`, for other nodes: requests on `cmd.<node>.crl`. A list travels in
    parts, because it may outgrow a message; it is asked for when its number has changed."""
    given: dict[str, int] = {}

    async def ask(what: _Ask, reply: type[T]) -> T:
        data = await bus.request(f"cmd.{node}.crl", msgspec.json.encode(what), timeout_s=2.0)
        try:
            return msgspec.json.decode(data, type=reply)
        except msgspec.DecodeError:
            raise Corrupt("pki.bad_list", issuer=node, reason="reply") from None

    async def whole(issuer: str) -> tuple[int, SignedList]:
        data, part = bytearray(), await ask(_Ask(issuer), _Part)
        first = part
        while True:
            data += part.crl
            if len(data) >= first.size or len(data) > _MAX_LIST:
                return first.number, SignedList(bytes(data), first.issuer)
            part = await ask(_Ask(issuer, len(data)), _Part)
            if part.number != first.number or not part.crl:  # a newer one came meanwhile: next time
                raise Corrupt("pki.bad_list", issuer=issuer, reason="changed")

    async def source() -> Sequence[SignedList]:
        found = []
        for issuer, number in (await ask(_Ask(), dict[str, int])).items():
            if given.get(issuer) != number:
                given[issuer], one = await whole(issuer)
                found.append(one)
        return found

    return source


async def serve(bus: Bus, node: str, records: Records) -> None:
    """Answer `from_bus` of other nodes. The lists are public: they carry serial numbers and no names."""

    async def answer(request: bytes) -> bytes:
        what = msgspec.json.decode(request, type=_Ask)
        if not what.issuer:
            return msgspec.json.encode(await asyncio.to_thread(lists.numbers, records))
        number, one = await asyncio.to_thread(lists.read_one, records, what.issuer)
        part = one.crl[what.offset : what.offset + _PART]
        return msgspec.json.encode(_Part(number, len(one.crl), part, one.issuer))

    await bus.serve(f"cmd.{node}.crl", answer)
