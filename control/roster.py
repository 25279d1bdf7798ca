"""The groups and mirrors of a host, and the threads that keep them going."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from control.blocks import BlockSet
from control.cascade import CascadeGroup
from control.conductor import Conductor, end_all
from control.context import Context
from control.fence import FENCINGS
from control.group import Group
from control.hooks import check_hooks, hooks_of
from control.keeping import LayerKeeper
from control.mirror import MirrorWorker
from control.mirrored import MirroredGroup
from control.onward import Onward
from control.records import GroupRecord, MirrorRecord, MirrorState, Origin, Policy
from control.replica.store import ReplicaStore
from control.timing import timing_of
from control.volume import Volume
from dm_tables.errors import Exists, NotFound, Precondition, Usage
from dm_tables.names import volume_name

CONSISTENCIES = ("", "filesystem", "crash")


class Roster:
    """Every group with its conductor, every mirror with its worker.

    :param volume: gives a volume by name. :param committed: called when a replica has an instant.
    """

    def __init__(
        self, context: Context, volume: Callable[[str], Volume], committed: Callable[[], None]
    ) -> None:
        self.context = context
        self._volume = volume
        self._wake_merger = committed
        self._lock = threading.RLock()
        self._conductors: dict[str, Conductor] = {}
        self._workers: dict[str, MirrorWorker] = {}
        self._onward: Onward | None = None

    # Coming and going.

    def start(self) -> None:
        """Take up what is journaled."""
        with self._lock:
            for record in self.context.journal.groups():
                self._start_group(record.name)
            for mirror in self.context.journal.mirrors():
                if mirror.origin is Origin.GROUP:
                    self._start_worker(mirror)

    def mirror_on(self, replicas: ReplicaStore) -> None:
        """Start the mirrors that bring replicas of this host on to others."""
        with self._lock:
            onward = self._onward = Onward(replicas, self.context.config)
            replicas.keeper = LayerKeeper(self.context, replicas, onward.shortage, self._cascades)
            for mirror in self.context.journal.mirrors():
                if mirror.origin is not Origin.GROUP:
                    self._start_worker(mirror)

    def committed_here(self) -> None:
        """The replicas have something new: what brings them on looks again."""
        for worker in self._cascades():
            worker.look()

    def end_mirroring_on(self) -> None:
        """End the mirrors of replicas: the store is about to be closed.

        What they lack is remembered to the last.
        """
        with self._lock:
            self._onward = None
        end_all(self._cascades())

    def _cascades(self) -> list[MirrorWorker]:
        """The workers of mirrors of replicas."""
        workers = list(self._workers.values())
        return [worker for worker in workers if isinstance(worker.group, CascadeGroup)]

    def stop(self) -> None:
        """End all threads; devices and heads stay."""
        end_all(self.workers(), list(self._conductors.values()))

    def at_work(self) -> bool:
        """Whether every thread that must run does."""
        return all(one.is_alive() for one in (*self.workers(), *self._conductors.values()))

    def _start_group(self, name: str) -> Conductor:
        volumes = [self._volume(member) for member in self.context.journal.members(name)]
        group = Group(name, self.context, volumes)
        conductor = Conductor(group, self.context, lambda: self.workers_in(name))
        self._conductors[name] = conductor
        conductor.start()
        return conductor

    def _start_worker(self, record: MirrorRecord) -> MirrorWorker:
        group = self._group_of(record)

        def committed() -> None:
            if isinstance(group, CascadeGroup):
                group.settle()
            else:
                self._wake_merger()
            self._wake(worker)

        worker = MirrorWorker(record.name, group, self.context, committed)
        self._workers[record.name] = worker
        worker.start()
        self._wake(worker)
        return worker

    def _group_of(self, record: MirrorRecord) -> MirroredGroup:
        """What a mirror brings to its peer. :raises NotFound: it is not here."""
        if record.origin is Origin.GROUP:
            return self.conductor(record.group_name).group
        if self._onward is None:
            raise NotFound(f"no replicas are kept here, and none is called {record.group_name}")
        return self._onward.group(record)

    def _wake(self, worker: MirrorWorker) -> None:
        """Let the group's conductor look again, if it is frozen here."""
        if not isinstance(worker.group, CascadeGroup):
            self.conductor(worker.group.name).wake()

    # Groups.

    def conductors(self) -> list[Conductor]:
        """Every group's, by name."""
        with self._lock:
            return [self._conductors[name] for name in sorted(self._conductors)]

    def conductor(self, name: str) -> Conductor:
        """:raises NotFound: there is no group of that name."""
        with self._lock:
            if name not in self._conductors:
                known = ", ".join(sorted(self._conductors)) or "none yet"
                raise NotFound(f"there is no group {name!r}", f"there are: {known}")
            return self._conductors[name]

    def conductor_of(self, volume: str) -> Conductor:
        """That of a volume's group."""
        return self.conductor(self.context.journal.group_of(volume))

    def check_free(self, name: str) -> None:
        """:raises Exists: a group or a volume has the name."""
        if self.context.journal.volume(name) is not None:
            raise Exists(f"there is already a volume {name}", "give the group another name")
        if self.context.journal.group(name) is not None:
            raise Exists(f"there is already a group {name}", "see frazil group list")

    def create_group(self, record: GroupRecord, volumes: Sequence[str]) -> Conductor:
        """Make a group of volumes that are not mirrored by themselves.

        :raises Usage: a volume twice, none, or a setting that is none.
        :raises Exists: the name is taken. :raises Precondition: see :meth:`_check_joinable`.
        """
        with self._lock:
            volume_name(record.name)
            self.check_free(record.name)
            check_settings(record)
            if not volumes:
                raise Usage("a group needs at least one volume", "frazil volume list")
            self._check_joinable(record.name, volumes)
            with self.context.journal.transaction():
                self.context.journal.save_group(record)
                self._take_in(record.name, volumes)
            self.context.events.add("info", record.name, "created", f"group of {len(volumes)}")
            return self._start_group(record.name)

    def change_group(
        self, record: GroupRecord, add: Sequence[str], remove: Sequence[str]
    ) -> Conductor:
        """Change a group's settings and members, between two cycles.

        Who leaves is not being copied any more: its standings go.

        :raises Usage, Precondition: as :meth:`create_group`; nothing was changed.
        """
        conductor = self.conductor(record.name)
        with conductor.between_cycles(quiet=bool(remove)), self._lock:
            check_settings(record)
            members = self.context.journal.members(record.name)
            for name in remove:
                if name not in members:
                    raise Precondition(f"volume {name} is not in group {record.name}")
            if record.implicit and (add or remove):
                raise Precondition(
                    f"{record.name} is a volume by itself",
                    "make a group of it: frazil group create NAME VOLUME...",
                )
            self._check_joinable(record.name, add)
            if not set(members) - set(remove) | set(add):
                raise Precondition(
                    f"group {record.name} would have no volumes", "frazil group remove"
                )
            with self.context.journal.transaction():
                self.context.journal.save_group(record)
                self._take_in(record.name, add)
                self._let_go(record.name, remove)
            self._refresh(record.name)
        conductor.wake()
        return conductor

    def remove_group(self, name: str) -> None:
        """Its volumes are by themselves again.

        :raises Precondition: it is mirrored, or a volume's own.
        """
        conductor = self.conductor(name)
        with self._lock:
            record = conductor.group.record
            if record.implicit:
                raise Precondition(
                    f"{name} is a volume by itself, not a group", "frazil volume remove"
                )
            mirrors = self.workers_in(name)
            if mirrors:
                raise Precondition(
                    f"group {name} is mirrored by {mirrors[0].mirror}",
                    f"frazil mirror remove {mirrors[0].mirror}",
                )
            conductor.stop()
            conductor.join(30)
            with self.context.journal.transaction():
                self._let_go(name, self.context.journal.members(name))
                self.context.journal.remove_group(name)
            del self._conductors[name]
            self.context.events.add("info", name, "removed", "its volumes are by themselves")

    def forget_group(self, name: str) -> None:
        """A group whose volumes are gone goes too."""
        with self._lock:
            conductor = self._conductors.pop(name, None)
            if conductor is not None:
                conductor.stop()
            self.context.journal.remove_group(name)

    def add_volume(self, name: str) -> None:
        """A new volume is a group by itself, unless it was taken into another one meanwhile."""
        with self._lock:
            if self.context.journal.group(name) is not None:
                self._start_group(name)

    def drop_volume(self, name: str) -> None:
        """A volume that is gone leaves its group."""
        with self._lock:
            conductor = self._conductors.pop(name, None)
            if conductor is not None:
                conductor.stop()
            for other in self._conductors:
                self._refresh(other)

    def _check_joinable(self, group: str, volumes: Sequence[str]) -> None:
        twice = {name for name in volumes if volumes.count(name) > 1}
        if twice:
            raise Usage(f"volume {min(twice)} is named twice")
        for name in volumes:
            self._volume(name)
            now = self.context.journal.group_of(name)
            if now == group:
                raise Precondition(f"volume {name} is in group {group} already")
            if now != name:
                raise Precondition(
                    f"volume {name} is in group {now}", f"frazil group leave {now} {name}"
                )
            mirrors = self.workers_in(name)
            if mirrors:
                raise Precondition(
                    f"volume {name} is mirrored by itself, by {mirrors[0].mirror}",
                    f"frazil mirror remove {mirrors[0].mirror}; the group's mirror goes on from "
                    "what its replica has",
                )

    def _take_in(self, group: str, volumes: Iterable[str]) -> None:
        for name in volumes:
            self.context.journal.set_member(name, group)
            self.context.journal.remove_group(name)
            own = self._conductors.pop(name, None)
            if own is not None:
                own.stop()

    def _let_go(self, group: str, volumes: Iterable[str]) -> None:
        journal = self.context.journal
        mirrors = [mirror.name for mirror in journal.mirrors_of(group)]
        for name in volumes:
            journal.save_group(GroupRecord(name, implicit=True))
            journal.set_member(name, name)
            for mirror in mirrors:
                journal.remove_standing(mirror, name)
            self._start_group(name)

    def _refresh(self, group: str) -> None:
        members = self.context.journal.members(group)
        self._conductors[group].group.set_volumes([self._volume(name) for name in members])

    # Mirrors.

    def origin_of(self, volume: str, group: str) -> Origin:
        """What a mirror of one of the two is a mirror of; this host's own volumes come first.

        What is not here at all counts as one of those.
        """
        own = self.context.journal
        if self._onward is None or own.volume(volume) is not None or own.group(group) is not None:
            return Origin.GROUP
        return self._onward.origin_of(volume, group) or Origin.GROUP

    def workers(self) -> list[MirrorWorker]:
        """Every mirror's worker, by name."""
        with self._lock:
            return [self._workers[name] for name in sorted(self._workers)]

    def workers_in(self, group: str) -> list[MirrorWorker]:
        """The workers of a group's mirrors."""
        conductor = self._conductors.get(group)
        return [
            worker
            for worker in self.workers()
            if conductor is not None and worker.group is conductor.group
        ]

    def workers_of(self, volume: str) -> list[MirrorWorker]:
        """The workers of the mirrors of a volume's group."""
        return self.workers_in(self.context.journal.group_of(volume))

    def worker(self, name: str) -> MirrorWorker:
        """:raises NotFound: there is no mirror of that name."""
        with self._lock:
            if name not in self._workers:
                known = ", ".join(sorted(self._workers)) or "none yet"
                raise NotFound(f"there is no mirror {name!r}", f"there are: {known}")
            return self._workers[name]

    def create_mirror(self, record: MirrorRecord) -> MirrorWorker:
        """Write a mirror down, and start it if its state says so.

        :raises Exists: there is one of that name, or one that writes the same replica.
        :raises NotFound: there is no such group. :raises Usage: its replicas share a name, or its
            settings mean nothing.
        """
        timing_of(record, "")
        with self._lock:
            if record.name in self._workers:
                raise Exists(f"there is already a mirror {record.name}", "see frazil mirror list")
            group = self._group_of(record)
            if isinstance(group, CascadeGroup):
                group.check()
            names = {record.replica_of(volume.name) for volume in group.volumes}
            if len(names) < len(group.volumes):
                raise Usage(
                    f"the volumes of group {group.name} cannot all be {record.replica_volume} "
                    "at the replica",
                    "write {volume} where each one's own name belongs",
                )
            self._check_other_mirrors(record, names)
            self.context.journal.save_mirror(record)
            return self._start_worker(record)

    def take_up(self, record: MirrorRecord) -> MirrorWorker:
        """Start the worker of a mirror that is journaled already."""
        with self._lock:
            return self._start_worker(record)

    def begin_anew(self, name: str) -> None:
        """What a mirror brings to its peer has changed in the journal: go on with that."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.stop()
            worker.join(30)
        record = self.context.journal.mirror(name)
        if record is not None:
            self.take_up(record)

    def _check_other_mirrors(self, record: MirrorRecord, names: set[str]) -> None:
        for other in self.workers():
            known = other.record
            theirs = {known.replica_of(volume.name) for volume in other.group.volumes}
            same = sorted(names & theirs)
            if known.peer == record.peer and same:
                raise Exists(
                    f"mirror {known.name} writes {same[0]} at {known.peer} already",
                    f"frazil mirror remove {known.name}, or another --replica-name",
                )

    def set_mirror_state(self, name: str, state: MirrorState, *, now: bool = False) -> MirrorWorker:
        """Start, pause or break a mirror; doing it twice is the same as once.

        ``now`` stops a running copy where it is instead of finishing it.
        """
        worker = self.worker(name)
        if state is MirrorState.RUNNING and not worker.record.peer:
            raise Precondition(
                f"mirror {name} does not know where its replica's host is",
                f"frazil mirror set {name} --peer HOST:PORT",
            )
        was = worker.record.state
        if state is MirrorState.BREAKING and was is not MirrorState.RUNNING:
            state = was if was is MirrorState.BREAKING else MirrorState.BROKEN
        if was is not state:
            self.context.journal.change_mirror(name, state=state)
            self.context.events.add("info", name, state.value, f"the mirror is {state.value}")
        if now or state is MirrorState.PAUSED:
            worker.interrupt()
        else:
            worker.wake()
        self._wake(worker)
        return worker

    def start_mirror(self, name: str, *, whole: bool) -> MirrorWorker:
        """Let a mirror run; ``whole``: with a whole copy first, or what differs by digests."""
        if whole:
            worker = self.worker(name)
            with worker.quiet():
                for volume in worker.group.volumes:
                    asked = {"lacking_all": True, "asked_whole": True}
                    self.context.journal.change_standing(name, volume.name, **asked)
        return self.set_mirror_state(name, MirrorState.RUNNING)

    def ask(self, name: str) -> int:
        """Start a cycle of a mirror now. :return: the number its generation has at least."""
        worker = self.worker(name)
        number = worker.ask()
        self._wake(worker)
        return number

    def change_mirror(self, name: str, **fields: Any) -> MirrorWorker:
        """Change a mirror's settings; they hold at once, the rate also for a running copy.

        :raises Usage: together with those that stay they mean nothing; nothing was changed.
        """
        worker = self.worker(name)
        timing_of(dataclasses.replace(worker.record, **fields), "")
        record = self.context.journal.change_mirror(name, **fields)
        worker.limiter.set_rate(record.rate_bytes or self.context.config.copy.rate)
        if "peer" in fields or "window" in fields:
            worker.interrupt()
        worker.wake()
        self._wake(worker)
        return worker

    def repair(self, name: str, volume: str, blocks: BlockSet) -> None:
        """Let a mirror's next cycle send blocks again; a running copy goes on after that."""
        worker = self.worker(name)
        with worker.quiet():
            worker.comparisons.lack(volume, blocks)
        worker.wake()
        self._wake(worker)

    def remove_mirror(self, name: str) -> None:
        """End a mirror and forget it; the replica keeps what it has."""
        worker = self.worker(name)
        worker.stop()
        worker.join(30)
        with self._lock:
            self.context.journal.remove_mirror(name)
            self.context.journal.set_note(f"asked {name}", "")
            self._workers.pop(name, None)
        self.context.events.add("info", name, "removed", "the replica keeps what it has")
        self._wake_merger()
        if isinstance(worker.group, CascadeGroup):
            worker.group.settle()
        self._wake(worker)


def check_settings(record: GroupRecord) -> None:
    """:raises Usage: a setting of a group cannot be. :raises HookMissing: a hook is not there."""
    if record.consistency not in CONSISTENCIES:
        raise Usage(f"{record.consistency!r} is no consistency", "filesystem or crash")
    if record.fencing not in FENCINGS:
        raise Usage(f"{record.fencing!r} is no kind of fencing", ", ".join(FENCINGS))
    if (record.policy is Policy.QUORUM) != (record.quorum > 0):
        raise Usage("the policy quorum needs a number of replicas", "--policy quorum=2")
    check_hooks(hooks_of(record))


def policy_of(text: str) -> Policy:
    """:raises Usage: there is no such policy."""
    try:
        return Policy(text or Policy.LOCKSTEP)
    except ValueError:
        known = ", ".join(policy.value for policy in Policy)
        raise Usage(f"{text!r} is no policy", f"there are: {known}") from None
