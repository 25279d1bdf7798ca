"""``frazil freeze-table``: the table of the patent, whole and in constant memory."""

from __future__ import annotations

import io
import itertools
import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.cli.freeze_rows import Row, Table, joined, single, write_json, write_text
from dm_tables.errors import Corrupt, FrazilError, NotFound
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.fake_control import FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


def run(first: int, count: int, address: int) -> pb.FreezeTablePart:
    return pb.FreezeTablePart(
        run=pb.FreezeTableRun(first_chunk=first, count=count, address=address)
    )


def summary(chunks: int = 100, changed: int = 3) -> pb.FreezeTablePart:
    return pb.FreezeTablePart(
        summary=pb.FreezeTableSummary(
            volume="data", sequence=3, state="live", chunk_bytes=65536, chunks=chunks,
            changed_chunks=changed, changed_bytes=changed * 65536,
        )
    )  # fmt: skip


# The patent's own example: all unchanged but one chunk, here cut as a daemon may cut it.
PATENT = [run(0, 1, -1), run(1, 1, -1), run(2, 1, 7), run(3, 95, -1), run(98, 2, 0), summary()]


def test_runs_are_joined_whatever_the_daemon_cut() -> None:
    table = list(joined([Row(0, 1, -1), Row(1, 1, -1), Row(2, 1, 7), Row(3, 2, 8), Row(5, 1, 11)]))
    assert table == [Row(0, 2, -1), Row(2, 3, 7), Row(5, 1, 11)]


def test_a_changed_run_does_not_swallow_a_gap_in_chunks() -> None:
    assert list(joined([Row(2, 1, 7), Row(4, 1, 8)])) == [Row(2, 1, 7), Row(4, 1, 8)]


def test_joining_and_splitting_lose_nothing() -> None:
    picker = random.Random(3)
    for _ in range(200):
        model = [picker.choice([-1, -1, i + 5, picker.randrange(50)]) for i in range(40)]
        cuts = sorted({0, 40, *picker.sample(range(40), 5)})
        pieces: list[Row] = []
        for start, end in itertools.pairwise(cuts):
            pieces += joined(Row(i, 1, model[i]) for i in range(start, end))
        rows = [row for piece in joined(pieces) for row in single(piece)]
        assert [row.address for row in rows] == model
        assert [row.first for row in rows] == list(range(40))


def test_text_is_compressed_with_the_summary_below(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["FreezeTable"] = PATENT
    assert control.frazil("freeze-table", "data") == 0
    text = capsys.readouterr().out
    assert text.endswith("\n3 of 100 chunks of 64.0 KiB changed (3.0 %), 192 KiB\n")
    assert [line.split() for line in text.splitlines()[:-1]] == [
        ["Chunk", "No.", "Address"],
        ["0-1", "-1"],
        ["2", "7"],
        ["3-97", "-1"],
        ["98-99", "0-1"],
        [],
        ["volume", "data,", "layer", "3", "(live)"],
    ]
    assert control.only(pb.FreezeTableRequest) == pb.FreezeTableRequest(volume="data")


def test_all_is_a_row_a_chunk(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    control.answers["FreezeTable"] = [PATENT[-1], *PATENT[:-1]]
    assert control.frazil("freeze-table", "data", "--all") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:101]]
    expected = dict.fromkeys(range(100), -1) | {2: 7, 98: 0, 99: 1}
    assert {int(chunk): int(address) for chunk, address in rows} == expected


def test_changed_asks_for_and_shows_only_what_changed(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["FreezeTable"] = PATENT
    assert control.frazil("freeze-table", "data", "--changed", "--all", "--layer", "0") == 0
    asked = control.only(pb.FreezeTableRequest)
    assert asked == pb.FreezeTableRequest(volume="data", sequence=0, changed_only=True)
    assert asked.HasField("sequence")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == [["2", "7"], ["98", "0"], ["99", "1"]]


def test_json_is_one_document(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    control.answers["FreezeTable"] = PATENT
    assert control.frazil("freeze-table", "data", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs"][1] == {"first_chunk": 2, "count": 1, "address": 7}
    assert sum(run["count"] for run in document["runs"]) == 100
    assert document["summary"]["changed_bytes"] == 3 * 65536
    assert "error" not in document


def test_a_stream_cut_off_leaves_whole_json_and_says_so(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["FreezeTable"] = [*PATENT[:3], Corrupt("area 4 is damaged")]
    assert control.frazil("freeze-table", "data", "--json") == 9
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    # The run in hand may go on in what never came: it is not claimed to be whole.
    assert document["runs"] == [{"first_chunk": 0, "count": 2, "address": -1}]
    assert document["summary"] is None
    assert document["error"]["name"] == "Corrupt"
    assert "area 4 is damaged" in captured.err


def test_a_stream_that_fails_at_once_is_only_an_error(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["FreezeTable"] = NotFound("there is no volume 'data'")
    assert control.frazil("freeze-table", "data", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["error"]


class Nowhere(io.StringIO):
    """Swallows what is written."""

    def write(self, text: str) -> int:
        return len(text)


def peak(runs: int) -> int:
    """Bytes of memory at most while ``runs`` runs are written as JSON and as text."""
    parts = (run(i * 2, 1, i) for i in range(runs))
    tracemalloc.start()
    failed = write_json(Table(parts), Nowhere(), each=False, changed=False)
    write_text(Table(iter([run(0, runs, -1)])), Nowhere(), each=True, changed=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert failed is None
    return most


def test_memory_does_not_grow_with_the_table() -> None:
    small = peak(500)
    assert peak(20_000) < small + 20_000


def test_rows_come_before_the_stream_has_ended() -> None:
    def endless() -> Iterator[pb.FreezeTablePart]:
        for i in itertools.count():
            yield run(i * 2, 1, i)

    rows = Table(endless()).rows(each=False, changed=False)
    assert [row.address for row in itertools.islice(rows, 5)] == [0, 1, 2, 3, 4]


def test_an_error_before_the_first_row_writes_nothing() -> None:
    def broken() -> Iterator[pb.FreezeTablePart]:
        raise NotFound("no")
        yield summary()

    out = io.StringIO()
    with pytest.raises(FrazilError):
        write_json(Table(broken()), out, each=False, changed=False)
    assert out.getvalue() == ""
