"""A cycle, and the judgement of what it brought, by the daemon's API: run inside a guest.

Commands would take longer than what they are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from control.cli.api import Api
from control.paths import Paths
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import mirrors_pb2 as mpb
from proto.frazil.v1 import replica_pb2 as rpb
from tests.workload.stamps import judge_devices

LIMIT_S = 600.0


def _daemon() -> Api:
    return Api(str(Paths().control_socket), LIMIT_S)


def cycle(mirrors: Sequence[str]) -> None:
    """Freeze, and wait until each of the mirrors has committed it."""
    with closing(_daemon()) as api, ThreadPoolExecutor(len(mirrors)) as pool:

        def sync(name: str) -> None:
            request = mpb.SyncNowRequest(name=name, wait=True)
            for _ in api.stream("SyncNow", request, pb.Progress):
                pass

        list(pool.map(sync, mirrors))


def judge_newest(names: Sequence[str]) -> dict[str, Any]:
    """The newest generation's number, and what the judge finds in it.

    :param names: the replicas of a group's volumes, in the order in which the writer goes.
    """
    with closing(_daemon()) as api:
        newest = {_newest(api, name) for name in names}
        assert len(newest) == 1, f"not the same generation of all: {newest}"
        (number,) = newest
        with _attached(api, names, number) as devices:
            return {"generation": number, **judge_devices(devices)}


def _newest(api: Api, name: str) -> int:
    request = pb.GetReplicaRequest(name=name)
    return int(api.ask("GetReplica", request, rpb.ReplicaVolume).newest.number)


@contextmanager
def _attached(api: Api, names: Sequence[str], number: int) -> Iterator[list[str]]:
    with ExitStack() as stack:
        devices: list[str] = []
        for name in names:
            asked = pb.AttachReplicaRequest(name=name, generation=number)
            devices.append(api.ask("AttachReplica", asked, pb.AttachedReplica).device)
            ended = pb.DetachReplicaRequest(name=name, generation=number)
            stack.callback(api.ask, "DetachReplica", ended, pb.DetachReplicaReply)
        yield devices
