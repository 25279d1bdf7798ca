"""``frazil freeze-table --live``, and what else tells of the trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.cli.live_trace import histogram
from control.cli.schema import as_dict
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.fake_control import FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


def reading(writes: int, rate: float | None = None) -> pb.LayerTrace:
    made = pb.LayerTrace(
        volume="data", sequence=3, state="live", trace="traced", chunk_bytes=65536,
        block_bytes=4096, chunks=2, blocks=writes, writes=writes, bytes=writes * 4096,
        sizes=[0, 0, 0, writes, 0, 1], alignments=[1, 0, writes], fua=7,
    )  # fmt: skip
    made.since.FromSeconds(1)
    if rate is not None:
        made.writes_per_second = made.bytes_per_second = made.blocks_per_second = rate
    return made


def test_a_line_for_each_reading(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    lost = pb.LayerTrace(sequence=4, trace="untraced", untraced_reason="the map was full")
    control.answers["WatchTrace"] = [reading(23), reading(46, 23.0), lost, lost, reading(99)]
    assert control.frazil("freeze-table", "data", "--live", "--count", "4") == 0
    asked = control.only(pb.WatchTraceRequest)
    assert (asked.volume, asked.interval_ms, asked.HasField("sequence")) == ("data", 1000, False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["LAYER", "TRACE", "CHUNKS", "BLOCKS"]
    assert lines[1].split() == "3 traced 2 23 92.0 KiB 23 92.0 KiB - -".split()
    assert lines[2].split()[-3:] == ["23", "23", "B/s"]
    assert lines[3].split() == ["4", "untraced", *"-------"]
    assert [line.strip() for line in lines].count("the map was full") == 1
    assert len(lines) == 6
    assert max(map(len, lines)) <= 110


def test_one_reading_is_shown_in_full(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["WatchTrace"] = [reading(23)]
    assert control.frazil("freeze-table", "data", "--live", "--count", "1", "--layer", "3") == 0
    asked = control.only(pb.WatchTraceRequest)
    assert (asked.interval_ms, asked.sequence) == (0, 3)
    text = capsys.readouterr().out
    assert "23 writes of 92.0 KiB: 23 blocks of 4.0 KiB in 2 chunks of 64.0 KiB" in text
    assert "7 FUA" in text
    assert "4.0 KiB      23  ****" in text


def test_json_is_a_document_a_line(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = [reading(1), reading(2, 1.0)]
    control.answers["WatchTrace"] = readings
    assert control.frazil("--json", "freeze-table", "data", "--live") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [as_dict(one) for one in readings]


def test_options_that_do_not_go_together(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("freeze-table", "data", "--live", "--all") == 2
    assert control.frazil("freeze-table", "data", "--count", "3") == 2
    assert control.asked == []
    assert "--live" in capsys.readouterr().err


def test_histograms_end_where_there_is_nothing() -> None:
    assert histogram("SIZE", [0, 0]) == []
    (text,) = histogram("SIZE", [0, 1, 0, 64, 0])
    lines = text.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["1.0", "KiB", "1"],
        ["2.0", "KiB", "0"],
        ["4.0", "KiB", "64"],
    ]
    assert lines[1].count("*") == 1
    assert lines[3].count("*") == 32


def test_layers_and_host_tell_of_the_trace(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = pb.Volume(name="data")
    volume.layers.add(sequence=1, state="frozen", trace="traced")
    volume.layers.add(sequence=2, state="live", trace="untraced", untraced_reason="no bcc")
    control.answers["GetVolume"] = volume
    assert control.frazil("volume", "show", "data") == 0
    assert "layer 2 is untraced: no bcc" in capsys.readouterr().out
    for tracer, said in [
        (pb.Tracer(state="ready", layers=2), "ready, 2 layers traced"),
        (pb.Tracer(state="failed", problem="no bcc"), "failed: no bcc"),
    ]:
        control.answers["GetHost"] = pb.Host(tracer=tracer)
        assert control.frazil("host") == 0
        assert said in capsys.readouterr().out
