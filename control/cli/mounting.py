"""Mounting a generation, and finding where one is mounted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from control.mounts import mounts
from dm_tables.errors import FrazilError, Precondition
from dm_tables.names import NAME_PREFIX

LIMIT_SECONDS = 120
SYSFS = Path("/sys/block")

Runner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]

# In order of preference. A filesystem frozen while mounted is clean, but for XFS, which always
# leaves its log to be replayed, and for a freeze that was only crash-consistent: a read-only
# device cannot replay. Its own UUID may be mounted on this host already, which XFS refuses.
OPTIONS = {
    "ext3": ("ro", "ro,noload"),
    "ext4": ("ro", "ro,noload"),
    "xfs": ("ro,nouuid", "ro,nouuid,norecovery"),
    "btrfs": ("ro", "ro,rescue=nologreplay"),
    "f2fs": ("ro", "ro,norecovery"),
}

# A test head can replay its journal.
WRITABLE = {"xfs": ("rw,nouuid",)}


class ToolMissing(Precondition):
    """A program this needs is not installed. :ivar tool: its name."""

    def __init__(self, tool: str) -> None:
        super().__init__(f"there is no {tool} on this host", "install util-linux")
        self.tool = tool


class MountFailed(FrazilError):
    """The kernel would not mount the generation in any way known here."""

    def __init__(self, device: str, directory: str, filesystem: str, said: str) -> None:
        found = f"a {filesystem} filesystem" if filesystem else "no filesystem that blkid knows"
        super().__init__(
            f"{device}, which holds {found}, cannot be mounted at {directory}: {said}",
            "without a directory the command only attaches the device: look at it there",
        )


class UnmountFailed(FrazilError):
    """A mounted generation is in use."""

    def __init__(self, directory: str, said: str) -> None:
        super().__init__(f"{directory} cannot be unmounted: {said}", "see what uses it with fuser")


@dataclass(frozen=True, slots=True)
class Mounted:
    """How it was mounted. ``replayed``: False when the journal had to be left as it is."""

    directory: str
    options: str
    filesystem: str
    replayed: bool


def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program. :raises ToolMissing, FrazilError: it is not there, or does not end."""
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise ToolMissing(argv[0]) from None
    except subprocess.TimeoutExpired:
        raise FrazilError(f"{' '.join(argv)} did not end within {LIMIT_SECONDS} s") from None


@dataclass(frozen=True, slots=True)
class Shown:
    """A device of a generation; ``writable``: a test head."""

    generation: int
    device: str
    writable: bool


def mount(device: str, directory: str, runner: Runner = run, *, writable: bool = False) -> Mounted:
    """Mount ``device``: a test head to be written; else read-only, without a replay of its journal
    where there is no other way.

    :raises MountFailed: no way worked; what is said is the first way's error.
    """
    probe = runner(["blkid", "-p", "-o", "value", "-s", "TYPE", device])
    filesystem = probe.stdout.strip() if probe.returncode == 0 else ""
    said = ""
    ways = WRITABLE.get(filesystem, ("rw",)) if writable else OPTIONS.get(filesystem, ("ro",))
    for i, options in enumerate(ways):
        result = runner(["mount", "-o", options, "--", device, directory])
        if result.returncode == 0:
            return Mounted(directory, options, filesystem, replayed=i == 0)
        said = said or _last_line(result.stderr)
    raise MountFailed(device, directory, filesystem, said)


def unmount(directory: str, runner: Runner = run) -> None:
    """:raises UnmountFailed: it is in use."""
    result = runner(["umount", "--", directory])
    if result.returncode != 0:
        raise UnmountFailed(directory, _last_line(result.stderr))


def held_device(volume: str, generation: int) -> str:
    """The read-only device of a held generation of the replica ``volume``."""
    return f"/dev/mapper/{NAME_PREFIX}{volume}-g{generation}"


def mountpoints(device: str, sysfs: Path = SYSFS) -> list[str]:
    """Where ``device``, by either of its names, is mounted, the newest mount first."""
    numbers = {(entry / "dev").read_text().strip() for entry in _entries(device, sysfs)}
    return [str(point) for number, point in reversed(mounts()) if number in numbers]


def is_writable(device: str, sysfs: Path = SYSFS) -> bool:
    """Whether the kernel lets ``device`` be written; not one that is not there."""
    return any((entry / "ro").read_text().strip() == "0" for entry in _entries(device, sysfs))


def _entries(device: str, sysfs: Path) -> list[Path]:
    """What sysfs has of a device-mapper device: ``/dev/mapper/NAME`` or ``/dev/dm-N``."""
    name = Path(device).name
    return [
        entry.parent.parent
        for entry in sysfs.glob("dm-*/dm/name")
        if name in (entry.read_text().strip(), entry.parent.parent.name)
    ]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # mount(8) ends with a pointer to dmesg, which says nothing by itself.
    told = [line for line in lines if "dmesg(1)" not in line] or lines
    return told[-1] if told else "it said nothing"
