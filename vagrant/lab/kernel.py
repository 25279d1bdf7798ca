"""The guests' kernel: Debian's own, unpacked from its package, with the modules they need."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

from .errors import LabError

# What a guest can load. virtio_net, ext4 and the rest bring their dependencies along.
MODULES = (
    "virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 crc32c_generic overlay "
    "dm-mod dm-snapshot dm-flakey dm-delay dm-log-writes dm-thin-pool dm-crypt dm-mirror "
    "dm-raid dm-integrity dm-verity dm-zero dm-dust dm-clone dm-era dm-cache dm-writecache "
    "loop brd nbd null_blk scsi_debug xfs btrfs libcrc32c crc32c-intel xxhash_generic "
    "sch_netem sch_tbf sch_ingress act_mirred cls_u32 cls_basic ifb veth dummy tun "
    "softdog af_packet_diag tcp_diag inet_diag unix_diag"
)
# Loaded by the initramfs, before there is a root.
BOOT_MODULES = (
    "virtio_pci virtio_blk crc32c_generic ext4 virtio_console virtio_rng overlay virtio_net"
)
# Loaded in the template, so that no clone waits for them.
WARM_MODULES = (
    "dm-mod dm-snapshot dm-flakey dm-delay dm-log-writes dm-zero loop xfs sch_netem sch_tbf"
)


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF kernel in a bzImage: QEMU boots it (PVH) without the slow decompressor.

    Raises LabError when the payload is not xz (the boot protocol's header says where
    the payload lies: setup_sects at 0x1f1, payload offset and length at 0x248).
    """
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    payload = bzimage[begin : begin + length]
    if payload[:6] != b"\xfd7zXZ\0":
        raise LabError("the kernel's payload is not xz: the lab needs linux-image-amd64's kernel")
    # The last 4 bytes are the unpacked size, appended by the kernel's build.
    elf = lzma.LZMADecompressor().decompress(payload)
    if elf[:4] != b"\x7fELF":
        raise LabError("the kernel's payload is no ELF file: cannot boot it directly")
    return elf


def module_files(unpacked: Path, release: str, names: str) -> list[Path]:
    """Paths, below the unpacked package, of modules and all they depend on, in load order.

    Names that this kernel has not, or has built in, are passed over.
    """
    found: dict[Path, None] = {}
    for name in names.split():
        done = subprocess.run(
            ["modprobe", "-d", str(unpacked), "-S", release, "--show-depends", name],
            check=False,
            capture_output=True,
            text=True,
        )
        for line in done.stdout.splitlines():
            if line.startswith("insmod "):
                path = Path("/" + line.split()[1].lstrip("/"))
                found[path.relative_to(unpacked)] = None
    return list(found)


def install_modules(unpacked: Path, release: str, root: Path) -> None:
    """Copy the guests' modules from the unpacked package into their root, and index them."""
    subprocess.run(["depmod", "-b", str(unpacked), release], check=True)
    kernel = Path("lib/modules") / release
    (root / kernel).mkdir(parents=True, exist_ok=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(unpacked / kernel / name, root / kernel / name)
    for relative in module_files(unpacked, release, MODULES):
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(unpacked / relative, root / relative)
    subprocess.run(["depmod", "-b", str(root), release], check=True)
