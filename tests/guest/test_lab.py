"""The lab itself: what its guests do when they are asked, cut off, or torn down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vagrant.lab import CallFailed, CommandFailed, CommandTimeout, Guest, GuestGone, Lab
from vagrant.lab.lab import run_base

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.start("local", "remote")
        yield made


@pytest.fixture
def local(lab: Lab) -> Guest:
    return lab.guests["local"]


@pytest.fixture
def remote(lab: Lab) -> Guest:
    return lab.guests["remote"]


def reaches(guest: Guest, name: str) -> bool:
    return guest.run(["ping", "-c", "1", "-W", "1", name], check=False).code == 0


def test_commands_give_code_and_output(local: Guest) -> None:
    assert local.run("echo out; echo err >&2").stdout == b"out\n"
    assert local.run(["cat"], stdin="given").text == "given"
    assert local.run(["sh", "-c", "echo $X $PWD"], env={"X": "1"}, cwd="/tmp").text == "1 /tmp"
    with pytest.raises(CommandFailed) as failed:
        local.run("echo out; echo err >&2; exit 3")
    assert (failed.value.code, failed.value.stdout, failed.value.stderr) == (3, b"out\n", b"err\n")
    assert local.run("kill -9 $$", check=False).code == -signal.SIGKILL
    with pytest.raises(CommandFailed, match="No such file"):
        local.run(["no-such-program"])


def test_a_command_past_its_limit_is_killed_with_its_children(local: Guest) -> None:
    begin = time.monotonic()
    with pytest.raises(CommandTimeout) as failed:
        local.run("echo begun; sleep 1234 & sleep 1234", timeout=1)
    assert time.monotonic() - begin < 10
    assert failed.value.stdout == b"begun\n"
    assert local.run(["pgrep", "-f", "sleep 1234"], check=False).code == 1


def test_a_command_does_not_wait_for_the_daemon_it_leaves(local: Guest) -> None:
    begin = time.monotonic()
    assert local.run("sleep 30 & echo left").text == "left"
    assert time.monotonic() - begin < 10


def test_requests_do_not_block_each_other(local: Guest) -> None:
    with ThreadPoolExecutor(12) as pool:
        slow = [pool.submit(local.run, "sleep 3; echo slow") for _ in range(4)]
        big = pool.submit(local.run, "head -c 20000000 /dev/zero")
        begin = time.monotonic()
        assert local.run("echo quick").text == "quick"
        assert time.monotonic() - begin < 2.5
        quick = [pool.submit(local.run, ["echo", str(number)]) for number in range(40)]
        assert [each.result().text for each in quick] == [str(number) for number in range(40)]
        assert len(big.result().stdout) == 20000000
        assert all(each.result().text == "slow" for each in slow)


def test_spawned_processes_go_on_and_take_signals(local: Guest) -> None:
    process = local.spawn("trap 'echo bye; exit 7' TERM; echo hello; while :; do sleep 0.1; done")
    assert process.poll() is None
    while "hello" not in process.log():
        time.sleep(0.05)
    process.kill(signal.SIGTERM)
    assert process.wait(20) == 7
    assert process.log() == "hello\nbye\n"
    assert process.poll() == 7


def test_calls_return_values_and_raise_typed(local: Guest) -> None:
    assert local.call("os.path:join", "a", "b") == "a/b"
    assert local.call("builtins:dict", one=1) == {"one": 1}
    with pytest.raises(CallFailed) as failed:
        local.call("os:stat", "/nowhere")
    assert failed.value.remote_type == "FileNotFoundError"
    assert "Traceback" in failed.value.traceback
    with pytest.raises(CommandTimeout):
        local.call("time:sleep", 100, timeout=1)


def test_files_arrive_whole(local: Guest, tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    local.put(data, "/tmp/new/folder/data", mode=0o755)
    assert local.get("/tmp/new/folder/data") == data
    assert local.run("stat -c %a /tmp/new/folder/data").text == "755"
    (tmp_path / "file").write_bytes(b"from a file")
    local.put(tmp_path / "file", "/tmp/file")
    assert local.run("cat /tmp/file").text == "from a file"


def test_guests_are_machines_of_their_own(local: Guest, remote: Guest) -> None:
    questions = (
        "cat /proc/sys/kernel/random/boot_id",
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/random/uuid",
        "cat /sys/class/net/eth0/address",
        "hostname",
    )
    for question in questions:
        assert local.run(question).text != remote.run(question).text
    assert abs(float(local.run("date +%s.%N").text) - time.time()) < 5


def test_device_mapper_and_its_targets_are_there(local: Guest) -> None:
    local.run(
        "echo '0 8192 linear /dev/vdd 0' | dmsetup create probe && "
        "test -b /dev/mapper/probe && dmsetup remove probe"
    )
    targets = local.run("modprobe dm-thin-pool; dmsetup targets").text
    for target in ("snapshot", "flakey", "delay", "log-writes", "linear", "error", "thin-pool"):
        assert target in targets


def test_delay_and_partition_are_made_and_undone(lab: Lab, local: Guest, remote: Guest) -> None:
    assert reaches(local, "remote")
    local.network(delay_ms=300, rate_mbit=50)
    answer = local.run("ping -c 2 remote").text
    assert float(answer.rsplit("= ", 1)[1].split("/")[0]) >= 300
    local.network()
    lab.partition(local, remote)
    assert not reaches(local, "remote")
    assert not reaches(remote, "local")
    lab.heal()
    assert reaches(local, "remote")
    assert reaches(remote, "local")


def test_a_power_cut_keeps_disks_and_state_alone(local: Guest) -> None:
    boot = local.run("cat /proc/sys/kernel/random/boot_id").text
    local.run("echo kept >/var/lib/frazil/note; sync -f /var/lib/frazil; echo lost >/tmp/note")
    local.run("printf raw | dd of=/dev/vdb bs=512 conv=sync oflag=direct status=none")
    local.power_cut()
    with pytest.raises(GuestGone):
        local.run("true")
    local.restart()
    assert local.run("cat /var/lib/frazil/note").text == "kept"
    assert local.run(["head", "-c", "3", "/dev/vdb"]).text == "raw"
    assert local.run("test -e /tmp/note", check=False).code == 1
    assert local.run("cat /proc/sys/kernel/random/boot_id").text != boot


def test_a_cold_boot_finds_the_same_disks(local: Guest) -> None:
    local.run("echo cold >/var/lib/frazil/note; sync -f /var/lib/frazil")
    local.boot()
    assert local.run("cat /var/lib/frazil/note").text == "cold"
    assert float(local.run("cut -d ' ' -f 1 /proc/uptime").text) < 120
    assert local.call("os.path:exists", "/opt/frazil/pyproject.toml")


def test_qcow2_disks_lose_new_areas_without_a_flush(lab: Lab) -> None:
    (lossy,) = lab.start("lossy", disks="qcow2")
    flushed, lost = b"flushed", b"lost"
    write = "dd of=/dev/vdb bs=4096 conv=sync,notrunc oflag=direct status=none"
    lossy.run(write, stdin=flushed.ljust(4096))
    lossy.run("sync /dev/vdb")
    lossy.run(write + " seek=4096", stdin=lost.ljust(4096))
    lossy.restart()
    assert lossy.run(["head", "-c", "7", "/dev/vdb"]).stdout == flushed
    found = lossy.run("dd if=/dev/vdb bs=4096 skip=4096 count=1 iflag=direct status=none").stdout
    assert found == bytes(4096)


def test_a_kernel_panic_is_reported_with_the_console(lab: Lab) -> None:
    (victim,) = lab.start("victim")
    with pytest.raises(GuestGone, match="Kernel panic"):
        victim.run("sleep 0.2; echo c >/proc/sysrq-trigger", timeout=30)
    victim.restart()
    assert victim.run("echo back").text == "back"


def test_nothing_is_left_of_a_killed_lab() -> None:
    program = (
        "from vagrant.lab import Lab\n"
        "lab = Lab()\n"
        "guest, = lab.start('orphan')\n"
        "print(guest._process.pid, lab.folder, flush=True)\n"
        "guest.run('sleep 1000', timeout=1000)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    with Lab() as after:
        assert not Path(folder).exists()
        assert after.folder.parent == run_base()
    assert not after.folder.exists()
