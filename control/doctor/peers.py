"""The peers of this host's mirrors: do they answer, and let this host in?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from control.doctor.findings import Finding, Level, ok
from control.doctor.patient import Patient
from dm_tables.errors import FrazilError

AREA = "peers"
ANSWER_SECONDS = 10.0

Greeting = Callable[[Patient, str, bool], tuple[str, str]]


def say_hello(patient: Patient, address: str, plaintext: bool) -> tuple[str, str]:
    """A peer's own name, and the one it knows this host by.

    :raises FrazilError: it does not answer, refuses, or speaks another version.
    """
    from control import VERSION
    from control.wire.channel import connect
    from control.wire.peers import Me, greet
    from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

    me = Me(patient.host_uuid, patient.config.host.name, VERSION)
    with connect(address, patient.config.tls, plaintext) as channel:
        reply = greet(ReplicaStub(channel), me, peer=address, timeout=ANSWER_SECONDS)
    return reply.host_name, reply.identity


def check_peers(patient: Patient, greeting: Greeting = say_hello) -> Iterator[Finding]:
    """Every peer once."""
    asked: dict[tuple[str, bool], list[str]] = {}
    for mirror in patient.mirrors:
        asked.setdefault((mirror.peer, mirror.plaintext), []).append(mirror.name)
    for (address, plaintext), mirrors in asked.items():
        try:
            name, identity = greeting(patient, address, plaintext)
        except FrazilError as error:
            what = f"{error.what} (of {', '.join(mirrors)})"
            remedy = error.hint if error.hint != "it is tried again" else ""
            yield Finding(AREA, Level.PROBLEM, what, remedy or _remedy(address))
        else:
            yield ok(AREA, f"{address} is {name}, and knows this host as {identity}")


def _remedy(address: str) -> str:
    return f"see there: systemctl status frazild; and whether a firewall keeps {address} shut"
