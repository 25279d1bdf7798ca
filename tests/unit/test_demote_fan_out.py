"""A source with two mirrors becomes a replica at the generation of the host that will write it."""

from __future__ import annotations

import dataclasses
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from control import common
from control.common import NoCommonGeneration
from control.group import Group
from control.mirror import MirrorWorker
from control.promote import WayBack
from control.records import GroupRecord, MirrorRecord, MirrorState, Policy
from control.switch import Roles
from dm_tables.errors import Precondition
from tests.replica_tools import MEMORY
from tests.soft.host import soft_kernel
from tests.soft.mapper import Loops
from tests.soft.sites import Site
from tests.soft.world import GROUP

CHUNK = 4096
NAMES = ("a", "b")
HOSTS = ("here", "near", "far")


class FanOut:
    """A group at ``here``, of which ``near`` has generation 2 and ``far`` generation 1."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self._stack = ExitStack()
        self._stack.callback(shutil.rmtree, self.directory)
        loops = Loops()
        self._stack.enter_context(soft_kernel(loops))
        self.sites = {name: Site(self.directory / name, loops) for name in HOSTS}
        for name, site in self.sites.items():
            site.stop()
            host = msgspec.structs.replace(site.soft.config.host, name=name)
            site.soft.config = msgspec.structs.replace(site.soft.config, host=host)
            site.start(power=False)
        self._make_group()

    def _make_group(self) -> None:
        for name in NAMES:
            path = self.directory / f"{name}.disk"
            path.write_bytes(random.Random(name).randbytes(16 * CHUNK))
            self.here.soft.host.create_volume(name, [(str(path), 0, 0)], 0, dry_run=False)
        record = GroupRecord(GROUP, implicit=False, policy=Policy.INDEPENDENT, consistency="crash")
        self.here.soft.host.roster.create_group(record, list(NAMES))
        for name in ("near", "far"):
            self.mirror(name, f"{name}-{{volume}}")
        self.cycle("near", "far")
        self.cycle("near")

    @property
    def here(self) -> Site:
        return self.sites["here"]

    def mirror(self, name: str, replica: str) -> None:
        peer = self.sites[name].address
        state = MirrorState.RUNNING
        self.here.soft.host.roster.create_mirror(
            MirrorRecord(name, GROUP, peer, replica, state, 0, 0, False, True, False)
        )

    def cycle(self, *mirrors: str) -> None:
        """Write, freeze, and copy by these mirrors only."""
        host = self.here.soft.host
        self.write(len(host.volume("a").layers))
        host.roster.conductor(GROUP).freeze()
        for mirror in mirrors:
            assert self.here.soft.step(mirror) is None

    def write(self, seed: int) -> None:
        for name in NAMES:
            data = random.Random(seed).randbytes(CHUNK)
            self.here.mapper.write(self.here.soft.head(name), seed * CHUNK, data)

    def demote(self, identity: str, *, force: bool = True) -> list[str]:
        return self.here.roles.demoter.demote(GROUP, identity, force=force)

    def newest(self, host: str) -> set[int]:
        """The generations at which the replicas of a host stand."""
        site = self.sites[host]
        return {site.newest(name).generation.number for name in site.replicas()}

    def close(self) -> None:
        for site in self.sites.values():
            with suppress(Exception):
                site.stop()
        self._stack.close()


@pytest.fixture
def fan() -> Iterator[FanOut]:
    made = FanOut()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(("identity", "number"), [("near", 2), ("far", 1)])
def test_the_generation_is_that_of_the_host_that_is_named(
    fan: FanOut, identity: str, number: int
) -> None:
    assert fan.demote(identity) == [f"{identity}-{name}" for name in NAMES]
    assert fan.newest("here") == {number}


def test_a_mirror_whose_host_is_gone_does_not_decide(fan: FanOut) -> None:
    fan.sites["near"].stop()
    fan.demote("far")
    assert fan.newest("here") == {1}


def test_what_the_other_one_has_is_not_given_up_unsaid(fan: FanOut) -> None:
    with pytest.raises(Precondition, match=r"since generation 1, and .* does not have them"):
        fan.demote("far", force=False)
    assert fan.here.leads
    fan.demote("far")
    points = [one.kept_by for one in fan.here.side.description("far-a").points]
    assert any("diverged" in kept for kept in points), "it is kept"


def test_the_host_that_was_promoted_mirrors_back(fan: FanOut) -> None:
    fan.here.stop()
    far = fan.sites["far"]
    back = WayBack(fan.here.address, plaintext=True)
    far.roles.promoter.promote(GROUP, back=back, progress=lambda *_: None)
    for name in NAMES:
        far.mapper.write(far.soft.head(f"far-{name}"), 5 * CHUNK, bytes(CHUNK))
    fan.here.start(power=True)
    # Both mirrors are plaintext, so that either could be meant.
    fan.demote("loopback")
    assert fan.newest("here") == {1}
    for name in NAMES:
        fan.here.side.drop_diverged(f"far-{name}")
    far.soft.host.roster.conductor(GROUP).freeze()
    assert far.soft.step(f"{GROUP}.back") is None
    assert fan.newest("here") == {far.soft.journal.generations("far-a")[0].number}
    for name in NAMES:
        same = fan.here.image(f"far-{name}") == far.mapper.image(far.soft.head(f"far-{name}"))
        assert same, name


def test_whose_it_is_must_be_known_where_it_matters(fan: FanOut) -> None:
    with pytest.raises(NoCommonGeneration, match=r"far \(.*, near \(.* leads to elsewhere"):
        fan.demote("elsewhere")
    assert fan.here.leads
    fan.here.soft.host.roster.remove_mirror("near")
    fan.demote("elsewhere")
    assert fan.newest("here") == {1}


def test_whose_it_is_does_not_matter_where_all_have_the_same(fan: FanOut) -> None:
    assert fan.here.soft.step("far") is None
    fan.demote("elsewhere", force=False)
    assert fan.newest("here") == {2}


@pytest.mark.parametrize("mirror", ["near", "far"])
def test_a_switch_is_with_the_host_of_its_mirror(
    fan: FanOut, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    def sync(roles: Roles, worker: MirrorWorker) -> None:
        """The last cycle; the other mirror is faster, and commits another one meanwhile."""
        host = fan.here.soft.host
        host.roster.conductor(GROUP).freeze()
        assert fan.here.soft.step(worker.mirror) is None
        host.roster.conductor(GROUP).freeze()
        assert fan.here.soft.step("far" if mirror == "near" else "near") is None

    monkeypatch.setattr(Roles, "_sync", sync)
    other = fan.sites[mirror]
    fan.here.roles.switch(mirror, fan.here.address, lambda _: None)
    assert fan.newest("here") == {3}
    assert other.leads
    other.soft.host.roster.conductor(GROUP).freeze()
    assert other.soft.step(f"{GROUP}.back") is None
    assert fan.newest("here") == {other.soft.journal.generations(f"{mirror}-a")[0].number}


def test_nothing_more_is_committed_once_the_host_was_asked(
    fan: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def copy() -> None:
        # Its mirror goes meanwhile.
        with suppress(Exception):
            fan.here.soft.step("far")

    def asked(worker: MirrorWorker, group: Group) -> common.There:
        found = ask(worker, group)
        if worker.mirror == "far":
            threads.append(threading.Thread(target=copy))
            threads[0].start()
            threads[0].join(2)
        return found

    ask = common.ask
    monkeypatch.setattr(common, "ask", asked)
    fan.demote("far")
    threads[0].join()
    assert fan.newest("here") == fan.newest("far") == {1}


def test_a_member_that_is_behind_is_no_common_generation(fan: FanOut) -> None:
    journal = fan.here.soft.journal
    journal.change_mirror("near", peer="near:1")
    standing = journal.standing("near", "a")
    behind = next(one for one in journal.generations("a") if one.number == 1)
    journal.save_standing(
        dataclasses.replace(standing, committed_uuid=behind.uuid, committed_number=1)
    )
    with pytest.raises(NoCommonGeneration, match="not at one generation"):
        fan.demote("near")
