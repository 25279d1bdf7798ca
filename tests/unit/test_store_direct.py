"""Direct reads and writes against a plain file's own bytes, aligned and not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from control.store import direct, errors
from control.store.direct import DirectFile, aligned_buffer, is_zero
from tests.store_tools import filled

SIZE = 4096 * 700 + 1536


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(filled(1, SIZE))
    return path


PLACES = [(0, 4096), (4096, 8192), (512, 512), (1, 1), (4095, 2), (100, 3 << 20), (0, SIZE),
          (SIZE - 5, 5), (SIZE - 1536, 1536), (7, 0)]  # fmt: skip


@pytest.mark.parametrize(("at", "length"), PLACES)
def test_reads_anywhere(file: Path, at: int, length: int) -> None:
    want = file.read_bytes()[at : at + length]
    with DirectFile(file) as it:
        length = min(length, SIZE - at)
        assert bytes(it.read(at, length)) == want
        into = aligned_buffer(length)
        assert it.read_into(into, at) == length
        assert bytes(into) == want
        loose = memoryview(bytearray(length + 1))[1:]
        assert it.read_into(loose, at) == length
        assert bytes(loose) == want


def test_a_read_over_the_end_is_short(file: Path) -> None:
    with DirectFile(file) as it:
        assert it.read_into(aligned_buffer(8192), SIZE - 1536) == 1536
        assert it.read_into(aligned_buffer(8192), SIZE + 4096) == 0
        assert len(it.read(SIZE - 10, 100)) == 10


@pytest.mark.parametrize(("at", "length"), PLACES)
@pytest.mark.parametrize("buffered", [False, True])
def test_writes_anywhere(
    file: Path, at: int, length: int, buffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if buffered:
        refuse_direct(monkeypatch)
    want = bytearray(file.read_bytes())
    data = filled(2, length)
    want[at : at + length] = data
    with DirectFile(file, writable=True) as it:
        assert it.direct is not buffered
        it.write(data, at)
        it.fsync()
    assert file.read_bytes() == want


def test_vectors_are_written_end_to_end(file: Path) -> None:
    buffer = aligned_buffer(4096 * 3000)
    buffer[:] = filled(3, len(buffer))
    views = [buffer[i * 8192 : i * 8192 + 4096] for i in range(1500)]
    with DirectFile(file, writable=True) as it:
        it.write_vectors(views, 4096)
    assert file.read_bytes()[4096 : 4096 * 1501] == b"".join(views)
    odd = [buffer[:512], buffer[4096:4608]]
    with DirectFile(file, writable=True) as it:
        it.write_vectors(odd, 1024)
    assert file.read_bytes()[1024:2048] == b"".join(odd)


@pytest.mark.parametrize("refused", [False, True])
def test_zeroing_keeps_the_size_and_the_neighbours(
    file: Path, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refused:
        monkeypatch.setattr(direct, "_punch", fail_with(errno.EOPNOTSUPP))
    want = bytearray(file.read_bytes())
    with DirectFile(file, writable=True) as it:
        for at, length in [(4096, 1 << 20), (SIZE - 512, 4096), (2 << 20, 1536), (3, 0)]:
            it.zero(at, length)
            want[at : at + length] = bytes(min(length, SIZE - at))
    assert file.read_bytes() == want


def test_zeroing_gives_the_room_back(file: Path) -> None:
    with DirectFile(file, writable=True) as it:
        it.fsync()
        before = file.stat().st_blocks
        it.zero(0, 2 << 20)
    assert file.stat().st_blocks <= before - 4000


def test_is_zero_looks_at_every_byte() -> None:
    view = aligned_buffer((2 << 20) + 4096)
    assert is_zero(view)
    assert is_zero(view[:1])
    for at in (0, 4095, 4096, 1 << 20, len(view) - 1):
        view[at] = 1
        assert not is_zero(view)
        view[at] = 0


def test_what_cannot_be_opened_has_a_type(tmp_path: Path) -> None:
    with pytest.raises(errors.FileMissing):
        DirectFile(tmp_path / "no" / "file", writable=True, create=True)
    made = DirectFile(tmp_path / "new", writable=True, create=True)
    made.close()
    made.close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_late_device_node_does_not_become_a_file() -> None:
    path = Path("/dev/shm/frazil-test-no-such-device")
    with pytest.raises(errors.FileMissing):
        DirectFile(path, writable=True, create=True)
    assert not path.exists()


def test_failures_of_the_system_have_types(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DirectFile(file, writable=True) as it:
        for code, kind in [
            (errno.EIO, errors.DeviceFailed),
            (errno.ENOSPC, errors.NoRoom),
            (errno.EROFS, errors.FileDenied),
        ]:
            monkeypatch.setattr(os, "pwritev", fail_with(code))
            with pytest.raises(kind, match="writing 4096 bytes at 8192"):
                it.write(aligned_buffer(4096), 8192)
        monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
        with pytest.raises(errors.DeviceFailed, match="fsync"):
            it.fsync()


def test_a_filesystem_that_refuses_only_at_the_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = os.preadv, []

    def refuse_once(fd: int, buffers: list[memoryview], at: int) -> int:
        tries.append(fd)
        if len(tries) == 1:
            raise OSError(errno.EINVAL, "no")
        return real(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", refuse_once)
    with DirectFile(file) as it:
        assert not it.direct
        assert bytes(it.read(3, 100)) == filled(1, SIZE)[3:103]


def refuse_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)


def fail_with(code: int):  # type: ignore[no-untyped-def]
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail
