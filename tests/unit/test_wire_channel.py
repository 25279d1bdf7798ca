"""TLS with both certificates, plaintext that stays here, and who may do what by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2

from control.addresses import NotAnAddress, parse_address
from control.replica.access import Client, allowed_identity
from control.replica.server import CannotListen, PeerServer
from control.wire.channel import TlsUnusable, connect
from control.wire.errors import PeerUnreachable, PlaintextRefused, ReplicaRefused
from control.wire.peers import greet, peer_error
from control.wire.send import send
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import ME, Replica, Rule, generation, manifest, noise, whole


@dataclass(frozen=True)
class Files:
    """PEM files of one host."""

    ca: Path
    cert: Path
    key: Path


def host_files(ca: trustme.CA, directory: Path, *names: str, common_name: str = "") -> Files:
    directory.mkdir()
    issued = ca.issue_cert(*names, common_name=common_name or None)
    files = Files(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    ca.cert_pem.write_to_path(str(files.ca))
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(files.cert), append=index > 0)
    issued.private_key_pem.write_to_path(str(files.key))
    return files


@contextmanager
def serving(replica: Replica, tls: Files) -> Iterator[str]:
    server = PeerServer(replica.service, "127.0.0.1:0", tls)
    server.start()
    try:
        yield f"localhost:{parse_address(server.address).port}"
    finally:
        server.stop(0)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def test_both_sides_show_certificates(tmp_path: Path, ca: trustme.CA) -> None:
    theirs = host_files(ca, tmp_path / "r", "localhost")
    ours = host_files(ca, tmp_path / "s", "source.example", common_name="source.example")
    replica = Replica(tmp_path / "replica", rules=(Rule("source.example", ("da*",)),))
    delta = whole(noise(1 << 20), 65536)
    with serving(replica, theirs) as address, connect(address, ours) as channel:
        stub = ReplicaStub(channel)
        assert greet(stub, ME).identity == "source.example"
        assert not send(stub, manifest(1, delta), delta).already
        described = stub.Describe(replica_pb2.DescribeRequest(volume="data"))
    assert described.source_identity == "source.example"
    assert described.newest == generation(1)


def test_another_identity_may_not_write(tmp_path: Path, ca: trustme.CA) -> None:
    theirs = host_files(ca, tmp_path / "r", "localhost")
    ours = host_files(ca, tmp_path / "s", "source.example")
    other = host_files(ca, tmp_path / "o", "other.example")
    rules = (Rule("source.example"), Rule("other.example", ("theirs",)))
    replica = Replica(tmp_path / "replica", rules=rules)
    delta = whole(noise(1 << 20), 65536)
    with serving(replica, theirs) as address:
        with connect(address, ours) as channel:
            send(ReplicaStub(channel), manifest(1, delta), delta)
        with connect(address, other) as channel:
            stub = ReplicaStub(channel)
            with pytest.raises(ReplicaRefused, match="may not use"):
                send(stub, manifest(2, delta), delta)
            for call in (
                lambda: stub.Describe(replica_pb2.DescribeRequest(volume="data")),
                lambda: list(stub.Digests(replica_pb2.DigestsRequest(volume="data"))),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    call()
                assert isinstance(peer_error(caught.value, "far"), ReplicaRefused)


def test_an_allowed_identity_may_not_write_anothers_volume(tmp_path: Path, ca: trustme.CA) -> None:
    theirs = host_files(ca, tmp_path / "r", "localhost")
    replica = Replica(tmp_path / "replica", rules=(Rule("one"), Rule("two")))
    delta = whole(noise(1 << 20), 65536)
    with serving(replica, theirs) as address:
        for name in ("one", "two"):
            ours = host_files(ca, tmp_path / name, f"{name}.example", common_name=name)
            with connect(address, ours) as channel:
                stub = ReplicaStub(channel)
                if name == "one":
                    send(stub, manifest(1, delta), delta)
                    continue
                with pytest.raises(ReplicaRefused, match="written by one, not by two"):
                    send(stub, manifest(2, delta), delta)
                with pytest.raises(grpc.RpcError):
                    stub.Describe(replica_pb2.DescribeRequest(volume="data"))
    assert replica.newest() == 1


def test_a_stranger_is_not_let_in(tmp_path: Path, ca: trustme.CA) -> None:
    theirs = host_files(ca, tmp_path / "r", "localhost")
    stranger = host_files(trustme.CA(), tmp_path / "s", "source.example")
    mixed = Files(theirs.ca, stranger.cert, stranger.key)
    with (
        serving(Replica(tmp_path / "replica", rules=(Rule("source.example"),)), theirs) as address,
        connect(address, mixed) as channel,
        pytest.raises(PeerUnreachable),
    ):
        greet(ReplicaStub(channel), ME, timeout=5)


def test_a_replica_that_is_not_who_it_should_be(tmp_path: Path, ca: trustme.CA) -> None:
    theirs = host_files(ca, tmp_path / "r", "elsewhere.example")
    ours = host_files(ca, tmp_path / "s", "source.example")
    with (
        serving(Replica(tmp_path / "replica"), theirs) as address,
        connect(address, ours) as channel,
        pytest.raises(PeerUnreachable),
    ):
        greet(ReplicaStub(channel), ME, timeout=5)


def test_plaintext_stays_here(tmp_path: Path) -> None:
    with pytest.raises(PlaintextRefused):
        connect("192.0.2.1:7420", None, True)
    with pytest.raises(PlaintextRefused):
        PeerServer(Replica(tmp_path).service, "0.0.0.0:0", plaintext=True)


def test_without_certificates_there_is_no_tls(tmp_path: Path) -> None:
    with pytest.raises(TlsUnusable):
        connect("192.0.2.1:7420", None)
    with pytest.raises(TlsUnusable):
        PeerServer(Replica(tmp_path / "r").service, "0.0.0.0:0")
    missing = Files(tmp_path / "ca", tmp_path / "cert", tmp_path / "key")
    with pytest.raises(TlsUnusable, match="cannot be read"):
        connect("192.0.2.1:7420", missing)


def test_no_address() -> None:
    with pytest.raises(NotAnAddress):
        connect("nowhere", None, True)


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    service = Replica(tmp_path).service
    first = PeerServer(service, "127.0.0.1:0", plaintext=True)
    with pytest.raises(CannotListen):
        PeerServer(service, first.address, plaintext=True)
    first.stop(0)


def test_the_listener_tells_its_health(tmp_path: Path) -> None:
    server = PeerServer(Replica(tmp_path).service, "127.0.0.1:0", plaintext=True)
    server.start()
    with connect(server.address, None, True) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for name in ("", "frazil.v1.Replica"):
            reply = check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
    server.stop(0)


@pytest.mark.parametrize(
    ("names", "volume", "identity"),
    [
        (("a", "b"), "db1", "a"),
        (("b",), "db1", None),
        (("b",), "web", "b"),
        (("c", "b"), "web", "b"),
        (("A",), "db1", None),
        ((), "db1", None),
    ],
)
def test_rules(names: tuple[str, ...], volume: str, identity: str | None) -> None:
    rules = (Rule("a", ("db*",)), Rule("b", ("other", "web")))
    if identity is None:
        with pytest.raises(ReplicaRefused):
            allowed_identity(rules, Client(names), volume)
    else:
        assert allowed_identity(rules, Client(names), volume) == identity


def test_without_rules_nobody_writes(tmp_path: Path) -> None:
    delta = whole(noise(1 << 20), 65536)
    replica = Replica(tmp_path, rules=())
    with replica.stub() as stub, pytest.raises(ReplicaRefused, match="loopback") as caught:
        send(stub, manifest(1, delta), delta)
    assert "[[replica.allow]]" in caught.value.hint
    assert replica.pool.list() == ()
