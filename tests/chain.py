"""A host in the middle of a chain, in this process: a replica that is mirrored on.

Its source is a model that knows every image; the hosts behind it are replicas on plain files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import NAMESPACE_DNS, uuid5

import msgspec

from control.authority.authority import NO_AUTHORITY
from control.blocks import Extent
from control.config import Config
from control.config.sections import (
    AllowSection,
    CopySection,
    ListenSection,
    ReplicaSection,
    StateSection,
)
from control.context import Context
from control.events import Events
from control.journal import Journal
from control.mirror import MirrorWorker
from control.records import CycleRecord, MirrorRecord, MirrorState, Origin
from control.replica.images import open_image
from control.replica.server import PeerServer
from control.replica.side import ReplicaSide
from control.roster import Roster
from control.units_text import Seconds
from control.wire.channel import connect
from control.wire.deltas import ImageDelta
from control.wire.send import commit, send
from dm_tables.dmsetup import Dmsetup
from dm_tables.running import Completed
from dm_tables.units import MIB, Bytes
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import Replica, generation, manifest, patched

CHUNK = 16 << 10
SIZE = 4 * MIB + 512
"""Some runs, and a last chunk that is partial."""
PATIENCE = 60.0


def no_dmsetup(*_: object, **__: object) -> Completed:
    raise FileNotFoundError("dmsetup")


class Station:
    """One host with both roles, without its merger's thread."""

    def __init__(self, directory: Path, **copy: Any) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        settings = CopySection(retry_first=Seconds(0.05), retry_longest=Seconds(0.2))
        config = Config(
            state=StateSection(directory=directory),
            listen=ListenSection(address="127.0.0.1:0", plaintext=True),
            replica=ReplicaSection(allow=(AllowSection(identity="loopback"),)),
            copy=msgspec.structs.replace(settings, **copy),
        )
        self.journal = Journal(directory / "journal.db")
        self.events = Events(directory / "events.db")
        context = SimpleNamespace(
            config=config,
            journal=self.journal,
            events=self.events,
            dmsetup=Dmsetup(no_dmsetup, udev_running=lambda: False),
            authority=NO_AUTHORITY,
        )
        self.side = ReplicaSide(cast(Context, context))
        self.store = self.side.store
        self.roster = Roster(cast(Context, context), _no_volume, lambda: None)
        self.roster.mirror_on(self.store)
        self.side.on_commit = self.roster.committed_here
        self.side.listen()

    @property
    def peer(self) -> str:
        """Where it listens."""
        assert self.side._server is not None
        return self.side._server.address

    def close(self) -> None:
        """As a daemon ends."""
        self.roster.end_mirroring_on()
        self.side.stop()
        self.events.close()
        self.journal.close()

    def mirror(
        self,
        name: str,
        of: str,
        peer: str,
        origin: Origin = Origin.REPLICA,
        **fields: Any,
    ) -> MirrorWorker:
        """Mirror a replica on, on demand."""
        record = MirrorRecord(
            name,
            of,
            peer,
            fields.pop("replica_volume", "{volume}"),
            MirrorState.RUNNING,
            0,
            fields.pop("rate_bytes", 0),
            fields.pop("on_demand", True),
            True,
            False,
            origin=origin,
        )
        return self.roster.create_mirror(record)

    def sync(self, name: str) -> CycleRecord:
        """Bring the newest instant over. :raises FrazilError: what went wrong."""
        worker = self.roster.worker(name)
        asked = time.monotonic()
        number = self.roster.ask(name)
        until(lambda: worker.committed_number >= number or worker.failed_since(asked))
        failed = worker.failed_since(asked)
        if worker.committed_number < number and failed is not None:
            raise failed
        until(lambda: worker.now.phase == "idle")
        return self.journal.cycles(name, 1)[0]

    def image(self, number: int = 0, name: str = "data") -> bytes:
        """The whole image of a committed generation."""
        return image_of(self.side, number, name)

    def merge_all(self) -> int:
        """Merge whatever may be. :return: how many layers went."""
        before = self.layers()
        while self.side.merger.merge_next():
            pass
        return before - self.layers()

    def layers(self, name: str = "data") -> int:
        """How many layers are not merged."""
        return len(self.store.journal.layers(name))


def _no_volume(name: str) -> Any:
    raise KeyError(name)


def image_of(where: ReplicaSide | Replica, number: int = 0, name: str = "data") -> bytes:
    """The whole image of a committed generation; of the newest for number 0."""
    store = where.store
    with store.reading(name, number) as chain, open_image(store, chain) as image:
        return bytes(image.read(Bytes(0), chain.size))


def until(condition: Any) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


class Model:
    """A source: it knows every image, and commits generations at a station."""

    def __init__(self, image: bytes) -> None:
        self.first = image
        self.images: dict[int, dict[str, bytes]] = {}
        self._newest: dict[str, int] = {}

    def commit(
        self,
        station: Station,
        number: int,
        changes: Mapping[int, bytes],
        names: Sequence[str] = ("data",),
        group: str = "",
        *,
        whole: bool = False,
    ) -> None:
        """Write chunks in every volume, freeze, and commit them as one generation."""
        with connect(station.peer, None, True) as channel:
            stub = ReplicaStub(channel)
            for name in names:
                self._send(stub, number, name, changes, staged=bool(group), whole=whole)
            if group:
                uuids = dict.fromkeys(names, generation(number).uuid)
                commit(stub, group, uuids, peer=station.peer)

    def _send(
        self,
        stub: ReplicaStub,
        number: int,
        name: str,
        changes: Mapping[int, bytes],
        *,
        staged: bool,
        whole: bool,
    ) -> None:
        newest = self._newest.get(name, 0)
        before = self.images[newest][name] if newest else self.first
        image = patched(before, CHUNK, changes)
        self.images.setdefault(number, {})[name] = image
        self._newest[name] = number
        size, whole = len(image), whole or not newest
        places = [one * CHUNK for one in sorted(changes)]
        delta = ImageDelta(
            lambda address, length: image[address : address + length],
            [Extent(Bytes(at), Bytes(min(CHUNK, size - at))) for at in places]
            if not whole
            else [Extent(Bytes(0), Bytes(size))],
            Bytes(CHUNK),
            Bytes(size),
        )
        said = manifest(number, delta, base=0 if whole else newest, volume=name, staged=staged)
        said.volume_uuid = self.uuid(name)
        said.generation.parent_uuid = generation(number - 1).uuid if number > 1 else ""
        send(stub, said, delta)

    def uuid(self, name: str) -> str:
        """A volume's own."""
        return str(uuid5(NAMESPACE_DNS, name))


@contextmanager
def served(replica: Replica) -> Iterator[str]:
    """The peer's address of a replica, as long as the context lasts."""
    address = f"unix:{replica.directory}/peer.sock"
    server = PeerServer(replica.service, address, plaintext=True)
    server.start()
    try:
        yield address
    finally:
        server.stop(0)
