"""A stack of layers of different chunk sizes on real device-mapper: run inside a guest."""

from __future__ import annotations

from typing import Any

from control.image import StackImage
from control.limiter import RateLimiter
from control.merge import merge
from control.spans import Span
from control.store.reader import StoreReader
from control.store.scrub import blank
from control.store.squash import Overlay
from dm_tables.device import Device
from dm_tables.table import Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import KIB, MIB, SECTOR, Bytes, Sectors
from tests.guest.inside.rig import BASES, STORES, Rig
from tests.guest.inside.stores import ORIGIN, SIZE, read, scatter, status_exceptions, write
from tests.store_tools import filled

ROOM = Sectors(16 * MIB // SECTOR)


def stacked(*chunks_kib: int) -> dict[str, Any]:
    """Write through each layer, then look at all of them, and merge them from the lowest on."""
    with Rig() as rig:
        origin = rig.slice(BASES, ORIGIN)
        model = bytearray(filled(1 << 40, SIZE))
        write(origin, 0, bytes(model))
        images, stores, layers = [bytes(model)], [], [origin]
        for number, kib in enumerate(chunks_kib):
            chunk = Bytes(kib * KIB)
            store = rig.slice(STORES, ROOM)
            blank(store.path, chunk)
            target = Snapshot(layers[-1].devno, store.devno, Sectors(chunk // SECTOR))
            layers.append(rig.make(f"mixed-{number}", Table.single(ORIGIN, target)))
            scatter(layers[-1], model, number, 25)
            images.append(bytes(model))
            stores.append((store, chunk))
        spans = (Span(origin.path, Bytes(0), SIZE),)
        with StackImage(spans, [(store.path, chunk) for store, chunk in stores], SIZE) as image:
            ours = bytes(image.read(Bytes(0), SIZE))
        shown = [read(layer) for layer in layers]
        return {
            "every layer shows its instant": shown == images,
            "user space shows the newest": ours == images[-1],
            "the instants differ": len(set(images)) == len(images),
            "merged": _merged(layers, stores, spans, images),
        }


def squashed(lower_kib: int, upper_kib: int, *, wrong: bool = False) -> dict[str, Any]:
    """Two layers that the kernel wrote become one that it activates.

    :param wrong: squash them the other way round.
    """
    with Rig() as rig:
        origin = rig.slice(BASES, ORIGIN)
        model = bytearray(filled(1 << 40, SIZE))
        write(origin, 0, bytes(model))
        stores, below = [], origin
        for number, kib in enumerate((lower_kib, upper_kib)):
            chunk = Bytes(kib * KIB)
            store = rig.slice(STORES, ROOM)
            blank(store.path, chunk)
            below = rig.make(f"squash-{number}", _snapshot(below, store, chunk))
            scatter(below, model, number, 150)
            stores.append((store, chunk))
        if wrong:
            stores.reverse()
        both = rig.slice(STORES, ROOM)
        write(both, 0, filled(1 << 41, 16 * MIB))
        readers = [StoreReader(store.path, SIZE, chunk) for store, chunk in stores]
        with readers[0] as lower, readers[1] as upper:
            overlay = Overlay(lower, upper)
            count = overlay.write(both.path, limiter=RateLimiter())
        layer = rig.make("squashed", _snapshot(origin, both, Bytes(overlay.chunk)))
        found: dict[str, Any] = {"two layers": read(below) == model}
        found["one layer"] = read(layer) == model
        found["exceptions"] = status_exceptions(layer, overlay.chunk) == count
        scatter(layer, model, 9, 60)
        found["kernel goes on"] = read(layer) == model
        return found


def _snapshot(origin: Device, store: Device, chunk: Bytes) -> Table:
    target = Snapshot(origin.devno, store.devno, Sectors(chunk // SECTOR))
    return Table.single(ORIGIN, target)


def _merged(
    layers: list[Device],
    stores: list[tuple[Device, Bytes]],
    spans: tuple[Span, ...],
    images: list[bytes],
) -> list[bool]:
    """Fold each layer into the base and put its device over that; what do base and top show?"""
    good = []
    for layer, (store, chunk), image in zip(layers[1:], stores, images[1:], strict=True):
        with StoreReader(store.path, SIZE, chunk) as reader:
            merge(reader, spans, limiter=RateLimiter())
        layer.swap(Table.single(ORIGIN, Linear(layers[0].devno, Sectors(0))))
        good.append(read(layers[0]) == image and read(layers[-1]) == images[-1])
    return good
