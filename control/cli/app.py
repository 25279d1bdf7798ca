"""``frazil``: the command, its nouns, and how every failure becomes a sentence and a number."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from control import VERSION
from control.cli import attaching, failover, points
from control.cli.activating import activate
from control.cli.authority import pki
from control.cli.check import check
from control.cli.event_log import events
from control.cli.examining import doctor
from control.cli.exits import INTERRUPTED
from control.cli.freeze_table import freeze_table
from control.cli.groups import group
from control.cli.heatmap import heatmap
from control.cli.hosts import host, status
from control.cli.man import ManGroup
from control.cli.mirrors import mirror
from control.cli.output import fail, write_anywhere
from control.cli.replicas import replica
from control.cli.session import common_options
from control.cli.verifying import verify
from control.cli.volumes import volume
from dm_tables.errors import FrazilError, Kind, Usage

EXAMPLES = [
    ("frazil volume create data /dev/vdb", "applications use /dev/mapper/frazil-data from now on"),
    ("frazil mirror create data-b data backup1:7420 --start", "mirror it to another host"),
    ("frazil mirror status --watch", "see it run"),
    ("frazil replica mount data /mnt", "on the other host: the newest instant, read-only"),
]


@click.group(
    "frazil",
    cls=ManGroup,
    params=common_options(),
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(VERSION, message="frazil %(version)s")
def frazil() -> None:
    """Mirror block volumes to other hosts while applications go on writing.

    A volume is frozen at an instant, what changed is sent in the background, and the next cycle
    starts; the copy always holds one whole instant. Everything asks the frazild of this host.
    """


# Nouns' verbs that lie with their like, in the order of use.
for noun, verbs in (
    (volume, (failover.demote, failover.activate)),
    (mirror, (failover.switch, failover.resolve)),
    (
        replica,
        (
            points.points,
            points.keep,
            attaching.mount,
            attaching.unmount,
            attaching.test,
            attaching.test_end,
            failover.promote,
            points.seed,
            points.set_replica,
        ),
    ),
):
    for verb in verbs:
        noun.add_command(verb)

for command in (
    volume,
    group,
    mirror,
    replica,
    freeze_table,
    heatmap,
    verify,
    status,
    host,
    events,
    check,
    activate,
    doctor,
    pki,
):
    frazil.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. :return: the exit code, a :class:`Kind` or 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    write_anywhere()
    try:
        code = frazil.main(arguments, prog_name="frazil", standalone_mode=False)
        sys.stdout.flush()
    except FrazilError as error:
        return fail(error, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        return int(Kind.USAGE)
    except click.ClickException as error:
        return fail(_usage(error), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    return code if isinstance(code, int) else int(Kind.OK)


class BadCommandLine(Usage):
    """The command line itself."""


def _usage(error: click.ClickException) -> FrazilError:
    what = error.format_message().rstrip(".")
    what = what[:1].lower() + what[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "frazil"
    return BadCommandLine(what, f"see '{path} --help'")


def _reader_left() -> int:
    # The interpreter flushes once more at exit; there is nobody to tell.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(Kind.FAILED)
