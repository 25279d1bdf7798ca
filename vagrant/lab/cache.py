"""The cache outside the tree: content-keyed folders, built once and moved into place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """The cache's folder: $FRAZIL_CACHE, else frazil under $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("FRAZIL_CACHE")
    if named:
        path = Path(named)
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        path = (Path(base) if base else Path.home() / ".cache") / "frazil"
    path = path / "lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key_of(*parts: object) -> str:
    """A short hash of JSON-able parts; any change of any part is another key."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_files(*paths: Path) -> str:
    """One hash over the names and contents of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name against other processes and threads."""
    descriptor = os.open(
        cache_dir() / f".{name}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def built(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder kind-key of the cache, built into a temporary folder if it is missing.

    The folder appears under its name only when build has returned. Other folders of
    the kind are outdated and removed, except the newest one (two branches can take
    turns) and those that a lab holds.
    """
    target = cache_dir() / f"{kind}-{key}"
    if target.is_dir():
        return target
    with locked(kind):
        if target.is_dir():
            return target
        for stale in cache_dir().glob(f".{kind}.building.*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{kind}.building.", dir=cache_dir()))
        try:
            work.chmod(0o755)
            build(work)
            _forget_old(kind)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return target


def _forget_old(kind: str) -> None:
    others = sorted(cache_dir().glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
    for path in others[:-1]:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(held)


def hold(folder: Path) -> int:
    """Keep a folder of the cache from being removed while this descriptor is open."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
