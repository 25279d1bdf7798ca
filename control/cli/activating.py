"""``frazil activate``: what the boot runs before filesystems are mounted, without a daemon."""

from __future__ import annotations

from pathlib import Path

import click

from control.cli.man import ManCommand
from dm_tables.errors import Kind

EXAMPLES = [
    ("frazil activate", "every volume of this host"),
    ("frazil activate data", "one of them"),
]


@click.command(
    "activate",
    cls=ManCommand,
    examples=EXAMPLES,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.CORRUPT),
)
@click.argument("volumes", nargs=-1, metavar="[VOLUME]...")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Instead of /etc/frazil/config.toml.",
)
def activate(volumes: tuple[str, ...], config: Path | None) -> int:
    """Assemble the volumes' devices.

    What is to be there is read from the journal: no daemon and no network is needed. Nothing
    happens to a volume that is there already. frazil-activate.service runs it at boot, before
    local filesystems are mounted.
    """
    from control.activate import main
    from control.config import load

    return int(main(load(config), volumes) or Kind.OK)
