"""frazil's own code as a guest gets it: one archive, compiled for the guest's Python."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import struct
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from .cache import cache_dir, key_of, locked
from .image import PYTHON, REPOSITORY

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


def bundle(repository: Path = REPOSITORY) -> bytes:
    """The archive of the code as it is now, compressed with zlib; kept while nothing changes."""
    files = []
    for path in code_files(repository):
        try:
            files.append((str(path.relative_to(repository)), path.read_bytes()))
        except FileNotFoundError:
            continue  # an editor's temporary file
    key = key_of([(name, zlib.crc32(data), len(data)) for name, data in files])
    kept = cache_dir() / f"code-{key}"
    if not kept.is_file():
        with locked("code"):
            packed = zlib.compress(_archive(files), 1)
            for old in sorted(cache_dir().glob("code-*"), key=_modified)[:-5]:
                old.unlink(missing_ok=True)
            fresh = cache_dir() / f".code-{key}.{os.getpid()}"
            fresh.write_bytes(packed)
            fresh.rename(kept)
    return kept.read_bytes()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _archive(files: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    compiles = f"{sys.version_info[0]}.{sys.version_info[1]}" == PYTHON
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            _add(archive, name, data)
            if compiles and name.endswith(".py"):
                _add_compiled(archive, name, data)
    return stream.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def _add_compiled(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    # Compiling takes a guest seconds; here it is cheap. A file that does not compile
    # fails in the guest, where its importer sees why.
    try:
        code = compile(data, f"/opt/frazil/{name}", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, 0, len(data) & 0xFFFFFFFF)
    folder, _, stem = name.rpartition("/")
    compiled = f"{stem[:-3]}.cpython-{PYTHON.replace('.', '')}.pyc"
    _add(archive, f"{folder}/__pycache__/{compiled}".lstrip("/"), head + marshal.dumps(code))
