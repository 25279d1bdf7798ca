"""The freezer: its process' side on a device-mapper in memory, and the daemon's side of it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dm_tables import freezer, freezing, messages, syncing
from dm_tables.errors import Kind, Unavailable
from dm_tables.freezer import Forked, FreezeFailed, Freezer, FreezerUnavailable, HeadState, On
from dm_tables.freezing import Freezing
from dm_tables.guard import Guard
from dm_tables.ioctl import State
from dm_tables.window import FreezePlan, HeadPlan, Step, Token
from tests.fake_mapper import FakeMapper

HEADS = ("frazil-a", "frazil-b")


class InProcess(Freezer):
    """A freezer whose two processes are threads, on a device-mapper in memory."""

    def __init__(self, mapper: FakeMapper) -> None:
        super().__init__(dm=lambda _: mapper)
        self.mapper = mapper
        self.token = Token.create()
        self.threads: list[threading.Thread] = []
        self.guard_lives = True

    def _start(self) -> None:
        if self._channel is not None:
            return
        self._channel, daemon = messages.pair()
        above, below = messages.pair()

        def freeze() -> None:
            with daemon, above:
                Freezing(daemon, above, self.mapper, self.token).serve()

        def guard() -> None:
            with below:
                if self.guard_lives:
                    Guard(below, self.mapper, self.token).serve()

        self.threads = [threading.Thread(target=target) for target in (freeze, guard)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.close()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        os.close(self.token.fd)


@pytest.fixture
def mapper() -> FakeMapper:
    made = FakeMapper()
    for name in HEADS:
        made.add(name, "0 8 linear 253:0 0", "0 8 linear 253:1 0")
    return made


@pytest.fixture
def frozen(mapper: FakeMapper, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    # The layers are plain files here; what the kernel would map the heads to is 253:0.
    monkeypatch.setattr(freezer, "devno_of", lambda _: "253:0")
    made = InProcess(mapper)
    yield made
    made.end()


@pytest.fixture
def plan(tmp_path: Path) -> FreezePlan:
    (tmp_path / "rsv").write_bytes(b"")
    (tmp_path / "mounted").mkdir()
    heads = tuple(HeadPlan(name, str(tmp_path / "rsv"), (tmp_path / "mounted",)) for name in HEADS)
    return FreezePlan(heads)


def changed(plan: FreezePlan, **changes: object) -> FreezePlan:
    values = {field: getattr(plan, field) for field in plan.__dataclass_fields__}
    return FreezePlan(**{**values, **changes})


def test_a_freeze_and_another(mapper: FakeMapper, frozen: InProcess, plan: FreezePlan) -> None:
    result = frozen.freeze(plan)
    assert len(result.suspended_us) == 2
    assert 0 < max(result.suspended_us) <= result.pause_us < 5_000_000
    assert result.sync_us > 0
    assert mapper.steps("suspend", "resume", "clear") == [
        *(f"suspend {name}" for name in HEADS),
        *(f"resume {name}" for name in HEADS),
    ]
    assert mapper.prepared[1] is False, "the guard prepared last: it suspends nothing"
    for name in HEADS:
        assert mapper.table(name) == ("0 8 linear 253:1 0",)
        mapper.devices[name].inactive = mapper.devices[name].live
    assert frozen.freeze(plan).pause_us > 0


@pytest.mark.parametrize("lockfs", [True, False])
def test_a_filesystem_is_frozen_only_when_asked(
    mapper: FakeMapper,
    frozen: InProcess,
    plan: FreezePlan,
    lockfs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    synced: list[int] = []
    prepare = mapper.prepare

    def noted(names: tuple[str, ...], *, lockfs: bool) -> None:
        asked.append(lockfs)
        prepare(names, lockfs=lockfs)

    monkeypatch.setattr(mapper, "prepare", noted)
    monkeypatch.setattr("dm_tables.syncing.syncfs", synced.append)
    frozen.freeze(changed(plan, lockfs=lockfs))
    assert asked[0] is lockfs
    assert bool(synced) is lockfs


@pytest.mark.parametrize("state", ["no table waits", "suspended", "gone"])
def test_heads_that_are_not_ready(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan, state: str
) -> None:
    head = mapper.devices["frazil-b"]
    if state == "no table waits":
        head.inactive = None
    elif state == "suspended":
        head.suspended = True
    else:
        del mapper.devices["frazil-b"]
    with pytest.raises(FreezeFailed, match="at frazil-b") as caught:
        frozen.freeze(plan)
    assert caught.value.step is Step.CHECK
    assert caught.value.heads[0] == HeadState("frazil-a", On.OLD, False)
    assert not mapper.steps("suspend", "resume")


def test_failures_say_where_the_heads_are(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    mapper.fail("suspend frazil-b", errno.EBUSY)
    with pytest.raises(FreezeFailed) as caught:
        frozen.freeze(plan)
    assert caught.value.step is Step.SUSPEND
    assert caught.value.kind is Kind.UNAVAILABLE
    assert "Device or resource busy; the heads go on on old tables" in caught.value.what
    assert "fsfreeze" in caught.value.hint
    assert {head.table for head in caught.value.heads} == {On.OLD}


def test_a_group_that_came_apart_is_told(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    mapper.add("frazil-b", "0 8 linear 253:0 0", "0 16 linear 253:1 0")
    with pytest.raises(FreezeFailed, match="on different tables") as caught:
        frozen.freeze(plan)
    assert caught.value.step is Step.RESUME
    assert caught.value.heads == (
        HeadState("frazil-a", On.NEW, False),
        HeadState("frazil-b", On.OLD, False),
    )


def test_without_a_guard_nothing_is_suspended(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    frozen.guard_lives = False
    with pytest.raises(FreezeFailed) as caught:
        frozen.freeze(plan)
    assert caught.value.step is Step.GUARD
    assert not mapper.steps("suspend")


def test_a_layer_that_is_not_there(
    mapper: FakeMapper,
    frozen: InProcess,
    plan: FreezePlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = HeadPlan("frazil-b", str(tmp_path / "none"))
    wanted = changed(plan, heads=(plan.heads[0], gone))
    with pytest.raises(FreezeFailed, match="none could not be written out: No such file") as caught:
        frozen.freeze(wanted)
    assert caught.value.step is Step.SYNC
    # It may also go between the daemon's sync and the freezer's.
    monkeypatch.setattr(Freezer, "_write_out", lambda *_: None)
    with pytest.raises(FreezeFailed, match=r"at frazil-b.*No such file") as caught:
        frozen.freeze(wanted)
    assert caught.value.step is Step.CHECK
    assert not mapper.steps("suspend")


def test_others_are_kept_off_the_heads_only_once_all_is_written_out(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    state, both = mapper.state, syncing.write_out

    def written(*args: Any) -> int:
        order.append("written out")
        return both(*args)

    def looked(name: str) -> State:
        order.append("looked")
        return state(name)

    monkeypatch.setattr("dm_tables.freezing.write_out", written)
    monkeypatch.setattr(mapper, "state", looked)
    frozen.freeze(plan, lambda: order.append("before"))
    assert order == ["looked", "looked", "written out", "before", "looked", "looked"]


def test_who_cannot_keep_others_off_freezes_nothing(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    def busy() -> None:
        raise Unavailable("somebody else has a head")

    with pytest.raises(Unavailable, match="somebody else has a head"):
        frozen.freeze(plan, busy)
    assert not mapper.steps("suspend", "resume", "clear")
    # The same freezer serves the next one.
    assert frozen.freeze(plan).pause_us > 0


def test_a_daemon_that_dies_before_it_says_so_freezes_nothing(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    def dies() -> None:
        assert frozen._channel is not None
        frozen._channel.close()

    with pytest.raises(FreezeFailed) as caught:
        frozen.freeze(plan, dies)
    assert caught.value.step is Step.GUARD
    for thread in frozen.threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not mapper.steps("suspend", "resume", "clear")


def test_a_filesystem_that_cannot_be_written_out_holds_nobody_else(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, first = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        if not first.is_set():
            first.set()
            hanging.wait(30)

    monkeypatch.setattr("dm_tables.syncing.syncfs", hang)
    failed: list[FreezeFailed] = []

    def slow() -> None:
        with pytest.raises(FreezeFailed) as caught:
            frozen.freeze(changed(plan, sync_seconds=2.0))
        failed.append(caught.value)

    thread = threading.Thread(target=slow)
    thread.start()
    assert first.wait(10)
    # While the first one waits for its disk, another group freezes.
    assert frozen.freeze(plan).pause_us > 0
    assert not failed
    thread.join(20)
    hanging.set()
    assert failed[0].step is Step.SYNC


def test_a_sync_that_takes_too_long_is_not_followed_by_a_pause(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan
) -> None:
    with pytest.raises(FreezeFailed) as caught:
        frozen.freeze(changed(plan, sync_seconds=0.0))
    assert caught.value.step is Step.SYNC
    assert not mapper.steps("suspend")


def test_a_window_that_outlives_its_deadline_is_undone_by_the_guard(
    mapper: FakeMapper, frozen: InProcess, plan: FreezePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()

    def suspended() -> None:
        # As if this head's suspend waited for a disk: it returns when the guard has acted.
        hanging.wait(5)

    mapper.before["suspend frazil-b"] = suspended
    mapper.before["resume frazil-a"] = hanging.set
    with pytest.raises(FreezeFailed) as caught:
        frozen.freeze(changed(plan, deadline_seconds=0.2))
    assert caught.value.step is Step.DEADLINE
    assert caught.value.heads == tuple(HeadState(name, On.OLD, False) for name in HEADS)
    assert hanging.is_set()


def test_no_device_mapper(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    tried = Freezer(control=tmp_path / "control", lock=lock)
    for _ in range(2):
        with pytest.raises(FreezerUnavailable, match="No such file or directory"):
            tried.start()
        assert tried.pids == ()
    # Both processes are gone, and the lock with them.
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_former_freezer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezer, "START_LIMIT", 0.2)
    lock = tmp_path / "lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FreezerUnavailable, match="former daemon"):
            Freezer(control=tmp_path / "control", lock=lock).start()


def test_its_processes_import_little() -> None:
    code = (
        "import sys; import dm_tables.freezing, dm_tables.guard;"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] in"
        " ('subprocess', 'asyncio', 'control', 'proto', 'grpc', 'logging', 'uuid', 'inspect')))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert set(done.stdout.split()) <= {"inspect"}


def test_a_guard_may_take_its_time_to_come_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that boots: only later it has to answer soon."""
    monkeypatch.setattr(freezing, "GUARD_ANSWER", 0.01)
    monkeypatch.setattr(freezing, "harden", lambda: True)
    daemon, freezer_end = messages.pair()
    above, below = messages.pair()
    late = threading.Timer(0.3, messages.send, (below, {"ready": False, "errno": errno.ENODEV}))
    late.start()
    assert freezing.serve(tmp_path / "control", freezer_end, above, Token(-1), 1) == 1
    assert messages.receive(daemon, 20) == {"ready": False, "errno": errno.ENODEV}
    late.join()
    for end in (daemon, freezer_end, above, below):
        end.close()


def test_a_forked_process_is_seen_to_end() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        seen = Forked(process.pid)
        assert seen.poll() is None
        assert not seen.wait(0.05)
        process.kill()
        assert seen.wait(20)
        assert seen.poll() is not None
        seen.close()
    with pytest.raises(ProcessLookupError):
        Forked(process.pid)
