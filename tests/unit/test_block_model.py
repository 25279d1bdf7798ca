"""The block writer's model against a plain file, and what it must call wrong."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workload.block_model import (
    SECTOR,
    BlockModel,
    Filling,
    InstantJudge,
    Places,
    Shape,
    Way,
    Write,
    compare,
    content,
    draw,
    places,
)
from tests.workload.block_writer import BlockWriter, ask
from tests.workload.device_io import DirectReader
from tests.workload.judge import Window

SIZE = (6 << 20) + 5 * SECTOR
CHUNK = 65536


def a_device(tmp_path: Path) -> Path:
    device = tmp_path / "device"
    device.write_bytes(bytes(SIZE))
    return device


def a_write(number: int, address: int, length: int, begin: int, end: int) -> Write:
    return Write(number, Shape(address, length, Filling.RANDOM, Way.DIRECT, False), begin, end)


def test_draws_cover_what_an_application_may_do() -> None:
    chance = random.Random(3)
    drawn = [draw(chance, SIZE, CHUNK) for _ in range(600)]
    lengths = {shape.length for shape in drawn}
    assert min(lengths) == SECTOR
    assert max(lengths) > 1 << 20
    assert all(one.address >= 0 and one.address + one.length <= SIZE for one in drawn)
    assert all(one.address % SECTOR == one.length % SECTOR == 0 for one in drawn)
    assert {one.way for one in drawn} == set(Way)
    assert {one.filling for one in drawn} == set(Filling)
    small = [one for one in drawn if one.length < CHUNK]
    assert any(one.address // CHUNK != (one.address + one.length - 1) // CHUNK for one in small)
    assert any(one.address + one.length == SIZE for one in drawn)


def test_the_model_is_what_the_device_holds(tmp_path: Path) -> None:
    device = a_device(tmp_path)
    writer = BlockWriter(device, CHUNK, seed=5)
    for _ in range(80):
        writer.step()
    writer.close()
    with DirectReader(device) as reader:
        assert list(compare(reader.read, writer.model.image)) == []
        assert reader.digest() == writer.model.digest()
    assert all(write.end_ns >= write.begin_ns > 0 for write in writer.model.writes)


def test_comparison_names_the_sector_that_is_wrong(tmp_path: Path) -> None:
    device = a_device(tmp_path)
    writer = BlockWriter(device, CHUNK, seed=6)
    for _ in range(20):
        writer.step()
    writer.close()
    data = bytearray(device.read_bytes())
    data[7 * SECTOR + 13] ^= 1
    data[-1] ^= 1
    device.write_bytes(data)
    with DirectReader(device) as reader:
        wrong = [sector for sector, _ in compare(reader.read, writer.model.image)]
        assert wrong == [7, SIZE // SECTOR - 1]


def instant(writes: list[Write], numbers: set[int]) -> bytearray:
    model = BlockModel(SIZE, seed=1)
    for write in writes:
        if write.number in numbers:
            model.apply(write)
    return model.image


def judge(writes: list[Write], window: Window, image: bytearray) -> list[str]:
    return InstantJudge(SIZE, seed=1).judge(
        writes, window, lambda offset, length: bytes(image[offset : offset + length])
    )


def test_an_instant_holds_what_ended_before_it_and_may_hold_what_was_under_way() -> None:
    writes = [
        a_write(1, 0, 8192, 10, 20),
        a_write(2, 4096, 8192, 30, 70),
        a_write(3, 8192, 4096, 40, 45),
        a_write(4, 0, 1024, 80, 90),
    ]
    window = Window(50, 60)
    assert judge(writes, window, instant(writes, {1, 3})) == []
    assert judge(writes, window, instant(writes, {1, 2, 3})) == []
    torn = instant(writes, {1, 3})
    torn[4096 : 4096 + SECTOR] = content(1, writes[1])[:SECTOR]
    assert judge(writes, window, torn) == []
    assert len(judge(writes, window, instant(writes, {3}))) == 8192 // SECTOR
    assert len(judge(writes, window, instant(writes, {1, 3, 4}))) == 1024 // SECTOR
    # Write 2 lies under write 3, which was done before the freeze: its bytes may not show there.
    wrong = instant(writes, {1, 3})
    wrong[8192 : 8192 + SECTOR] = content(1, writes[1])[4096 : 4096 + SECTOR]
    assert len(judge(writes, window, wrong)) == 1


def test_one_judge_follows_freeze_after_freeze() -> None:
    writes = [a_write(n, n * 4096, 4096, n * 100, n * 100 + 50) for n in range(1, 9)]
    follower = InstantJudge(SIZE, seed=1)
    for last in (2, 3, 6):
        image = instant(writes, set(range(1, last + 1)))

        def read(offset: int, length: int, image: bytearray = image) -> bytes:
            return bytes(image[offset : offset + length])

        assert follower.judge(writes, Window(last * 100 + 60, last * 100 + 70), read) == []
        follower_of_too_much = InstantJudge(SIZE, seed=1)
        early = Window(last * 100 - 30, last * 100 - 20)
        assert follower_of_too_much.judge(writes, early, read) != []


def test_places_are_the_chunks_written_between_two_freezes() -> None:
    writes = [
        a_write(1, 0, 4096, 10, 20),
        a_write(2, CHUNK - SECTOR, 2 * SECTOR, 40, 45),
        a_write(3, 5 * CHUNK, CHUNK, 48, 70),
        a_write(4, 8 * CHUNK, SECTOR, 80, 90),
    ]
    first = places(writes, CHUNK, None, Window(25, 30))
    assert first == Places(frozenset({0}), frozenset({0}))
    second = places(writes, CHUNK, Window(25, 30), Window(50, 60))
    assert second == Places(frozenset({0, 1}), frozenset({0, 1, 5}))
    assert second.judge(frozenset({0, 1})) == []
    assert second.judge(frozenset({0, 1, 5})) == []
    assert "1 chunks were written and are -1: [1]" in second.judge(frozenset({0, 5}))[0]
    assert "in the AVL unwritten: [8]" in second.judge(frozenset({0, 1, 8}))[0]
    assert places(writes, CHUNK, Window(50, 60), None).certain == {8}


def test_the_writer_serves_commands(tmp_path: Path) -> None:
    device, path = a_device(tmp_path), str(tmp_path / "writer.sock")
    module = [sys.executable, "-m", "tests.workload.block_writer"]
    server = subprocess.Popen([*module, str(device), path], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline().startswith(b"ready")
    assert ask(path, "write", count=15)["writes"] == 15
    clean = ask(path, "compare", path=str(device))
    assert clean["wrong"] == []
    assert clean["digest"] == ask(path, "digest")["digest"]
    ask(path, "start")
    assert ask(path, "stop")["failed"] == ""
    later = Window(1 << 62, 1 << 62)
    judged = ask(path, "judge", path=str(device), begin_ns=later.begin_ns, end_ns=later.end_ns)
    assert judged["faults"] == []
    assert ask(path, "places", chunk=CHUNK, since=None, until=None)["certain"]
    data = bytearray(device.read_bytes())
    data[0] ^= 255
    device.write_bytes(data)
    assert ask(path, "compare", path=str(device))["wrong"] == [0]
    with pytest.raises(RuntimeError, match="No such file"):
        ask(path, "compare", path="/nonexistent")
    ask(path, "quit")
    assert server.wait(timeout=20) == 0
