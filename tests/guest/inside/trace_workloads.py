"""Ways of writing to a head. Each gives the blocks to be traced, or leaves it to the log."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpf.layout import BLOCK
from dm_tables.device import Device
from dm_tables.units import KIB, MIB, SECTOR

MOUNTPOINT = Path("/mnt/traced")
KEY = "a passphrase"
EXT4 = ("mkfs.ext4", "-q", "-F", "-E", "nodiscard")


def run(*argv: str | Device, stdin: str = "") -> None:
    """Run a tool."""
    words = [str(word.path) if isinstance(word, Device) else word for word in argv]
    done = subprocess.run(words, check=False, input=stdin, text=True, capture_output=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr}")


def put(head: Device, writes: list[tuple[int, int]], flags: int = os.O_DIRECT) -> set[int]:
    """Write (address, length) in bytes. :return: their blocks."""
    blocks: set[int] = set()
    descriptor = os.open(head, os.O_RDWR | flags)
    try:
        for address, length in writes:
            with mmap.mmap(-1, length) as page:
                page[:] = os.urandom(length)
                os.pwrite(descriptor, page, address)
            blocks.update(range(address // BLOCK, -(-(address + length) // BLOCK)))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return blocks


def twenty_three(head: Device) -> set[int]:
    """23 writes of a block each."""
    return put(head, [(number * 3 * BLOCK, BLOCK) for number in range(23)])


def parts_of_blocks(head: Device) -> set[int]:
    """Sectors, at the begin, in the middle and at the end of blocks."""
    return put(head, [(0, SECTOR), (5 * BLOCK + 3 * SECTOR, SECTOR), (9 * BLOCK - SECTOR, SECTOR)])


def across_borders(head: Device) -> set[int]:
    """Over the borders of blocks, words of the bitmap (256 KiB), chunks and regions (2 MiB)."""
    borders = (7 * BLOCK, 256 * KIB, 64 * KIB, MIB, 2 * MIB, 4 * MIB)
    return put(head, [(border - 3 * SECTOR, 6 * SECTOR) for border in borders])


def large(head: Device) -> set[int]:
    """Several MiB at once, from a sector in the middle of a block on."""
    return put(head, [(6 * MIB + SECTOR, 9 * MIB)])


def to_the_end(head: Device) -> set[int]:
    """The device's last sector."""
    descriptor = os.open(head, os.O_RDONLY)
    size = os.lseek(descriptor, 0, os.SEEK_END)
    os.close(descriptor)
    return put(head, [(size - SECTOR, SECTOR)])


def buffered(head: Device) -> set[int]:
    """By way of the page cache, whose pages are blocks."""
    return put(head, [(3 * MIB + 100, 700), (4 * MIB - 1, 2), (5 * MIB, 300 * KIB)], flags=0)


def synchronous(head: Device) -> set[int]:
    """Each write through to stable storage."""
    return put(head, [(n * MIB, BLOCK) for n in range(5)], flags=os.O_DIRECT | os.O_DSYNC)


def mapped(head: Device) -> set[int]:
    """By way of memory."""
    descriptor = os.open(head, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 8 * MIB) as memory:
            for address in (1, 2 * MIB - 1, 5 * MIB + 5):
                memory[address] = 7
            memory.flush()
    finally:
        os.close(descriptor)
    return {0, (2 * MIB - 1) // BLOCK, 5 * MIB // BLOCK}


def zeroed(head: Device) -> set[int]:
    """Write-zeroes, which the kernel makes of a discard with zeroes."""
    run("blkdiscard", "-z", "-o", str(3 * MIB), "-l", str(2 * MIB), head)
    return set(range(3 * MIB // BLOCK, 5 * MIB // BLOCK))


@contextmanager
def mounted(head: Path | Device, *mkfs: str) -> Iterator[Path]:
    """A new filesystem, until the end."""
    MOUNTPOINT.mkdir(exist_ok=True)
    device = str(head.path) if isinstance(head, Device) else str(head)
    run(*mkfs, device)
    run("mount", device, str(MOUNTPOINT))
    try:
        yield MOUNTPOINT
    finally:
        run("umount", str(MOUNTPOINT))


def fill(place: Path) -> None:
    """Files written, appended to, mapped, removed and renamed."""
    for number in range(40):
        file = place / f"file-{number}"
        file.write_bytes(os.urandom(1000 + 3000 * number))
        if number % 4 == 0:
            file.rename(place / f"other-{number}")
        elif number % 4 == 1:
            file.unlink()
        elif number % 4 == 2:
            with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
                memory[number] = 1
    os.sync()


def ext4(head: Device) -> None:
    """A filesystem with a journal."""
    with mounted(head, *EXT4) as place:
        fill(place)


def xfs(head: Device) -> None:
    """Another one."""
    with mounted(head, "mkfs.xfs", "-q", "-f", "-K") as place:
        fill(place)


def lvm(head: Device) -> None:
    """A logical volume on the head, with a filesystem on it."""
    # The layers below the head show the same label.
    device = f"/dev/mapper/{head.name}"
    config = f'devices {{ filter=["a|^{device}$|","r|.*|"] use_devicesfile=0 }}'
    run("pvcreate", "-ff", "-y", "--config", config, device)
    run("vgcreate", "--config", config, "traced", device)
    try:
        run("lvcreate", "-y", "-Wn", "-Zn", "-L", "24m", "-n", "one", "--config", config, "traced")
        with mounted(Path("/dev/traced/one"), *EXT4) as place:
            fill(place)
    finally:
        with contextlib.suppress(OSError):
            run("vgchange", "-an", "--config", config, "traced")


def luks(head: Device) -> None:
    """An encrypted device on the head, with a filesystem on it."""
    quick = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--type", "luks2"]
    # What a guest's kernel has of ciphers.
    quick += ["--cipher", "aes-cbc-plain64", "--key-size", "256"]
    run("modprobe", "dm-crypt")
    run("cryptsetup", "-q", "luksFormat", *quick, head, stdin=KEY)
    run("cryptsetup", "open", head, "traced-crypt", stdin=KEY)
    try:
        with mounted(Path("/dev/mapper/traced-crypt"), *EXT4) as place:
            fill(place)
    finally:
        run("cryptsetup", "close", "traced-crypt")
