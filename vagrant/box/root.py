"""The box's Debian tree, built by mmdebstrap from the host's own apt sources."""

from __future__ import annotations

import os
from pathlib import Path

from vagrant.lab.build import call, lines_of
from vagrant.lab.cache import built, hash_files, key_of
from vagrant.lab.errors import LabError
from vagrant.lab.progress import step
from vagrant.lab.sources import debian_sources

HERE = Path(__file__).resolve().parent
GEMS = Path("/usr/share/rubygems-integration/all/gems")
_LEFT_OUT = (
    *("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *(
        f"/lib/modules/*/kernel/{folder}/*"
        for folder in ("sound", "drivers/gpu", "drivers/media", "drivers/net/ethernet")
    ),
    "/lib/modules/*/kernel/drivers/net/wireless/*",
)
"""What no virtual machine here needs: a third of the box, which is copied again and again."""


def root_key() -> str:
    """What the tree is made by; another key, another tree."""
    names = ("packages.txt", "customize.sh", "root.py")
    return key_of(hash_files(*(HERE / name for name in names)))


def root() -> Path:
    """The folder with the tree, ``root``."""
    return built("box-root", root_key(), _build)


def _build(work: Path) -> None:
    if os.geteuid() != 0:
        raise LabError("building the box's Debian tree needs root: use sudo")
    sources = debian_sources()
    packages = ",".join(lines_of(HERE / "packages.txt"))
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={packages}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    argv += ['--aptopt=APT::Install-Recommends "false"']
    argv += [f"--customize-hook={HERE / 'customize.sh'}", sources.codename, str(work / "root")]
    entries = work / "sources"
    entries.mkdir()
    argv += [str(path) for path in sources.write(entries)]
    with step("building the box's Debian tree", 80):
        call(argv, work / "log", {"VAGRANT_KEYS": str(_keys())})


def _keys() -> Path:
    """The folder of the key pair that every vagrant has."""
    found = sorted(GEMS.glob("vagrant-[0-9]*/keys/vagrant.pub"))
    if not found:
        raise LabError(
            "vagrant's own key pair is not where Debian's vagrant has it: install vagrant"
        )
    return found[-1].parent
