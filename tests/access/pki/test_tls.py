"""Real TLS over loopback: who gets in, who does not, and how soon a revocation counts."""

import asyncio
import datetime as dt
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headrace.access.pki import (
    Credentials,
    Gate,
    Machine,
    Revocations,
    SignedList,
    Usage,
    client_context,
    follow,
    from_bus,
    from_records,
    keys,
    lists,
    principal,
    serve,
    server_context,
)
from headrace.access.pki.authority import Revoked
from headrace.bus import MemoryBus
from headrace.kernel.errors import Corrupt, Denied

HOST = "127.0.0.1"


class Server:
    """Answers "hello" with the name of whoever its gate admitted."""

    def __init__(self, context: ssl.SSLContext, revocations: Revocations, gate: Gate) -> None:
        self.context = context
        self.revocations = revocations
        self.gate = gate
        self.address: Callable[[asyncio.StreamWriter], str] = lambda w: str(w.get_extra_info("peername")[0])
        self.refused: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._talk, HOST, 0, ssl=self.context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        loop = asyncio.get_running_loop()
        try:
            peer, leave = self.gate.admit(
                certificate,
                self.address(writer),
                lambda: loop.call_soon_threadsafe(writer.transport.abort),
            )
        except Denied as error:
            self.refused.append(error.code)
            writer.close()
            return
        try:
            while await reader.readline():
                writer.write(peer.identity.gateway.encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            leave()
            writer.close()


@pytest.fixture
def server(node: Any) -> Server:
    hub = node.machine("hub", Usage.SERVER, (HOST,))
    revocations = hub.revocations()
    return Server(server_context(hub.credentials, revocations), revocations, Gate(revocations, node.clock))


async def hello(port: int, context: ssl.SSLContext, host: str = HOST) -> str:
    """What the server calls us; TLS 1.3 tells a client of its refusal only when it reads."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=host)
    try:
        writer.write(b"hello\n")
        await writer.drain()
        return (await reader.readline()).decode().strip()
    finally:
        writer.transport.abort()


async def gets_in(port: int, context: ssl.SSLContext) -> bool:
    try:
        return bool(await hello(port, context))
    except (ssl.SSLError, ConnectionError):
        return False


def context_of(machine: Machine) -> ssl.SSLContext:
    return client_context(machine.credentials, machine.revocations())


async def test_an_enrolled_machine_gets_in_and_is_named(node: Any, server: Server) -> None:
    oven = node.machine("oven")
    async with server.listening() as port:
        assert await hello(port, context_of(oven)) == "oven"
    who = principal(oven.peer, 7)
    assert (who.id, who.orgs, who.strength.name) == (
        f"spiffe://plant-1/org/{node.firm}/machine/oven", (node.firm,), "HARDWARE",
    )  # fmt: skip


async def test_without_a_certificate_nobody_gets_in(node: Any, server: Server) -> None:
    bare = ssl.create_default_context(cafile=str(node.machine("oven").credentials.trust))
    async with server.listening() as port:
        assert not await gets_in(port, bare)


async def test_old_tls_is_refused(node: Any, server: Server) -> None:
    context = context_of(node.machine("oven"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with server.listening() as port:
        assert not await gets_in(port, context)


async def test_another_authority_of_the_same_name_is_refused(
    node: Any, server: Server, make_node: Any, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    twin = type(node)(tmp_path / "b", "plant-1", node.clock, node.tables)  # same names, other keys
    stranger = twin.machine("oven")
    own = node.machine("oven")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts the server, shows the stranger's certificate
    context.load_cert_chain(stranger.credentials.certificate, stranger.credentials.key)
    context.load_verify_locations(own.credentials.trust)
    async with server.listening() as port:
        assert not await gets_in(port, context)
        with pytest.raises(ssl.SSLCertVerificationError):
            await hello(port, context_of(stranger))  # and the stranger does not trust the server
        assert await gets_in(port, context_of(own))
    twin.records.close()


async def test_a_machine_cannot_serve_and_the_host_has_to_fit(node: Any, server: Server) -> None:
    oven = node.machine("oven")
    async with server.listening() as port:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid"):
            await hello(port, context_of(oven), "localhost")
    posing = node.machine("booth")
    context = server_context(posing.credentials, posing.revocations())
    listening = await asyncio.start_server(lambda r, w: None, HOST, 0, ssl=context)
    async with listening:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"purpose|mismatch|not valid"):
            await hello(listening.sockets[0].getsockname()[1], context_of(oven))


async def test_an_expired_certificate_is_refused(node: Any, server: Server, tmp_path: Path) -> None:
    oven = node.machine("oven")
    key = keys.generate()
    leaf = x509.load_pem_x509_certificates(oven.credentials.certificate.read_bytes())[0]
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=leaf.issuer,
        subject_name=leaf.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(days=90),
        not_valid_after=now - dt.timedelta(seconds=1),
        extensions=[e for e in leaf.extensions if not isinstance(e.value, x509.SubjectKeyIdentifier)],
    )
    ended = builder.sign(node.authority.issuer.key, hashes.SHA256())
    (tmp_path / "c.pem").write_bytes(ended.public_bytes(serialization.Encoding.PEM) + node.authority.chain)
    (tmp_path / "k.pem").write_bytes(keys.dump(key))
    (tmp_path / "k.pem").chmod(0o600)
    own = Credentials(tmp_path / "c.pem", tmp_path / "k.pem", oven.credentials.trust)
    async with server.listening() as port:
        assert not await gets_in(port, client_context(own, oven.revocations()))
        assert await gets_in(port, context_of(oven))


async def test_a_connection_ends_when_its_certificate_does(node: Any, server: Server) -> None:
    oven = node.machine("oven")
    async with server.listening() as port:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context_of(oven))
        writer.write(b"hello\n")
        assert await reader.readline() == b"oven\n"
        server.gate.sweep()
        assert len(server.gate.peers) == 1
        node.clock.ahead_s = 90 * 86_400
        server.gate.sweep()
        assert await asyncio.wait_for(_ended(reader), 2)
        writer.transport.abort()


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.mark.parametrize("path", ["events", "polling", "bus of another node"])
async def test_a_revocation_counts_within_five_seconds(node: Any, server: Server, path: str) -> None:
    """New handshakes are refused and open connections closed, by each way in which the news may travel."""
    oven, booth = node.machine("oven"), node.machine("booth")
    stop, bus = asyncio.Event(), MemoryBus()
    revocations = server.revocations
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 20, discard_old=True)
    tasks = []
    if path == "events":
        tasks.append(asyncio.create_task(node.events.carry(bus, "plant-1", stop=stop)))
        source, events, every = from_records(node.records), node.events, 60.0
    elif path == "polling":
        source, events, every = from_records(node.records), None, 1.0
    else:
        await serve(bus, "plant-1", node.records)
        source, events, every = from_bus(bus, "plant-1"), None, 1.0
    tasks.append(asyncio.create_task(follow(revocations, source, stop=stop, events=events, every_s=every)))
    async with server.listening() as port:
        contexts = {m: context_of(m) for m in (oven, booth)}
        kept = await asyncio.open_connection(HOST, port, ssl=contexts[oven])
        kept[1].write(b"hello\n")
        assert await kept[0].readline() == b"oven\n"
        start = time.monotonic()
        await asyncio.to_thread(node.pki.revoke, oven.peer.serial, node.all, by="admin")
        assert await asyncio.wait_for(_ended(kept[0]), 5)
        assert not await gets_in(port, contexts[oven])
        assert time.monotonic() - start < 5
        assert await gets_in(port, contexts[booth])
        kept[1].transport.abort()
    stop.set()
    await asyncio.gather(*tasks)
    await bus.close()


async def test_revocations_in_quick_succession_all_count(node: Any, server: Server) -> None:
    """Lists signed within one second carry the same time of day; OpenSSL must still take the last."""
    machines = [node.machine(f"m-{n}") for n in range(3)]
    contexts = [context_of(m) for m in machines]
    async with server.listening() as port:
        for machine in machines:
            node.pki.revoke(machine.peer.serial, node.all, by="a")
            server.revocations.load(await from_records(node.records)())
        server.gate._check = lambda peer: None  # type: ignore[method-assign] # OpenSSL alone
        assert [await gets_in(port, c) for c in contexts] == [False, False, False]


async def test_a_session_is_not_resumed_past_a_revocation(node: Any, server: Server) -> None:
    """A resumed TLS session would not show the certificate again: there are no tickets to resume by."""
    oven = node.machine("oven")
    context = context_of(oven)
    async with server.listening() as port:
        session = await asyncio.to_thread(_session_of, port, context)
        assert session is None or not session.has_ticket


def _session_of(port: int, context: ssl.SSLContext) -> ssl.SSLSession | None:
    with (
        socket.create_connection((HOST, port)) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as tls,
    ):
        tls.sendall(b"hello\n")
        assert tls.recv(100) == b"oven\n"
        return tls.session


async def test_a_certificate_without_its_key_is_worth_nothing(node: Any, tmp_path: Path) -> None:
    oven = node.machine("oven")
    shutil.copy(oven.credentials.certificate, tmp_path / "c.pem")
    (tmp_path / "k.pem").write_bytes(keys.dump(keys.generate()))
    (tmp_path / "k.pem").chmod(0o600)
    stolen = Credentials(tmp_path / "c.pem", tmp_path / "k.pem", oven.credentials.trust)
    with pytest.raises(Corrupt):
        client_context(stolen, oven.revocations())


async def test_a_copy_at_another_address_is_refused_and_told(node: Any, server: Server) -> None:
    told: list[tuple[str, str, str]] = []
    gate = Gate(server.revocations, node.clock, cloned=lambda p, a, b: told.append((p.serial, a, b)))
    server.gate = gate
    oven = node.machine("oven")
    shutil.copytree(oven.folder, node.folder / "copy")
    copy = Machine(node.folder / "copy", "oven")
    addresses = iter(["10.0.0.1", "10.0.0.1", "10.9.9.9", "10.9.9.9"])
    server.address = lambda w: next(addresses)
    async with server.listening() as port:
        first = await asyncio.open_connection(HOST, port, ssl=context_of(oven))
        first[1].write(b"hello\n")
        assert await first[0].readline() == b"oven\n"
        assert await gets_in(port, context_of(oven))  # a second connection of the same holder
        assert not await gets_in(port, context_of(copy))
        assert told == [(oven.peer.serial, "10.0.0.1", "10.9.9.9")]
        assert server.refused == ["pki.elsewhere"]
        first[1].transport.abort()
        while gate.peers:  # noqa: ASYNC110 - the gate has no event to wait for
            await asyncio.sleep(0.01)
        assert await gets_in(port, context_of(copy))  # a machine that moved, or a copy: whoever holds the key


async def test_a_chain_of_this_authority_without_our_identity_is_refused(node: Any) -> None:
    gate = Gate(Revocations(node.pki.trust), node.clock)
    for der in (node.authority.issuer.certificate.public_bytes(serialization.Encoding.DER), b"", b"\x30\x00"):
        with pytest.raises(Denied):
            gate.admit(der, HOST, lambda: None)


def test_lists_that_lie_are_refused_and_the_old_ones_stay(node: Any, make_node: Any) -> None:
    oven = node.machine("oven")
    before = lists.read(node.records)
    node.pki.revoke(oven.peer.serial, node.all, by="a")
    known = Revocations(node.pki.trust)
    assert known.load(lists.read(node.records)) and known.is_revoked(oven.peer)
    assert not known.load(before) and known.is_revoked(oven.peer)  # an older list never comes back

    foreign = lists.read(make_node("plant-2").records)
    own = before[0]
    forged = SignedList(foreign[0].crl, own.issuer)
    broken = SignedList(own.crl[:-1] + bytes([own.crl[-1] ^ 1]), own.issuer)
    leaf = x509.load_pem_x509_certificates(oven.credentials.certificate.read_bytes())[0]
    by_leaf = SignedList(own.crl, leaf.public_bytes(serialization.Encoding.DER))
    for bad in (*foreign, forged, broken, by_leaf, SignedList(b"", b""), SignedList(b"0" * (9 << 20), b"")):
        with pytest.raises(Corrupt):
            known.load([bad])
    assert known.is_revoked(oven.peer)


async def test_a_list_larger_than_a_message_travels_in_parts(node: Any) -> None:
    entries = [Revoked(format((1 << 150) | n, "x"), node.clock.now(), "unspecified") for n in range(6_000)]
    crl = node.authority.crl(node.authority.issuer, entries, number=2, after=0)
    der = crl.public_bytes(serialization.Encoding.DER)
    with node.records.begin() as connection:
        changed = "UPDATE pki_crl SET der = ?, number = 2 WHERE issuer = ?"
        connection.exec_driver_sql(changed, (der, node.authority.issuer.name))
    bus, known = MemoryBus(), Revocations(node.pki.trust)
    await serve(bus, "plant-1", node.records)
    source = from_bus(bus, "plant-1")
    assert len(der) > 300_000 and known.load(await source())
    assert {len(found.serials) for found in known.lists} == {0, 6_000}
    assert await source() == []  # nothing changed since
    await bus.close()


async def test_without_lists_nobody_gets_in(node: Any) -> None:
    """A process that never heard of revocations cannot know who is good."""
    hub, oven = node.machine("hub", Usage.SERVER, (HOST,)), node.machine("oven")
    revocations = Revocations(node.pki.trust)
    server = Server(server_context(hub.credentials, revocations), revocations, Gate(revocations, node.clock))
    async with server.listening() as port:
        assert not await gets_in(port, context_of(oven))
        revocations.load(await from_records(node.records)())
        assert await gets_in(port, context_of(oven))
