"""The guests' Debian tree, built by mmdebstrap, with the kernel's modules and headers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import kernel
from .build import HERE, call, lines_of
from .cache import built, hash_files, key_of
from .errors import LabError
from .progress import step
from .sources import debian_sources

_DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def tree_key() -> str:
    """What the tree is made by; another key, another tree."""
    names = ("packages.txt", "image-hook.sh", "tree.py", "kernel.py")
    return key_of(hash_files(*(HERE / name for name in names)))


def tree() -> Path:
    """The folder with the Debian tree (`root`), what boots it (`boot`) and the `release`."""
    return built("tree", tree_key(), _build_tree)


def _build_tree(work: Path) -> None:
    if os.geteuid() != 0:
        raise LabError("building the guests' Debian tree needs root")
    sources = debian_sources()
    debs = work / "debs"
    debs.mkdir()
    root = work / "root"
    packages = ",".join(lines_of(HERE / "packages.txt"))
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={packages}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in _DOCS]
    argv += ['--aptopt=APT::Install-Recommends "false"']
    argv += [f"--customize-hook={HERE / 'image-hook.sh'}", sources.codename, str(root)]
    entries = work / "sources"
    entries.mkdir()
    argv += [str(path) for path in sources.write(entries)]
    with step("building the guests' Debian tree", 60):
        call(argv, work / "log", {"LAB_DEBS": str(debs)})
        _unpack_kernel(work, debs, root)
        _finish_tree(root)
    shutil.rmtree(debs)


def _unpack_kernel(work: Path, debs: Path, root: Path) -> None:
    unpacked = work / "kernel"
    release = (debs / "release").read_text().strip()
    for deb in debs.glob("*.deb"):
        into = unpacked if deb.name.startswith("linux-image-") else root
        into.mkdir(exist_ok=True)
        # The root's /lib is a link, which dpkg-deb -x would replace by a folder.
        unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"'
        call(["sh", "-ec", unpack, "sh", str(deb), str(into)], work / "log")
    kernel.install_modules(unpacked, release, root)
    boot = work / "boot"
    boot.mkdir()
    image = (unpacked / "boot" / f"vmlinuz-{release}").read_bytes()
    (boot / "vmlinux").write_bytes(kernel.vmlinux(image))
    modules = kernel.module_files(unpacked, release, kernel.BOOT_MODULES)
    (boot / "modules").mkdir()
    for number, path in enumerate(modules):
        shutil.copy(unpacked / path, boot / "modules" / f"{number:02}-{path.name}")
    shutil.copy(root / "bin/busybox", boot / "busybox")
    (work / "release").write_text(release)
    shutil.rmtree(unpacked)


def _finish_tree(root: Path) -> None:
    for folder in ("persist", "opt/frazil", "opt/lab", "var/lib/frazil", "etc/frazil"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for pattern in ("var/lib/apt/lists/*", "var/cache/apt/*", "var/cache/debconf/*-old"):
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / "etc/profile.d/frazil.sh").write_text(
        "export DM_DISABLE_UDEV=1 PYTHONPATH=/opt/frazil LANG=C.UTF-8\n"
    )
