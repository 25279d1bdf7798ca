"""The worlds of :mod:`tests.histories` on real hosts: a source with replicas, and two sites."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from control.chunk_size import DEFAULT_CHUNK
from dm_tables.units import Bytes
from tests.e2e.lab_group import GROUP, PATIENCE, LabGroup, look
from tests.histories.model import demand
from tests.histories.source import Fault
from tests.topology import Site
from vagrant.cluster import FrazilHost

PLACES = {"r1": "west", "r2": "north"}
CYCLES = 5
"""Who joins is copied in the first of them, and is part of the group some cycles later."""

LAYERS = 2
"""A volume has so many when all is merged: of two mirrors one is an instant behind."""


class LabWorld(LabGroup):
    """A host with a group, and up to two others that it is mirrored to.

    Its mergers run by themselves. A copy that is asked for brings an instant of its own, unless
    one is under way.
    """

    def __init__(self, site: Site, volumes: Mapping[str, bytes], grouped: Sequence[str]) -> None:
        super().__init__(site, "east", volumes, grouped)
        self.to: dict[str, FrazilHost] = {}

    def freeze(
        self,
        *,
        chunk: Bytes | None = None,
        racing: Callable[[list[str]], None] = lambda running: None,
        dies: int | None = None,
        power: bool = False,
    ) -> None:
        """With all replicas cut off; the next copy finds them again."""
        self.freeze_apart(dies, power=power)

    def copy(self, mirror: str) -> None:
        """To its end."""
        self.bring(mirror)

    def copy_badly(
        self, mirror: str, fault: Fault, *, dies: int | None = None, power: bool = False
    ) -> None:
        """Slowed down, and some moments later cut off: ``answer``, that is lost; ``before`` and
        ``after``, the replica's daemon is killed, or its host has no power."""
        running = self.running()
        if mirror not in running:
            return
        self.heal()
        self.arrive([name for name in running if name != mirror])
        self.leader.frazil("mirror", "set", mirror, "--rate", "64KB/s")
        if mirror not in self._owed:
            self.ask(mirror)
        kind, _, number = fault
        time.sleep(number * 0.2)
        if kind in ("cut", "answer"):
            self.cut(one_way=kind == "answer")
        else:
            self.start_again(self.to[mirror], power=kind == "after")
        if dies is not None:
            time.sleep(dies * 0.03)
            self.start_again(self.leader, power=power)
        self.leader.frazil("mirror", "set", mirror, "--rate", "none")

    def merge(self, volume: str, *, dies: int | None = None, power: bool = False) -> None:
        """It comes by itself."""

    def merge_there(self, replica: str) -> None:
        """It comes by itself."""

    def direct(self, mirror: str, do: str) -> None:
        """An operator's word."""
        words = {"pause": ["pause"], "break": ["break"], "break now": ["break"]}
        verb, *_ = words.get(do, ["start"])
        options = ["--now"] if do == "break now" else []
        self.leader.frazil("mirror", verb, mirror, *options)
        self.quiet()

    def add_mirror(self, name: str, replica: str) -> None:
        """Its first cycle may be a whole copy."""
        self.to[name] = self.site[PLACES[replica]]
        words = ("mirror", "create", name, "--group", GROUP, "--peer", self.to[name].peer)
        self.leader.frazil(*words, "--on-demand", "--start")
        self._may_be_whole.add(name)

    def remove_mirror(self, name: str) -> None:
        """The replica keeps what it has."""
        self._leave(self.to.pop(name), self.members())
        self.leader.frazil("mirror", "remove", name)
        self._owed.pop(name, None)
        self._have.pop(name, None)
        self.quiet()

    def change_members(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Who joins may need a whole copy."""
        for verb, names in (("add", add), ("leave", remove)):
            if names:
                self.leader.frazil("group", verb, GROUP, *names)
        for host in self.to.values():
            self._leave(host, remove)
        self._may_be_whole.update(self.to if add else ())
        self.quiet()

    def _leave(self, host: FrazilHost, volumes: Sequence[str]) -> None:
        holds = look(host)["replicas"]
        for volume in volumes:
            self.left[host.name, volume] = holds.get(volume, {"newest": ""})["newest"]

    def restart(self, *, power: bool = False) -> None:
        """The daemon as it is meant to be, or the host without power."""
        if power:
            self.start_again(self.leader, power=True)
        else:
            self.leader.stop()
            self.leader.start()
        self.quiet()

    def restart_there(self, replica: str) -> None:
        """A replica's daemon."""
        host = self.site[PLACES[replica]]
        host.stop()
        host.start()

    def settle(self) -> None:
        """Once nothing fails any more, everything arrives, and is merged."""
        self.heal()
        for mirror in self.to:
            self.leader.frazil("mirror", "start", mirror)
        self.quiet()
        for mirror, host in self.to.items():
            brought = any(self._arrives(mirror, host) for _ in range(CYCLES))
            demand(brought, f"not all arrives at {host.name}")
        for mirror in self.to:
            self.bring(mirror)
        self.leader.until("all is merged", self._is_merged, timeout=PATIENCE)
        self.check(points=True)

    def _arrives(self, mirror: str, host: FrazilHost) -> bool:
        """Whether the host has the newest instant of all members after another cycle."""
        self.bring(mirror)
        newest = max(self.instants, key=lambda uuid: self.instants[uuid])
        holds = look(host)["replicas"]
        members = self.members()
        return all(name in holds and holds[name]["newest"] == newest for name in members)

    def _is_merged(self) -> bool:
        members = self.members() if self.to else []
        volumes = self.leader.json("volume", "list")["volumes"]
        return all(len(one["layers"]) <= LAYERS for one in volumes if one["name"] in members)


class LabSites(LabGroup):
    """Two hosts that change sides; the group begins at the first of them."""

    def __init__(self, site: Site, volumes: Mapping[str, bytes]) -> None:
        super().__init__(site, "east", volumes, list(volumes))
        self.other: FrazilHost = site["west"]
        words = ("mirror", "create", "there", "--group", GROUP, "--peer", self.other.peer)
        self.leader.frazil(*words, "--on-demand", "--start")
        self.gone = False

    def freeze(self, *, chunk: Bytes | None = None) -> None:
        """With the other site cut off, or gone: then it waits for the first."""
        if not self.gone:
            self.freeze_apart()
        elif not self._owed:
            self.ask(self.mirrors[0])

    def copy(self) -> None:
        """To its end."""
        (mirror,) = self.mirrors
        self.bring(mirror)

    def merge(self) -> None:
        """It comes by itself."""

    def fail_over(self, *, dies: int | None, power: bool) -> None:
        """The leader is killed or has no power; the other may die while it is promoted."""
        if power:
            self.leader.guest.power_cut()
        else:
            self.leader.kill()
        self.gone = True
        promote = ("replica", "promote", GROUP, "--force")
        self._until_done(self.other, promote, lambda: leads(self.other), dies, power=power)
        self._turn()
        for name, model in self.models.items():
            newest = self.leader.json("volume", "show", name)["newest"]["uuid"]
            demand(newest in model.images, f"{name} is promoted from no generation")
            model.head = bytearray(model.images[newest])
            model.since.clear()
        (mirror,) = self.mirrors
        self.leader.frazil("mirror", "set", mirror, "--peer", self.other.peer, "--on-demand")
        self.leader.frazil("mirror", "start", mirror)

    def _turn(self) -> None:
        """The other site leads now; both have its newest instant."""
        self.leader, self.other = self.other, self.leader
        # What was said of chunks was said where the volume was made.
        self.widest = DEFAULT_CHUNK
        self._owed.clear()
        self.notice()
        newest = self.leader.json("group", "show", GROUP)["newest"]["uuid"]
        self._have = dict.fromkeys(self.mirrors, newest)

    def _until_done(
        self,
        host: FrazilHost,
        words: Sequence[str],
        done: Callable[[], bool],
        dies: int | None,
        *,
        power: bool,
    ) -> None:
        """A command, in which the host's daemon may die; again until it is done."""
        if dies is not None:
            host.guest.spawn(["frazil", *words])
            time.sleep(dies * 0.03)
            self.start_again(host, power=power)
        else:
            host.frazil(*words)

        def again() -> bool:
            return done() or host.frazil(*words, check=False).code == 0

        host.until(f"frazil {' '.join(words)} is done", again, timeout=PATIENCE)

    def come_back(self, *, dies: int | None, power: bool) -> None:
        """It finds out that it leads no more, and becomes the replica."""
        old = self.other
        if not old.guest.running:
            old.guest.restart()
        old.start()
        self.heal()
        old.until("it is fenced", lambda: fenced(old), timeout=PATIENCE)
        self.check(only_leader=True)
        demote = ("volume", "demote", GROUP, "--identity", self.leader.name, "--force")
        self._until_done(old, demote, lambda: not leads(old), dies, power=power)
        for name in self.models:
            old.frazil("replica", "keep", name, "--drop-diverged")
        self.gone = False

    def switch(self) -> bool:
        """With its last cycle."""
        self.heal()
        (mirror,) = self.mirrors
        self.arrive([mirror])
        words = ("mirror", "switch", mirror, "--reverse", self.leader.peer)
        if self.leader.frazil(*words, check=False).code != 0:
            return False
        self._turn()
        (mirror,) = self.mirrors
        self.leader.frazil("mirror", "set", mirror, "--on-demand")
        self.notice()
        return True

    def restart(self) -> None:
        """Both daemons."""

        def anew(host: FrazilHost) -> None:
            host.stop()
            host.start()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(anew, (self.leader, self.other)))
        self.quiet()

    def check(self, *, points: bool = False, only_leader: bool = False, both: bool = True) -> None:
        """:param both: the other site is there."""
        super().check(points=points, only_leader=only_leader or not both)


def leads(host: FrazilHost) -> bool:
    """Whether volumes are a source's there."""
    return bool(host.json("volume", "list")["volumes"])


def fenced(host: FrazilHost) -> bool:
    """Whether all heads are kept from applications."""
    volumes: list[Any] = host.json("volume", "list")["volumes"]
    return all(one["state"] == "inactive" for one in volumes)
