"""The listener for peers: TLS with both certificates, or plaintext that stays on this host."""

from __future__ import annotations

from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control.addresses import parse_address
from control.replica.service import ReplicaService
from control.wire.channel import (
    SERVER_OPTIONS,
    TlsFiles,
    TlsUnusable,
    server_credentials,
    stays_here,
    target_of,
)
from control.wire.errors import PlaintextRefused
from dm_tables.errors import Unavailable
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import add_ReplicaServicer_to_server

WORKERS = 128
"""Calls at once: each running copy or verify has a thread for as long as it lasts."""


class CannotListen(Unavailable):
    """The address cannot be bound."""


class PeerServer:
    """The gRPC server that peers call.

    :param address: ``host:port`` or ``unix:PATH``; port 0 takes a free one.
    :raises PlaintextRefused: plaintext that could leave this host.
    :raises TlsUnusable: beyond loopback without certificates, or ones that cannot be read.
    :raises CannotListen: the address is taken, or not this host's.
    """

    def __init__(
        self,
        service: ReplicaService,
        address: str,
        tls: TlsFiles | None = None,
        plaintext: bool = False,
    ) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(WORKERS, "peer"), options=SERVER_OPTIONS
        )
        add_ReplicaServicer_to_server(service, self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._name = replica_pb2.DESCRIPTOR.services_by_name["Replica"].full_name
        names = (self._name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.address = self._bind(address, tls, plaintext)

    def _bind(self, address: str, tls: TlsFiles | None, plaintext: bool) -> str:
        """:return: the address with the port that was taken."""
        try:
            if plaintext:
                if not stays_here(address):
                    raise PlaintextRefused(
                        f"plaintext on {address} would leave this host",
                        "listen on a loopback address, or set [tls]",
                    )
                port = self._server.add_insecure_port(target_of(address))
            elif tls is None:
                raise TlsUnusable(f"there is no certificate to listen on {address}", "set [tls]")
            else:
                credentials = server_credentials(tls)
                port = self._server.add_secure_port(target_of(address), credentials)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address}: {error}") from error
        if address.startswith("unix:"):
            return address
        parsed = parse_address(address)
        return str(type(parsed)(parsed.host, port))

    def start(self) -> None:
        """Take calls."""
        self._server.start()
        for name in ("", self._name):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace: float = 2.0) -> None:
        """Take no more; running calls get ``grace`` seconds, and go on where they were later."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
