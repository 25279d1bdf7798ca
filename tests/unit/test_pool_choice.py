"""Which pool a configuration asks for; what a tool's end becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from control.config import read
from control.pool import open_pool, open_replica_pool
from control.pool.errors import LvmFailed, ToolNotAllowed, ToolTimedOut
from control.pool.files import FilesPool
from control.pool.lvm import LvmPool
from control.pool.tools import Tool
from dm_tables.errors import Kind
from dm_tables.running import Completed, TimedOut
from dm_tables.units import GIB


def test_files_are_the_default() -> None:
    config = read('[state]\ndirectory = "/srv/f"\n[pool]\nlimit = "1GiB"')
    pool, replica = open_pool(config), open_replica_pool(config)
    assert isinstance(pool, FilesPool)
    assert isinstance(replica, FilesPool)
    assert (pool.directory, pool.limit) == (Path("/srv/f/pool"), GIB)
    assert (replica.directory, replica.limit) == (Path("/srv/f/replica/objects"), None)
    assert (pool.kind, pool.location) == ("files", "/srv/f/pool")


@pytest.mark.parametrize(("own", "group"), [("", "vg0"), ('volume_group = "vg1"', "vg1")])
def test_a_volume_group_may_serve_both(own: str, group: str) -> None:
    config = read(f'[pool]\nkind = "lvm"\nvolume_group = "vg0"\n[replica]\nkind = "lvm"\n{own}')
    pool, replica = open_pool(config), open_replica_pool(config)
    assert isinstance(pool, LvmPool)
    assert isinstance(replica, LvmPool)
    assert (pool.kind, pool.location) == ("lvm", "vg0")
    assert replica.location == group
    assert replica.label != pool.label


def test_the_replica_does_not_follow_the_pool_into_lvm_by_itself() -> None:
    replica = open_replica_pool(read('[pool]\nkind = "lvm"\nvolume_group = "vg0"'))
    assert isinstance(replica, FilesPool)


def tool_that(end: Completed | Exception) -> Tool:
    """A tool whose every call ends like this."""

    def runner(
        argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        if isinstance(end, Exception):
            raise end
        return end

    return Tool("lvs", "lvm2", LvmFailed, runner)


def test_a_time_limit_is_an_error_of_its_own() -> None:
    with pytest.raises(ToolTimedOut, match="still running after 60 seconds") as caught:
        tool_that(TimedOut()).call("vg0")
    assert caught.value.kind is Kind.UNAVAILABLE
    assert caught.value.argv == ("lvs", "vg0")


@pytest.mark.parametrize(("user", "error"), [(1000, ToolNotAllowed), (0, LvmFailed)])
def test_not_root_is_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch, user: int, error: type[Exception]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    with pytest.raises(error, match="Permission denied"):
        tool_that(Completed(5, "", "/dev/mapper/control: Permission denied")).call()
