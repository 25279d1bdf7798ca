"""A mirrored group on real hosts, beside the model of what they must hold."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from dm_tables.units import MIB, SECTOR
from tests.histories.model import VolumeModel, demand
from tests.pair import DISK
from tests.topology import Site
from vagrant.cluster import FrazilHost

GROUP = "shop"
CHUNK = 16 << 10
"""Bytes of the chunks of every volume that is made here."""

PATIENCE = 240.0
HOLDINGS = "tests.workload.holdings"


class LabGroup:
    """Volumes of one host in a group, and the hosts that may have replicas of them.

    Nothing is written while the group may be frozen: mirrors run on demand, and a step that leads
    to a freeze ends after it. So an instant that is new is that of the heads as they are.

    :param volumes: what they begin with, by name.
    """

    def __init__(
        self, site: Site, leader: str, volumes: Mapping[str, bytes], grouped: Sequence[str]
    ) -> None:
        self.site = site
        self.leader: FrazilHost = site[leader]
        self.models = {name: VolumeModel(bytearray(data)) for name, data in volumes.items()}
        self.left: dict[tuple[str, str], str] = {}
        """What a host had of a volume when it was no longer mirrored there."""
        self.instants: dict[str, int] = {}
        """Numbers of instants, by UUID."""
        self.compared = 0
        self.widest = CHUNK
        """Bytes of a chunk, by which what is sent is judged."""
        self._owed: dict[str, int] = {}
        self._have: dict[str, str] = {}
        self._may_be_whole: set[str] = set()
        for slot, (name, data) in enumerate(volumes.items()):
            span = f"{DISK}d0,offset={(1 + 8 * slot) * MIB},length={len(data)}"
            self.leader.frazil("volume", "create", name, span, "--chunk", str(CHUNK))
            self._put(name, 0, data)
        self.leader.frazil("group", "create", GROUP, *grouped)

    def _put(self, volume: str, at: int, data: bytes) -> None:
        words = ["dd", f"of=/dev/mapper/frazil-{volume}", "bs=512", f"seek={at // SECTOR}"]
        more = ["iflag=fullblock", "status=none", "conv=notrunc,fsync"]
        self.leader.guest.run([*words, *more], stdin=data)

    def write(self, volume: str, at: int, data: bytes) -> None:
        """As an application does."""
        self._put(volume, at, data)
        self.models[volume].write(at, data)

    # What the leader says.

    def shown(self) -> dict[str, dict[str, Any]]:
        """The mirrors, as their status has them."""
        return {one["name"]: one for one in self.leader.json("mirror", "status")["mirrors"]}

    @property
    def mirrors(self) -> list[str]:
        """Their names."""
        return [one["name"] for one in self.leader.json("mirror", "list")["mirrors"]]

    def running(self) -> list[str]:
        """The names of those that run."""
        return [name for name, one in self.shown().items() if one["state"] == "running"]

    def members(self) -> list[str]:
        """The group's volumes."""
        return list(self.leader.json("group", "show", GROUP)["volumes"])

    def notice(self) -> int:
        """Take up the group's newest instant. :return: its number; 0: there is none."""
        found = self.leader.json("group", "show", GROUP)
        newest = found["newest"]
        if newest is None:
            return 0
        if newest["uuid"] not in self.instants:
            self.instants[newest["uuid"]] = newest["number"]
            for name in found["volumes"]:
                self.models[name].happened(newest["uuid"])
        return number(newest)

    def quiet(self) -> None:
        """Until no freeze is to come: what was asked for may no longer be there to be copied."""

        def is_quiet() -> bool:
            newest = self.notice()
            return all(
                self._owed.get(name, 0) <= max(newest, number(one["committed"]))
                for name, one in self.shown().items()
                if one["state"] == "running"
            )

        self.leader.until("all that was asked for is frozen", is_quiet, timeout=PATIENCE)

    # Cycles.

    def ask(self, mirror: str) -> None:
        """Have the group frozen for a mirror; its copy goes on by itself."""
        self.leader.frazil("mirror", "sync-now", mirror)
        self._frozen_for(mirror, len(self.instants))

    def _frozen_for(self, mirror: str, before: int) -> None:
        """Until there are more instants than ``before``."""

        def frozen() -> bool:
            self._owed[mirror] = self.notice()
            return len(self.instants) > before

        self.leader.until("the group is frozen", frozen, timeout=PATIENCE)

    def cut(self, *, one_way: bool = False) -> None:
        """Lose what leader and replicas send to each other, or only the replicas' answers."""
        for host in self.site.hosts.values():
            if host is not self.leader and host.guest.running:
                self.site.lab.partition(host.guest, self.leader.guest, one_way=one_way)

    def heal(self) -> None:
        """Nothing is lost any more."""
        self.site.lab.heal()

    def freeze_apart(self, dies: int | None = None, *, power: bool = False) -> None:
        """Freeze while no replica can be reached. :param dies: the leader does, so much later."""
        running = self.running()
        self.heal()
        self.arrive(running)
        if not running:
            return
        self.cut()
        if dies is None:
            self.ask(running[0])
            return
        before = len(self.instants)
        self.leader.frazil("mirror", "sync-now", running[0])
        time.sleep(dies * 0.03)
        self.start_again(self.leader, power=power)
        self._frozen_for(running[0], before)

    def bring(self, mirror: str) -> None:
        """A cycle of a mirror, or the end of the one that is under way."""
        running = self.running()
        if mirror in running:
            self.heal()
            self.arrive([name for name in running if name != mirror])
            if mirror not in self._owed:
                self.ask(mirror)
            self.arrive([mirror])

    def arrive(self, mirrors: Sequence[str]) -> None:
        """Until these have what they were asked for.

        :raises Wrong: more was sent than had changed.
        """
        for mirror in mirrors:
            if mirror in self._owed:
                told = f"{mirror} has generation {self._owed[mirror]}"
                self.leader.until(told, partial(self._has, mirror), timeout=PATIENCE)
                del self._owed[mirror]

    def _has(self, mirror: str) -> bool:
        shown = self.shown()[mirror]
        if number(shown["committed"]) < self._owed[mirror]:
            return False
        self._judge_cycle(mirror, shown["committed"]["uuid"], shown["recent"])
        return True

    def _judge_cycle(self, mirror: str, uuid: str, recent: Sequence[Any]) -> None:
        before, self._have[mirror] = self._have.get(mirror, ""), uuid
        cycles = [one for one in recent if one["generation"]["uuid"] == uuid]
        if not cycles or mirror in self._may_be_whole or not before:
            self._may_be_whole.discard(mirror)
            return
        demand(cycles[0]["kind"] != "whole", f"{mirror} copied everything again")
        models = [self.models[name] for name in self.members()]
        most = sum(model.bytes_between(before, uuid, self.widest) for model in models)
        changed = cycles[0]["changed_bytes"]
        demand(changed <= most, f"{mirror}: {changed} bytes where {most} had changed")

    def start_again(self, host: FrazilHost, *, power: bool) -> None:
        """The daemon, killed, or its host without power; then both are there again."""
        if power:
            host.guest.restart()
        else:
            host.kill()
        host.start()

    # What must be so.

    def check(self, *, points: bool = False, only_leader: bool = False) -> None:
        """Compare every head, frozen image and committed generation with the models.

        :param points: every recovery point of the replicas too.
        :raises Wrong: one of them is something else.
        """
        self.quiet()
        hosts = [self.leader] if only_leader else list(self.site.hosts.values())
        with ThreadPoolExecutor(len(hosts)) as pool:
            found = list(pool.map(lambda host: look(host, points=points), hosts))
        for host, holds in zip(hosts, found, strict=True):
            if host is self.leader:
                self._check_volumes(holds["volumes"])
            else:
                self._check_replicas(host.name, holds["replicas"])

    def _check_volumes(self, volumes: Mapping[str, Any]) -> None:
        demand(set(volumes) == set(self.models), f"{self.leader.name} has {sorted(volumes)}")
        for name, holds in volumes.items():
            model = self.models[name]
            right = holds["head"] == digest(bytes(model.head))
            demand(right, f"{name}: the head is wrong ({holds['state']})")
            for uuid, image in holds["images"].items():
                demand(uuid in model.images, f"{name}: nobody knows of generation {uuid}")
                demand(image == digest(model.images[uuid]), f"{name}: the image of {uuid} changed")
            self.compared += 1 + len(holds["images"])

    def _check_replicas(self, place: str, replicas: Mapping[str, Any]) -> None:
        for name, holds in replicas.items():
            for uuid, image in holds["images"].items():
                demand(uuid in self.models[name].images, f"{name} at {place} is of no generation")
                right = image == digest(self.models[name].images[uuid])
                demand(right, f"{name} at {place} is not its generation")
            self.compared += len(holds["images"])
        members = self.members()
        together = {
            name: holds["newest"]
            for name, holds in replicas.items()
            if name in members
            and holds["group"] == GROUP
            and self.left.get((place, name)) != holds["newest"]
        }
        one = len(set(together.values())) <= 1
        demand(one, f"{place} shows different instants: {together}")


def look(host: FrazilHost, *, points: bool = False) -> Any:
    """What a host holds: see :func:`tests.workload.holdings.look`."""
    host.guest.warm(HOLDINGS)
    return host.guest.call(f"{HOLDINGS}:look", points, timeout=PATIENCE)


def number(generation: Any) -> int:
    """A generation's number; 0 where there is none."""
    return int(generation["number"]) if generation else 0


def digest(data: bytes) -> str:
    """As :func:`tests.workload.device_io.digest_of`."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()
