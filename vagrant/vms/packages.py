"""frazil's Debian package from this tree, and a newer build of it to upgrade to."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from vagrant.lab.errors import LabError

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = "opt/frazil/lib/python3.11/site-packages"


def build(folder: Path) -> Path:
    """What ``make deb`` builds."""
    return Path(_call(str(REPOSITORY / "dist/deb/build.sh"), str(folder)).splitlines()[-1])


def built() -> Path:
    """The newest package that ``make deb`` left; built where there is none."""
    folder = REPOSITORY / "build"
    there = sorted(folder.glob("frazil_*.deb"), key=lambda path: path.stat().st_mtime)
    return there[-1] if there else build(folder)


def newer(package: Path, suffix: str = "+newer") -> Path:
    """The same code under a higher version, which its daemon and its command also say."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        _call("dpkg-deb", "--raw-extract", str(package), str(root))
        control = root / "DEBIAN/control"
        version = re.search(r"^Version: (.*)$", control.read_text(), re.MULTILINE)
        assert version is not None
        later = version[1] + suffix
        control.write_text(control.read_text().replace(version[0], f"Version: {later}"))
        code = root / LIBRARY / "control/__init__.py"
        code.write_text(re.sub(r'VERSION = ".*"', f'VERSION = "{later}"', code.read_text()))
        for compiled in (code.parent / "__pycache__").glob("__init__.*"):
            compiled.unlink()
        built = package.with_name(f"frazil_{later}_amd64.deb")
        _call("dpkg-deb", "--root-owner-group", "-Zzstd", "-z9", "-b", str(root), str(built))
    return built


def _call(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()
