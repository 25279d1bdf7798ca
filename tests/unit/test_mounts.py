"""Where devices are mounted, as mountinfo tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from control import mounts
from dm_tables.errors import Unavailable

LINES = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 253:4 / /srv/with\\040space rw shared:7 master:2 - ext4 /dev/mapper/frazil-data rw
40 22 0:35 /sub /srv/tree rw - btrfs /dev/nowhere/at-all rw
41 22 0:36 / /run rw - tmpfs tmpfs rw
"""


@pytest.fixture(autouse=True)
def mountinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mountinfo"
    path.write_text(LINES)
    monkeypatch.setattr(mounts, "MOUNTINFO", path)


def test_numbers_and_points() -> None:
    assert mounts.mounts() == [
        ("8:1", Path("/")),
        ("253:4", Path("/srv/with space")),
        ("0:35", Path("/srv/tree")),
        ("0:36", Path("/run")),
    ]


def test_writing_out_what_is_gone_is_nothing(tmp_path: Path) -> None:
    mounts.sync_filesystem(tmp_path / "gone")
    mounts.sync_filesystem(tmp_path)


def test_a_failed_write_out_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            return -1

    monkeypatch.setattr(mounts, "LIBC", Failing)
    with pytest.raises(Unavailable, match="writing out"):
        mounts.sync_filesystem(tmp_path)
