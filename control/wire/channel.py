"""Channels to peers: TLS with both sides' certificates, or plaintext that stays on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import grpc

from control.addresses import parse_address
from control.wire.errors import PlaintextRefused
from dm_tables.errors import Usage

MAX_MESSAGE_BYTES = 4 << 20
KEEPALIVE_MS = 10_000
CONNECT_MS = 10_000

CLIENT_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]

SERVER_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
]


class TlsUnusable(Usage):
    """A certificate or key that cannot be read."""


class TlsFiles(Protocol):
    """PEM files, as the configuration's [tls] names them."""

    @property
    def ca(self) -> Path:
        """The authority that signs peers."""

    @property
    def cert(self) -> Path:
        """This host's certificate."""

    @property
    def key(self) -> Path:
        """Its private key."""


def connect(address: str, tls: TlsFiles | None, plaintext: bool = False) -> grpc.Channel:
    """A channel to the frazild at ``address``; nothing is sent before the first call.

    :param address: ``host:port``, or ``unix:PATH``.
    :param plaintext: without TLS; only within this host.
    :raises PlaintextRefused: plaintext to another host. :raises TlsUnusable: no certificates.
    :raises NotAnAddress: no address.
    """
    target = target_of(address)
    if plaintext:
        if not stays_here(address):
            raise PlaintextRefused(
                f"{address} is not on this host, and plaintext would leave it",
                "use TLS: set [tls] in the configuration",
            )
        return grpc.insecure_channel(target, options=CLIENT_OPTIONS)
    if tls is None:
        raise TlsUnusable(
            f"there is no certificate to reach {address} with", "set [tls] in the configuration"
        )
    return grpc.secure_channel(target, client_credentials(tls), options=CLIENT_OPTIONS)


def target_of(address: str) -> str:
    """``address`` as gRPC wants it. :raises NotAnAddress: it is none."""
    return address if address.startswith("unix:") else str(parse_address(address))


def stays_here(address: str) -> bool:
    """Whether what is sent to ``address`` cannot leave this host."""
    return address.startswith("unix:") or parse_address(address).is_loopback


def client_credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    """This host as a client. :raises TlsUnusable: a file cannot be read."""
    return grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.cert))


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """This host as a server that wants to see every client's certificate.

    :raises TlsUnusable: a file cannot be read.
    """
    return grpc.ssl_server_credentials(
        [(_read(tls.key), _read(tls.cert))],
        root_certificates=_read(tls.ca),
        require_client_auth=True,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{path} cannot be read: {error.strerror}") from error
