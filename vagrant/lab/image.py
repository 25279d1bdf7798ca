"""The guests' root image, in stages: Debian tree, wheels, ext4 image with the kernel beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from . import kernel
from .cache import built, hash_files, key_of
from .errors import LabError
from .progress import step
from .sources import debian_sources

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PYTHON = "3.11"
DIST_PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"
_DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_DEVELOPMENT = re.compile(r"(mypy|ruff|types-|grpcio-tools|setuptools|pip|ast-serialize)\b", re.I)
MKE2FS = ("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0")


def lines_of(path: Path) -> list[str]:
    """The lines of a list file without comments and blanks."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def tool(name: str) -> str:
    """A host tool's path; raises LabError that names the remedy."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise LabError(f"{name} is not installed: run `make setup` (as root)")
    return found


def call(argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run a build step with its output in a log; raises LabError with the log's tail."""
    with log.open("ab") as out:
        code = subprocess.run(
            [tool(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **(env or {})},
        ).returncode
    if code:
        tail = log.read_text(errors="replace")[-3000:]
        raise LabError(f"{argv[0]} failed with exit code {code}:\n{tail}")


def tree() -> Path:
    """The folder with the Debian tree (`root`), the unpacked kernel (`kernel`), its `release`."""
    recipe = hash_files(
        HERE / "packages.txt", HERE / "image-hook.sh", HERE / "image.py", HERE / "kernel.py"
    )
    return built("tree", key_of(recipe), _build_tree)


def _build_tree(work: Path) -> None:
    if os.geteuid() != 0:
        raise LabError("building the guests' root needs root: run `sudo make setup` once")
    sources = debian_sources()
    debs = work / "debs"
    debs.mkdir()
    root = work / "root"
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={_packages()}"]
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


def _packages() -> str:
    return ",".join(lines_of(HERE / "packages.txt"))


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


def wheels() -> Path:
    """The folder with what guests get from PyPI, installed as a site folder."""
    wanted = requirements()
    return built("wheels", key_of(wanted, PYTHON, 1), lambda work: _build_wheels(work, wanted))


def requirements() -> list[str]:
    """What pip installs for the guests.

    With a requirements-dev.lock: all it pins but the tools of development. Without one: the
    dependencies that pyproject.toml names, and wheels.txt.
    """
    lock = REPOSITORY / "requirements-dev.lock"
    if lock.is_file():
        joined = lock.read_text().replace("\\\n", " ")
        pins = [re.sub(r"\s+#.*|^#.*", "", line).strip() for line in joined.splitlines()]
        return [pin for pin in pins if pin and not _DEVELOPMENT.match(pin)]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *lines_of(HERE / "wheels.txt")]


def _build_wheels(work: Path, wanted: list[str]) -> None:
    listed = work / "requirements.txt"
    listed.write_text("\n".join(wanted) + "\n")
    locked = ["--no-deps"] if (REPOSITORY / "requirements-dev.lock").is_file() else []
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    argv = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile"]
    argv += ["--target", str(work / "site"), "--python-version", PYTHON]
    argv += ["--implementation", "cp", "--root-user-action=ignore", *locked, "-r", str(listed)]
    for platform in ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        argv += ["--platform", f"{platform}_x86_64"]
    with step("fetching the guests' Python packages", 20):
        call(argv, work / "log")


def image() -> Path:
    """The folder with `root.img`, `vmlinux`, boot modules, busybox and blank disks."""
    base, site = tree(), wheels()
    key = key_of(base.name, site.name, hash_files(HERE / "image.py"))
    return built("image", key, lambda work: _build_image(work, base, site))


def _build_image(work: Path, base: Path, site: Path) -> None:
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
