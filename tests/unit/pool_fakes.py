"""losetup and LVM in memory: runners that do what the tools do, and keep what they were told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dm_tables.running import Completed


@dataclass
class Loop:
    """A loop device over ``file``."""

    file: Path
    inode: int
    going: bool = False
    opened: bool = False


@dataclass
class FakeLosetup:
    """losetup, and the /sys/block that its devices would have in ``sys_block``."""

    sys_block: Path
    loops: dict[str, Loop] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    refuses: str = ""

    def __call__(
        self, argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        """Run one call."""
        assert env["LC_ALL"] == "C"
        self.calls.append(tuple(argv))
        match list(argv[1:]):
            case ["--json", "--list", "--output", _, "--associated", file]:
                return Completed(0, self._list(Path(file)), "")
            case _ if self.refuses:
                return Completed(1, "", self.refuses)
            case ["--find", "--show", "--direct-io=on" | "--direct-io=off", file]:
                return Completed(0, self._attach(Path(file)) + "\n", "")
            case ["--set-capacity", device]:
                self.fit(device)
                return Completed(0, "", "")
            case ["--detach", device]:
                self._detach(device)
                return Completed(0, "", "")
        raise AssertionError(f"no such call of losetup: {argv}")

    def fit(self, device: str) -> None:
        """The device has the file's size now."""
        sectors = self.loops[device].file.stat().st_size // 512
        (self._sys(device) / "size").write_text(f"{sectors}\n")

    def hold(self, device: str, holder: str) -> None:
        """Another device stands on it."""
        (self._sys(device) / "holders" / holder).mkdir()

    def release(self, device: str, holder: str) -> None:
        """It stands on it no more."""
        (self._sys(device) / "holders" / holder).rmdir()

    def close(self, device: str) -> None:
        """The last opener goes."""
        if self.loops[device].going:
            del self.loops[device]
        else:
            self.loops[device].opened = False

    def made(self) -> list[tuple[str, ...]]:
        """The calls that changed something."""
        return [call for call in self.calls if "--list" not in call]

    def _attach(self, file: Path) -> str:
        device = f"/dev/loop{len(self.loops)}"
        (self._sys(device) / "holders").mkdir(parents=True, exist_ok=True)
        self.loops[device] = Loop(file, file.stat().st_ino)
        self.fit(device)
        return device

    def _detach(self, device: str) -> None:
        if self.loops[device].opened:
            self.loops[device].going = True
        else:
            del self.loops[device]

    def _list(self, file: Path) -> str:
        rows = [
            {
                "name": name,
                "offset": 0,
                "sizelimit": 0,
                "autoclear": loop.going,
                "ro": False,
            }
            for name, loop in self.loops.items()
            if loop.inode == file.stat().st_ino
        ]
        return json.dumps({"loopdevices": rows}) if rows else ""

    def _sys(self, device: str) -> Path:
        return self.sys_block / device.removeprefix("/dev/")


@dataclass
class FakeVolume:
    """A logical volume."""

    size: int
    tags: list[str]
    active: bool = True


@dataclass
class FakeLvm:
    """One volume group ``vg0`` of ``extents`` extents of 4 MiB."""

    extents: int = 100
    extent: int = 4 << 20
    volumes: dict[str, FakeVolume] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    in_use: bool = False
    lies_about_free: bool = False

    def __call__(
        self, argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        """Run one call."""
        command, arguments = argv[0], list(argv[1:])
        assert arguments[:2] == ["--config", "devices { ignore_suspended_devices=1 }"]
        self.calls.append((command, *arguments[2:]))
        if arguments[-1].split("/")[0] != "vg0":
            return Completed(5, "", f'  Volume group "{arguments[-1]}" not found')
        handlers = {"lvs": self._lvs, "vgs": self._vgs, "lvcreate": self._lvcreate}
        handlers |= {"lvextend": self._lvextend, "lvchange": self._lvchange}
        handlers |= {"lvremove": self._lvremove}
        return handlers[command](arguments[2:])

    def free(self) -> int:
        """Bytes that no volume has."""
        return self.extents * self.extent - sum(volume.size for volume in self.volumes.values())

    def _lvs(self, arguments: list[str]) -> Completed:
        rows = [
            {
                "lv_name": name,
                "lv_size": str(volume.size),
                "lv_active": "active" if volume.active else "",
                "lv_tags": ",".join(volume.tags),
            }
            for name, volume in self.volumes.items()
        ]
        return Completed(0, json.dumps({"report": [{"lv": rows}]}), "")

    def _vgs(self, arguments: list[str]) -> Completed:
        row = {
            "vg_size": str(self.extents * self.extent),
            "vg_free": str(1 << 50 if self.lies_about_free else self.free()),
            "vg_extent_size": str(self.extent),
        }
        return Completed(0, json.dumps({"report": [{"vg": [row]}]}), "")

    def _lvcreate(self, arguments: list[str]) -> Completed:
        name = arguments[arguments.index("--name") + 1]
        size = self._whole(arguments)
        if size > self.free():
            return Completed(5, "", '  Volume group "vg0" has insufficient free space (1 extents)')
        tags = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--addtag"]
        self.volumes[name] = FakeVolume(size, tags)
        return Completed(0, "", "")

    def _lvextend(self, arguments: list[str]) -> Completed:
        volume = self.volumes[arguments[-1].split("/")[1]]
        size = self._whole(arguments)
        if size - volume.size > self.free():
            return Completed(5, "", "  Insufficient suitable allocatable extents")
        volume.size = size
        return Completed(0, "", "")

    def _lvchange(self, arguments: list[str]) -> Completed:
        active = arguments[arguments.index("--activate") + 1] == "y"
        if not active and self.in_use:
            return Completed(5, "", "  Logical volume vg0/x in use.")
        self.volumes[arguments[-1].split("/")[1]].active = active
        return Completed(0, "", "")

    def _lvremove(self, arguments: list[str]) -> Completed:
        if self.in_use:
            return Completed(5, "", "  Logical volume vg0/x is used by another device.")
        del self.volumes[arguments[-1].split("/")[1]]
        return Completed(0, "", "")

    def _whole(self, arguments: list[str]) -> int:
        size = int(arguments[arguments.index("--size") + 1].removesuffix("b"))
        return -(-size // self.extent) * self.extent
