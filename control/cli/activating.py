"""``frazil activate``: what the boot runs before filesystems are mounted, without a daemon."""

from __future__ import annotations

from pathlib import Path

import click

from control.cli.man import ManCommand
from control.cli.output import fail
from control.cli.types import DURATION
from control.config.errors import ConfigError
from control.units_text import Seconds
from dm_tables.errors import Kind

EXAMPLES = [
    ("frazil activate", "every volume of this host"),
    ("frazil activate data", "one of them"),
    ("frazil activate --wait 30s", "at boot, while disks are still coming"),
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
@click.option(
    "--wait",
    type=DURATION,
    default=Seconds(0.0),
    metavar="DURATION",
    help="Give disks that are missing this long to come.",
)
def activate(volumes: tuple[str, ...], config: Path | None, wait: Seconds) -> int:
    """Assemble the volumes' devices.

    What is to be there is read from the journal: no daemon and no network is needed. Nothing
    happens to a volume that is there already. frazil-activate.service runs it at boot, before
    local filesystems are mounted.

    A head that /etc/fstab mounts with _netdev is given out now if the replicas' hosts can be asked
    whether one of them took the volume over, and else later, by frazild. One that is named here is
    given out as its group's fencing says.

    A configuration that cannot be read keeps no head away: where state and pool are is taken
    from what of it can be meant, and the command fails in the end, saying what is wrong.
    """
    from control.activate import main
    from control.config import load, salvage

    try:
        sound = load(config)
    except ConfigError as error:
        code = main(salvage(config), volumes, wait=wait)
        fail(error, as_json=False)
        return code or int(error.kind)
    return main(sound, volumes, wait=wait)
