"""The template: a guest booted once, warmed up and saved; every clone starts from it."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import probe
from .build import call, tool
from .bundle import code_image
from .cache import built, hash_files, key_of
from .channel import Channel
from .errors import GuestGone, LabError
from .image import image
from .initramfs import INSIDE, initramfs
from .progress import say, step
from .qemu import CODE_DISK, DATA_DISKS, MEMORY_MIB, STATE_DISK, Disk, Machine, Process, version
from .qmp import Qmp, connect

HERE = Path(__file__).resolve().parent
DATA_DISK_BYTES = 2 << 30
STATE_DISK_BYTES = 4 << 30
BOOT_LIMIT_S = 240.0


@dataclass(frozen=True)
class Template:
    """What clones start from; every path is shared by all of them and never written."""

    image: Path
    boot: Path
    folder: Path
    accel: str

    @property
    def initramfs(self) -> Path:
        """The initramfs for cold boots."""
        return self.boot / "initramfs"

    @property
    def ram(self) -> Path:
        """The saved memory."""
        return self.folder / "ram"

    @property
    def state(self) -> str:
        """The saved devices, as a migration address."""
        return "exec:cat " + shlex.quote(str(self.folder / "state"))


def make_disk(serial: str, folder: Path, template_boot: Path, kind: str, cache: str) -> Disk:
    """A fresh sparse disk: blank, or for `state` with an empty ext4 file system."""
    blank = template_boot / f"{'state' if serial == STATE_DISK else 'blank'}.{kind}"
    path = folder / f"{serial}.{kind}"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(blank), str(path)], check=True)
    return Disk(serial, path, kind, cache)


def _build_boot(work: Path, root: Path) -> None:
    (work / "initramfs").write_bytes(initramfs(root))
    with (work / "blank.raw").open("wb") as blank:
        blank.truncate(DATA_DISK_BYTES)
    log = work / "log"
    seed = work / "seed"
    for name in ("var/lib/frazil", "etc/frazil"):
        (seed / name).mkdir(parents=True)
    with (work / "state.raw").open("wb") as state:
        state.truncate(STATE_DISK_BYTES)
    options = ["-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=32", "-O", "^metadata_csum"]
    options += ["-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"]
    call(["mke2fs", *options, "-d", str(seed), str(work / "state.raw")], log)
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    call([*create, str(work / "blank.qcow2"), str(DATA_DISK_BYTES)], log)
    convert = ["qemu-img", "convert", "-O", "qcow2"]
    call([*convert, str(work / "state.raw"), str(work / "state.qcow2")], log)


def template() -> Template:
    """Build whatever is missing, and return the template for this host."""
    for name in ("qemu-system-x86_64", "setpriv"):
        tool(name)
    root = image()
    inside = [path for path in INSIDE.iterdir() if path.suffix in (".py", ".sh")]
    recipe = hash_files(*inside, HERE / "initramfs.py", HERE / "template.py", HERE / "qemu.py")
    key = key_of(root.name, recipe)
    boot = built("boot", key, lambda work: _build_boot(work, root))
    accel = probe.accel(root, boot / "initramfs")
    key = key_of(boot.name, version(), accel, MEMORY_MIB)
    folder = built("template", key, lambda work: _build_template(work, root, boot, accel))
    return Template(root, boot, folder, accel)


def _build_template(work: Path, root: Path, boot: Path, accel: str) -> None:
    disks = [make_disk(serial, work, boot, "raw", "unsafe") for serial in (*DATA_DISKS, STATE_DISK)]
    code = work / "code.img"
    code_image(code, [])
    disks.append(Disk(CODE_DISK, code, readonly=True))
    (work / "ram").touch()
    machine = Machine(
        root, boot / "initramfs", accel, work, tuple(disks), ram=work / "ram", shared=True
    )
    with step(f"booting and saving the template ({accel})", 40 if accel == "tcg" else 10):
        process = Process(machine.argv(), work)
        try:
            qmp, channel = reach(process, work)
            missing = _warmed_up(channel)
            save(qmp, channel, work)
        except (LabError, OSError) as error:
            raise LabError(f"the template does not boot: {error}{console(work)}") from error
        finally:
            process.kill()
    if missing:
        say(f"not in the guests' Python: {', '.join(missing)}")
    for name in ("qmp", "command", "shell", *(disk.path.name for disk in disks)):
        (work / name).unlink(missing_ok=True)


def console(work: Path) -> str:
    """What a machine's kernel said last, for an error's text."""
    path = work / "console"
    tail = path.read_text(errors="replace")[-2000:] if path.is_file() else ""
    return f"\n--- console\n{tail}"


def reach(process: Process, work: Path) -> tuple[Qmp, Channel]:
    """The monitor and the agent of a machine that is to be saved.

    :raises LabError: it does not answer.
    """
    qmp = Qmp(connect(work / "qmp", process.check, 20.0))
    link = connect(work / "command", process.check, 20.0)

    def lost() -> str:
        try:
            process.check()
        except GuestGone as error:
            return str(error)
        return "the channel was closed"

    return qmp, Channel(link, "template", lost)


def _warmed_up(channel: Channel) -> list[str]:
    missing: list[str] = channel.ask("ping", timeout=BOOT_LIMIT_S)["missing"]
    # Page in what clones run first; what is cached here is cached in every clone.
    warm = "dmsetup version; dmsetup targets; dmsetup ls; losetup -a; lvm version; ip -br address"
    request = channel.request("run", argv=["sh", "-c", warm], timeout=120)
    request.answer(180)
    channel.request("run", call="lab_inside.warm:touch", timeout=120).answer(180)
    return missing


def save(qmp: Qmp, channel: Channel, work: Path) -> None:
    """Write the machine's devices beside its memory, which is a file by itself."""
    channel.ask("ping")
    qmp.execute("stop")
    qmp.capability("x-ignore-shared")
    qmp.execute("migrate", uri=f"exec:cat > {shlex.quote(str(work / 'state'))}")
    qmp.wait_migrated(120)
    channel.close()
    qmp.close()
