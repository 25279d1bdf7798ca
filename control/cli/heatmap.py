"""``frazil heatmap``: where a volume is written, cycle by cycle."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from control.cli.heat import HeatLine, colour, lines
from control.cli.man import ManCommand
from control.cli.output import say, show
from control.cli.session import Session, pass_session
from control.units_text import human_size
from dm_tables.errors import Denied, Kind
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHADES = " .:-=+*#%@"
"""From nothing written to everything, where there are no colours."""

CYCLES = 32
GAP = 2
NARROWEST = 16

EXAMPLES = [
    ("frazil heatmap data", "in the terminal: a line a cycle"),
    ("frazil heatmap data --png heat.png --svg heat.svg", "all cycles that are kept, as pictures"),
    ("frazil heatmap data --json | jq '.rows[-1].counts'", "the running cycle, by region"),
]


class CannotWrite(Denied):
    """A picture's file cannot be written."""


@click.command(
    "heatmap", cls=ManCommand, examples=EXAMPLES, exits=(Kind.NOT_FOUND, Kind.PRECONDITION)
)
@click.argument("volume")
@click.option(
    "--cycles",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"The newest N; {CYCLES} in the terminal, else all that are kept.",
)
@click.option("--png", "png_file", type=click.Path(path_type=Path), metavar="FILE", help="A PNG.")
@click.option("--svg", "svg_file", type=click.Path(path_type=Path), metavar="FILE", help="An SVG.")
@pass_session
def heatmap(
    session: Session,
    volume: str,
    cycles: int | None,
    png_file: Path | None,
    svg_file: Path | None,
) -> None:
    """Show where VOLUME was written, over address and cycle.

    A line is a cycle, the newest last; a column a part of the volume's addresses. The brighter,
    the more of the part's blocks were written, on a logarithmic scale. A cycle marked * was not
    traced: it shows whole chunks. The newest 200 cycles are kept.

    With --png or --svg the map goes to files instead.
    """
    files = [file for file in (png_file, svg_file) if file is not None]
    wanted = cycles or (0 if files or session.as_json else CYCLES)
    request = pb.GetHeatMapRequest(volume=volume, cycles=wanted)
    found = session.api.ask("GetHeatMap", request, pb.HeatMap)
    if files:
        from control.cli import pictures

        if png_file is not None:
            _write(png_file, pictures.png(found))
        if svg_file is not None:
            _write(svg_file, pictures.svg(found).encode())
    if session.as_json:
        show(session, found, "")
    elif not files:
        _draw(found)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}")


def _draw(found: pb.HeatMap) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for text in drawing(found, console):
        console.print(text)


def drawing(found: pb.HeatMap, console: Console) -> list[Text]:
    """The lines to print, for the console's width and colours."""
    from rich.text import Text

    label = max(len(f"{line.label}*") for line in lines(found, 1))
    width = max(NARROWEST, console.width - label - GAP)
    drawn = lines(found, width)
    colours = console.color_system is not None
    size = human_size(Bytes(found.size_bytes))
    cells = len(drawn[0].cells)
    scale = "0".ljust(cells - len(size)) + size
    texts = [Text(f"{'LAYER BEGAN':<{label}}  {scale}", style="bold")]
    for line in drawn:
        name = line.label + ("" if line.exact else "*")
        texts.append(Text(f"{name:>{label}}  ") + (_coloured(line) if colours else _plain(line)))
    return texts + [Text(note) for note in _notes(drawn)]


def _coloured(line: HeatLine) -> Text:
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    text = Text()
    for cell in line.cells:
        text.append(" ", Style(bgcolor=Color.from_rgb(*colour(cell))))
    return text


def _plain(line: HeatLine) -> Text:
    from rich.text import Text

    top = len(SHADES) - 1
    # Ceiling: what was written at all is never drawn as nothing.
    return Text("".join(SHADES[-int(-cell * top // 1)] for cell in line.cells))


def _notes(drawn: Sequence[HeatLine]) -> list[str]:
    notes = []
    if drawn[-1].live:
        notes.append("the last line is the running cycle, up to now")
    if not all(line.exact for line in drawn):
        notes.append("* untraced: by whole chunks")
    return notes
