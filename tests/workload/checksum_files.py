"""A real application: files that carry their own checksum, replaced the careful way.

Temporary file, fsync, rename, fsync of the directory; some are deleted, some overwritten.

    python3 -m tests.workload.checksum_files DIRECTORY --log - --pause 0.02
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.workload.oplog import Recorder, open_log
from tests.workload.pace import Pace

MAGIC: Final = "checked-file"
TEMPORARY: Final = ".tmp"
LARGEST_LOG2: Final = 17.0


def digest_of(name: str, number: int, payload: bytes) -> str:
    """The checksum that a file carries: over its name, its operation's number, its payload."""
    start = f"{name}\0{number}\0".encode()
    return hashlib.blake2b(start + payload, digest_size=16).hexdigest()


class FilesWriter:
    """Writes or deletes one file a step, of ``names`` that there may be in ``directory``."""

    def __init__(self, directory: Path, recorder: Recorder, names: int = 60, seed: int = 1) -> None:
        self._directory = directory
        self._recorder = recorder
        self._names = [f"file-{index:03}" for index in range(names)]
        self._random = random.Random(seed)
        self._there: set[str] = set()
        self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def step(self) -> None:
        """One operation: delete one file in six, else write one anew or over the old."""
        name = self._random.choice(self._names)
        if name in self._there and self._random.random() < 1 / 6:
            self._delete(name)
        else:
            self._write(name)

    def _delete(self, name: str) -> None:
        self._recorder.begin("delete", name)
        (self._directory / name).unlink()
        os.fsync(self._fd)
        self._there.discard(name)
        self._recorder.done("delete", name)

    def _write(self, name: str) -> None:
        payload = self._random.randbytes(int(2 ** self._random.uniform(0, LARGEST_LOG2)))
        number = self._recorder.number + 1
        digest = digest_of(name, number, payload)
        header = f"{MAGIC} {name} {number} {len(payload)} {digest}\n".encode()
        self._recorder.begin("write", name, digest)
        temporary = self._directory / f"{name}{TEMPORARY}"
        with temporary.open("wb") as file:
            file.write(header + payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._directory / name)
        os.fsync(self._fd)
        self._there.add(name)
        self._recorder.done("write", name, digest)


@dataclass(frozen=True, slots=True)
class FilesFindings:
    """What a check found: each file's operation, and what is wrong (empty: nothing)."""

    found: dict[str, int]
    faults: list[str]


def check_files(directory: Path) -> FilesFindings:
    """Read every file and check it against its own header; temporary files do not count."""
    found: dict[str, int] = {}
    faults: list[str] = []
    if not directory.is_dir():
        return FilesFindings(found, [f"{directory} is missing"])
    for path in sorted(directory.iterdir()):
        if path.name.endswith(TEMPORARY):
            continue
        number = _number_of(path.name, path.read_bytes())
        if number is None:
            faults.append(f"{path.name} has a wrong checksum")
        else:
            found[path.name] = number
    return FilesFindings(found, faults)


def _number_of(name: str, data: bytes) -> int | None:
    """The operation that wrote this file; None if it is not whole."""
    header, _, payload = data.partition(b"\n")
    try:
        magic, stated, number, length, digest = header.decode().split(" ")
        sound = (magic, stated, int(length)) == (MAGIC, name, len(payload))
        return int(number) if sound and digest_of(name, int(number), payload) == digest else None
    except ValueError:
        return None


def main() -> None:
    """Write until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--log", default="-", help="- or PATH[@OFFSET+LENGTH]")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--names", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    pace = Pace(given.seconds, given.count, given.pause).listen()
    recorder = Recorder(open_log(given.log))
    writer = FilesWriter(given.directory, recorder, given.names, given.seed)
    while pace.go():
        writer.step()


if __name__ == "__main__":
    main()
