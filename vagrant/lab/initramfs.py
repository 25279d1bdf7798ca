"""The guests' initramfs: modules, an overlay over the read-only root, and the agent's files."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

INSIDE = Path(__file__).resolve().parent / "inside"

# busybox runs this. frazil.probe ends here: user space was reached.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
if grep -q frazil.probe /proc/cmdline; then
    echo frazil-lab: user space
    poweroff -f
fi
for module in /modules/*.ko*; do insmod "$module"; done
until [ -b /dev/vda ]; do sleep 0.05; done
mount -t ext4 -o ro /dev/vda /lower
mount -t tmpfs -o size=60% tmpfs /upper
mkdir -p /upper/up /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work overlay /root
mkdir -p /root/opt/lab/lab_inside
cp /lab/* /root/opt/lab/lab_inside/
mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /bin/sh /opt/lab/lab_inside/init.sh
"""


def _entries(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    for name in ("bin", "dev", "proc", "sys", "root", "lower", "upper", "modules", "lab"):
        yield name, stat.S_IFDIR | 0o755, b""
    yield "init", stat.S_IFREG | 0o755, INIT.encode()
    yield "bin/busybox", stat.S_IFREG | 0o755, (folder / "busybox").read_bytes()
    for path in sorted((folder / "modules").iterdir()):
        yield f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()
    for path in sorted(INSIDE.iterdir()):
        if path.suffix in (".py", ".sh"):
            yield f"lab/{path.name}", stat.S_IFREG | 0o755, path.read_bytes()


def _record(number: int, name: str, mode: int, data: bytes) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def initramfs(folder: Path) -> bytes:
    """An uncompressed cpio archive (newc) from the image folder's busybox and modules."""
    records = [_record(n, *entry) for n, entry in enumerate(_entries(folder), start=1)]
    return b"".join(records) + _record(0, "TRAILER!!!", 0, b"")
