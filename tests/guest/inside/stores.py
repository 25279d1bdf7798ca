"""Exception stores between the kernel and user space: run inside a guest."""

from __future__ import annotations

import random
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from control.image import StackImage
from control.limiter import RateLimiter
from control.merge import merge
from control.spans import Span
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.store.scrub import blank, scrub
from control.store.writer import StoreWriter
from dm_tables.device import Device
from dm_tables.status import Usage, parse_snapshot
from dm_tables.table import Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import MIB, SECTOR, Bytes, Sectors
from tests.guest.inside.rig import BASES, STORES, Rig
from tests.store_tools import filled

K4 = 4096
ORIGIN = Sectors(1000 * 8 + 3)
SIZE = Bytes(ORIGIN * SECTOR)
ROOM = Sectors(8 * MIB // SECTOR)


class Bench:
    """An origin with known content, a used store device, and a snapshot of the two."""

    def __init__(self, rig: Rig, chunk: int) -> None:
        self.rig = rig
        self.chunk = Bytes(chunk)
        self.origin = rig.slice(BASES, ORIGIN)
        self.store = rig.slice(STORES, ROOM)
        self.base = filled(1 << 40, SIZE)
        write(self.origin, 0, self.base)
        write(self.store, 0, filled(1 << 41, 8 * MIB))
        self.spans = (Span(self.origin.path, Bytes(0), SIZE),)

    @property
    def table(self) -> Table:
        """The layer's table."""
        target = Snapshot(self.origin.devno, self.store.devno, Sectors(self.chunk // SECTOR))
        return Table.single(ORIGIN, target)

    def activate(self) -> Device:
        """The kernel's view."""
        return self.rig.make("layer", self.table)

    def again(self, layer: Device) -> Device:
        """Take it away and let the kernel read the store anew."""
        layer.remove()
        layer.ensure(self.table)
        return layer

    def ours(self) -> bytes:
        """What user space sees."""
        with StackImage(self.spans, [(self.store.path, self.chunk)], SIZE) as image:
            return bytes(image.read(Bytes(0), SIZE))

    def reader(self) -> StoreReader:
        """The store, read by us."""
        return StoreReader(self.store.path, SIZE, self.chunk)


def write(device: Device, at: int, data: bytes) -> None:
    """Write durably past the page cache."""
    with DirectFile(device, writable=True) as file:
        file.write(data, at)
        file.fsync()


def read(device: Device) -> bytes:
    """The whole image, past the page cache."""
    with DirectFile(device) as file:
        return bytes(file.read(0, SIZE))


def status_exceptions(layer: Device, chunk: int) -> int:
    """How many exceptions the kernel counts."""
    status = parse_snapshot(layer.status()[0].text)
    assert isinstance(status, Usage)
    return (status.allocated - status.metadata) * SECTOR // chunk


def scatter(layer: Device, model: bytearray, seed: int, count: int) -> set[int]:
    """Write ``count`` stretches at random places; returns the 4 KiB pages that were touched."""
    dice = random.Random(seed)
    touched: set[int] = set()
    with DirectFile(layer, writable=True) as file:
        for i in range(count):
            at = dice.randrange(ORIGIN) * SECTOR
            length = min(dice.choice([512, 4096, 4096, 65536]), SIZE - at)
            if i == 0:
                at, length = SIZE - 512, 512
            data = filled(dice.randrange(1 << 30), length)
            file.write(data, at)
            model[at : at + length] = data
            touched.update(range(at // K4, (at + length - 1) // K4 + 1))
        file.fsync()
    return touched


def kernel_wrote(chunk: int) -> dict[str, Any]:
    """The kernel fills a store; is what we read from it what the kernel shows?"""
    with Rig() as rig:
        bench = Bench(rig, chunk)
        blank(bench.store.path, bench.chunk)
        layer = bench.activate()
        model = bytearray(bench.base)
        touched = scatter(layer, model, 7, 220)
        with bench.reader() as store:
            count, changed = store.count(), set(store.changed())
        shown = read(layer)
        return {
            "kernel shows the model": shown == model,
            "we show the model": bench.ours() == model,
            "count": count == status_exceptions(layer, chunk),
            "changed": changed == {page * K4 // chunk for page in touched},
            "full areas": count // (chunk // 16),
            "not the base": shown != bench.base,
        }


def live() -> dict[str, Any]:
    """Read a store again and again while the kernel fills it."""
    with Rig() as rig:
        bench = Bench(rig, K4)
        blank(bench.store.path, bench.chunk)
        layer = bench.activate()
        model = bytearray(bench.base)
        writer = threading.Thread(target=scatter, args=(layer, model, 3, 260))
        with DirectFile(layer, writable=True) as file:
            file.write(bench.base[:K4], 0)
        seen: list[list[tuple[int, int]]] = []
        writer.start()
        while writer.is_alive():
            with bench.reader() as store:
                seen.append([(int(old), int(new)) for old, new in store.exceptions()])
        writer.join()
        with bench.reader() as store:
            last = [(int(old), int(new)) for old, new in store.exceptions()]
        return {
            "prefixes": all(some == last[: len(some)] for some in seen),
            "grew": len({len(some) for some in seen}) > 3,
            "same": bench.ours() == read(layer) == model,
        }


def we_wrote(chunk: int, count: int, finish: bool) -> dict[str, Any]:
    """We fill a store on a device that was used before; what does the kernel make of it?"""
    with Rig() as rig:
        bench = Bench(rig, chunk)
        model = bytearray(bench.base)
        last = -(-SIZE // chunk) - 1
        olds = [last - i * 5 % (last + 1) for i in range(count)]
        with StoreWriter(bench.store.path, bench.chunk, SIZE) as writer:
            writer.create()
            for i, old in enumerate(olds):
                data = filled(i, chunk) if i % 5 else None
                writer.append(old, 1, data)
                model[old * chunk : old * chunk + chunk] = data or bytes(chunk)
            del model[SIZE:]
            durable = writer.finish() if finish else writer.checkpoint()
        layer = bench.activate()
        found = {
            "durable": durable,
            "kernel counts": status_exceptions(layer, chunk),
            "kernel shows the model": read(layer) == model == bench.ours(),
        }
        scatter(layer, model, count, 60)
        found["kernel goes on"] = read(layer) == model
        bench.again(layer)
        found["after reactivation"] = read(layer) == model == bench.ours()
        return found


def on_a_loop() -> dict[str, Any]:
    """A sparse file as the writer leaves it, activated through a loop device."""
    path = Path("/var/lib/frazil/loop-store")
    with Rig() as rig:
        bench = Bench(rig, K4)
        model = bytearray(bench.base)
        with StoreWriter(path, bench.chunk, SIZE) as writer:
            writer.create()
            writer.append(0, 300, filled(5, 300 * K4))
            writer.append(300, 212, None)
            writer.finish()
        model[: 300 * K4] = filled(5, 300 * K4)
        model[300 * K4 : 512 * K4] = bytes(212 * K4)
        return _through_loop(bench, path, bytes(model))


def _through_loop(bench: Bench, path: Path, model: bytes) -> dict[str, Any]:
    command = ["losetup", "--find", "--show", "--read-only", "--direct-io=on", str(path)]
    loop = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        target = Snapshot(bench.origin.devno, loop, Sectors(K4 // SECTOR))
        layer = bench.rig.make("layer", Table.single(ORIGIN, target))
        shown = read(layer) == model
        layer.remove()
        return {"kernel shows the model": shown}
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
        path.unlink()


def merged(chunk: int, stop_after: int) -> dict[str, Any]:
    """Fold a frozen layer into its base under the kernel's eyes, in two goes."""
    with Rig() as rig:
        bench = Bench(rig, chunk)
        blank(bench.store.path, bench.chunk)
        layer = bench.activate()
        model = bytearray(bench.base)
        scatter(layer, model, 11, 200)
        limiter, durable = RateLimiter(), [0]

        def watch(exceptions: int, written: Bytes) -> None:
            if exceptions >= stop_after:
                limiter.stop.set()

        # The whole change is smaller than one batch would be.
        with mock.patch("control.merge.BATCH", 1 * MIB), bench.reader() as store:
            try:
                merge(store, bench.spans, limiter=limiter, progress=watch,
                      on_durable=durable.append, sync_every=bench.chunk)  # fmt: skip
            except Exception as error:
                stopped = type(error).__name__
            else:
                stopped = ""
            half = read(layer) == model
            dirty = read(bench.origin)
            result = merge(store, bench.spans, limiter=RateLimiter(), start=durable[-1])
        whole = read(layer) == model
        layer.swap(Table.single(ORIGIN, Linear(bench.origin.devno, Sectors(0))))
        return {
            "stopped": stopped,
            "invisible half-way": half,
            "base half-way is neither": dirty not in (bench.base, bytes(model)),
            "invisible at the end": whole,
            "after the swap": read(layer) == model == read(bench.origin),
            "all": result.exceptions == status_of_store(bench),
        }


def status_of_store(bench: Bench) -> int:
    """The exceptions in the bench's store."""
    with bench.reader() as store:
        return store.count()


def resurrection(scrubbed: bool) -> dict[str, Any]:
    """Fact A7: an entry behind the terminator, as a torn write leaves it, and then a write."""
    with Rig() as rig:
        bench = Bench(rig, K4)
        blank(bench.store.path, bench.chunk)
        layer = bench.activate()
        model = bytearray(bench.base)
        for old in range(5):
            model[old * K4 : old * K4 + K4] = filled(old, K4)
            write(layer, old * K4, filled(old, K4))
        layer.remove()
        with DirectFile(bench.store, writable=True) as file:
            area = bytearray(file.read(K4, K4))
            struct.pack_into("<QQ", area, 16 * 6, 77, 2)
            file.write(bytes(area), K4)
            file.fsync()
        cleared = scrub(bench.store.path).cleared if scrubbed else None
        layer.ensure(bench.table)
        before = read(layer) == model
        model[40 * K4 : 41 * K4] = filled(40, K4)
        write(layer, 40 * K4, filled(40, K4))
        while_live = read(layer) == model
        shown = read(bench.again(layer))
        wrong = [i for i in range(1000) if shown[i * K4 : i * K4 + K4] != model[i * K4 :][:K4]]
        return {"cleared": cleared, "before": before, "live": while_live, "wrong chunks": wrong}
