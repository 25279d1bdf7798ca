"""One host's frazil: its volumes, its mirrors, and what keeps them going."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path

from bpf.client import TracerClient, start_tracer
from control.adopt import Occupied, check_adoptable, check_name_free, checked_chunk, grown, resolve
from control.authority.choose import open_authority
from control.bypass import check_not_bypassed
from control.conductor import Conductor
from control.config import Config
from control.context import Context
from control.events import Events
from control.fence import given_up, is_fenced, unfence
from control.folding import finish_merges
from control.historian import Historian
from control.history import History
from control.journal import Journal
from control.merger import Merger
from control.mirror import MirrorWorker
from control.pool.choose import open_pool, open_replica_pool
from control.pool.joined import REPLICA, JoinedPool
from control.rates import Rates
from control.records import MirrorRecord, VolumeRecord, VolumeState
from control.room import RoomKeeper
from control.roster import Roster
from control.scrubs import scrubber_of
from control.spans import size_of
from control.trace import Tracing
from control.volume import Volume
from dm_tables.dmsetup import Dmsetup
from dm_tables.errors import FrazilError, NotFound, Precondition
from dm_tables.freezer import Freezer
from dm_tables.guard import leftovers
from dm_tables.ioctl import CONTROL, Control
from dm_tables.looking import Looks
from dm_tables.names import volume_name


class AlreadyRunning(Precondition):
    """Another frazild has this state directory."""


class StateLock:
    """The state directory belongs to one process at a time; the kernel lets go when it dies.

    :raises AlreadyRunning: another process has it.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 32, 0).decode().strip()
            os.close(self._fd)
            raise AlreadyRunning(
                f"another frazild (pid {holder or 'unknown'}) keeps {path.parent}",
                "use it through frazil, or stop it first",
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)


def open_context(config: Config) -> Context:
    """Open what is on this host: journal, events, pool, device-mapper."""
    config.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    config.paths.run.mkdir(parents=True, exist_ok=True, mode=0o755)
    journal = Journal(config.paths.journal)
    events = Events(config.paths.state / "events.db")
    pool = JoinedPool(open_pool(config), open_replica_pool(config), REPLICA)
    client = TracerClient(config.paths.tracer_socket, start=start_tracer)
    return Context(
        config=config,
        journal=journal,
        events=events,
        pool=pool,
        dmsetup=Dmsetup(looks=Looks()),
        freezer=Freezer(lock=config.paths.run / "freezer.lock"),
        tracing=Tracing(journal, events, pool, client if config.trace.enabled else None),
        history=History(config.paths.history),
        rates=Rates(),
        authority=open_authority(config, journal, events),
    )


def tight_heads(context: Context) -> set[str]:
    """Heads whose live layer could overflow: one that the brake held waits on for room."""
    found = set()
    for record in context.journal.volumes():
        volume = Volume(record, context)
        with suppress(FrazilError):
            volume.watch_live()
        if volume.watched:
            found.add(str(volume.stack.head.name))
    return found


def free_leftovers(context: Context, but: Collection[str] = ()) -> None:
    """Let I/O through on every device of frazil's that a crash left suspended, but these.

    :raises DeviceMapperMissing: this kernel has none.
    """
    context.dmsetup.version()
    with closing(Control(CONTROL)) as kernel:
        freed = leftovers(kernel, but=but)
    for found in freed:
        level, state = ("warning", "goes on") if found.running else ("error", "is still suspended")
        context.events.add(level, found.name, "leftover", f"was found suspended, and {state}")


class Host:
    """What the services ask. Every method may be called from any thread."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.device_mapper_missing = ""
        self.unassembled: dict[str, str] = {}
        self.occupied: Callable[[], Sequence[Occupied]] = list
        self._lock = threading.RLock()
        self._volumes: dict[str, Volume] = {}
        self.historian = Historian(context, self.volumes)
        self.merger = Merger(context, self.volumes, self._workers_of, self.historian.record)
        self.roster = Roster(context, self.volume, self.merger.wake)
        self.room = RoomKeeper(context, self.volumes, self._workers_of)
        self.scrubber = scrubber_of(context, self.roster)

    # Coming and going.

    def start(self) -> None:
        """Adopt what is in the kernel, assemble what is not, and go on where it stopped.

        A volume that cannot be assembled is reported and left out; the others go on.
        """
        try:
            self.context.dmsetup.version()
            self.context.freezer.start()
            unfinished = finish_merges(self.context)
            free_leftovers(self.context, tight_heads(self.context) | unfinished)
        except FrazilError as error:
            self.device_mapper_missing = str(error)
        records = self.context.journal.volumes()
        if records:
            self.context.tracing.start()
        for record in records:
            volume = Volume(record, self.context)
            self._volumes[record.name] = volume
            self.assemble(volume)
        if not self.device_mapper_missing:
            self._take_over_waiting(unfinished)
        self.roster.start()
        self.historian.start()
        self.merger.start()
        self.room.start()
        self.scrubber.start()

    def _take_over_waiting(self, unfinished: Collection[str]) -> None:
        """Heads that wait for room, or for a merge to be finished, are the room keeper's.

        Any others go on.
        """
        waiting = [
            one
            for one in self.volumes()
            if str(one.stack.head.name) in unfinished
            or (one.watched and one.name not in self.unassembled)
        ]
        for volume in waiting:
            # One that cannot be asked now may wait: who keeps room finds out.
            volume.stalled = True
            with suppress(FrazilError):
                volume.stalled = volume.stack.is_suspended()
        free_leftovers(self.context, {str(one.stack.head.name) for one in waiting if one.stalled})

    def assemble(self, volume: Volume, *, force: bool = False) -> None:
        """Make a volume's devices; why not, if not, stands in ``unassembled`` until it is so.

        :param force: see :meth:`Volume.activate`.
        """
        try:
            volume.activate(force=force)
        except FrazilError as error:
            text = str(error)
            if self.unassembled.get(volume.name) != text:
                self.context.events.add("error", volume.name, error.name, text)
            self.unassembled[volume.name] = volume.problem = text
            return
        if self.unassembled.pop(volume.name, ""):
            volume.problem = ""
            self.context.events.add("info", volume.name, "assembled", "the head is there now")
            for worker in self._workers_of(volume.name):
                worker.wake()

    def check_disks(self) -> None:
        """:raises Bypassed: something else than a head writes to the disk below it."""
        check_not_bypassed(self.context.journal.volumes())

    def _workers_of(self, volume: str) -> list[MirrorWorker]:
        return self.roster.workers_of(volume)

    def at_work(self) -> bool:
        """Whether every thread that must run does."""
        threads = (self.historian, self.merger, self.scrubber)
        alive = all(one.is_alive() for one in threads) and self.room.at_work()
        return alive and self.roster.at_work() and self.context.authority.at_work()

    def stop(self) -> None:
        """End the threads; devices and heads stay."""
        self.scrubber.stop()
        self.roster.stop()
        self.room.stop()
        self.merger.stop()
        self.historian.stop()
        for thread in (self.room, self.merger, self.historian, self.scrubber):
            if thread.is_alive():
                thread.join(10)
        self.context.freezer.close()
        self.context.tracing.close()
        self.context.history.close()
        self.context.events.close()
        self.context.journal.close()

    # Volumes.

    def volumes(self) -> list[Volume]:
        """Every volume, without waiting for one that is being made: others may run out of room."""
        return list(self._volumes.values())

    def volume(self, name: str) -> Volume:
        """The same of one: the roster asks with its lock held, which who makes one takes last.

        :raises NotFound: there is none of that name.
        """
        volume = self._volumes.get(name)
        if volume is None:
            known = ", ".join(sorted(one.name for one in self.volumes())) or "none yet"
            raise NotFound(f"there is no volume {name!r}", f"there are: {known}")
        return volume

    def create_volume(
        self, name: str, wanted: Sequence[tuple[str, int, int]], chunk: int, *, dry_run: bool
    ) -> VolumeRecord:
        """Adopt spans as a volume; what they hold is kept.

        :param chunk: 0: chosen for each layer by how the volume is written.
        :param wanted: (path, offset, length) in bytes; a length of 0 goes to the end.
        :raises FrazilError: see :mod:`control.adopt`; nothing was changed.
        """
        with self._lock:
            known = self.context.journal.volumes()
            check_name_free(volume_name(name), known)
            self.roster.check_free(name)
            spans = tuple(resolve(*one) for one in wanted)
            check_adoptable(spans, [*known, *self.occupied()])
            self.context.dmsetup.version()
            record = VolumeRecord(
                name,
                str(uuid.uuid4()),
                spans,
                size_of(spans),
                checked_chunk(chunk),
                VolumeState.CREATING,
                bottom=0,
            )
            if not dry_run:
                self._make_volume(record)
            return record

    def _make_volume(self, record: VolumeRecord) -> None:
        self.context.journal.add_volume(record)
        volume = Volume(record, self.context)
        try:
            volume.activate()
        except FrazilError:
            with suppress(FrazilError):
                volume.stack.disassemble(0, [])
            self.context.journal.remove_volume(record.name)
            raise
        self._volumes[record.name] = volume
        self.roster.add_volume(record.name)
        self.context.tracing.start()
        self.context.events.add("info", record.name, "created", f"volume of {record.size} bytes")

    def adopt_stack(self, name: str, write_down: Callable[[], VolumeRecord]) -> Volume:
        """Bring up a volume whose stack is there; again after a crash.

        :param write_down: journals it; called only if the journal does not know it.
        """
        with self._lock:
            record = self.context.journal.volume(name)
            if record is None:
                with self.context.journal.transaction():
                    record = write_down()
            if name in self._volumes:
                return self._volumes[name]
            volume = Volume(record, self.context)
            volume.activate()
            self._volumes[name] = volume
            # The brake may have looked for it before it was here.
            self.context.watching.set()
            self.roster.add_volume(name)
        self.context.tracing.start()
        self.context.events.add("info", name, "promoted", "it is a source of this host now")
        return volume

    def forget_volume(self, volume: Volume) -> None:
        """Its stack belongs to somebody else now."""
        with self._lock:
            self._volumes.pop(volume.name, None)
            self.unassembled.pop(volume.name, None)
            self.roster.drop_volume(volume.name)
        self.context.history.forget(volume.uuid)
        self.context.rates.forget(volume.name)

    def grow_volume(
        self, name: str, wanted: Sequence[tuple[str, int, int]], *, dry_run: bool
    ) -> VolumeRecord:
        """Make a volume larger between two cycles, with its head in use; then freeze it.

        Where the freeze fails the head stays as long as it was, and the same call finishes it.

        :param wanted: spans to append; none: the last one goes to the end of its device or file.
        :raises FrazilError: see :mod:`control.adopt`; nothing was changed.
        """
        volume = self.volume(name)
        conductor = self.roster.conductor_of(name)
        with conductor.between_cycles(quiet=not dry_run):
            record = volume.record
            spans = grown(record.spans, wanted, growing=volume.growing)
            others = [one for one in self.context.journal.volumes() if one.name != name]
            check_adoptable(spans, [*others, *self.occupied()], growing=record)
            if not dry_run:
                volume.grow(spans)
                _freeze_grown(conductor, name)
                told = f"the head has {size_of(spans)} bytes now"
                self.context.events.add("info", name, "grown", told)
        conductor.wake()
        return dataclasses.replace(record, spans=spans, size=size_of(spans))

    def unfence(self, volume: Volume, *, force: bool) -> None:
        """Give a fenced volume's head to applications after all.

        :raises Precondition: without ``force``.
        """
        unfence(volume, force=force)
        self.assemble(volume, force=force)

    def give_back(self, volume: Volume, mirror: MirrorRecord) -> None:
        """Give the head to applications again: the host that a mirror leads to gave it up.

        It stays away if yet another one took over. If none is known to have, the other hosts are
        asked anew; why it stays away then, if it does, is the volume's problem.
        """
        given_up(volume, mirror)
        if not is_fenced(volume):
            self.assemble(volume)

    def remove_volume(self, name: str, progress: Callable[[int, int], None]) -> None:
        """Merge everything and give the bare device back with exactly the head's content.

        :raises Precondition: the head is in use, or a mirror still needs the volume.
        """
        volume = self.volume(name)
        volume.check_removable()
        volume.remove(progress)
        self.forget_volume(volume)
        self.context.events.add("info", name, "removed", "the bare device holds the head's content")


def _freeze_grown(conductor: Conductor, name: str) -> None:
    """:raises FrazilError: of the freeze; it says how to go on."""
    try:
        conductor.freeze()
    except FrazilError as error:
        again = f"the head of {name} grows with its next freeze: frazil volume grow {name}"
        error.hint = f"{error.hint}; {again}" if error.hint else again
        raise
