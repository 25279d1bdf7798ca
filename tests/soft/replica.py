"""A replica in this process whose connection breaks where a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from control.replica.admission import Wanted
from control.replica.receive import Pace, Receiver, Replies, Requests
from control.replica.server import PeerServer
from control.wire.errors import BadStream
from dm_tables.errors import Unavailable
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.histories.source import Fault
from tests.replica_tools import Replica, Rule


class Broken(Unavailable):
    """The connection broke."""


@dataclass
class Faults:
    """When the next calls break off.

    ``cut``: a Receive, by volume, after so many messages. ``commit``: a Commit, before it or when
    it is done; ``skip`` so many first. ``answer``: a Receive whose last answer is lost, by volume.
    """

    cut: dict[str, int] = field(default_factory=dict)
    answer: set[str] = field(default_factory=set)
    commit: str = ""
    skip: int = 0

    def break_at(self, fault: Fault) -> None:
        """The next copy breaks off there."""
        kind, volume, number = fault
        if kind == "cut":
            self.cut[volume] = number
        elif kind == "answer":
            self.answer.add(volume)
        else:
            self.commit, self.skip = kind, number

    def clear(self) -> None:
        """Everything works from now on."""
        self.cut.clear()
        self.answer.clear()
        self.commit, self.skip = "", 0


@dataclass(frozen=True, slots=True)
class Came:
    """A generation that came whole; ``length`` counts its bytes."""

    base_uuid: str
    length: int


class FaultyReceiver(Receiver):
    """A receiver that breaks off, and remembers what came whole."""

    faults: Faults
    came: dict[tuple[str, str], Came]

    def receive(
        self,
        identity: str,
        wanted: Wanted,
        requests: Requests,
        interrupt: Callable[[], object],
        quota: Bytes | None = None,
    ) -> Replies:
        cut = self.faults.cut.pop(wanted.volume, None)
        stream = requests if cut is None else islice(requests, cut)
        try:
            for reply in super().receive(identity, wanted, stream, interrupt, quota):
                last = reply.WhichOneof("message") in ("committed", "staged")
                if last and wanted.volume in self.faults.answer:
                    self.faults.answer.discard(wanted.volume)
                    raise Broken("the connection broke before the answer")
                yield reply
        except BadStream as error:
            if cut is None:
                raise
            raise Broken("the connection broke") from error
        finally:
            self._note(wanted)

    def _note(self, wanted: Wanted) -> None:
        """Whether it came whole: it is the newest, or staged."""
        standing = self._store.standing(wanted.volume)
        uuid = wanted.generation.uuid
        length = -1
        if standing.newest is not None and standing.newest.generation.uuid == uuid:
            length = standing.newest.length
        elif standing.incoming is not None and standing.incoming.staged:
            length = standing.incoming.tally.length
        if length >= 0:
            self.came.setdefault((wanted.volume, uuid), Came(wanted.base_uuid, length))

    def commit(self, group: str, members: Mapping[str, str]) -> replica_pb2.Committed:
        faulty = bool(self.faults.commit) and self.faults.skip == 0
        self.faults.skip = max(0, self.faults.skip - 1)
        when = self.faults.commit if faulty else ""
        self.faults.commit = "" if faulty else self.faults.commit
        if when == "before":
            raise Broken("the connection broke before the commit")
        done = super().commit(group, members)
        if when == "after":
            raise Broken("the connection broke before the answer")
        return done


class SoftReplica:
    """A replica that listens, and can be started anew."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.faults = Faults()
        self.came: dict[tuple[str, str], Came] = {}
        self.address = f"unix:{directory}/peer"
        self._open()

    def _open(self) -> None:
        self.replica = Replica(self.directory, Pace(bytes=1), (Rule(),))
        receiver = FaultyReceiver(self.replica.store, self.replica.claims, pace=Pace(bytes=1))
        receiver.faults, receiver.came = self.faults, self.came
        self.replica.receiver = receiver
        self.replica.service._receiver = receiver
        self._server = PeerServer(self.replica.service, self.address, plaintext=True)
        self._server.start()

    def restart(self) -> None:
        """As a daemon that was stopped and started."""
        self.close()
        self._open()

    def close(self) -> None:
        """End it."""
        self._server.stop(0)
        self.replica.store.close()

    def merge(self) -> bool:
        """Merge one layer. :return: whether there may be more."""
        return self.replica.merger.merge_next()

    def volumes(self) -> list[str]:
        """Those that have a committed generation."""
        names = [volume.name for volume in self.replica.store.journal.volumes()]
        return [name for name in names if self.replica.newest(name)]

    def newest(self, volume: str) -> str:
        """The UUID of the newest committed generation; empty: none."""
        newest = self.replica.store.standing(volume).newest
        return newest.generation.uuid if newest is not None else ""

    def group_of(self, volume: str) -> str:
        """The group that the newest committed generation came with."""
        newest = self.replica.store.standing(volume).newest
        return newest.group if newest is not None else ""
