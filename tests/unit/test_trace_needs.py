"""What tracing needs of a host; and the unit of the process that traces."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

import bpf
from bpf.client import UNIT
from bpf.needs import availability, lockdown

ROOT = Path(__file__).parents[2]
RELEASE = "6.1.0-56-amd64"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with everything that is needed."""
    (tmp_path / "sys/kernel/btf").mkdir(parents=True)
    (tmp_path / "sys/kernel/btf/vmlinux").touch()
    (tmp_path / f"lib/modules/{RELEASE}/build/include").mkdir(parents=True)
    return tmp_path


def lacking(root: Path, release: str = RELEASE, *, bcc: bool = True) -> list[tuple[str, str]]:
    found = availability(root, release, lambda _: bcc)
    assert len(found) == 6
    return [(one.what, one.remedy) for one in found if not one.ok]


def test_nothing_is_lacking_where_everything_is(root: Path) -> None:
    assert lacking(root) == []


def test_each_lack_is_named_with_its_cost_and_remedy(root: Path) -> None:
    assert lacking(root, bcc=False)[0][1].startswith("apt install python3-bpfcc")
    old = lacking(root, "5.10.0-9-amd64")
    assert "older than 5.12" in old[0][0]
    assert old[1][1] == "apt install linux-headers-5.10.0-9-amd64"
    (root / "sys/kernel/btf/vmlinux").unlink()
    assert "BTF" in lacking(root)[0][0]
    assert all("whole chunks are sent" in what for what, _ in lacking(root, "4.19.0"))


def test_lockdown(root: Path) -> None:
    assert lockdown(root) == "none"
    place = root / "sys/kernel/security"
    place.mkdir(parents=True)
    (place / "lockdown").write_text("none [integrity] confidentiality\n")
    assert lockdown(root) == "integrity"
    assert lacking(root) == []
    (place / "lockdown").write_text("none integrity [confidentiality]\n")
    assert "lockdown" in lacking(root)[0][0]


def test_the_running_host_is_looked_at_without_a_word_of_it() -> None:
    found = bpf.availability()
    assert all(one.what for one in found)
    assert all("whole chunks" in one.what for one in found if not one.ok)


def test_the_tracers_unit() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "dist/systemd" / UNIT)
    service = parser["Service"]
    assert "-m bpf.tracer --socket /run/frazil/tracer.sock" in service["ExecStart"]
    assert service["RestartPreventExitStatus"] == "4"
    # A mount namespace of its own would keep filesystems from going away.
    private = re.compile("Protect|PrivateTmp|PrivateMounts|ReadOnly|TemporaryFileSystem")
    assert [key for key in service if private.match(key)] == []
    # It outlives frazild: nothing binds it to that.
    assert not {"PartOf", "BindsTo", "Requires"} & set(parser["Unit"])
