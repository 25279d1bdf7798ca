"""What is told of a comparison: each volume at the generation it was compared at."""

from __future__ import annotations

from control.blocks import BlockSet
from control.records import GenerationRecord
from control.render import compared_message
from control.verify import Verification
from dm_tables.units import Bytes

SIZE = Bytes(1 << 20)

Compared = tuple[GenerationRecord, Verification]


def compared(volume: str, number: int, *, differs: bool = False, carried: bool = False) -> Compared:
    blocks = BlockSet()
    if differs:
        blocks.add(8192, 4096)
    found = Verification(SIZE, SIZE, blocks, carried=carried)
    return GenerationRecord(volume, number, f"uuid-{number}", "", 1.0, 0), found


def test_volumes_at_one_instant_are_told_by_its_number() -> None:
    said = compared_message({"data": compared("data", 4), "log": compared("log", 4)})
    assert said.message == "generation 4 is the same at both ends"
    assert [(one.volume, one.generation.uuid) for one in said.compared] == [
        ("data", "uuid-4"),
        ("log", "uuid-4"),
    ]


def test_volumes_at_several_are_told_with_theirs() -> None:
    """One went on to a newer generation where its own was gone."""
    found = {"data": compared("data", 4), "log": compared("log", 5)}
    said = compared_message(found)
    assert said.message == "generation 4 of data, 5 of log is the same at both ends"
    assert [one.generation.number for one in said.compared] == [4, 5]
    assert said.generation.number == 5
    found["log"] = compared("log", 5, carried=True)
    assert compared_message(found).message.endswith("the last of them at 4 of data, 5 of log")


def test_what_differs_is_told_at_its_own_generation() -> None:
    found = {"data": compared("data", 4, differs=True), "log": compared("log", 5)}
    said = compared_message(found)
    assert said.message == "generation 4 of data differs in 1 places"
    assert [(one.path, one.offset_bytes) for one in said.differences] == [("data", 8192)]
    alone = compared_message({"data": compared("data", 4, differs=True)})
    assert alone.message == "generation 4 differs in 1 places"
