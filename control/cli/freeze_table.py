"""``frazil freeze-table``."""

from __future__ import annotations

import sys

import click

from control.cli.freeze_rows import Table, write_json, write_text
from control.cli.live_trace import follow_live
from control.cli.man import ManCommand
from control.cli.output import say
from control.cli.session import Session, pass_session
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb

EXAMPLES = [
    ("frazil freeze-table data", "runs of chunks, changed and unchanged"),
    ("frazil freeze-table data --changed --layer 3", "only what layer 3 holds"),
    ("frazil freeze-table data --live", "what is written now, a line a second"),
    ("frazil freeze-table data --live --count 1", "with sizes and alignments of the writes"),
    ("frazil freeze-table data --json | jq .summary.changed_bytes", "the sum, for a script"),
]


@click.command("freeze-table", cls=ManCommand, examples=EXAMPLES, exits=(Kind.NOT_FOUND,))
@click.argument("volume")
@click.option("--layer", type=click.IntRange(min=0), metavar="N", help="Not the newest layer.")
@click.option("--all", "each", is_flag=True, help="A row for each chunk instead of runs.")
@click.option("--changed", is_flag=True, help="Leave unchanged chunks out.")
@click.option("--live", is_flag=True, help="From the trace: what is written, as it is written.")
@click.option(
    "--count",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="With --live: end after N readings.",
)
@pass_session
def freeze_table(
    session: Session,
    volume: str,
    *,
    layer: int | None,
    each: bool,
    changed: bool,
    live: bool,
    count: int,
) -> int:
    """Show which chunks changed in VOLUME.

    The freeze table has a row for each chunk of the volume: its number, and the address where
    its data lies in the auxiliary volume, counted in chunks of it, or -1 for a chunk that did
    not change since the freeze. Runs of chunks are one row, unless --all is given. The table of
    a live layer is read while it grows: it holds what was on the disk when it was read.

    With --live it is the trace that is read instead, once a second until Ctrl-C: how many chunks
    and 4 KiB blocks were written so far, by how many writes, and how fast; after a freeze, of the
    next layer. A layer that is untraced has none, and says why. With --json, a document a line.
    """
    if live:
        if each or changed:
            raise click.UsageError("--live has no rows: leave --all and --changed out")
        return follow_live(session, volume, layer, count)
    if count:
        raise click.UsageError("--count goes with --live")
    request = pb.FreezeTableRequest(volume=volume, sequence=layer, changed_only=changed)
    table = Table(session.api.stream("FreezeTable", request, pb.FreezeTablePart))
    if not session.as_json:
        write_text(table, sys.stdout, each=each, changed=changed)
        return int(Kind.OK)
    failed = write_json(table, sys.stdout, each=each, changed=changed)
    if failed is None:
        return int(Kind.OK)
    say(failed.what)
    return int(failed.kind)
