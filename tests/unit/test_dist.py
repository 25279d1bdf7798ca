"""What an administrator installs: the order of the boot, the units, the README's steps."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

from vagrant.vms.readme import HOSTS, ReadmeWrong, Step, read_steps, steps

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "dist/systemd/frazil-generator"


def ordered(tmp_path: Path, fstab: str, config: str = "") -> str:
    """The drop-in that the generator writes; systemd-escape is played by a script."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    escape = programs / "systemd-escape"
    escape.write_text(
        '#!/bin/sh\nfor last; do :; done\necho "$last" | sed "s|^/||; s|/|-|g; s|$|.mount|"\n'
    )
    escape.chmod(0o755)
    (tmp_path / "fstab").write_text(fstab)
    (tmp_path / "config.toml").write_text(config)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "FRAZIL_CONFIG": str(tmp_path / "config.toml"),
        "FRAZIL_FSTAB": str(tmp_path / "fstab"),
    }
    folders = [str(tmp_path / name) for name in ("normal", "early", "late")]
    subprocess.run([str(GENERATOR), *folders], check=True, env=environment)
    return (tmp_path / "normal/frazil-activate.service.d/50-order.conf").read_text()


ROOT_ONLY = "/dev/vda1 / ext4 defaults 0 1\n/dev/mapper/frazil-data /srv/data ext4 defaults 0 2\n"


def test_on_the_root_filesystem_heads_come_before_any_mount(tmp_path: Path) -> None:
    assert "Before=local-fs-pre.target" in ordered(tmp_path, ROOT_ONLY)


@pytest.mark.parametrize(
    ("line", "config", "unit"),
    [
        ("/dev/vdb /var ext4 defaults 0 2", "", "var.mount"),
        ("/dev/vdb /var/lib/frazil/ ext4 defaults 0 2", "", "var-lib-frazil.mount"),
        ("/dev/vdb /var/lib/frazil/pool xfs x 0 0", "", "var-lib-frazil-pool.mount"),
        ("UUID=1 /s/pool xfs x 0 0", '[state]\ndirectory = "/s"\n', "s-pool.mount"),
        ("UUID=1 /srv/p xfs x 0 0", '[pool]\ndirectory = "/srv/p/q" # here\n', "srv-p.mount"),
        ("UUID=1 /srv/p xfs x 0 0", "[ state ]\n  directory='/srv/p'\n", "srv-p.mount"),
    ],
)
def test_on_another_they_come_right_after_it(
    tmp_path: Path, line: str, config: str, unit: str
) -> None:
    text = ordered(tmp_path, f"{ROOT_ONLY}{line}\n", config)
    assert f"After={unit}" in text
    assert f"Wants={unit}" in text
    assert "local-fs-pre" not in text


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("#/dev/vdb /var ext4 defaults 0 2", ""),
        ("/dev/vdb /variety ext4 defaults 0 2", ""),
        ("UUID=1 /srv/r xfs x 0 0", '[replica]\ndirectory = "/srv/r"\n'),
        ("UUID=1 /srv/p xfs x 0 0", '[pool]\n#directory = "/srv/p"\n'),
        ("/dev/vdb none swap sw 0 0", ""),
    ],
)
def test_what_heads_do_not_need_delays_nothing(tmp_path: Path, line: str, config: str) -> None:
    text = ordered(tmp_path, f"{ROOT_ONLY}{line}\n", config)
    assert "Before=local-fs-pre.target" in text


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "dist/systemd" / name)
    return parser


def test_units_hang_together() -> None:
    daemon, activation = unit("frazild.service"), unit("frazil-activate.service")
    assert daemon["Service"]["Type"] == "notify"
    assert daemon["Service"]["Restart"] == "on-failure"
    assert daemon["Service"]["KillMode"] == "control-group"
    assert "frazil-activate.service" in daemon["Unit"]["After"]
    for order in ("Wants", "After"):
        assert "network-online.target" in daemon["Unit"][order], "who took over is asked"
    assert "local-fs.target" in activation["Unit"]["Before"]
    assert activation["Unit"]["DefaultDependencies"] == "no"
    # A mount namespace of its own would keep filesystems from going away.
    private = re.compile("Protect|PrivateTmp|PrivateMounts|ReadOnly|TemporaryFileSystem")
    assert [key for key in daemon["Service"] if private.match(key)] == []


def test_the_package_enables_nothing() -> None:
    script = (ROOT / "dist/deb/postinst").read_text()
    called = [line for line in script.splitlines() if re.search(r"\bsystemctl\b", line)]
    assert len(called) == 2
    assert not any(re.search(r"systemctl (enable|start|restart|preset)", line) for line in called)


TEXT = """# x
## Install on a real host
Words.
```sh both
one
two
```
```
only read
```
```sh remote
three
```
## Next
```sh local
not this
```
"""


def test_steps() -> None:
    assert steps(TEXT) == [
        Step(("local", "remote"), "one\ntwo\n"),
        Step(("remote",), "three\n"),
    ]
    with pytest.raises(ReadmeWrong, match="the hosts are"):
        steps(TEXT.replace("sh remote", "sh third"))
    with pytest.raises(ReadmeWrong, match="no section"):
        steps("# nothing\n")
    with pytest.raises(ReadmeWrong, match="no block"):
        steps("## Install on a real host\n\nwords\n")


def test_the_readme_has_them(tmp_path: Path) -> None:
    found = read_steps()
    assert {host for step in found for host in step.hosts} == set(HOSTS["both"])
    for number, step in enumerate(found):
        script = tmp_path / f"{number}.sh"
        script.write_text(step.script)
        subprocess.run(["sh", "-n", str(script)], check=True)
    everything = "".join(step.script for step in found)
    for word in ("apt-get install", "pki issue", "systemctl enable", "mirror create"):
        assert word in everything
