"""The judge of a group's instants: what it passes, and everything that it must not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.workload.stamps import (
    ROOM,
    SLOTS,
    Found,
    Stamper,
    find,
    judge,
    judge_devices,
    look,
    slot_of,
    stamp,
)

VOLUMES = 8


def upto(newest: int) -> Found:
    """A volume with every stamp up to one, as far as there are slots."""
    return Found(frozenset(range(max(1, newest - SLOTS + 1), newest + 1)))


@pytest.fixture
def devices(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"v{number}" for number in range(VOLUMES)]
    for path in made:
        path.write_bytes(bytes(ROOM))
    return made


def test_every_instant_of_a_writer_is_one() -> None:
    for behind in range(VOLUMES + 1):
        newest = [40 if index < behind else 39 for index in range(VOLUMES)]
        assert judge([upto(one) for one in newest]) == []
    assert judge([Found(frozenset())] * VOLUMES) == []


def test_a_volume_ahead_of_the_one_before_it() -> None:
    for ahead in range(1, VOLUMES):
        newest = [40] * VOLUMES
        newest[ahead] = 41
        assert any("was not yet on" in fault for fault in judge([upto(one) for one in newest]))


def test_a_volume_more_than_one_behind() -> None:
    newest = [40] * (VOLUMES - 1) + [38]
    (fault,) = judge([upto(one) for one in newest])
    assert fault == "volume 0 has 40, but 39 is not on volume 7 (38)"


def test_a_stamp_that_is_missing_below_the_newest() -> None:
    hole = Found(upto(40).numbers - {33})
    assert judge([upto(40), hole]) == ["volume 1 lacks [33], older than its newest"]


def test_stamps_on_devices(devices: list[Path]) -> None:
    stamper = Stamper(devices)
    for _ in range(3 * SLOTS + 5):
        stamper.step()
    stamper.close()
    names = [str(device) for device in devices]
    assert judge_devices(names) == {"newest": [53] * VOLUMES, "faults": []}
    assert look(names)[0].numbers == upto(53).numbers


@pytest.mark.parametrize("at", [0, 8, 12, 17, 19])
def test_a_torn_stamp(devices: list[Path], at: int) -> None:
    sector = bytearray(stamp(7))
    sector[at] ^= 0xFF
    with devices[0].open("r+b") as file:
        file.seek(slot_of(7))
        file.write(sector)
    (found,) = look([str(devices[0])])
    assert found.torn == (7,)
    assert judge([found]) == ["volume 0 has torn stamps in slots [7]"]


def test_a_stamp_in_another_slot_is_none() -> None:
    def read(offset: int, length: int) -> bytes:
        return stamp(5) if offset == slot_of(6) else bytes(length)

    assert find(read) == Found(frozenset(), (6,))


def test_negative_control_volumes_taken_one_after_another(devices: list[Path]) -> None:
    chance = random.Random(1)
    names = [str(device) for device in devices]
    stamper = Stamper(devices)
    for _ in range(20):
        stamper.step()
    taken: list[Found] = []
    for name in names:
        taken += look([name])
        for _ in range(chance.randrange(1, 3)):
            stamper.step()
    stamper.close()
    assert len(judge(taken)) >= VOLUMES - 1
    assert judge(look(names)) == []
