"""The Control service on a unix socket that only root and the group frazil may use."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control.host import Host
from control.replica.side import ReplicaSide
from control.services import ControlService
from control.switch import Roles
from dm_tables.errors import Unavailable
from proto.frazil.v1 import control_pb2, control_pb2_grpc

WORKERS = 32
GROUP = "frazil"
GRACE_SECONDS = 2.0


class SocketUnusable(Unavailable):
    """The control socket cannot be made."""


@contextmanager
def serve_control(host: Host, replicas: ReplicaSide, roles: Roles) -> Iterator[Path]:
    """Serve as long as the context lasts, on the socket that it gives.

    :raises SocketUnusable: the socket cannot be bound.
    """
    path = host.context.config.paths.control_socket
    server = grpc.server(
        ThreadPoolExecutor(WORKERS, thread_name_prefix="control"),
        options=[("grpc.max_receive_message_length", 4 << 20)],
    )
    service = ControlService(host, replicas, roles)
    control_pb2_grpc.add_ControlServicer_to_server(service, server)
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    name = control_pb2.DESCRIPTOR.services_by_name["Control"].full_name
    reflection.enable_server_reflection(
        (name, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    _bind(server, path)
    status.set(name, health_pb2.HealthCheckResponse.SERVING)
    status.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield path
    finally:
        service.stopping.set()
        server.stop(GRACE_SECONDS).wait()
        path.unlink(missing_ok=True)


def _bind(server: grpc.Server, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
        server.start()
        _share(path)
    except (RuntimeError, OSError) as error:
        raise SocketUnusable(f"the socket {path} cannot be made: {error}") from error
    finally:
        os.umask(before)


def _share(path: Path) -> None:
    """Let the group frazil use the socket, where there is one; it can do what root can."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return
    os.chown(path, -1, group)
    path.chmod(0o660)
