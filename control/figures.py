"""What there is to count on a host, for :mod:`control.metrics`."""

from __future__ import annotations

from control import render
from control.host import Host
from control.metrics import MetricsServer
from control.records import CycleRecord
from control.replica.side import ReplicaSide
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2

NEWEST_CYCLES = 200


class Figures:
    """A :class:`control.metrics.Source` of a running daemon, served where it is configured."""

    def __init__(self, host: Host, replicas: ReplicaSide) -> None:
        self._host = host
        self._replicas = replicas
        self._server: MetricsServer | None = None

    def serve(self) -> None:
        """Serve them, if the configuration says so and they are not served yet.

        :raises CannotServe: the address cannot be had, for now.
        """
        address = self._host.context.config.metrics.address
        if address is not None and self._server is None:
            self._server = MetricsServer(self, address)

    def stop(self) -> None:
        """No more of it."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def pool(self) -> pb.Pool:
        """The pool."""
        return render.pool_message(self._host.context.pool)

    def volumes(self) -> list[pb.Volume]:
        """Every volume."""
        return [render.volume_message(volume, []) for volume in self._host.volumes()]

    def mirrors(self) -> list[pb.Mirror]:
        """Every mirror."""
        return [render.mirror_message(worker) for worker in self._host.roster.workers()]

    def replicas(self) -> list[replica_pb2.ReplicaVolume]:
        """Every replica volume."""
        return self._replicas.descriptions()

    def cycles(self, mirror: str) -> list[CycleRecord]:
        """A mirror's newest cycles."""
        return self._host.context.journal.cycles(mirror, NEWEST_CYCLES)

    def written(self, volume: str) -> tuple[int, int]:
        """(writes, bytes) of a volume's traced, ended cycles."""
        found = self._host.volume(volume)
        return self._host.context.history.totals(found.uuid)
