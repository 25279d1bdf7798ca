"""Stores that the writer wrote, read by a reader that knows only the format."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.store import errors, writer
from control.store.direct import DirectFile
from control.store.layout import ImpossibleChunk, room_for
from control.store.writer import NotBegun, StoreWriter, WrongRun
from dm_tables.units import Bytes
from tests.store_tools import compact, filled, naive_read

K4 = Bytes(4096)
ORIGIN = Bytes(4096 * 2000 + 1536)


def begun(path: Path, chunk: Bytes = K4) -> StoreWriter:
    it = StoreWriter(path, chunk, ORIGIN)
    it.create()
    return it


def seen(path: Path, chunk: int = 4096) -> list[tuple[int, bytes]]:
    return naive_read(path.read_bytes(), chunk)


def numbered(first: int, count: int) -> list[tuple[int, bytes]]:
    return [(i, filled(i, 4096)) for i in range(first, first + count)]


def put(it: StoreWriter, content: list[tuple[int, bytes]]) -> None:
    for old, data in content:
        it.append(old, 1, data)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 511, 512, 513, 1000])
def test_a_finished_store_is_byte_for_byte_the_one_made_by_hand(tmp_path: Path, count: int) -> None:
    content = [(1999 - old, data) for old, data in numbered(0, count)]
    with begun(tmp_path / "store") as it:
        put(it, content)
        assert it.finish() == count
        assert it.finish() == count
    image = (tmp_path / "store").read_bytes()
    assert len(image) == room_for(count, K4) * 4096
    assert image == compact(4096, content).image()[: len(image)]


def test_one_long_run_is_the_same_as_its_chunks(tmp_path: Path) -> None:
    content = numbered(100, 700)
    data = b"".join(data for _, data in content)
    with begun(tmp_path / "store") as it:
        it.append(100, 300, data[: 300 * 4096])
        it.append(400, 400, memoryview(data)[300 * 4096 :])
        it.finish()
    assert seen(tmp_path / "store") == content


@pytest.mark.parametrize("chunk", [8192, 65536, 1 << 20])
def test_larger_chunks(tmp_path: Path, chunk: int) -> None:
    with begun(tmp_path / "store", Bytes(chunk)) as it:
        it.append(3, 1, filled(3, chunk))
        it.append(1, 1, None)
        it.append(5, 2, filled(5, 2 * chunk))
        it.finish()
    half = filled(5, 2 * chunk)
    want = [(3, filled(3, chunk)), (1, bytes(chunk)), (5, half[:chunk]), (6, half[chunk:])]
    assert seen(tmp_path / "store", chunk) == want


def test_zeroes_are_holes(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with begun(path) as it:
        it.append(0, 1000, None)
        it.append(1000, 1, filled(1, 4096))
        it.append(1001, 99, None)
        it.finish()
    want = [(i, bytes(4096)) for i in range(1100)]
    want[1000] = (1000, filled(1, 4096))
    assert seen(path) == want
    assert path.stat().st_blocks * 512 < 100 * 4096


def test_the_last_chunk_is_padded(tmp_path: Path) -> None:
    with begun(tmp_path / "store") as it:
        it.append(1999, 2, filled(7, 4096 + 1536))
        it.finish()
    want = filled(7, 4096 + 1536)
    assert seen(tmp_path / "store") == [
        (1999, want[:4096]),
        (2000, want[4096:] + bytes(4096 - 1536)),
    ]


def test_a_checkpoint_shows_what_was_appended_before_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with begun(path) as it:
        assert seen(path) == []
        for upto in (10, 256, 300, 900):
            before = seen(path)
            put(it, numbered(it.count, upto - it.count))
            assert seen(path) == before, "visible before its checkpoint"
            assert it.checkpoint() == upto == it.durable == it.count
            assert seen(path) == numbered(0, upto)
        assert it.checkpoint() == 900


@pytest.mark.parametrize("durable", [0, 1, 255, 256, 257, 512, 600])
def test_resumes_at_any_count_and_drops_what_is_behind(tmp_path: Path, durable: int) -> None:
    path = tmp_path / "store"
    with begun(path) as it:
        put(it, numbered(0, 600))
        it.checkpoint()
        put(it, numbered(600, 300))
    with StoreWriter(path, K4, ORIGIN) as it:
        it.resume(durable)
        assert it.count == it.durable == durable
        assert seen(path) == numbered(0, durable)
        it.append(1000, 300, None)
        put(it, numbered(1300, 10))
        it.finish()
    want = numbered(0, durable) + [(i, bytes(4096)) for i in range(1000, 1300)]
    assert seen(path) == want + numbered(1300, 10)


def test_creating_again_forgets_everything(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with begun(path) as it:
        put(it, numbered(0, 300))
        it.finish()
    with begun(path) as it:
        assert seen(path) == []
        it.append(5, 3, None)
        it.finish()
    assert seen(path) == [(i, bytes(4096)) for i in (5, 6, 7)]


def test_cannot_resume_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with begun(path) as it:
        put(it, numbered(0, 300))
        it.finish()
    for count in (301, 512, 513):
        with StoreWriter(path, K4, ORIGIN) as it, pytest.raises(errors.CutOff):
            it.resume(count)
    assert seen(path) == numbered(0, 300)
    with StoreWriter(path, Bytes(8192), ORIGIN) as it, pytest.raises(errors.BadChunkSize):
        it.resume(0)
    with StoreWriter(tmp_path / "no", K4, ORIGIN) as it, pytest.raises(errors.FileMissing):
        it.resume(0)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("old", "count", "data"),
    [
        (2001, 1, None),
        (2000, 2, None),
        (-1, 1, None),
        (0, 0, None),
        (0, 1, bytes(4095)),
        (0, 2, bytes(4096)),
        (2000, 1, bytes(1535)),
        (1999, 1, bytes(1536)),
    ],
)
def test_runs_that_cannot_be_are_refused(
    tmp_path: Path, old: int, count: int, data: bytes | None
) -> None:
    with begun(tmp_path / "store") as it:
        put(it, numbered(0, 3))
        with pytest.raises(WrongRun):
            it.append(old, count, data)
        it.append(2000, 1, filled(1, 1536))
        it.append(4, 1, filled(4, 4096))
        assert it.finish() == 5


def test_a_writer_begins_somewhere(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", K4, ORIGIN) as it, pytest.raises(NotBegun):
        it.append(0, 1, None)
    with pytest.raises(ImpossibleChunk):
        StoreWriter(tmp_path / "store", Bytes(4095), ORIGIN)


class Device(DirectFile):
    """A plain file that says it is a block device: fixed in size, not to be cut off."""

    def __init__(self, path: Path, writable: bool = False, create: bool = False) -> None:
        super().__init__(path, writable, create)
        self.device = True
        self.block = 512

    def zero(self, at: int, length: int) -> None:
        self._write_zeroes(at, length)


def test_a_block_device_is_overwritten_and_never_outgrown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DirectFile", Device)
    path = tmp_path / "store"
    size = room_for(600, K4) * 4096
    path.write_bytes(filled(99, size))
    with begun(path) as it:
        put(it, numbered(0, 100))
        it.append(100, 400, None)
        assert it.checkpoint() == 500
        assert seen(path) == numbered(0, 100) + [(i, bytes(4096)) for i in range(100, 500)]
        put(it, numbered(500, 100))
        it.checkpoint()
        with pytest.raises(errors.NoRoom, match="grow"):
            it.append(600, 1, None)
        it.finish()
    assert path.stat().st_size == size
    with StoreWriter(path, K4, ORIGIN) as it:
        it.resume(300)
        it.append(1000, 256, None)
        it.finish()
    want = numbered(0, 100) + [(i, bytes(4096)) for i in [*range(100, 300), *range(1000, 1256)]]
    assert seen(path) == want
    path.write_bytes(bytes(4096))
    with pytest.raises(errors.NoRoom):
        begun(path)


@pytest.mark.parametrize("full", [256, 512])
def test_the_area_behind_a_full_one_is_zeroed_on_a_device_that_was_used_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    monkeypatch.setattr(writer, "DirectFile", Device)
    path = tmp_path / "store"
    path.write_bytes(filled(99, room_for(600, K4) * 4096))
    with begun(path) as it:
        put(it, numbered(0, full))
        it.checkpoint()
        assert seen(path) == numbered(0, full)
    with StoreWriter(path, K4, ORIGIN) as it:
        it.resume(full)
        assert seen(path) == numbered(0, full)
