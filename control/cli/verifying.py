"""``frazil verify``: both ends, block by block."""

from __future__ import annotations

import click

from control.cli.man import ManCommand
from control.cli.output import columns, say, show
from control.cli.progress import follow
from control.cli.session import Session, pass_session
from control.cli.types import RATE, SIZE
from control.units_text import Rate, human_size
from dm_tables.errors import Kind
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb


@click.command(
    "verify",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.CORRUPT),
    examples=[
        ("frazil verify data-b", "the newest generation, block by block, at both ends"),
        ("frazil verify data-b --block 64KiB", "differences to the nearest 64 KiB"),
        ("frazil verify data-b --rate 50MB/s --resume", "gently, from where it was interrupted"),
        ("frazil verify data-b --repair", "what differs goes with the next cycle"),
    ],
)
@click.argument("mirror")
@click.option(
    "--block", type=SIZE, default=Bytes(0), metavar="SIZE", help="Grain of the comparison; 1MiB."
)
@click.option("--repair", is_flag=True, help="Send what differs with the next cycle.")
@click.option("--rate", type=RATE, default=Rate(0), metavar="RATE", help="Read at most, as 50MB/s.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted comparison ended.")
@pass_session
def verify(
    session: Session, mirror: str, *, block: Bytes, repair: bool, rate: Rate, resume: bool
) -> int:
    """Compare both ends of MIRROR.

    The newest committed generation is compared block by block. Both ends are the same frozen
    instant, so nothing is stopped meanwhile. Exits with 9, and lists where, if they differ, with
    --repair too: the next cycle then brings what differs.
    """
    request = pb.VerifyRequest(
        mirror=mirror, block_bytes=block, repair=repair, rate_bytes=rate, resume=resume
    )
    stream = session.api.stream("Verify", request, pb.Progress)
    last = follow(stream, f"comparing {mirror}")
    show(session, last, lambda: _found(mirror, last))
    if not last.differences:
        return int(Kind.OK)
    repaired = "; what differs is sent with the next cycle" if repair else ""
    say(f"{mirror}: {last.message}{repaired}")
    return int(Kind.CORRUPT)


def _found(mirror: str, last: pb.Progress) -> str:
    if not last.differences:
        return f"{mirror}: {last.message}"
    # Of a group, each is in one of its volumes.
    named = any(span.path for span in last.differences)
    rows = [
        (*([span.path] if named else []), str(span.offset_bytes), human_size(span.length_bytes))
        for span in last.differences
    ]
    header = ("VOLUME", "OFFSET", "LENGTH") if named else ("OFFSET", "LENGTH")
    return columns(header, rows, right="OFFSET LENGTH")
