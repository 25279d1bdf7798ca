"""What makes a clone of the template a machine of its own: clock, seed, names, address, disks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

SIOCSIFADDR, SIOCSIFFLAGS, SIOCSIFNETMASK, SIOCSIFHWADDR = 0x8916, 0x8914, 0x891C, 0x8924
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
BLKFLSBUF, BLKRRPART = 0x1261, 0x125F
IFF_UP = 1
MS_RDONLY, MS_BIND = 1, 4096
INTERFACE = "eth0"
STATE_DISK = "/dev/disk/by-id/virtio-state"
CODE_DISK = "/dev/disk/by-id/virtio-code"
CODE = "/opt/frazil"
KEPT_FOLDERS = ("/var/lib/frazil", "/etc/frazil")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); raises OSError."""
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags))
    if _libc.mount(*arguments, data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def assume(wanted: dict[str, Any]) -> None:
    """Take on the identity the host sends: see Guest._identity for the fields."""
    time.clock_settime_ns(time.CLOCK_REALTIME, int(wanted["time_ns"]))
    _seed(bytes.fromhex(wanted["seed"]))
    socket.sethostname(wanted["name"])
    Path("/etc/hostname").write_text(wanted["name"] + "\n")
    Path("/etc/machine-id").write_text(wanted["machine_id"] + "\n")
    _interface(wanted["address"], wanted["mac"])
    set_hosts(wanted["hosts"])
    for disk in wanted["disks"]:
        _reread(disk)
    if not os.path.ismount("/persist"):
        mount(STATE_DISK, "/persist", "ext4")
        for folder in KEPT_FOLDERS:
            mount("/persist" + folder, folder, flags=MS_BIND)
    mount_code()


def mount_code() -> None:
    """Mount the code where Python finds it, unless it is; raises OSError."""
    if os.path.ismount(CODE):
        return
    # The disk is shared by all guests; what is changed in it stays in memory.
    for folder in ("disk", "upper", "work"):
        Path("/run/code", folder).mkdir(parents=True, exist_ok=True)
    mount(CODE_DISK, "/run/code/disk", "ext4", MS_RDONLY)
    layers = "lowerdir=/run/code/disk,upperdir=/run/code/upper,workdir=/run/code/work"
    mount("overlay", CODE, "overlay", data=layers)


def set_hosts(hosts: dict[str, str]) -> None:
    """Write /etc/hosts: names of all guests, with their addresses."""
    lines = ["127.0.0.1 localhost"] + [f"{address} {name}" for name, address in hosts.items()]
    Path("/etc/hosts").write_text("\n".join(lines) + "\n")


def _seed(seed: bytes) -> None:
    with open("/dev/random", "wb", buffering=0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def _interface(address: str, mac: str) -> None:
    name = INTERFACE.encode().ljust(16, b"\0")

    def internet(text: str) -> bytes:
        return name + struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, name + struct.pack("H14x", 0))
        hardware = struct.pack("H6s8x", 1, bytes.fromhex(mac.replace(":", "")))
        fcntl.ioctl(control, SIOCSIFHWADDR, name + hardware)
        fcntl.ioctl(control, SIOCSIFADDR, internet(address))
        fcntl.ioctl(control, SIOCSIFNETMASK, internet("255.255.255.0"))
        fcntl.ioctl(control, SIOCSIFFLAGS, name + struct.pack("H14x", IFF_UP))


def _reread(disk: str) -> None:
    # The template saw blank disks; this clone's may have contents and partitions.
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, BLKFLSBUF)
        fcntl.ioctl(descriptor, BLKRRPART)
    finally:
        os.close(descriptor)
