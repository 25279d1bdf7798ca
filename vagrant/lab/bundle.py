"""frazil's own code as a guest gets it: a small disk, compiled for the guest's Python."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import marshal
import os
import struct
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from .build import MKE2FS, PYTHON, REPOSITORY, call
from .cache import cache_dir, key_of, locked

Files = list[tuple[str, bytes]]
CODE_BYTES = 64 << 20
LOG = Path(os.devnull)
FOLDERS = ("control", "dm_tables", "proto", "bpf", "tests", "benchmarks")
FILES = ("pyproject.toml",)
SUFFIXES = {".py", ".c", ".h", ".bpf", ".proto", ".toml", ".json", ".sql", ".txt", ".sh", ".pem"}
_SKIP = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}


def code_files(repository: Path = REPOSITORY) -> Iterator[Path]:
    """The files a guest gets, in a fixed order."""
    for name in FILES:
        if (repository / name).is_file():
            yield repository / name
    for name in FOLDERS:
        for folder, folders, files in os.walk(repository / name):
            folders[:] = sorted(set(folders) - _SKIP)
            for file in sorted(files):
                if Path(file).suffix in SUFFIXES:
                    yield Path(folder) / file


def _current(repository: Path) -> Files:
    files = []
    for path in code_files(repository):
        # An editor's temporary file may be gone again.
        with contextlib.suppress(FileNotFoundError):
            files.append((str(path.relative_to(repository)), path.read_bytes()))
    return files


def code_disk(folder: Path, repository: Path = REPOSITORY) -> Path:
    """A read-only ext4 image in the folder with the code as it is now; made where it is new."""
    files = _current(repository)
    key = key_of([(name, zlib.crc32(data), len(data)) for name, data in files])
    mine = folder / f"code-{key}.img"
    with locked("code"):
        kept = cache_dir() / f"code-{key}.img"
        if not kept.is_file():
            fresh = cache_dir() / f".code-{key}.{os.getpid()}"
            code_image(fresh, list(_compiled(files)))
            fresh.rename(kept)
            for old in sorted(cache_dir().glob("code-*"), key=lambda path: path.stat().st_mtime)[
                :-5
            ]:
                old.unlink()
        if not mine.is_file():
            call(["cp", "--sparse=always", "--reflink=auto", str(kept), str(mine)], LOG)
    return mine


def code_image(image: Path, files: Files) -> None:
    """Make an ext4 image of CODE_BYTES with these files."""
    with tempfile.TemporaryDirectory(prefix="frazil-code-") as work:
        made = set()
        for name, data in files:
            path = Path(work, name)
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.write_bytes(data)
            # The compiled files name this as their source's time.
            os.utime(path, (0, 0))
        with image.open("wb") as blank:
            blank.truncate(CODE_BYTES)
        options = ["-O", "^has_journal,^metadata_csum", "-E", "lazy_itable_init=1,root_owner=0:0"]
        call([*MKE2FS, *options, "-N", "8192", "-d", work, str(image)], LOG)


def archive(repository: Path = REPOSITORY) -> bytes:
    """The code as it is now, as a tar archive compressed with zlib."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in _compiled(_current(repository)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return zlib.compress(stream.getvalue(), 1)


def _compiled(files: Files) -> Iterator[tuple[str, bytes]]:
    compiles = f"{sys.version_info[0]}.{sys.version_info[1]}" == PYTHON
    for name, data in files:
        yield name, data
        if compiles and name.endswith(".py"):
            yield from _compile(name, data)


def _compile(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    # Compiling takes a guest seconds; here it is cheap. A file that does not compile
    # fails in the guest, where its importer sees why.
    try:
        code = compile(data, f"/opt/frazil/{name}", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, len(data) & 0xFFFFFFFF)
    folder, _, stem = name.rpartition("/")
    compiled = f"{stem[:-3]}.cpython-{PYTHON.replace('.', '')}.pyc"
    yield f"{folder}/__pycache__/{compiled}".lstrip("/"), head + marshal.dumps(code)
