"""Disks, partitions, loop devices and device-mapper devices, as /sys tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from control import beneath, holders, mounts
from dm_tables.table import Table
from dm_tables.units import SECTOR


class FakeDisks:
    """A /sys of its own; a device's node is a plain file below ``nodes``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._numbers: dict[Path, str] = {}
        self._tables: dict[str, str] = {}
        self._mounts = root / "mountinfo"
        self._swaps = root / "swaps"
        self.nodes = root / "dev"
        for directory in ("dev", "sys/dev/block", "sys/devices"):
            (root / directory).mkdir(parents=True)
        self._mounts.touch()
        self._swaps.write_text("Filename Type Size Used Priority\n")
        monkeypatch.setattr(beneath, "SYS", root / "sys/dev/block")
        monkeypatch.setattr(beneath, "number_of", self._number_of)
        monkeypatch.setattr(mounts, "MOUNTINFO", self._mounts)
        monkeypatch.setattr(holders, "SWAPS", self._swaps)

    def disk(self, name: str, number: str, size: int, sector: int = SECTOR) -> Path:
        """A whole disk; its node."""
        return self._device(name, number, size, {"queue/logical_block_size": str(sector)})

    def partition(self, disk: str, index: int, number: str, start: int, length: int) -> Path:
        """A partition of ``length`` bytes from byte ``start`` on."""
        about = {"partition": str(index), "start": str(start // SECTOR)}
        return self._device(f"{disk}{index}", number, length, about, inside=disk)

    def loop(self, name: str, number: str, file: Path, offset: int = 0) -> Path:
        """A loop device over a file or node."""
        about = {"loop/backing_file": f"{file}\n", "loop/offset": str(offset)}
        return self._device(name, number, file.stat().st_size - offset, about)

    def mapped(self, name: str, number: str, size: int, table: str, **more: str) -> Path:
        """A device-mapper device; ``uuid``, and ``below``: the names of the devices below it."""
        about = {"dm/name": name, "dm/uuid": more.get("uuid", "")}
        node = self._device(f"dm-{number.split(':')[1]}", number, size, about)
        self._tables[name] = table
        for below in more.get("below", "").split():
            self.holds(f"dm-{number.split(':')[1]}", below)
        return node

    def holds(self, upper: str, lower: str) -> None:
        """Say that one device holds another."""
        top, bottom = self._find(upper), self._find(lower)
        (bottom / "holders" / upper).symlink_to(top)
        (top / "slaves" / lower).symlink_to(bottom)

    def array(self, name: str, number: str, below: str) -> Path:
        """An md array over one device."""
        node = self._device(name, number, 1 << 20, {"md/level": "raid1"})
        self.holds(name, below)
        return node

    def mount(self, number: str, point: str) -> None:
        """Say that a device is mounted."""
        self._mounts.write_text(f"31 22 {number} / {point} rw shared:7 - ext4 /dev/x rw\n")

    def swap(self, path: Path) -> None:
        """Say that something is swapped to."""
        self._swaps.write_text(f"{self._swaps.read_text()}{path} file 8 0 -2\n")

    def read_only(self, name: str) -> None:
        """Say that a device cannot be written."""
        (self._find(name) / "ro").write_text("1\n")

    def table_of(self, name: str) -> Table | None:
        """What ``dmsetup table`` says."""
        return Table.parse(self._tables[name])

    def _device(
        self, name: str, number: str, size: int, files: dict[str, str], inside: str = ""
    ) -> Path:
        about = (self._find(inside) if inside else self._root / "sys/devices") / name
        for directory in ("holders", "slaves"):
            (about / directory).mkdir(parents=True)
        for file, text in {"dev": f"{number}\n", "ro": "0\n", **files}.items():
            (about / file).parent.mkdir(exist_ok=True)
            (about / file).write_text(text)
        (self._root / "sys/dev/block" / number).symlink_to(about)
        node = self.nodes / name
        with node.open("wb") as file_:
            file_.truncate(size)
        self._numbers[node] = number
        return node

    def _find(self, name: str) -> Path:
        devices = self._root / "sys/devices"
        return next(path for path in devices.glob(f"**/{name}") if (path / "dev").exists())

    def _number_of(self, path: Path) -> str | None:
        path.stat()
        return self._numbers.get(path.resolve())


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDisks:
    """No device yet."""
    return FakeDisks(tmp_path, monkeypatch)
