"""A layer that a freeze prepared, and that nobody could settle at once: what is on it is kept."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from control.replica import diverged
from control.replica.images import open_image
from control.volume import Volume
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes
from tests.soft.mirrored import mirrored
from tests.soft.sites import Sites
from tests.soft.world import GROUP, World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """Two volumes that are mirrored; both were just written."""
    with mirrored("ab") as made:
        for name in "ab":
            made.write(name, CHUNK, name.encode() * CHUNK)
        yield made


@contextmanager
def unsettled(name: str) -> Iterator[None]:
    """The kernel cannot be asked what became of one of the heads."""
    real = Volume.settle_freeze

    def settle(self: Volume, *args: Any) -> Any:
        if self.name == name:
            raise FrazilError("still running after 30 s")
        return real(self, *args)

    with mock.patch.object(Volume, "settle_freeze", settle):
        yield


def freeze_badly(world: World, moves: str, settles: str) -> None:
    """Of two heads the kernel swaps one, and says of one what became of it."""
    mapper, stays = world.mapper, world.source.head("b" if moves == "a" else "a")
    real, left = mapper.resume, [1]

    def resume(name: str) -> None:
        if name == stays and left:
            left.clear()
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        real(name)

    def frozen() -> None:
        for model in world.models.values():
            model.freeze()

    world.source.freezer.frozen = frozen
    with (
        mock.patch.object(mapper, "resume", resume),
        unsettled("b" if settles == "a" else "a"),
        pytest.raises(FrazilError),
    ):
        world.roster.conductor(GROUP).group.freeze()


@pytest.mark.parametrize("settles", ["a", "b"])
@pytest.mark.parametrize("moves", ["a", "b"])
@pytest.mark.parametrize("power", [True, False])
def test_half_a_freeze_is_no_instant_and_loses_nothing(
    world: World, moves: str, settles: str, *, power: bool
) -> None:
    freeze_badly(world, moves, settles)
    for name in "ab":
        world.write(name, 2 * CHUNK, b"2" * CHUNK)
    world.restart(power=power, killed=True)
    for name, model in world.models.items():
        same = world.mapper.image(world.source.head(name)) == bytes(model.head)
        assert same, f"{name} lost what was written"
    numbers = [made.number for made in world.roster.conductor(GROUP).group.instants()]
    assert 2 not in numbers, "two moments are no instant"


def test_a_demote_keeps_what_was_written_to_it() -> None:
    sites = Sites({"a": bytes(16 * CHUNK)})
    try:
        sites.freeze()
        assert sites.copy() is None
        site = sites.leader
        real = site.soft.freezer.freeze

        def lost(*args: Any) -> None:
            real(*args)
            raise FrazilError("the freezer died or hung")

        with (
            mock.patch.object(site.soft.freezer, "freeze", lost),
            unsettled("a"),
            pytest.raises(FrazilError),
        ):
            site.soft.host.roster.conductor(GROUP).group.freeze()
        sites.write("a", 3 * CHUNK, b"3" * CHUNK)
        site.roles.demoter.demote(GROUP, "loopback", force=True)
        kept = diverged.of(site.side.store, "a")
        assert kept is not None
        with (
            site.side.store.reading("a", kept.generation.number) as chain,
            open_image(site.side.store, chain) as image,
        ):
            same = bytes(image.read(Bytes(0), chain.size)) == bytes(sites.models["a"].head)
        assert same, "what was written is kept"
    finally:
        sites.close()
