"""The box: the tree on a bootable disk, as libvirt's provider for Vagrant wants it.

No loop device and no mount: the filesystem is filled by mke2fs, and GRUB's core lies in the gap
before the partition.
"""

from __future__ import annotations

import json
from pathlib import Path

from vagrant.box.root import HERE, root, root_key
from vagrant.lab.build import MKE2FS, call
from vagrant.lab.cache import built, hash_files, key_of
from vagrant.lab.progress import step

GRUB = Path("/usr/lib/grub/i386-pc")
MODULES = "biosdisk part_msdos ext2 linux normal configfile".split()
DISK_GIB = 6
SECTOR = 512
START = 2048
"""The partition's first sector."""

# As fast as emulation allows; nothing of it matters with KVM.
KERNEL = (
    "root=/dev/vda1 ro net.ifnames=0 console=tty0 console=ttyS0 mitigations=off norandmaps nokaslr "
    "audit=0 no_timer_check nowatchdog no5lvl"
)
CONFIG = f"""\
set root=(hd0,msdos1)
linux /vmlinuz {KERNEL}
initrd /initrd.img
boot
"""


def box_key() -> str:
    """What the box is made by."""
    return key_of(root_key(), hash_files(HERE / "disk.py"))


def box() -> Path:
    """The folder with ``frazil.box``, and ``vmlinuz`` and ``initrd.img`` beside it."""
    return built("box", box_key(), _build)


def _build(work: Path) -> None:
    tree = root() / "root"
    log = work / "log"
    for name in ("vmlinuz", "initrd.img"):
        call(
            ["cp", "-L", str(tree / "boot" / (tree / name).readlink().name), str(work / name)], log
        )
    with step("making the box", 60):
        _filesystem(tree, work / "part.img", log)
        _bootable(work, log)
        (work / "part.img").unlink()
        argv = ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2"]
        argv += ["-o", "compression_type=zstd"]
        call([*argv, str(work / "disk.img"), str(work / "box.img")], log)
        (work / "disk.img").unlink()
        about = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GIB}
        (work / "metadata.json").write_text(json.dumps(about) + "\n")
        files = ["metadata.json", "box.img"]
        call(["tar", "-C", str(work), "-cf", str(work / "frazil.box"), *files], log)
        (work / "box.img").unlink()


def _filesystem(tree: Path, image: Path, log: Path) -> None:
    # The last MiB of the disk stays free.
    size = (DISK_GIB << 30) - START * SECTOR - (1 << 20)
    with image.open("wb") as file:
        file.truncate(size)
    argv = [*MKE2FS, "-L", "root", "-E", "root_owner=0:0", "-d", str(tree), str(image)]
    call(argv, log)


def _bootable(work: Path, log: Path) -> None:
    disk, core, config = work / "disk.img", work / "core.img", work / "grub.cfg"
    with disk.open("wb") as file:
        file.truncate(DISK_GIB << 30)
    layout = f"{START},,83,*\n"
    call(["sh", "-ec", f"printf '{layout}' | sfdisk --quiet '{disk}'"], log)
    config.write_text(CONFIG)
    prefix = ["--prefix=(hd0,msdos1)/boot/grub", f"--config={config}", f"--output={core}"]
    call(["grub-mkimage", "--format=i386-pc", *prefix, *MODULES], log)
    with disk.open("r+b") as file:
        file.write((GRUB / "boot.img").read_bytes()[:440])
        file.seek(SECTOR)
        file.write(core.read_bytes())
    seek = f"seek={START * SECTOR}"
    options = ["bs=1M", "conv=sparse,notrunc", "oflag=seek_bytes", seek, "status=none"]
    call(["dd", f"if={work / 'part.img'}", f"of={disk}", *options], log)
