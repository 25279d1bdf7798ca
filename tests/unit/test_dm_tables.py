"""Targets, tables and statuses: what is rendered, and what the kernel prints, read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dm_tables import targets
from dm_tables.status import (
    Invalid,
    MergeFailed,
    Overflow,
    SnapshotStatus,
    StatusLine,
    StatusUnreadable,
    Unknown,
    Usage,
    parse_info,
    parse_snapshot,
    parse_status,
)
from dm_tables.table import (
    BadTable,
    Extent,
    NoSuchDevice,
    Segment,
    Table,
    TableUnreadable,
    devno_of,
    linear_over,
)
from dm_tables.targets import BadParameters, Delay, Leg, Linear, Other, Snapshot, Target
from dm_tables.units import Sectors

S = Sectors

# As ``dmsetup table`` of 6.1 prints them, and what each is.
PRINTED: list[tuple[str, Target]] = [
    ("error ", targets.Error()),
    ("zero ", targets.Zero()),
    ("linear 253:3 2048", Linear("253:3", S(2048))),
    ("snapshot 253:0 7:1 PO 128", Snapshot("253:0", "7:1", S(128))),
    ("snapshot 253:0 7:1 P 8", Snapshot("253:0", "7:1", S(8), "P")),
    (
        "snapshot 253:0 7:1 P 8 1 discard_zeroes_cow",
        Snapshot("253:0", "7:1", S(8), "P", ("discard_zeroes_cow",)),
    ),
    ("snapshot-merge 253:0 7:1 P 16", targets.SnapshotMerge("253:0", "7:1", S(16), "P")),
    ("snapshot-origin 253:9", targets.SnapshotOrigin("253:9")),
    ("flakey 7:0 0 1 5 0 ", targets.Flakey("7:0", S(0), 1, 5)),
    (
        "flakey 7:0 0 1 5 1 drop_writes ",
        targets.Flakey("7:0", S(0), 1, 5, ("drop_writes",)),
    ),
    ("delay 7:0 0 50", Delay(Leg("7:0", S(0), 50))),
    (
        "delay 7:0 0 0 7:0 0 0 7:0 0 500",
        Delay(Leg("7:0", S(0), 0), Leg("7:0", S(0), 0), Leg("7:0", S(0), 500)),
    ),
    ("log-writes 7:0 7:1", targets.LogWrites("7:0", "7:1")),
    ("thin 253:1 5", targets.Thin("253:1", 5)),
    (
        "thin-pool 7:0 7:1 128 0 1 skip_block_zeroing ",
        targets.ThinPool("7:0", "7:1", S(128), 0, ("skip_block_zeroing",)),
    ),
    ("crypt aes 0 8:1 0", Other("crypt", "aes 0 8:1 0")),
]


@pytest.mark.parametrize(("printed", "target"), PRINTED)
def test_targets_read_and_render(printed: str, target: Target) -> None:
    table = Table.parse(f"0 2048 {printed}\n")
    assert table == Table.single(S(2048), target)
    assert Table.parse(table.text()) == table


@pytest.mark.parametrize(
    "line",
    [
        "linear 253:3",
        "linear 253:3 x",
        "snapshot 253:0 7:1 X 8",
        "snapshot 253:0 7:1 P 8 2 discard_zeroes_cow",
        "zero 1",
        "delay 7:0 0",
        "snapshot-origin",
    ],
)
def test_wrong_parameters_are_refused(line: str) -> None:
    with pytest.raises(BadParameters, match=line.split(" ", maxsplit=1)[0]):
        Table.parse(f"0 8 {line}")


@pytest.mark.parametrize("text", ["0 linear 7:0 0", "x 8 zero", "hello", "0 8"])
def test_text_that_is_no_table(text: str) -> None:
    with pytest.raises(TableUnreadable):
        Table.parse(text)


@pytest.mark.parametrize(
    "lines", ["", "8 8 zero", "0 8 zero\n16 8 zero", "0 8 zero\n4 8 zero", "0 0 zero"]
)
def test_tables_with_gaps_are_refused(lines: str) -> None:
    with pytest.raises(BadTable):
        Table.parse(lines)


def test_tables_are_compared_by_device_numbers() -> None:
    numbers = {"/dev/a": "7:1", "/dev/b": "7:2"}
    wanted = Table.single(S(8), Snapshot("/dev/a", "/dev/b", S(8)))

    def resolver(device: str) -> str:
        return numbers.get(device, device)

    assert wanted.matches(Table.parse("0 8 snapshot 7:1 7:2 PO 8"), resolver)
    for other in (
        "0 8 snapshot 7:2 7:1 PO 8",
        "0 8 snapshot 7:1 7:2 P 8",
        "0 8 snapshot 7:1 7:2 PO 16",
        "0 16 snapshot 7:1 7:2 PO 8",
        "0 8 linear 7:1 0",
        "0 4 linear 7:1 0\n4 4 linear 7:1 4",
    ):
        assert not wanted.matches(Table.parse(other), resolver)


def test_every_leg_of_a_delay_is_resolved() -> None:
    delay = Delay(Leg("/dev/a", S(0), 1), Leg("/dev/b", S(0), 2))
    assert delay.resolved(lambda device: {"/dev/a": "7:1", "/dev/b": "7:2"}[device]) == Delay(
        Leg("7:1", S(0), 1), Leg("7:2", S(0), 2)
    )
    assert delay.devices() == ("/dev/a", "/dev/b")


def test_a_volume_over_more_than_one_device() -> None:
    table = linear_over([Extent("8:1", S(16), S(100)), Extent("8:2", S(0), S(28))])
    assert table.lines() == ("0 100 linear 8:1 16", "100 28 linear 8:2 0")
    assert table.size == 128
    assert table.devices() == ("8:1", "8:2")
    with pytest.raises(BadTable):
        linear_over([])


def test_segments_that_overlap_are_refused() -> None:
    zero = targets.Zero()
    with pytest.raises(BadTable):
        Table((Segment(S(0), S(8), zero), Segment(S(7), S(8), zero)))


def test_devices_that_are_not_block_devices(tmp_path: Path) -> None:
    assert devno_of("253:4") == "253:4"
    with pytest.raises(NoSuchDevice, match="not a block device"):
        devno_of(str(tmp_path))
    with pytest.raises(NoSuchDevice, match="No such file"):
        devno_of(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("16/2048 16", Usage(S(16), S(2048), S(16))),
        ("Invalid", Invalid()),
        ("Overflow", Overflow()),
        ("Merge failed", MergeFailed()),
        ("Unknown", Unknown()),
    ],
)
def test_a_snapshots_status(text: str, status: SnapshotStatus) -> None:
    assert parse_snapshot(text) == status


@pytest.mark.parametrize("text", ["", "16/2048", "16 2048 16", "a/b c", "invalid"])
def test_what_is_no_status_of_a_snapshot(text: str) -> None:
    with pytest.raises(StatusUnreadable):
        parse_snapshot(text)


def test_how_full_a_snapshot_is() -> None:
    usage = Usage(S(16 + 8 * 5), S(160), S(16))
    assert usage.exceptions(S(8)) == 5
    assert usage.fraction == 56 / 160
    assert Usage(S(8), S(160), S(16)).exceptions(S(8)) == 0


def test_status_lines() -> None:
    assert parse_status("0 2048 snapshot 16/128 16\n2048 8 linear \n") == (
        StatusLine(S(0), S(2048), "snapshot", "16/128 16"),
        StatusLine(S(2048), S(8), "linear", ""),
    )
    with pytest.raises(StatusUnreadable):
        parse_status("nonsense")


def test_info_lines() -> None:
    one, two, three = parse_info(
        "frazil-a|FRAZIL-x-head|253|3|Live|Active|Writeable|2|5\n"
        "b||253|4|Both|Suspended|Read-only|0|0\n"
        "c|u|253|5|None|Active|Writeable|0|0\n"
    )
    assert (one.name, one.uuid, one.devno, one.open_count, one.events) == (
        "frazil-a", "FRAZIL-x-head", "253:3", 2, 5,
    )  # fmt: skip
    assert (one.live, one.inactive, one.suspended, one.readonly) == (True, False, False, False)
    assert (two.live, two.inactive, two.suspended, two.readonly) == (True, True, True, True)
    assert (three.live, three.inactive) == (False, False)
    with pytest.raises(StatusUnreadable):
        parse_info("a|b|c")
