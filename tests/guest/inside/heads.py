"""Writable heads on a replica's generations, on real device-mapper: run inside a guest."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from control.blocks import Extent
from control.replica import devices
from control.replica.retention import Retention
from control.stack import StackDevices
from control.store.direct import DirectFile
from dm_tables.device import Device
from dm_tables.table import Table
from dm_tables.units import KIB, Bytes
from tests.guest.inside.replicas import CHUNKS, SIZE, Bench, device_names, group, loop_devices
from tests.replica_tools import messages, noise, patched, say, whole

MOUNT = Path("/mnt")
CHUNK = 64 * KIB
NUMBER = 3


def tested(kind: str) -> dict[str, Any]:
    """A filesystem on a head to test on, while the replica takes and merges newer generations."""
    bench = Bench(group() if kind == "lvm" else "")
    bench.replica.store.retention = Retention(last=2)
    bench.receive()
    bench.is_shown(NUMBER)
    head, _ = bench.devices.attach("data", NUMBER, writable=True)
    found: dict[str, Any] = {"starts as its generation": _reads_as(bench, head)}
    content = noise(3 * 1024 * KIB)
    _run("mkfs.ext4", "-q", "-F", str(head))
    _run("mount", str(head), str(MOUNT))
    (MOUNT / "file").write_bytes(content)
    _run("umount", str(MOUNT))
    found["read-only is as it was"] = bench.is_shown(NUMBER)
    found["a filesystem is written"] = _content(head) == content
    # Enough of them to be squashed; each takes long with LVM.
    newest = 7 if kind == "lvm" else 16
    for number in range(6, newest + 1):
        _mirror(bench, number)
    found["newer ones come"] = bench.replica.newest() == newest
    found["read-only is still as it was"] = bench.is_shown(NUMBER)
    found["the filesystem is still there"] = _content(head) == content
    bench.devices.detach("data", NUMBER)
    bench.devices.detach("data", NUMBER, writable=True)
    found["devices left"], found["loops left"] = device_names(), loop_devices()
    bench.replica.store.retention = Retention()
    bench.merge_all()
    found["objects left"] = len(bench.replica.pool.list())
    found["the newest"] = bench.replica.image() == bench.images[newest]
    bench.replica.store.remove("data")
    bench.replica.store.close()
    return found


def without_scratch() -> dict[str, Any]:
    """A head that writes to what it stands on."""
    bench = Bench()
    bench.receive()
    bench.is_shown(NUMBER)
    with mock.patch.object(devices, "scratch_table", _bare):
        head, _ = bench.devices.attach("data", NUMBER, writable=True)
    found = {"starts as its generation": _reads_as(bench, head)}
    with DirectFile(head, writable=True) as device:
        # A chunk that its layer has: there is no room for another one.
        device.write(noise(4 * KIB), NUMBER * CHUNKS[NUMBER])
        device.fsync()
    found["read-only is as it was"] = bench.is_shown(NUMBER)
    bench.devices.detach("data", writable=True)
    bench.devices.detach("data")
    bench.replica.store.close()
    return found


def _reads_as(bench: Bench, head: Path) -> bool:
    with DirectFile(head) as device:
        return bytes(device.read(0, SIZE)) == bench.images[NUMBER]


def _bare(stack: StackDevices, below: Device, object_name: str) -> Table:
    return stack.linear_over(below)


def _mirror(bench: Bench, number: int) -> None:
    """One more generation, and what may be merged and squashed."""
    base = bench.images[number - 1]
    image = patched(base, CHUNK, {number: noise(CHUNK), 2 * number: noise(CHUNK)})
    bench.images[number] = image
    extents = [Extent(Bytes(n * CHUNK), Bytes(CHUNK)) for n in (number, 2 * number)]
    say(bench.replica, messages(number, whole(image, CHUNK, extents), base=number - 1))
    bench.merge_all()


def _content(head: Path) -> bytes:
    _run("mount", str(head), str(MOUNT))
    try:
        return (MOUNT / "file").read_bytes()
    finally:
        _run("umount", str(MOUNT))


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
