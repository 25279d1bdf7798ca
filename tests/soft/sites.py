"""Two sites that change sides, beside the model of what the one that leads must hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from control.chunk_size import DEFAULT_CHUNK
from control.give_up import discard_there
from control.promote import WayBack
from control.records import GroupRecord, MirrorRecord, MirrorState
from control.replica.images import open_image
from control.replica.records import ROLE_REPLICA
from control.replica.side import ReplicaSide
from control.switch import Roles
from dm_tables.errors import FrazilError, Precondition
from dm_tables.units import Bytes
from tests.histories.model import VolumeModel, demand
from tests.histories.source import Fault
from tests.replica_tools import MEMORY
from tests.soft.host import SoftHost, soft_kernel
from tests.soft.mapper import Loops, SoftMapper
from tests.soft.replica import Faults, FaultyReceiver
from tests.soft.world import GROUP, Deaths, Died


class Site:
    """A host that is a source and a replica, whichever is asked of it."""

    def __init__(self, directory: Path, loops: Loops) -> None:
        directory.mkdir()
        self.mapper = SoftMapper(directory / "devices", loops)
        self.soft = SoftHost(directory / "host", self.mapper)
        self.address = str(self.soft.config.listen.address)
        self.faults = Faults()
        self._take_part()

    def _take_part(self) -> None:
        self.side = ReplicaSide(self.soft.host.context)
        self.roles = Roles(self.soft.host, self.side)
        self.side.start()
        self.soft.host.roster.mirror_on(self.side.store)
        self.side.on_commit = self.soft.host.roster.committed_here
        self.side.take_over = self.roles.take_over
        self.side.give_up = self.roles.give_up
        # The daemon's merger runs by then.
        self.merge()
        self.soft.host.roster._wake_merger = self.merge
        self.roles.resume()
        with mock.patch("control.replica.side.Receiver", self._receiver):
            self.side.listen()

    def _receiver(self, *given: Any) -> FaultyReceiver:
        made = FaultyReceiver(*given)
        made.faults, made.came = self.faults, {}
        return made

    def merge(self) -> None:
        """The source's merger takes a step."""
        for volume in self.soft.host.volumes():
            self.soft.host.merger._merge_one(volume)

    def stop(self) -> None:
        """End both roles."""
        self.soft.host.roster.end_mirroring_on()
        self.side.stop()
        self.soft.stop()

    def kill(self) -> None:
        """As kill -9."""
        self.side.stop()
        self.soft.kill()

    def start(self, *, power: bool) -> None:
        """Both roles again. ``power``: the kernel too."""
        if power:
            self.mapper.power_cut()
            self.soft.tracer.begin_anew()
        self.soft.start()
        self._take_part()

    @property
    def mirrors(self) -> list[str]:
        """The names of its mirrors."""
        return [record.name for record in self.soft.journal.mirrors()]

    @property
    def leads(self) -> bool:
        """Whether the group is a source here."""
        return self.soft.journal.group(GROUP) is not None

    def replicas(self) -> list[str]:
        """The volumes of which this is a replica that has a generation."""
        journal = self.side.store.journal
        return [
            volume.name
            for volume in journal.volumes()
            if volume.role == ROLE_REPLICA and journal.newest(volume.name) is not None
        ]

    def newest(self, volume: str) -> Any:
        """The newest committed generation."""
        return self.side.store.journal.newest(volume)

    def image(self, volume: str) -> bytes:
        """What it shows."""
        store = self.side.store
        with store.reading(volume) as chain, open_image(store, chain) as image:
            return bytes(image.read(Bytes(0), chain.size))


class Sites:
    """A group of volumes that begins at the first of two sites.

    :param volumes: what they begin with, by name.
    """

    def __init__(self, volumes: dict[str, bytes]) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.directory)
        self._loops = Loops()
        self._stack.enter_context(soft_kernel(self._loops))
        self.leader, self.other = (self.site(name) for name in ("east", "west"))
        self.models = {name: VolumeModel(bytearray(data)) for name, data in volumes.items()}
        self.known: dict[tuple[Path, str], str] = {}
        self.died = False
        self._left: dict[str, tuple[bytearray, set[int]]] = {}
        for name, data in volumes.items():
            path = self.directory / f"{name}.disk"
            path.write_bytes(data)
            self.host.create_volume(name, [(str(path), 0, 0)], 0, dry_run=False)
        record = GroupRecord(GROUP, implicit=False, consistency="crash")
        self.host.roster.create_group(record, list(volumes))
        self.host.roster.create_mirror(
            MirrorRecord(
                "there",
                GROUP,
                self.other.address,
                "{volume}",
                MirrorState.RUNNING,
                interval_ms=0,
                rate_bytes=0,
                on_demand=False,
                plaintext=True,
                verify=False,
            )
        )

    def site(self, name: str) -> Site:
        """Another one, which its maker stops."""
        return Site(self.directory / name, self._loops)

    def close(self) -> None:
        """End everything."""
        for site in (self.leader, self.other):
            with suppress(Exception):
                site.stop()
        self._stack.close()

    @property
    def host(self) -> Any:
        """The leader's."""
        return self.leader.soft.host

    def write(self, volume: str, at: int, data: bytes) -> None:
        """At the site that leads."""
        self.leader.mapper.write(self.leader.soft.head(volume), at, data)
        self.models[volume].write(at, data)

    def freeze(self, *, chunk: Bytes | None = None) -> None:
        """At the site that leads. :param chunk: of its next layers."""
        self.leader.mapper.chunk = chunk or self.leader.mapper.chunk

        def frozen() -> None:
            for model in self.models.values():
                model.freeze()

        self.leader.soft.freezer.frozen = frozen
        self.host.roster.conductor(GROUP).freeze()
        for name, model in self.models.items():
            for made in reversed(self.leader.soft.journal.generations(name)):
                if made.frozen_at is not None and made.uuid not in model.images:
                    model.happened(made.uuid)
            model.came_to_nothing()

    def copy(self) -> FrazilError | None:
        """The leader's mirrors take steps: one for what was begun, one for the newest."""
        steps = [self.leader.soft.step(mirror) for mirror in self.leader.mirrors * 2]
        return next((error for error in steps if error is not None), None)

    def copy_badly(self, fault: Fault) -> None:
        """The leader's mirrors take a step, on a connection that breaks."""
        self.other.faults.break_at(fault)
        for mirror in self.leader.mirrors:
            self.leader.soft.step(mirror)
        self.other.faults.clear()

    def merge(self) -> None:
        """Both sites' mergers take a step."""
        for site in (self.leader, self.other):
            site.merge()
            site.side.merger.merge_next()

    # Changing sides.

    def fail_over(self, *, dies: int | None = None, power: bool = False) -> None:
        """The site that leads is gone, and the other one goes on from what it has.

        :param dies: the other dies too, after so many effects, and is started again.
        """
        self.leader.stop()
        with self._mortal(self.other, dies, power=power):
            self._promote()
        if not self.other.leads:
            self._promote()
        self.leader, self.other = self.other, self.leader
        for name, model in self.models.items():
            self._left[name] = (model.head, set(model.since))
            newest = self.leader.soft.journal.generations(name)[0]
            model.head = bytearray(model.images[newest.uuid])
            model.since.clear()

    def _promote(self) -> None:
        back = WayBack(self.leader.address, plaintext=True)
        self.other.roles.promoter.promote(GROUP, back=back, progress=lambda *_: None)

    @contextmanager
    def _mortal(self, site: Site, effects: int | None, *, power: bool) -> Iterator[None]:
        deaths = Deaths(effects)
        try:
            with deaths.inserted(site.mapper):
                yield
        except Died:
            pass
        self.died = deaths.dead
        if deaths.dead:
            site.kill()
            site.start(power=power)

    def come_back(self, *, power: bool, dies: int | None = None) -> None:
        """The site that was gone is there again, and becomes the replica."""
        self.other.start(power=power)
        if self.other.leads:
            stale = [self.other.soft.step(mirror) for mirror in self.other.mirrors]
            demand(all(stale), "what is promoted took a copy from its old source")
            # Who was promoted last keeps the head, whatever the other one still thinks of itself.
            self.copy()
            self.check()
            with self._mortal(self.other, dies, power=power):
                self.other.roles.demoter.demote(GROUP, "loopback", force=True)
            if self.other.leads:
                self.other.roles.demoter.demote(GROUP, "loopback", force=True)
            for volume in self.models:
                self.other.side.drop_diverged(volume)

    def take_back(self, *, power: bool, written: bytes = b"") -> None:
        """The site that was gone is there again, and the other one gives up what it wrote.

        :param written: to every head of it before, although the other one took over.
        """
        self.other.start(power=power)
        if written:
            self._use_all_the_same(written)
        (mirror,) = self.other.mirrors
        discard_there(self.other.soft.host, mirror)
        demand(not self.leader.leads, "the other site gives up, and leads")
        for name, model in self.models.items():
            self.leader.side.drop_diverged(name)
            model.head, model.since = self._left[name]
        self.leader, self.other = self.other, self.leader

    def _use_all_the_same(self, written: bytes) -> None:
        for name, (head, since) in self._left.items():
            self.other.soft.host.unfence(self.other.soft.volume(name), force=True)
            self.other.mapper.write(self.other.soft.head(name), 0, written)
            VolumeModel(head, since=since).write(0, written)

    def switch(self) -> bool:
        """As planned, where nothing is on one side alone. :return: whether it was so."""
        try:
            self.leader.roles.demoter.demote(GROUP, "loopback", force=False)
        except Precondition:
            return False
        self._promote()
        self.leader, self.other = self.other, self.leader
        return True

    def restart(self) -> None:
        """Both daemons."""
        for site in (self.leader, self.other):
            site.stop()
            site.start(power=False)

    # What must be so.

    def check(self, *, both: bool = True) -> None:
        """:raises Wrong: a head, an image or a replica does not hold what it must."""
        for name, model in self.models.items():
            head = self.leader.mapper.image(self.leader.soft.head(name))
            demand(head == bytes(model.head), f"{name}: the head is wrong")
            volume = self.leader.soft.volume(name)
            for made in volume.images():
                shown = self.leader.mapper.image(str(volume.image(made).name))
                right = shown == model.images[made.uuid]
                demand(right, f"{name}: the image of generation {made.number} changed")
        if both:
            self._check_replica()

    def _check_replica(self) -> None:
        found = set()
        for name in self.other.replicas():
            model, newest = self.models[name], self.other.newest(name)
            uuid = newest.generation.uuid
            demand(self.other.image(name) == model.images[uuid], f"{name} is no generation there")
            found.add(uuid)
            key = (self.other.soft.directory, name)
            before = self.known.get(key)
            if before and before != uuid and newest.length:
                most = model.bytes_between(before, uuid, DEFAULT_CHUNK)
                few = newest.length <= most + most // 64
                demand(few, f"{name}: {newest.length} bytes came where {most} had changed")
            self.known[key] = uuid
        demand(len(found) <= 1, f"the replica shows different instants: {found}")
