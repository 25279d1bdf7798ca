"""A source and its replicas beside the model of what they must hold; every step is judged."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from control.image import StackImage
from control.journal import Journal
from control.merge import Base
from control.records import GroupRecord, LayerState, MirrorRecord, MirrorState, Policy
from control.room import RoomKeeper
from control.spans import Span
from dm_tables.errors import FrazilError
from dm_tables.units import SECTOR, Bytes
from tests.histories.model import VolumeModel, demand
from tests.histories.source import Fault
from tests.replica_tools import MEMORY
from tests.soft.host import Complaints, SoftHost, soft_kernel
from tests.soft.mapper import Loops, SoftMapper
from tests.soft.readers import Readers
from tests.soft.replica import SoftReplica

GROUP = "shop"
QUORUM = 1
"""Of the policy quorum."""


class Died(BaseException):
    """The source's daemon is dead from here on."""


class World:
    """A host with volumes, some of them in a group, and replicas.

    :param volumes: the bytes that each volume begins with, by name.
    :param grouped: those that make a group.
    :param replicas: their names.
    """

    def __init__(
        self,
        volumes: dict[str, bytes],
        grouped: Sequence[str],
        replicas: Sequence[str],
        *,
        keep_layers: int = 0,
        policy: Policy = Policy.LOCKSTEP,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.directory)
        self._listen()
        loops = Loops()
        self._stack.enter_context(soft_kernel(loops))
        self.mapper = SoftMapper(self.directory / "devices", loops)
        self.source = SoftHost(self.directory / "source", self.mapper, keep_layers)
        self.replicas = {name: SoftReplica(self.directory / name) for name in replicas}
        self.models = {name: VolumeModel(bytearray(data)) for name, data in volumes.items()}
        self.allowed: Counter[tuple[str, str]] = Counter()
        self.wholes: Counter[tuple[str, str]] = Counter()
        self.known: dict[tuple[str, str], str] = {}
        self.died = False
        self.left: dict[tuple[str, str], str] = {}
        self.readers = Readers()
        for name, data in volumes.items():
            self._make_volume(name, data)
        quorum = QUORUM if policy is Policy.QUORUM else 0
        record = GroupRecord(
            GROUP, implicit=False, policy=policy, quorum=quorum, consistency="crash"
        )
        self.roster.create_group(record, list(grouped))

    def _listen(self) -> None:
        log, self._complaints = logging.getLogger("frazil"), Complaints()
        log.addHandler(self._complaints)
        self._stack.callback(log.removeHandler, self._complaints)
        hook = mock.patch.object(threading, "excepthook", self._thread_died)
        self._stack.enter_context(hook)

    def _thread_died(self, found: Any) -> None:
        if not issubclass(found.exc_type, Died):
            self._complaints.found.append(repr(found.exc_value))

    def _make_volume(self, name: str, data: bytes) -> None:
        """Over two pieces of one file, the latter first, as an LVM volume may lie."""
        path = self.directory / f"{name}.disk"
        cut = len(data) // 2 // SECTOR * SECTOR
        with path.open("wb") as file:
            file.truncate(len(data) + SECTOR)
            for at, piece in ((len(data) - cut + SECTOR, data[:cut]), (SECTOR, data[cut:])):
                for offset in range(0, len(piece), 4096):
                    # Zeroes stay holes.
                    if any(piece[offset : offset + 4096]):
                        file.seek(at + offset)
                        file.write(piece[offset : offset + 4096])
        lower = (str(path), len(data) - cut + SECTOR, cut)
        upper = (str(path), SECTOR, len(data) - cut)
        self.source.host.create_volume(name, [lower, upper], 0, dry_run=False)

    def close(self) -> None:
        """End everything."""
        with suppress(Exception):
            self.source.stop()
        for replica in self.replicas.values():
            replica.close()
        self._stack.close()

    @property
    def roster(self) -> Any:
        """The source's groups and mirrors."""
        return self.source.host.roster

    @property
    def mirrors(self) -> list[str]:
        """The names of the mirrors."""
        return [record.name for record in self.source.journal.mirrors()]

    def replica_of(self, mirror: str) -> SoftReplica:
        """Where a mirror goes."""
        record = self.source.journal.mirror(mirror)
        assert record is not None
        return next(one for one in self.replicas.values() if one.address == record.peer)

    def members(self) -> list[str]:
        """The group's."""
        return self.source.journal.members(GROUP)

    # What is done to it.

    def write(self, volume: str, at: int, data: bytes) -> None:
        """As an application does."""
        self.mapper.write(self.source.head(volume), at, data)
        self.models[volume].write(at, data)

    def freeze(
        self,
        group: str = GROUP,
        *,
        chunk: Bytes | None = None,
        racing: Callable[[list[str]], None] = lambda running: None,
        dies: int | None = None,
        power: bool = False,
    ) -> None:
        """Freeze a group.

        :param chunk: of the next layers. :param racing: called beside the window with the volumes
            whose writers run. :param dies: see :meth:`mortal`.
        """
        self.mapper.chunk = chunk or self.mapper.chunk
        with self.mortal(dies, power=power):
            self._freeze(group, racing)

    def _freeze(self, group: str, racing: Callable[[list[str]], None]) -> None:
        conductor = self.roster.conductor(group)
        names = [volume.name for volume in conductor.group.volumes]

        def frozen() -> None:
            for name in names:
                self.models[name].freeze()

        def race() -> None:
            heads = {name: self.source.head(name) for name in names}
            running = [n for n in names if not self.mapper.devices[heads[n]].suspended]
            racing(running)

        self.source.freezer.frozen, self.mapper.racing = frozen, race
        try:
            with suppress(FrazilError):
                conductor.freeze()
        finally:
            self.mapper.racing = lambda: None
        self.notice()

    def conduct(self) -> bool:
        """What the group's conductor does next. :return: whether it froze."""
        conductor = self.roster.conductor(GROUP)
        before = conductor.group.newest()
        frozen = [self.models[volume.name].freeze for volume in conductor.group.volumes]
        self.source.freezer.frozen = lambda: _all(frozen)
        conductor._step()
        self.notice()
        return bool(conductor.group.newest() != before)

    def notice(self) -> None:
        """Take up the generations that the journal knows of."""
        for name, model in self.models.items():
            for generation in reversed(self.source.journal.generations(name)):
                if generation.frozen_at is not None and generation.uuid not in model.images:
                    model.happened(generation.uuid)
            model.came_to_nothing()

    def add_mirror(self, name: str, replica: str) -> None:
        """Mirror the group to a replica; it may need whole copies."""
        self.roster.create_mirror(
            MirrorRecord(
                name,
                GROUP,
                self.replicas[replica].address,
                "{volume}",
                MirrorState.RUNNING,
                interval_ms=0,
                rate_bytes=0,
                on_demand=False,
                plaintext=True,
                verify=False,
            )
        )
        for volume in self.members():
            self.allowed[replica, volume] += 1

    def remove_mirror(self, name: str) -> None:
        """The replica keeps what it has."""
        replica = self.replica_of(name)
        for volume in self.members():
            self.left[replica.directory.name, volume] = replica.newest(volume)
        self.roster.remove_mirror(name)

    def change_members(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Volumes join and leave; who joins may need a whole copy."""
        places = [self.replica_of(mirror) for mirror in self.mirrors]
        record = self.source.journal.group(GROUP)
        assert record is not None
        self.roster.change_group(record, add, remove)
        for replica in places:
            for volume in add:
                self.allowed[replica.directory.name, volume] += 1
            for volume in remove:
                self.left[replica.directory.name, volume] = replica.newest(volume)

    def restart(self, *, power: bool = False, killed: bool = False) -> None:
        """Start the source's daemon anew. ``power``: the kernel too."""
        self.readers.end()
        if killed or power:
            self.source.kill()
        else:
            self.source.stop()
        if power:
            self.mapper.power_cut()
            self.source.tracer.begin_anew()
        self.source.freezer.inside = False
        self.source.start()
        demand(not self.source.host.unassembled, f"{self.source.host.unassembled}")
        self.notice()

    @contextmanager
    def mortal(self, effects: int | None, *, power: bool) -> Iterator[None]:
        """The daemon dies in here after so many effects, and is started again.

        Within a freeze window only a power cut ends it: the window has processes of its own.
        """
        deaths = Deaths(effects)
        try:
            with deaths.inserted(self.mapper):
                yield
        except Died:
            pass
        self.died = deaths.dead
        if deaths.dead:
            self.restart(power=power or self.source.freezer.inside, killed=True)
            self.source.keep_room()
            self.notice()

    def sacrifice(
        self, volume: str, how: str, *, dies: int | None = None, power: bool = False
    ) -> None:
        """There is no room: see :class:`control.room.RoomKeeper`.

        :param how: ``frozen`` layers are merged before their time; ``moved`` the live one too,
            after the head moved on; ``folded`` with the head waiting; ``untracked`` without room
            for another layer even then.
        """
        room = self.source.host.room
        if how == "untracked":
            self.source.pool.limit = Bytes(0)
            for mirror in self.mirrors:
                self.allowed[self.replica_of(mirror).directory.name, volume] += 1
        try:
            with (
                mock.patch.object(RoomKeeper, "_has_room", lambda room, volume: how == "frozen"),
                self.mortal(dies, power=power),
            ):
                room._sacrifice(self.source.volume(volume), overflown=how == "folded")
        finally:
            self.source.pool.limit = None
        self.notice()

    def merge(self, volume: str, *, dies: int | None = None, power: bool = False) -> bool:
        """What the source's merger does next. :return: whether a layer was merged."""
        with self.mortal(dies, power=power):
            return self.source.host.merger._merge_one(self.source.volume(volume))
        return False

    def copy(self, mirror: str) -> FrazilError | None:
        """What a mirror does next. :return: why it failed."""
        return self.source.step(mirror)

    def copy_badly(
        self, mirror: str, fault: Fault, *, dies: int | None = None, power: bool = False
    ) -> None:
        """The same, on a connection that breaks."""
        places = self.replica_of(mirror).faults
        places.break_at(fault)
        with self.mortal(dies, power=power):
            self.source.step(mirror)
        places.clear()

    def direct(self, mirror: str, do: str) -> None:
        """An operator's word: pause, break, break now, resume."""
        states = {
            "pause": MirrorState.PAUSED,
            "resume": MirrorState.RUNNING,
            "break now": MirrorState.BROKEN,
        }
        state = states.get(do, MirrorState.BREAKING)
        self.roster.set_mirror_state(mirror, state, now=do.endswith("now"))

    def merge_there(self, replica: str) -> bool:
        """What a replica's merger does next. :return: whether there may be more."""
        return self.replicas[replica].merge()

    def restart_there(self, replica: str) -> None:
        """Start a replica's daemon anew."""
        self.replicas[replica].restart()

    # What must be so.

    def check(self) -> None:
        """:raises Wrong: something does not hold what it must."""
        demand(not self._complaints.found, f"logged: {self._complaints.found}")
        for name, model in self.models.items():
            self._check_volume(name, model)
        for place, replica in self.replicas.items():
            for volume in replica.volumes():
                self._check_replica(place, replica, volume)
        for mirror in self.mirrors:
            self._check_together(mirror)
        self.readers.check()

    def _check_volume(self, name: str, model: VolumeModel) -> None:
        volume = self.source.volume(name)
        head = bytes(model.head)
        demand(self.mapper.image(self.source.head(name)) == head, f"{name}: the head is wrong")
        stores: list[tuple[str | Any, Bytes]] = []
        for layer in volume.layers:
            self.mapper.flush(str(volume.stack.layer(layer.sequence).name))
            if layer.state is not LayerState.PREPARED:
                path = volume.context.pool.open(layer.object_name).path
                stores.append((path, layer.chunk))
        spans: tuple[Span, ...] = volume.stack.spans
        with StackImage(spans, stores, volume.record.size) as image:
            whole = bytes(image.read(Bytes(0), volume.record.size))
        demand(whole == head, f"{name}: the bare spans and the layers are not the head")
        for generation in volume.images():
            shown = self.mapper.image(str(volume.image(generation).name))
            # Behind its end lies what the volume grew by since.
            right = shown.startswith(model.images[generation.uuid])
            demand(right, f"{name}: the image of generation {generation.number} changed")

    def _check_replica(self, place: str, replica: SoftReplica, volume: str) -> None:
        model, uuid = self.models[volume], replica.newest(volume)
        demand(uuid in model.images, f"{volume} at {place} is of no generation")
        right = replica.replica.image(name=volume) == model.images[uuid]
        demand(right, f"{volume} at {place} is not its generation")
        if self.known.get((place, volume)) == uuid:
            return
        came = replica.came[volume, uuid]
        self.known[place, volume] = uuid
        if came.base_uuid:
            most = model.bytes_between(came.base_uuid, uuid)
            demand(came.length <= most + most // 64, f"{volume} at {place}: {came.length} bytes")
            return
        self.wholes[place, volume] += 1
        few = self.wholes[place, volume] <= self.allowed[place, volume]
        demand(few, f"{volume} at {place} was copied as a whole again")

    def _check_together(self, mirror: str) -> None:
        """What was committed together is of one instant."""
        replica = self.replica_of(mirror)
        place = replica.directory.name
        found = {
            volume: replica.newest(volume)
            for volume in self.members()
            if replica.group_of(volume) == GROUP
            and self.left.get((place, volume)) != replica.newest(volume)
        }
        demand(len(set(found.values())) <= 1, f"{place} shows different instants: {found}")

    def settle(self) -> None:
        """Once nothing fails any more, everything arrives.

        :raises Wrong: it does not.
        """
        self.readers.end()
        for replica in self.replicas.values():
            replica.faults.clear()
        for mirror in self.mirrors:
            self.roster.set_mirror_state(mirror, MirrorState.RUNNING)
        for _ in range(2):
            self._all_copy()
            self._all_merge()
            self.freeze()
        self._all_copy()
        self.check()
        newest = self.roster.conductor(GROUP).group.newest()
        for mirror in self.mirrors:
            replica = self.replica_of(mirror)
            for volume in self.members():
                arrived = newest is not None and replica.newest(volume) == newest.uuid
                demand(arrived, f"{volume} does not arrive at {replica.directory.name}")
        self._all_merge()
        for volume in self.models:
            there = self.source.volume(volume).layers
            mirrored = self.mirrors and volume in self.members()
            demand(len(there) <= 1 or not mirrored, f"{volume} keeps {len(there)} layers")
        self.check()

    def _all_copy(self) -> None:
        for mirror in self.mirrors:
            for _ in range(3):
                error = self.source.step(mirror)
                demand(error is None, f"{mirror} fails: {error}")

    def _all_merge(self) -> None:
        for volume in self.models:
            while self.merge(volume):
                pass
        for replica in self.replicas.values():
            while replica.merge():
                pass


def _all(actions: Sequence[Callable[[], None]]) -> None:
    for action in actions:
        action()


class Deaths:
    """Death after so many effects of the daemon: commits of its journal, tables, merged bytes."""

    def __init__(self, left: int | None) -> None:
        self._left = left
        self._lock = threading.Lock()
        self.dead = False

    def live(self) -> None:
        """Count an effect. :raises Died: it is not to happen."""
        with self._lock:
            if self._left is None:
                return
            self._left -= 1
            self.dead = self._left < 0
        if self.dead:
            raise Died

    @contextmanager
    def inserted(self, mapper: SoftMapper) -> Iterator[None]:
        """Whatever happens in here counts."""
        real, write = Journal.transaction, Base.write

        @contextmanager
        def transaction(journal: Journal) -> Iterator[None]:
            with journal._lock:
                if journal._db.in_transaction:
                    yield
                    return
                self.live()
                with real(journal):
                    yield
                    # Before the commit, or after it: both are tried.
                    self.live()
                self.live()

        def written(base: Base, address: Bytes, views: list[memoryview]) -> None:
            self.live()
            write(base, address, views)

        mapper.effect = self.live
        try:
            with (
                mock.patch.object(Journal, "transaction", transaction),
                mock.patch.object(Base, "write", written),
            ):
                yield
        finally:
            mapper.effect = lambda: None
