"""The heat map: in the terminal with and without colours, as PNG and as SVG."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from control.cli import heat, pictures
from control.cli.heatmap import drawing
from dm_tables.errors import Kind
from dm_tables.units import GIB
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.fake_control import FakeControl, running

REGIONS = 512
FULL = GIB // 4096 // REGIONS


def row(
    sequence: int, hot: dict[int, int], *, live: bool = False, traced: bool = True
) -> pb.HeatRow:
    made = pb.HeatRow(sequence=sequence, traced=traced, chunk_bytes=65536)
    made.counts.extend(hot.get(region, 0) for region in range(REGIONS))
    made.began.FromSeconds(1_700_000_000 + sequence)
    if not live:
        made.frozen.FromSeconds(1_700_000_001 + sequence)
    return made


def heat_map() -> pb.HeatMap:
    rows = [
        row(7, {0: FULL, 1: 1}),
        row(8, {REGIONS - 1: FULL // 2}, traced=False),
        row(9, {}, live=True),
    ]
    return pb.HeatMap(volume="da<ta", size_bytes=GIB, block_bytes=4096, regions=REGIONS, rows=rows)


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    with running(tmp_path / "control.sock") as fake:
        fake.answers["GetHeatMap"] = heat_map()
        yield fake


def test_without_colours_it_is_plain_text(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert control.frazil("heatmap", "data") == 0
    assert control.only(pb.GetHeatMapRequest) == pb.GetHeatMapRequest(volume="data", cycles=32)
    header, first, second, third, *notes = capsys.readouterr().out.splitlines()
    assert header.startswith("LAYER BEGAN") and header.endswith("1.0 GiB")
    assert max(map(len, (header, first, second, third))) <= 80
    begin = header.index("0", 11)
    assert first[begin] not in " ." and first[begin:].strip("@%#*+= ") == ""
    assert second.rstrip().endswith(("#", "%", "@")) and "8 " in second and "*  " in second
    assert third[begin:].strip() == ""
    assert len(notes) == 2
    assert all(char.isascii() for char in "".join((header, first, second, third)))


def test_with_colours_cells_have_backgrounds() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=100)
    lines = drawing(heat_map(), console)
    console.print(lines[1])
    red, green, blue = heat.STOPS[0]
    assert f"48;2;{red};{green};{blue}m" in out.getvalue()
    assert lines[1].cell_len <= 100


def test_what_was_written_at_all_is_never_cold() -> None:
    assert heat.warmth(0, 100) == 0
    assert heat.warmth(1, 10**9) == heat.BARELY
    assert heat.warmth(100, 100) == 1
    values = [heat.warmth(10**power, 10**6) for power in range(7)]
    assert values == sorted(values)
    assert heat.colour(heat.warmth(1, 10**9)) != heat.colour(0)


def test_cells_of_any_width_lose_nothing() -> None:
    starts = heat.borders(heat_map())
    counts = [0] * REGIONS
    for region in range(0, REGIONS, 37):
        counts[region] = 1
        for width in (1, 16, 77, 512, 4096):
            warm = heat.cells(counts, starts, width)
            assert len(warm) == min(width, REGIONS)
            assert warm[region * len(warm) // REGIONS] or any(warm)
        counts[region] = 0


def unpacked(data: bytes) -> tuple[int, int, list[bytes], dict[bytes, bytes]]:
    """Width, height, rows and texts of a PNG, every checksum looked at."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels, texts, size = 8, b"", {}, (0, 0)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            assert body[8:] == bytes((8, 2, 0, 0, 0))
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            pixels += body
        elif kind == b"tEXt":
            key, _, text = body.partition(b"\0")
            texts[key] = text
        at += 12 + length
    width, height = size
    raw = zlib.decompress(pixels)
    rows = [raw[i * (3 * width + 1) :][: 3 * width + 1] for i in range(height)]
    assert all(row[:1] == b"\0" for row in rows) and len(raw) == height * (3 * width + 1)
    return width, height, [row[1:] for row in rows], texts


def test_the_png_has_the_colours_where_they_belong(control: FakeControl, tmp_path: Path) -> None:
    file = tmp_path / "heat.png"
    assert control.frazil("heatmap", "data", "--png", str(file)) == 0
    assert control.only(pb.GetHeatMapRequest).cycles == 0
    width, height, rows, texts = unpacked(file.read_bytes())
    high = pictures.row_height(3)
    assert (width, height) == (pictures.WIDTH, 3 * high + 2 * pictures.LEGEND)
    hottest, coldest = bytes(heat.STOPS[-1]), bytes(heat.STOPS[0])
    assert rows[0][:6] == hottest * 2
    assert rows[0][-3:] == coldest
    assert rows[high][:3] == coldest and rows[2 * high - 1][-3:] not in (coldest, hottest)
    assert rows[2 * high] == coldest * width
    assert rows[-1][:3] == coldest and rows[-1][-3:] == hottest
    assert b"da<ta" in texts[b"Title"]


def test_the_svg_is_whole_and_names_its_axes(control: FakeControl, tmp_path: Path) -> None:
    file = tmp_path / "heat.svg"
    assert control.frazil("heatmap", "data", "--svg", str(file), "--cycles", "9") == 0
    assert control.only(pb.GetHeatMapRequest).cycles == 9
    root = ElementTree.fromstring(file.read_text())
    names = "{http://www.w3.org/2000/svg}"
    texts = [one.text or "" for one in root.iter(f"{names}text")]
    assert "Writes to volume da<ta, by address and cycle" in texts
    assert any(text.startswith("8 ") and text.endswith("*") for text in texts)
    assert {"0 B", "256 MiB", "1.0 GiB"} <= set(texts)
    fills = [one.get("fill") for one in root.find(f"{names}g") or ()]
    assert "#{:02x}{:02x}{:02x}".format(*heat.STOPS[-1]) in fills
    for index in range(3):
        top = str(pictures.MARGIN_TOP + index * pictures.row_height(3))
        boxes = [b for b in root.find(f"{names}g") or () if b.get("y") == top]
        ends = [(float(b.get("x", "")), float(b.get("width", ""))) for b in boxes]
        assert all(a + w == b for (a, w), (b, _) in itertools.pairwise(ends))
        assert ends[0][0] == pictures.MARGIN_LEFT
        assert sum(w for _, w in ends) == pictures.WIDTH


def test_json_holds_every_count(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    assert control.frazil("heatmap", "data", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["counts"][:3] == [FULL, 1, 0]
    assert found["rows"][2]["frozen"] is None


def test_a_file_that_cannot_be_written_is_said(
    control: FakeControl, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert control.frazil("heatmap", "data", "--png", str(tmp_path / "no/such.png")) == Kind.DENIED
    assert "cannot be written: No such file" in capsys.readouterr().err
