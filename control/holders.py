"""What holds a device or a file already, in words a person can act on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from control import beneath
from control.beneath import identity, whole_disk
from control.mounts import mounts
from dm_tables.errors import Precondition
from dm_tables.names import UUID_PREFIX

SWAPS = Path("/proc/swaps")
HINT = "see lsblk; give another device, or free this one first"


class InUse(Precondition):
    """A device or file that something else uses."""


def check_unused(path: Path, *, shared: bool = False) -> None:
    """See that nothing but frazil could write to a device or file.

    :param shared: another part of it is a volume, so frazil's own devices may hold it.
    :raises InUse: it is mounted, swap, or held; says where or by what.
    """
    if number := beneath.number_of(path):
        _check_device(number, str(path), path, shared=shared)
    elif identity(path) in _swap():
        raise InUse(f"{path} is swap space", f"swapoff {path}, then try again")
    for loop in _loops_over(identity(path)):
        name = f"{path}, through {_node(loop)},"
        _check_device(loop, name, Path(_node(loop)), shared=shared)


def _check_device(device: str, name: str, node: Path, *, shared: bool) -> None:
    for number, said in _family(device, name):
        for mounted, point in mounts():
            if mounted == number:
                raise InUse(f"{said} is mounted at {point}", f"umount {point}, then try again")
        if number in _swap():
            raise InUse(f"{said} is swap space", f"swapoff {_node(number)}, then try again")
        for holder in holders_of(number):
            if not (shared and number == device and is_ours(holder)):
                raise InUse(f"{said} is held by {described(holder)}", HINT)
    if not holders_of(device):
        _check_exclusive(name, node)


def _family(device: str, name: str) -> Iterator[tuple[str, str]]:
    """A device, its partitions, and the disk it is a partition of; each with words for it."""
    yield device, name
    disk = whole_disk(device)
    if disk != device:
        yield disk, f"{_node(disk)}, of which {name} is a partition,"
        return
    for partition in sorted((beneath.SYS / device).resolve().glob("*/partition")):
        if number := _text(partition.parent / "dev"):
            yield number, f"{_node(number)}, a partition of {name},"


def _check_exclusive(name: str, node: Path) -> None:
    try:
        os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        raise InUse(f"{name} is in use: {error.strerror}", HINT) from error


def _swap() -> set[str]:
    """The devices and files that are swapped to, as :mod:`control.beneath` calls them."""
    lines = SWAPS.read_text().splitlines()[1:] if SWAPS.exists() else []
    used = (Path(line.split()[0].encode().decode("unicode_escape")) for line in lines)
    return {identity(path) for path in used if path.exists()}


def _loops_over(place: str) -> Iterator[str]:
    """The numbers of the loop devices over a file or device."""
    for about in sorted(beneath.SYS.glob("*/loop")):
        device = about.parent.name
        file = beneath.backing_file(device)
        if file is not None and identity(file) == place:
            yield device


def holders_of(device: str) -> list[Path]:
    """What /sys has of the devices that stand on one, but for those that are being removed."""
    found = sorted((beneath.SYS / device / "holders").glob("*"))
    return [holder for holder in found if not is_going(holder)]


def is_going(holder: Path) -> bool:
    """Whether a device is being removed: device-mapper says nothing of one then (EINVAL)."""
    return not holder.exists() or ((holder / "dm").is_dir() and not _text(holder / "dm" / "name"))


def described(holder: Path) -> str:
    """``LVM's logical volume vg-lv``."""
    if (holder / "md").is_dir():
        return f"the md array /dev/{holder.name}"
    if not (holder / "dm").is_dir():
        return f"/dev/{holder.name}"
    name, uuid = (_text(holder / "dm" / one) for one in ("name", "uuid"))
    if uuid.startswith("LVM-"):
        return f"LVM's logical volume {name}"
    if uuid.startswith(UUID_PREFIX):
        return f"frazil's own device {name}"
    return f"the device-mapper device {name}"


def is_ours(holder: Path) -> bool:
    """Whether frazil made a device."""
    return _text(holder / "dm" / "uuid").startswith(UUID_PREFIX)


def own_device_below(device: str) -> str:
    """The name of the device of frazil's that a device is, or stands on; empty for none."""
    about = beneath.SYS / whole_disk(device)
    if is_ours(about):
        return _text(about / "dm" / "name")
    slaves = sorted((about / "slaves").glob("*"))
    below = [devno for slave in slaves if (devno := _text(slave / "dev"))]
    file = beneath.backing_file(device)
    if file is not None and (number := beneath.number_of(file)):
        below.append(number)
    return next(filter(None, map(own_device_below, below)), "")


def _node(device: str) -> str:
    return f"/dev/{(beneath.SYS / device).resolve().name}"


def _text(path: Path) -> str:
    # It may be gone, or go while it is read.
    try:
        return path.read_text().strip()
    except OSError:
        return ""
