"""A replica whose generations the kernel shows: run inside a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from control.blocks import Extent
from control.pool.lvm import LvmPool
from control.replica.devices import ReplicaDevices
from control.replica.receive import Pace
from control.store.direct import DirectFile
from control.wire.errors import BadStream
from dm_tables.dmsetup import Dmsetup
from dm_tables.units import MIB, Bytes
from tests.replica_tools import Replica, messages, noise, patched, resume, say, whole

WHERE = Path("/var/lib/frazil/replica-test")
SIZE = 24 * MIB + 512 * 3
CHUNKS = {2: 4096, 3: 65536, 4: 4096, 5: 1 << 20}


class Bench:
    """A replica, what its generations must be, and the devices that show them."""

    def __init__(self, group: str = "") -> None:
        shutil.rmtree(WHERE, ignore_errors=True)
        self.replica = Replica(WHERE, Pace(bytes=MIB))
        if group:
            self._use(LvmPool(group, label="frazil-replica"))
        self.images = {1: noise(3 * MIB) + bytes(SIZE - 5 * MIB) + noise(2 * MIB)}
        self.devices = ReplicaDevices(self.replica.store, WHERE, Dmsetup())

    def _use(self, pool: Any) -> None:
        self.replica.pool = self.replica.store.pool = pool

    def receive(self) -> None:
        """A whole copy with holes, broken once, then deltas of several chunk sizes."""
        ends = [Extent(Bytes(0), Bytes(3 * MIB)), Extent(Bytes(SIZE - 2 * MIB), Bytes(2 * MIB))]
        said = messages(1, whole(self.images[1], 4096, ends))
        try:
            say(self.replica, said[:-2])
        except BadStream:
            resume(self.replica, said)
        for number, chunk in CHUNKS.items():
            last = SIZE // chunk
            changed = {
                0: bytes(chunk),
                number: noise(chunk),
                last // 2: noise(chunk),
                last: noise(chunk),
            }
            base = self.images[number - 1]
            self.images[number] = patched(base, chunk, changed)
            extents = [Extent(Bytes(n * chunk), Bytes(chunk)) for n in sorted(changed)]
            delta = whole(self.images[number], chunk, extents)
            say(self.replica, messages(number, delta, base=number - 1))

    def is_shown(self, number: int) -> bool:
        """Whether the generation's device reads exactly as it must."""
        path, generation = self.devices.attach("data", number)
        with DirectFile(path) as device:
            found = bytes(device.read(0, SIZE + 4096))
        return generation.number == number and found == self.images[number]

    def merge_all(self) -> None:
        while self.replica.merger.merge_next():
            pass


def shown(kind: str) -> dict[str, Any]:
    """Every generation as the kernel shows it; what a hold keeps, and what is left afterwards."""
    bench = Bench(group() if kind == "lvm" else "")
    bench.receive()
    found: dict[str, Any] = {
        "user space": all(
            bench.replica.image(number) == image for number, image in bench.images.items()
        ),
        "kernel": {number: bench.is_shown(number) for number in sorted(bench.images, reverse=True)},
        "read-only": _cannot_be_written(bench),
    }
    bench.merge_all()
    found["still there under a merger"] = all(bench.is_shown(number) for number in bench.images)
    for number in (4, 1, 5, 2):
        bench.devices.detach("data", number)
    found["the last one stays"] = bench.is_shown(3)
    bench.devices.detach("data")
    found["devices left"] = device_names()
    found["loops left"] = loop_devices()
    bench.merge_all()
    found["merged"] = bench.is_shown(5)
    bench.devices.detach("data")
    bench.replica.store.remove("data")
    found["objects left"] = list(bench.replica.pool.list())
    bench.replica.store.close()
    return found


def _cannot_be_written(bench: Bench) -> bool:
    path, _ = bench.devices.attach("data", 5)
    device = os.open(path, os.O_RDWR)
    try:
        os.pwrite(device, bytes(4096), 0)
    except PermissionError:
        return True
    finally:
        os.close(device)
    return False


def device_names() -> list[str]:
    """The devices of frazil's that there are."""
    said = subprocess.run(["dmsetup", "ls"], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if line.startswith("frazil-")]


def loop_devices() -> list[str]:
    """The loop devices that there are."""
    said = subprocess.run(["losetup", "--list", "-n"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


def group() -> str:
    """A volume group on a disk that is full of something else."""
    subprocess.run(["vgremove", "-ff", "-y", "replicas"], check=False, capture_output=True)
    with open("/dev/vdb", "wb") as disk:
        for _ in range(256):
            disk.write(b"\xa5" * MIB)
    for argv in (["pvcreate", "-ff", "-y", "/dev/vdb"], ["vgcreate", "replicas", "/dev/vdb"]):
        subprocess.run(argv, check=True, capture_output=True)
    return "replicas"
