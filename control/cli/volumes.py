"""``frazil volume``: put volumes under frazil, look at them, give them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from control.cli import outlook_text, words
from control.cli.man import ManGroup
from control.cli.output import columns, data, fields, say, show
from control.cli.progress import follow
from control.cli.session import Session, pass_session
from control.cli.types import CHUNK, SPAN, SpanText
from control.units_text import human_size
from dm_tables.errors import Kind
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb


@click.group(cls=ManGroup)
def volume() -> None:
    """Volumes, which are mirrored.

    A volume is one or more spans of devices or files; applications open its head,
    /dev/mapper/frazil-NAME.
    """


@volume.command(
    "create",
    examples=[
        ("frazil volume create data /dev/vdb", "the whole of /dev/vdb"),
        (
            "frazil volume create data /dev/vdb,offset=1GiB,length=4GiB /srv/more.img",
            "part of a device, then a file, as one volume",
        ),
        ("frazil volume create data /dev/vdb --dry-run", "what it would be"),
    ],
    exits=(Kind.EXISTS, Kind.PRECONDITION, Kind.EXHAUSTED),
)
@click.argument("name")
@click.argument("spans", metavar="SPAN...", nargs=-1, required=True, type=SPAN)
@click.option(
    "--chunk",
    type=CHUNK,
    default=Bytes(0),
    metavar="SIZE|auto",
    help="Chunk size, 4KiB to 1MiB, a power of two: small for random writes, large for streams;"
    " auto: chosen for each layer by how the volume is written. As configured, else auto.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@pass_session
def create(
    session: Session, name: str, spans: tuple[SpanText, ...], chunk: Bytes | None, dry_run: bool
) -> None:
    """Make a volume NAME of one or more spans.

    A SPAN is PATH[,offset=SIZE][,length=SIZE]: a device or a file, or part of it. Spans are laid
    end to end in the order given. From then on applications must use /dev/mapper/frazil-NAME
    and no longer the devices below it; the content stays as it is.
    """
    request = pb.CreateVolumeRequest(
        name=name,
        spans=span_messages(spans),
        chunk_bytes=chunk or 0,
        chunk_auto=chunk is None,
        dry_run=dry_run,
    )
    made = session.api.ask("CreateVolume", request, pb.Volume)
    if dry_run:
        say("dry run: nothing was changed")
    show(session, made, f"{made.name}: {human_size(made.size_bytes)} at {made.head_path}")


def span_messages(spans: Sequence[SpanText]) -> list[pb.Span]:
    """Spans as the daemon takes them, which works in another directory.

    A symlink stays: /dev/disk/by-id is meant as it is.
    """
    return [
        pb.Span(
            path=str(Path(span.path).absolute()),
            offset_bytes=span.offset,
            length_bytes=span.length,
        )
        for span in spans
    ]


@volume.command("list", examples=[("frazil volume list --json | jq -r '.volumes[].name'", "names")])
@pass_session
def list_volumes(session: Session) -> None:
    """List the volumes of this host."""
    reply = session.api.ask("ListVolumes", pb.ListVolumesRequest(), pb.ListVolumesReply)
    show(session, reply, table(list(reply.volumes)))


def table(volumes: list[pb.Volume]) -> str:
    """A line a volume; below, why its next layer gets the chunks it does where that is chosen."""
    if not volumes:
        return "no volumes"
    rows = [
        (
            one.name,
            one.state,
            human_size(one.size_bytes),
            human_size(one.chunk_bytes),
            str(len(one.layers)),
            words.number(one.newest),
            one.head_path,
        )
        for one in volumes
    ]
    header = ("VOLUME", "STATE", "SIZE", "CHUNK", "LAYERS", "GEN", "HEAD")
    chosen = [
        f"{one.name}: chunks of {one.chunk_reason}"
        for one in volumes
        if one.chunk_auto and one.chunk_reason
    ]
    return "\n".join([columns(header, rows, right="SIZE CHUNK LAYERS GEN"), *chosen])


@volume.command("show", exits=(Kind.NOT_FOUND,), examples=[("frazil volume show data", "in full")])
@click.argument("name")
@pass_session
def show_volume(session: Session, name: str) -> None:
    """Show the volume NAME: its spans, its layers, its newest generation.

    Also what chunk size the next layer gets and why, how fast the volume is written, when room
    will be short at that rate, and, where it is traced, of what sizes the writes are and how
    they are aligned.
    """
    one = session.api.ask("GetVolume", pb.GetVolumeRequest(name=name), pb.Volume)
    show(session, one, details(one))


def details(one: pb.Volume) -> str:
    """Everything about a volume, for reading."""
    pairs = [
        ("volume", one.name),
        ("uuid", one.uuid),
        ("state", one.state),
        ("problem", one.problem),
        ("head", one.head_path),
        ("size", f"{human_size(one.size_bytes)} ({one.size_bytes} bytes)"),
        ("chunk", outlook_text.chunk(one)),
        ("dirty rate", outlook_text.dirty(one.room) if one.HasField("room") else ""),
        ("full", outlook_text.filling(one.room)),
        ("generation", words.generation(one.newest)),
        ("mirrors", ", ".join(one.mirrors) or words.NONE),
    ]
    pairs += [("span", words.span(span)) for span in one.spans]
    text = fields(pairs)
    if one.layers:
        text += "\n\n" + _layers(list(one.layers), chosen=one.chunk_auto)
    written = outlook_text.pattern(one.pattern)
    return f"{text}\n\n{written}" if written else text


def _layers(layers: list[pb.AuxiliaryVolume], *, chosen: bool) -> str:
    rows = [
        (
            str(layer.sequence),
            layer.state,
            words.number(layer.generation),
            str(layer.chunks),
            human_size(layer.used_bytes),
            human_size(layer.size_bytes),
            human_size(layer.chunk_bytes),
            layer.trace or words.NONE,
            layer.path,
        )
        for layer in layers
    ]
    header = ("LAYER", "STATE", "GEN", "CHUNKS", "USED", "SIZE", "CHUNK", "TRACE")
    text = columns((*header, "AUXILIARY VOLUME"), rows, right="LAYER GEN CHUNKS USED SIZE CHUNK")
    for layer in layers:
        if chosen and layer.chunk_reason:
            text += f"\nlayer {layer.sequence} has chunks of {layer.chunk_reason}"
        if layer.untraced_reason:
            text += f"\nlayer {layer.sequence} is untraced: {layer.untraced_reason}"
    return text


@volume.command(
    "remove",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil volume remove data", "afterwards /dev/vdb holds it all")],
)
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Give the bare device of the volume NAME back.

    Every layer is merged, then the head goes away: the spans hold exactly what the head held.
    Nobody may have the head open, and its mirrors must have been removed.
    """
    request = pb.RemoveVolumeRequest(name=name)
    stream = session.api.stream("RemoveVolume", request, pb.Progress)
    last = follow(stream, f"removing {name}")
    show(session, last, "")
    if not session.as_json:
        data(f"{name}: {last.message or 'removed; its spans hold its content'}")


@volume.command(
    "grow",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.EXHAUSTED),
    examples=[
        ("lvextend -L +10G vg0/data && frazil volume grow data", "its last span became longer"),
        ("frazil volume grow data --span /dev/vdd", "another device behind the others"),
        ("frazil volume grow data --span /dev/vdd --dry-run", "how large it would be"),
    ],
)
@click.argument("name")
@click.option(
    "--span",
    "spans",
    type=SPAN,
    multiple=True,
    metavar="SPAN",
    help="PATH[,offset=SIZE][,length=SIZE], behind those it has; may be given again.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@pass_session
def grow(session: Session, name: str, spans: tuple[SpanText, ...], dry_run: bool) -> None:
    """Make the volume NAME larger, with its head in use.

    It happens between two cycles. Without --span its last span goes to the end of its device or
    file, as that is now. What is added is part of the next cycle. Filesystems are grown
    afterwards, by their own tools.

    Copies that run are stopped for it, and go on. If the freeze that ends it fails, the head stays
    as it was: the same command finishes it, and so does the volume's next cycle.
    """
    request = pb.GrowVolumeRequest(name=name, spans=span_messages(spans), dry_run=dry_run)
    one = session.api.ask("GrowVolume", request, pb.Volume)
    if dry_run:
        say("dry run: nothing was changed")
    show(session, one, f"{one.name}: {human_size(one.size_bytes)} at {one.head_path}")
