"""Replica volumes on disk: a base and committed layers over it, and how they change.

A replica volume is remote volume RVx/1 and the RVx/s above it (figure 7). What is committed
changes in single transactions, after everything that they name is on stable storage: before
one the replica shows generation s - 1, after it s, whatever crashes (claims 13 and 22).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from control.pool.pool import Pool
from control.replica import diverged
from control.replica.admission import Standing, Wanted, check_not_promoted
from control.replica.database import Database
from control.replica.holds import Holds
from control.replica.journal import ReplicaJournal
from control.replica.keeper import Keeper, Nobody
from control.replica.records import (
    ROLE_PROMOTED,
    ROLE_REPLICA,
    ROLE_SEED,
    Chain,
    ChainLayer,
    CommittedRecord,
    Generation,
    IncomingRecord,
    LayerRecord,
    VolumeRecord,
)
from control.replica.retention import Retention
from control.wire.errors import (
    BaseMismatch,
    GenerationNotFound,
    ReplicaHeld,
    ReplicaNotFound,
)
from control.wire.frames import Tally
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes

log = logging.getLogger("frazil.replica")

DATABASE = "replica.db"


class ReplicaStore:
    """The replica volumes of one host.

    :param directory: where the journal lies; made if need be.
    :param pool: where bases and layers lie.
    :param clock: ns since the epoch.
    :param retention: what volumes keep that have no retention of their own.
    :raises ReplicaDamaged, ReplicaTooNew: the journal cannot be used.

    Opening it finishes what a crash left: objects that nothing names any more are deleted.
    """

    def __init__(
        self,
        directory: Path,
        pool: Pool,
        clock: Callable[[], int] = time.time_ns,
        retention: Retention | None = None,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pool = pool
        self.journal = ReplicaJournal(Database(directory / DATABASE))
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.changes = 0
        self.retention = retention or Retention()
        self._clock = clock
        self.keeper: Keeper = Nobody()
        self._holds = Holds(self.journal)
        self.collect()

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def now(self) -> int:
        """ns since the epoch."""
        return self._clock()

    # Where things stand.

    def volume(self, name: str) -> VolumeRecord:
        """:raises ReplicaNotFound: no replica volume has the name."""
        record = self.journal.volume(name)
        if record is None:
            known = ", ".join(volume.name for volume in self.journal.volumes()) or "none yet"
            raise ReplicaNotFound(f"there is no replica {name!r} here", f"there are: {known}")
        return record

    def standing(self, name: str) -> Standing:
        """Where the volume stands, as one moment shows it."""
        with self.journal.transaction():
            branch = diverged.of(self, name)
            return Standing(
                self.journal.volume(name),
                self.journal.newest(name),
                self.journal.incoming(name),
                branch.generation.number if branch is not None else 0,
            )

    def object_path(self, object_name: str) -> Path:
        """Where an object's bytes lie. :raises PoolObjectMissing: it is not there."""
        return self.pool.open(object_name).path

    def objects(self, name: str) -> list[str]:
        """Every object of the pool that a volume has, those that are about to go included."""
        with self.lock, self.journal.transaction():
            volume, incoming = self.journal.volume(name), self.journal.incoming(name)
            found = [object_name for object_name, of in self.journal.garbage() if of == name]
            found += [layer.object_name for layer in self.journal.layers(name)]
            found += [volume.base_object] if volume is not None and volume.base_object else []
            found += [incoming.object_name] if incoming is not None else []
            found += self.journal.points.scratches(name).values()
            return found

    # What is coming in.

    def begin(self, wanted: Wanted, identity: str) -> IncomingRecord:
        """Write down that a generation is coming in, in the place of any other.

        The object is named, and not made yet.
        """
        with self.lock, self.journal.transaction():
            there = self.journal.volume(wanted.volume)
            if there is None:
                there = VolumeRecord(wanted.volume, wanted.volume_uuid, identity, wanted.size)
            # Whose seed it is, the first manifest says.
            self.journal.save_volume(replace(there, volume_uuid=wanted.volume_uuid))
            self.discard_incoming(wanted.volume)
            kind = "base" if wanted.whole else "layer"
            record = IncomingRecord(
                wanted.volume,
                wanted.generation,
                wanted.base_uuid,
                self.journal.new_object(wanted.volume, kind),
                wanted.chunk,
                wanted.chunks,
                size=wanted.size,
            )
            self.journal.save_incoming(record)
        self.collect()
        return record

    def restart(self, record: IncomingRecord) -> IncomingRecord:
        """The same generation from its first run on, into an object of its own."""
        with self.lock, self.journal.transaction():
            self.discard_incoming(record.volume)
            kind = "base" if record.whole else "layer"
            fresh = replace(
                record,
                object_name=self.journal.new_object(record.volume, kind),
                tally=Tally(),
                position=0,
                staged=False,
            )
            self.journal.save_incoming(fresh)
        self.collect()
        return fresh

    def name_base(self, name: str) -> VolumeRecord:
        """The volume, with an object named that its base can grow into; it is not made yet."""
        with self.lock, self.journal.transaction():
            volume = self.volume(name)
            if not volume.base_object:
                volume = replace(volume, base_object=self.journal.new_object(name, "base"))
                self.journal.save_volume(volume)
            return volume

    def checkpoint(self, record: IncomingRecord, tally: Tally, position: int) -> IncomingRecord:
        """Write down what is durable in the staged object."""
        reached = replace(record, tally=tally, position=position)
        self.journal.save_incoming(reached)
        return reached

    def stage(self, record: IncomingRecord) -> None:
        """All of it is on stable storage, with its name, and waits for the commit of its group."""
        self.journal.save_incoming(replace(record, staged=True))

    def drop_incoming(self, name: str) -> None:
        """Forget what was coming in, and give its room back."""
        with self.lock, self.journal.transaction():
            self.discard_incoming(name)
        self.collect()

    def discard_incoming(self, name: str) -> None:
        """The part of :meth:`drop_incoming` that belongs into a transaction."""
        record = self.journal.incoming(name)
        if record is not None:
            self.journal.add_garbage(name, record.object_name)
            self.journal.remove_incoming(name)

    def commit(self, record: IncomingRecord) -> CommittedRecord:
        """Make a generation the newest; its object is on stable storage, with its name.

        :raises BaseMismatch: the replica moved on since the manifest was judged.
        """
        with self.lock, self.journal.transaction():
            committed = self.put_on_top(record)
        self.settle()
        return committed

    def put_on_top(self, record: IncomingRecord, group: str = "", at: int = 0) -> CommittedRecord:
        """The part of a commit that belongs into its transaction. :raises: as :meth:`commit`.

        :param at: when, in ns since the epoch; 0: now.
        """
        tally = record.tally
        committed = CommittedRecord(
            record.volume,
            record.generation,
            tally.chunks,
            Bytes(tally.length),
            tally.digest,
            at or self._clock(),
            record.size,
            group,
        )
        self._check_newest(record)
        if record.whole:
            self._replace_base(record)
        else:
            volume = self.volume(record.volume)
            self.journal.save_volume(replace(volume, size=record.size, role=ROLE_REPLICA))
            self.journal.save_layer(
                LayerRecord(
                    record.volume,
                    record.generation.number,
                    record.object_name,
                    record.chunk,
                    tally.chunks,
                )
            )
        self.journal.add_committed(committed)
        self.journal.remove_incoming(record.volume)
        return committed

    def settle(self) -> None:
        """After a change: tell those that wait for one, and delete what was let go."""
        self._tell()
        self.collect()

    def _check_newest(self, record: IncomingRecord) -> None:
        newest = self.journal.newest(record.volume)
        seed = self.volume(record.volume).seed_uuid
        base = newest.generation.uuid if newest is not None else seed
        if record.base_uuid and record.base_uuid != base:
            raise BaseMismatch(
                f"{record.volume} moved on while generation "
                f"{record.generation.number} was coming in"
            )

    def _replace_base(self, record: IncomingRecord) -> None:
        """A whole copy takes the place of everything below it."""
        volume = self.volume(record.volume)
        for layer in self.journal.layers(record.volume):
            self.journal.remove_layer(layer)
            self.journal.add_garbage(record.volume, layer.object_name)
        if volume.base_object:
            self.journal.add_garbage(record.volume, volume.base_object)
        self.journal.save_volume(
            replace(
                volume,
                size=record.size,
                base_object=record.object_name,
                base_number=record.generation.number,
            )
        )

    # Images.

    def chain(self, name: str, number: int = 0, uuid: str = "") -> Chain:
        """What a generation's image is made of; the newest one's without number and UUID.

        :raises ReplicaNotFound: no such volume.
        :raises GenerationNotFound: never committed here, or merged past.
        :raises ReplicaPromoted: its images are a source's now.

        A seed is found by its UUID alone.
        """
        with self.lock, self.journal.transaction():
            volume = self.volume(name)
            check_not_promoted(volume, self.journal.newest(name))
            if volume.role == ROLE_SEED and uuid == volume.seed_uuid:
                # For comparing only: no number, and so no device, ever leads here.
                seed = Generation(0, uuid, "", volume.role_since)
                return Chain(name, volume.size, seed, "", (), volume.base_spans)
            branch = diverged.chain_of(self, name, number, uuid)
            if branch is not None:
                return branch
            found = self._committed(name, number, uuid)
            layers = self.journal.layers(name)
            wanted = found.generation.number
            if wanted not in points_of(volume, layers):
                there = ", ".join(map(str, points_of(volume, layers)))
                raise GenerationNotFound(
                    f"{name} has merged past generation {wanted}", f"there are: {there}"
                )
            below = [layer for layer in layers if layer.number <= wanted]
            return Chain(
                name,
                found.size,
                found.generation,
                volume.base_object,
                tuple(ChainLayer(layer.object_name, layer.chunk) for layer in below),
                volume.base_spans,
            )

    def _committed(self, name: str, number: int, uuid: str) -> CommittedRecord:
        for record in self.journal.history(name):
            made = record.generation
            if (not number or made.number == number) and (not uuid or made.uuid == uuid):
                return record
        which = f"generation {number or uuid}" if number or uuid else "committed generation"
        raise GenerationNotFound(f"{name} has no {which} here")

    @contextmanager
    def reading(self, name: str, number: int = 0, uuid: str = "") -> Iterator[Chain]:
        """An image that stays as it is until the context is left. :raises: as :meth:`chain`."""
        with self.lock:
            chain = self.chain(name, number, uuid)
            self._holds.take(chain)
        try:
            yield chain
        finally:
            with self.lock:
                self._holds.give_back(chain)
            self._tell()
            self.collect()

    def hold(self, name: str, number: int = 0) -> Chain:
        """As :meth:`reading`, until :meth:`release`, across restarts. Repeating it is harmless."""
        with self.lock:
            for held in self.journal.held(name):
                if number and held.generation.number == number:
                    return held
            chain = self.chain(name, number)
            self.journal.hold(chain)
            return chain

    def release(self, name: str, number: int) -> None:
        """Let a held generation go; nothing to do when it is not held."""
        with self.lock:
            self.journal.release(name, number)
        self._tell()
        self.collect()

    def held_numbers(self, name: str) -> set[int]:
        """The generations that are read or shown."""
        with self.lock:
            return self._holds.numbers(name)

    def read_numbers(self, name: str) -> set[int]:
        """The generations that are read."""
        with self.lock:
            return {chain.generation.number for chain in self._holds.read(name)}

    def set_retention(self, name: str, wanted: Retention) -> None:
        """Keep these generations from now on. :raises ReplicaNotFound: no such volume."""
        with self.lock:
            self.volume(name)
            self.journal.points.save_retention(name, wanted)
        self._tell()

    # Merging.

    def begin_merge(self, volume: VolumeRecord, layer: LayerRecord) -> bool:
        """See that the lowest layer is folded into its base from now on.

        The generation that the base shows is gone with it.

        :return: False while what is held forbids it.
        """
        with self.lock:
            if not self._holds.allow_merge(volume, layer):
                return False
            if not self.keeper.may_go(volume, layer):
                return False
            if not layer.merging:
                self.journal.save_layer(replace(layer, merging=True))
        return True

    def finish_merge(self, volume: VolumeRecord, layer: LayerRecord) -> bool:
        """The layer is in the base, durably: let it go.

        :return: False while something reads it, or when a whole copy took its place.
        """
        with self.lock, self.journal.transaction():
            if not self._holds.allow_letting_go(volume):
                return False
            if not self.keeper.may_go(volume, layer):
                return False
            if not self.journal.remove_layer(layer):
                return False
            self.journal.add_garbage(volume.name, layer.object_name)
            now = self.volume(volume.name)
            self.journal.save_volume(replace(now, base_number=layer.number))
        self.collect()
        return True

    # Letting go.

    def remove(self, name: str) -> None:
        """Forget a replica volume, and give its room back.

        :raises ReplicaNotFound: there is none. :raises ReplicaHeld: something shows or reads it.
        """
        with self.lock, self.journal.transaction():
            self.check_removable(name)
            self._let_go(self.volume(name))
        self._tell()
        self.collect()

    def check_removable(self, name: str) -> None:
        """:raises ReplicaNotFound, ReplicaHeld: as :meth:`remove`."""
        self.volume(name)
        held = sorted(self.held_numbers(name))
        if held:
            numbers = ", ".join(map(str, held))
            raise ReplicaHeld(
                f"generation {numbers} of {name} is in use", f"frazil replica unmount {name}"
            )

    def _let_go(self, volume: VolumeRecord) -> None:
        self.discard_incoming(volume.name)
        diverged.forget(self, volume.name)
        for layer in self.journal.layers(volume.name):
            self.journal.add_garbage(volume.name, layer.object_name)
        if volume.base_object:
            self.journal.add_garbage(volume.name, volume.base_object)
        self.journal.remove_volume(volume.name)

    def collect(self) -> None:
        """Delete the objects that were let go, unless something still reads them.

        A failure is logged; the next collection tries again.
        """
        with self.lock:
            for object_name, volume in self.journal.garbage():
                if self._holds.needs(volume, object_name):
                    continue
                try:
                    self.pool.remove(object_name)
                    self.journal.remove_garbage(object_name)
                except FrazilError as error:
                    log.warning("%s stays for now: %s", object_name, error)

    @contextmanager
    def using(self, *objects: str) -> Iterator[None]:
        """Keep objects from being deleted while something writes or reads them."""
        with self.lock:
            self._holds.use(objects)
        try:
            yield
        finally:
            with self.lock:
                self._holds.unuse(objects)
            self.collect()

    def is_busy(self, objects: Iterable[str]) -> bool:
        """Whether something writes or reads one of these objects; see :meth:`using`."""
        with self.lock:
            return any(self._holds.is_busy(one) for one in objects)

    def _tell(self) -> None:
        with self.changed:
            self.changes += 1
            self.changed.notify_all()


def points_of(volume: VolumeRecord, layers: list[LayerRecord]) -> list[int]:
    """The generations that base and layers add up to, oldest first; a source's are not shown."""
    dirty = any(layer.merging for layer in layers) or volume.role == ROLE_PROMOTED
    base = [volume.base_number] if volume.base_number and not dirty else []
    return base + [layer.number for layer in layers]
