"""Mounting a frozen generation read-only, and finding where one is mounted."""

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


def mount(device: str, directory: str, runner: Runner = run) -> Mounted:
    """Mount ``device`` read-only, without a replay of its journal where there is no other way.

    :raises MountFailed: no way worked; what is said is the first way's error.
    """
    probe = runner(["blkid", "-p", "-o", "value", "-s", "TYPE", device])
    filesystem = probe.stdout.strip() if probe.returncode == 0 else ""
    said = ""
    for i, options in enumerate(OPTIONS.get(filesystem, ("ro",))):
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


def mountpoints(volume: str, generation: int, sysfs: Path = SYSFS) -> list[str]:
    """Where the held generation of the replica ``volume`` is mounted, the newest mount first."""
    wanted = f"{NAME_PREFIX}{volume}-g{generation}"
    numbers = {
        (name.parent.parent / "dev").read_text().strip()
        for name in sysfs.glob("dm-*/dm/name")
        if name.read_text().strip() == wanted
    }
    return [str(point) for number, point in reversed(mounts()) if number in numbers]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # mount(8) ends with a pointer to dmesg, which says nothing by itself.
    told = [line for line in lines if "dmesg(1)" not in line] or lines
    return told[-1] if told else "it said nothing"
