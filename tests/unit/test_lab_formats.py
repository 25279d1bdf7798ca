"""The lab's formats and files: frames, initramfs, kernel image, cache, code archive."""

from __future__ import annotations

import lzma
import marshal
import os
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagrant.lab import LabError, bundle, cache
from vagrant.lab.build import tool
from vagrant.lab.inside import wire
from vagrant.lab.kernel import vmlinux

FRAME = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=300))


@given(st.lists(FRAME, max_size=8), st.integers(1, 64))
def test_frames_survive_any_cutting_of_the_stream(frames: list[wire.Frame], size: int) -> None:
    stream = b"".join(wire.frame(*each) for each in frames)
    parser = wire.Parser()
    found = []
    for begin in range(0, len(stream), size):
        found += list(parser.feed(stream[begin : begin + size]))
    assert found == frames


def test_a_stream_that_is_not_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="frame of"):
        list(wire.Parser().feed(b"\xff" * 16))


def bzimage(payload: bytes) -> bytes:
    head = bytearray(5 * 512)
    head[0x1F1] = 4
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + bytes(100) + payload


def test_the_kernel_is_found_in_its_bzimage() -> None:
    elf = b"\x7fELF" + b"kernel" * 1000
    assert vmlinux(bzimage(lzma.compress(elf) + struct.pack("<I", len(elf)))) == elf


@pytest.mark.parametrize("payload", [b"\x02!L\x18lz4", lzma.compress(b"no kernel")])
def test_another_payload_is_an_error(payload: bytes) -> None:
    with pytest.raises(LabError, match="payload is no"):
        vmlinux(bzimage(payload))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAZIL_CACHE", str(tmp_path))
    return cache.cache_dir()


def test_a_folder_is_built_once_however_many_want_it(own_cache: Path) -> None:
    builds: list[Path] = []

    def build(work: Path) -> None:
        builds.append(work)
        (work / "made").write_text("x")

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: cache.built("kind", "key", build), range(4)))
    assert found == {own_cache / "kind-key"}
    assert len(builds) == 1
    assert (own_cache / "kind-key" / "made").read_text() == "x"


def test_a_failed_build_leaves_nothing(own_cache: Path) -> None:
    def build(work: Path) -> None:
        (work / "half").touch()
        raise LabError("no")

    with pytest.raises(LabError):
        cache.built("kind", "key", build)
    assert [path.name for path in own_cache.iterdir()] == [".kind.lock"]


def test_old_folders_go_unless_a_lab_holds_them(own_cache: Path) -> None:
    held = cache.built("kind", "1", lambda work: None)
    cache.built("kind", "2", lambda work: None)
    descriptor = cache.hold(held)
    cache.built("kind", "3", lambda work: None)
    assert held.is_dir()
    os.close(descriptor)
    cache.built("kind", "4", lambda work: None)
    cache.built("kind", "5", lambda work: None)
    names = {path.name for path in own_cache.glob("kind-*")}
    assert len(names) == 2
    assert "kind-5" in names


def test_the_code_disk_has_sources_and_compiled_files(own_cache: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "control").mkdir(parents=True)
    (repository / "control" / "one.py").write_text("VALUE = 1\n")
    (repository / "control" / "broken.py").write_text("def (\n")
    (repository / "control" / "picture.png").write_text("not code")
    assert {path.name for path in bundle.code_files(repository)} == {"one.py", "broken.py"}
    image = bundle.code_disk(tmp_path, repository)
    assert bundle.code_disk(tmp_path, repository) == image

    def read(name: str) -> bytes:
        command = [tool("debugfs"), "-R", f"cat {name}", str(image)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    assert read("/control/one.py") == b"VALUE = 1\n"
    compiled = read("/control/__pycache__/one.cpython-311.pyc")
    assert struct.unpack("<III", compiled[4:16]) == (0, 0, len("VALUE = 1\n"))
    assert marshal.loads(compiled[16:]).co_filename == "/opt/frazil/control/one.py"
    (repository / "control" / "one.py").write_text("VALUE = 2\n")
    assert bundle.code_disk(tmp_path, repository) != image
