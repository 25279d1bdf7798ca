"""The ioctl's structures: numbers and layout against linux/dm-ioctl.h, answers read back."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from dm_tables import ioctl

PROGRAM = r"""
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/dm-ioctl.h>
#define SAY(x) printf("%lu ", (unsigned long)(x))
int main(void)
{
    SAY(sizeof(struct dm_ioctl)); SAY(sizeof(struct dm_target_spec)); puts("");
    SAY(offsetof(struct dm_ioctl, flags)); SAY(offsetof(struct dm_ioctl, dev));
    SAY(offsetof(struct dm_ioctl, name)); puts("");
    SAY(DM_VERSION); SAY(DM_LIST_DEVICES); SAY(DM_DEV_SUSPEND);
    SAY(DM_DEV_STATUS); SAY(DM_TABLE_CLEAR); SAY(DM_TABLE_STATUS); puts("");
    SAY(DM_SUSPEND_FLAG); SAY(DM_SKIP_LOCKFS_FLAG); SAY(DM_INACTIVE_PRESENT_FLAG); puts("");
}
"""


def test_numbers_as_they_are_known() -> None:
    assert (ioctl.HEADER.size, ioctl.SPEC.size) == (312, 40)
    assert ioctl.DM_DEV_SUSPEND == 0xC138FD06
    assert ioctl.DM_TABLE_CLEAR == 0xC138FD0A


@pytest.mark.skipif(
    not Path("/usr/include/linux/dm-ioctl.h").exists() or not Path("/usr/bin/cc").exists(),
    reason="compares with the C header, and there is no compiler or no header",
)
def test_numbers_as_the_header_has_them(tmp_path: Path) -> None:
    source = tmp_path / "numbers.c"
    source.write_text(PROGRAM)
    subprocess.run(["/usr/bin/cc", "-o", tmp_path / "numbers", source], check=True)
    said = subprocess.run([tmp_path / "numbers"], check=True, capture_output=True, text=True)
    sizes, offsets, numbers, flags = (
        list(map(int, line.split())) for line in said.stdout.splitlines()
    )
    assert sizes == [ioctl.HEADER.size, ioctl.SPEC.size]
    assert offsets == [
        struct.calcsize("=3IIIIi"),
        struct.calcsize("=3IIIIiIII"),
        struct.calcsize("=3IIIIiIIIQ"),
    ]
    assert numbers == [
        ioctl.DM_VERSION,
        ioctl.DM_LIST_DEVICES,
        ioctl.DM_DEV_SUSPEND,
        ioctl.DM_DEV_STATUS,
        ioctl.DM_TABLE_CLEAR,
        ioctl.DM_TABLE_STATUS,
    ]
    assert flags == [ioctl.SUSPEND_FLAG, ioctl.SKIP_LOCKFS_FLAG, ioctl.INACTIVE_PRESENT_FLAG]


def answer(flags: int, count: int = 0, data: bytes = b"") -> bytes:
    """What the kernel writes back: its own version and minor, and a NUL-padded name."""
    dev = os.makedev(253, 300)
    size = ioctl.HEADER.size
    head = ioctl.HEADER.pack(
        4, 47, 0, size + len(data), size, count, 1, flags, 7, 0, dev, b"frazil-a", b"FRAZIL-a"
    )
    return head + data


def test_a_request_names_the_device() -> None:
    fields = ioctl.HEADER.unpack(ioctl.request("frazil-a", ioctl.SUSPEND_FLAG))
    assert fields[:8] == (4, 0, 0, 312, 312, 0, 0, ioctl.SUSPEND_FLAG)
    assert fields[11].rstrip(b"\0") == b"frazil-a"


def test_a_devices_state() -> None:
    flags = ioctl.ACTIVE_PRESENT_FLAG | ioctl.SUSPEND_FLAG
    state = ioctl.read_state(answer(flags))
    assert state == ioctl.State("frazil-a", "FRAZIL-a", "253:300", True, True, False)
    flags = ioctl.INACTIVE_PRESENT_FLAG
    state = ioctl.read_state(answer(flags))
    assert (state.suspended, state.live, state.inactive) == (False, False, True)


def spec(start: int, length: int, following: int, kind: bytes, params: bytes) -> bytes:
    """A target and its parameters, padded as the kernel does."""
    body = params + b"\0"
    room = following - ioctl.SPEC.size
    return ioctl.SPEC.pack(start, length, 0, 0, kind) + body.ljust(room, b"\0")


def test_a_table() -> None:
    first = bytearray(spec(0, 8, 64, b"linear", b"7:0 16"))
    second = bytearray(spec(8, 8, 48, b"zero", b""))
    struct.pack_into("=I", first, 20, 64)
    struct.pack_into("=I", second, 20, 64 + 48)
    data = bytes(first + second)
    assert ioctl.read_table(answer(0, 2, data)) == ("0 8 linear 7:0 16", "8 8 zero")
    assert ioctl.read_table(answer(0, 0)) == ()


def test_names() -> None:
    one = ioctl.NAME_LIST.pack(5, 24) + b"frazil-a\0"
    two = ioctl.NAME_LIST.pack(6, 0) + b"b\0"
    assert ioctl.read_names(answer(0, 0, one.ljust(24, b"\0") + two)) == ("frazil-a", "b")
    assert ioctl.read_names(answer(0, 0, ioctl.NAME_LIST.pack(0, 0))) == ()


def test_a_control_node_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ioctl.Control(tmp_path / "control")
    (tmp_path / "control").write_bytes(b"")
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        ioctl.Control(tmp_path / "control")
