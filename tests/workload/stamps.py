"""The oracle for a group's instant: numbers stamped onto volumes in turn, one after the other.

The writer stamps n on the first volume and, once that write has completed, n on the second,
and so on; then n + 1. So at any one instant A >= B >= C ... >= A - 1. Volumes frozen one after
another do not hold that. Stamps go round through slots in different chunks, so that a volume
that lacks one of its last writes is noticed too. Runs in a guest:

    python3 -m tests.workload.stamps DEVICE... [--pause 0.01]
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.workload.device_io import DeviceWriter, DirectReader
from tests.workload.pace import Pace

SECTOR: Final = 512
SLOTS: Final = 16
STRIDE: Final = 72 << 10
"""Bytes from slot to slot: no two in one chunk of 64 KiB, none aligned to chunks."""

ROOM: Final = SLOTS * STRIDE
MAGIC: Final = b"stamp v1"
RECORD: Final = struct.Struct("<8sQI")


@dataclass(frozen=True, slots=True)
class Found:
    """The stamps on one volume; ``torn`` are slots that hold neither a stamp nor zeroes."""

    numbers: frozenset[int]
    torn: tuple[int, ...] = ()

    @property
    def newest(self) -> int:
        """The highest; 0 for none."""
        return max(self.numbers, default=0)


def slot_of(number: int) -> int:
    """Where a stamp goes, in bytes."""
    return number % SLOTS * STRIDE


def stamp(number: int) -> bytes:
    """A sector that says its number."""
    head = MAGIC + number.to_bytes(8, "little")
    return RECORD.pack(MAGIC, number, zlib.crc32(head)).ljust(SECTOR, b"\0")


def find(read: Callable[[int, int], bytes]) -> Found:
    """The stamps that a volume holds. :param read: (offset, length) → bytes."""
    numbers: set[int] = set()
    torn: list[int] = []
    for slot in range(SLOTS):
        sector = read(slot * STRIDE, SECTOR)
        number = RECORD.unpack_from(sector)[1]
        if sector == stamp(number) and slot_of(number) == slot * STRIDE and number:
            numbers.add(number)
        elif any(sector):
            torn.append(slot)
    return Found(frozenset(numbers), tuple(torn))


def judge(volumes: Sequence[Found]) -> list[str]:
    """What is wrong with volumes that claim to be of one instant; empty if nothing.

    The volumes are in the order in which the writer goes.
    """
    faults: list[str] = []
    newest = [volume.newest for volume in volumes]
    for index in range(1, len(newest)):
        if newest[index] > newest[index - 1]:
            faults.append(
                f"volume {index} has {newest[index]}, which was not yet on volume {index - 1} "
                f"({newest[index - 1]})"
            )
    if newest and newest[-1] < newest[0] - 1:
        faults.append(
            f"volume 0 has {newest[0]}, but {newest[0] - 1} is not on volume {len(newest) - 1} "
            f"({newest[-1]})"
        )
    for index, volume in enumerate(volumes):
        first = max(newest[index] - SLOTS, 0) + 1
        missing = sorted(set(range(first, newest[index] + 1)) - volume.numbers)
        if missing:
            faults.append(f"volume {index} lacks {missing}, older than its newest")
        if volume.torn:
            faults.append(f"volume {index} has torn stamps in slots {list(volume.torn)}")
    return faults


def look(devices: Sequence[str]) -> list[Found]:
    """The stamps on devices."""
    found: list[Found] = []
    for device in devices:
        with DirectReader(Path(device)) as reader:
            found.append(find(reader.read))
    return found


def judge_devices(devices: Sequence[str]) -> dict[str, Any]:
    """Judge the images of one instant: ``newest`` of each, and ``faults``."""
    found = look(devices)
    return {"newest": [one.newest for one in found], "faults": judge(found)}


class Stamper:
    """Stamps devices in turn; a write is acknowledged before the next one begins."""

    def __init__(self, devices: Sequence[Path], first: int = 1) -> None:
        self._writers = [DeviceWriter(device) for device in devices]
        self.number = first - 1

    def step(self) -> None:
        """The next number, onto every device."""
        self.number += 1
        sector = stamp(self.number)
        for writer in self._writers:
            writer.write_direct(slot_of(self.number), sector)

    def close(self) -> None:
        """Let the devices go."""
        for writer in self._writers:
            writer.close()


def main() -> None:
    """Stamp until told to stop; prints the last number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("devices", type=Path, nargs="+", metavar="DEVICE")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    given = parser.parse_args()
    pace = Pace(pause=given.pause).listen()
    stamper = Stamper(given.devices, given.first)
    while pace.go():
        stamper.step()
    stamper.close()
    print(stamper.number, flush=True)


if __name__ == "__main__":
    main()
