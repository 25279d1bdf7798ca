"""A device-mapper whose devices hold bytes: linear and snapshot targets over plain files.

It keeps the kernel's rules that data depend on: a snapshot takes its exceptions from the store
when its table becomes live, and makes a blank store a new one; a chunk is copied from the origin at
its first write; a device that others stand on cannot be removed, nor one written while suspended.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from control.blocks import BLOCK
from control.store.direct import DirectFile
from control.store.errors import BlankStore
from control.store.reader import StoreReader, read_header
from control.store.writer import StoreWriter
from dm_tables.status import StatusLine, parse_status
from dm_tables.table import Segment, Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import SECTOR, Bytes
from tests.fake_mapper import FakeDevice, FakeMapper


@dataclass
class LiveStore:
    """The exceptions of a snapshot as its kernel has them, in the order of their first writes."""

    path: Path
    chunk: Bytes
    size: Bytes
    exceptions: dict[int, bytes] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)
    """Blocks: what a lossless trace says."""
    dirty: bool = False

    @classmethod
    def activated(cls, path: Path, chunk: Bytes, size: Bytes) -> LiveStore:
        """As the kernel finds it: a blank one becomes a new one."""
        made = cls(path, chunk, size)
        try:
            with DirectFile(path) as file:
                read_header(file)
        except BlankStore:
            made.dirty = True
            made.flush()
            return made
        with StoreReader(path, size, chunk) as reader:
            for old, new in reader.exceptions():
                made.exceptions[old] = bytes(reader.read_chunks(new, 1))
        return made

    def write(self, at: int, data: bytes, below: bytes) -> None:
        """Put ``data`` there; ``below`` is the origin's image."""
        for chunk in range(at // self.chunk, (at + len(data) - 1) // self.chunk + 1):
            start = chunk * self.chunk
            old = below[start : start + self.chunk].ljust(self.chunk, b"\xee")
            made = bytearray(self.exceptions.get(chunk, old))
            first, end = max(at, start), min(at + len(data), start + self.chunk)
            made[first - start : end - start] = data[first - at : end - at]
            self.exceptions[chunk] = bytes(made)
        self.written.update(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))
        self.dirty = True

    def flush(self) -> None:
        """Bring what is not in the store yet there."""
        if not self.dirty:
            return
        with StoreWriter(self.path, self.chunk, self.size) as writer:
            writer.create()
            for chunk, data in self.exceptions.items():
                writer.append(chunk, 1, data)
            writer.finish()
        self.dirty = False


class Loops:
    """Loop devices that are only numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Path, str] = {}

    def attach(self, file: Path) -> str:
        """The number of the device over a file."""
        return self._numbers.setdefault(file, f"7:{len(self._numbers)}")

    def find(self, file: Path) -> str | None:
        """That number, where there is one."""
        return self._numbers.get(file)

    def detach(self, file: Path) -> None:
        """Files keep their numbers."""

    def file(self, devno: str) -> Path | None:
        """The file behind a number."""
        return next((path for path, number in self._numbers.items() if number == devno), None)


class SoftMapper(FakeMapper):
    """A device-mapper in memory, over files.

    :param directory: where devices are shown as files, for whatever opens them.

    ``chunk`` is what the next layers get; ``effect`` is called before anything changes, and
    ``racing`` when a device was suspended or resumed.
    """

    def __init__(self, directory: Path, loops: Loops) -> None:
        super().__init__()
        self._shown = directory
        self._shown.mkdir()
        self._loops = loops
        self.stores: dict[str, LiveStore] = {}
        self.chunk = Bytes(4096)
        self.effect: Callable[[], None] = lambda: None
        self.racing: Callable[[], None] = lambda: None

    # What devices hold.

    def image(self, name: str) -> bytes:
        """The whole of a device, by its live table."""
        return b"".join(self._read(name, segment) for segment in self._table(name).segments)

    def _read(self, name: str, segment: Segment) -> bytes:
        length, target = segment.length * SECTOR, segment.target
        if isinstance(target, Linear):
            offset = target.offset * SECTOR
            return self._source(target.device)[offset : offset + length]
        assert isinstance(target, Snapshot)
        store = self.stores[name]
        made = bytearray(self._source(target.origin)[:length])
        for chunk, data in store.exceptions.items():
            start = chunk * store.chunk
            made[start : start + store.chunk] = data[: length - start]
        return bytes(made[:length])

    def _source(self, devno: str) -> bytes:
        name = self._name_of(devno)
        return self.image(name) if name else self._file_of(devno).read_bytes()

    def write(self, name: str, at: int, data: bytes) -> None:
        """Write through a device that is not suspended, as an application does."""
        assert not self._device(name).suspended, f"{name} is suspended: its writers wait"
        for segment in self._table(name).segments:
            start, end = segment.start * SECTOR, segment.end * SECTOR
            first, stop = max(at, start), min(at + len(data), end)
            if first < stop:
                self._write(name, segment, first - start, data[first - at : stop - at])

    def _write(self, name: str, segment: Segment, at: int, data: bytes) -> None:
        target = segment.target
        if isinstance(target, Snapshot):
            self.stores[name].write(at, data, self._source(target.origin))
            return
        assert isinstance(target, Linear)
        below = self._name_of(target.device)
        at += target.offset * SECTOR
        if below:
            self.write(below, at, data)
            return
        with self._file_of(target.device).open("r+b") as file:
            file.seek(at)
            file.write(data)

    def flush(self, name: str) -> None:
        """Bring what was written to a layer device to its store."""
        if name in self.stores:
            self.stores[name].flush()

    def show(self, name: str) -> Path:
        """A file with what the device holds at this moment, under the device's name."""
        self.flush(name)
        path = self._shown / name
        if name in self.devices:
            path.write_bytes(self.image(name))
        return path

    def power_cut(self) -> None:
        """All devices are gone; what was written is in the stores and the files."""
        for store in self.stores.values():
            store.flush()
        self.devices.clear()
        self.stores.clear()

    def _table(self, name: str) -> Table:
        table = self._device(name).live
        assert table is not None, f"{name} has no table"
        return table

    def _name_of(self, devno: str) -> str:
        major, minor = devno.split(":")
        if major != "253":
            return ""
        found = [name for name, one in self.devices.items() if one.minor == int(minor)]
        assert found, f"{devno} is gone"
        return found[0]

    def _file_of(self, devno: str) -> Path:
        path = self._loops.file(devno)
        assert path is not None, f"{devno} is no file"
        return path

    # Tables that come and go.

    def suspend(self, name: str) -> None:
        super().suspend(name)
        self.racing()

    def resume(self, name: str) -> None:
        before = self._device(name).live
        super().resume(name)
        self._activate(name, before)
        self.racing()

    def _may_be(self, size: int, now: int) -> bool:
        return size >= now

    def _step(self, what: str, name: str) -> FakeDevice:
        self.effect()
        return super()._step(what, name)

    def _activate(self, name: str, before: Table | None = None) -> None:
        table = self._table(name)
        if table == before:
            return
        self.flush(name)
        self.stores.pop(name, None)
        for segment in table.segments:
            if isinstance(segment.target, Snapshot):
                size, chunk = Bytes(segment.length * SECTOR), segment.target.chunk * SECTOR
                path = self._file_of(segment.target.cow)
                self.stores[name] = LiveStore.activated(path, Bytes(chunk), size)

    def _check(self, text: str) -> None:
        for devno in Table.parse(text).devices():
            known = self._loops.file(devno) is not None or any(
                devno == f"253:{one.minor}" for one in self.devices.values()
            )
            if not known:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    def _run_create(self, words: list[str], options: list[str], stdin: str) -> None:
        self.effect()
        self._check(stdin)
        super()._run_create(words, options, stdin)
        self._activate(words[0])

    def _run_load(self, words: list[str], options: list[str], stdin: str) -> None:
        self._check(stdin)
        super()._run_load(words, options, stdin)

    def _run_remove(self, words: list[str], options: list[str], stdin: str) -> None:
        number = f"253:{self._device(words[0]).minor}"
        if any(number in table.devices() for table in self._tables()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        super()._run_remove(words, options, stdin)
        self.flush(words[0])
        self.stores.pop(words[0], None)

    def _tables(self) -> Iterator[Table]:
        for device in self.devices.values():
            for table in (device.live, device.inactive):
                if table is not None:
                    yield table

    # What it says.

    def status(self, name: str) -> tuple[StatusLine, ...]:
        """As the ioctl."""
        return parse_status(self._run_status([name], [], ""))

    def _run_status(self, words: list[str], options: list[str], stdin: str) -> str:
        name = words[-1]
        lines = []
        for segment in self._table(name).segments:
            text = "linear"
            if name in self.stores:
                store = self.stores[name]
                chunk = store.chunk // SECTOR
                used = (2 + len(store.exceptions)) * chunk
                text = f"snapshot {used}/{store.size // SECTOR + 2 * chunk} {2 * chunk}"
            lines.append(f"{segment.start} {segment.length} {text}\n")
        return "".join(lines)

    def _run_version(self, words: list[str], options: list[str], stdin: str) -> str:
        return "Library version:   1.02.185 (2022-05-18)\nDriver version:    4.47.0\n"
