"""The guests' root image: the Debian tree and the wheels as one ext4 file, the kernel beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .build import HERE, MKE2FS, PYTHON, REPOSITORY, call, tool
from .cache import built, cache_dir, hash_files, key_of
from .errors import LabError
from .progress import say, step
from .tree import tree, tree_key
from .wheels import wheels, wheels_key

DIST_PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"


def image() -> Path:
    """The folder with `root.img`, `vmlinux`, boot modules and busybox.

    Building it takes root: without it, sudo is asked to do so.
    """
    key = key_of(tree_key(), wheels_key(), hash_files(HERE / "image.py"))
    if os.geteuid() != 0 and not (cache_dir() / f"image-{key}").is_dir():
        wheels()  # with this user's pip configuration
        _build_as_root()
    return built("image", key, _build_image)


def _build_as_root() -> None:
    if shutil.which("sudo") is None:
        raise LabError("building the guests' root image needs root, once: install sudo or be root")
    say("building the guests' root image needs root: asking sudo")
    places = [f"FRAZIL_CACHE={cache_dir().parent}", f"PYTHONPATH={REPOSITORY}"]
    argv = [tool("sudo"), "env", *places, sys.executable, "-m", "vagrant.lab", "image"]
    if subprocess.run(argv, check=False).returncode != 0:
        raise LabError("the guests' root image could not be built as root: see above")


def _build_image(work: Path) -> None:
    base, site = tree(), wheels()
    root = work / "root"
    with step("making the root image", 25):
        # Hard links: nothing below changes a file in place.
        call(["cp", "-al", str(base / "root"), str(root)], work / "log")
        target = root / DIST_PACKAGES
        target.mkdir(parents=True, exist_ok=True)
        call(["cp", "-a", f"{site}/site/.", str(target)], work / "log")
        compileall = ["chroot", str(root), "python3", "-m", "compileall", "-q", "-j0"]
        call([*compileall, f"/{DIST_PACKAGES}"], work / "log")
        options = ["-O", "^has_journal,^metadata_csum", "-E", "lazy_itable_init=1,root_owner=0:0"]
        call([*MKE2FS, *options, "-d", str(root), str(work / "root.img"), "1400M"], work / "log")
        shutil.rmtree(root)
        for path in (base / "boot").iterdir():
            call(["cp", "-a", str(path), str(work / path.name)], work / "log")
        shutil.copy(base / "release", work / "release")
