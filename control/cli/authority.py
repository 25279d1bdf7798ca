"""``frazil pki``: a small authority for those without one; no daemon is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from control.cli.man import ManCommand, ManGroup
from control.cli.output import data, document, fields
from control.cli.session import Session, pass_session
from dm_tables.errors import Kind

if TYPE_CHECKING:
    from control.pki import Issued

DIRECTORY = Path("/etc/frazil/pki")


@click.group("pki", cls=ManGroup)
def pki() -> None:
    """Certificates for hosts that have no authority.

    Peers show each other certificates that one authority signed. Where there is none yet, this
    makes a small one; its key stays on the host where it was made.
    """


def _directory() -> click.Option:
    return click.Option(
        ["--directory"],
        type=click.Path(path_type=Path, file_okay=False),
        default=DIRECTORY,
        metavar="DIR",
        help=f"Where the authority lies, instead of {DIRECTORY}.",
    )


@pki.command(
    "init",
    cls=ManCommand,
    params=[_directory()],
    examples=[("frazil pki init", "once, on one host")],
    exits=(Kind.EXISTS,),
)
@click.option("--name", default="frazil", metavar="NAME", help="The authority's common name.")
@click.option("--days", type=click.IntRange(1, 36500), metavar="N", help="Valid for; 3650.")
@pass_session
def init(session: Session, directory: Path, name: str, days: int | None) -> None:
    """Make an authority.

    Writes ca.pem, which every host gets, and ca.key, which no other host must get. An authority
    that is there is never overwritten.
    """
    from control import pki as work

    path = work.init(directory, name, days or work.AUTHORITY_DAYS)
    if session.as_json:
        document({"ca": str(path), "key": str(path.with_name("ca.key"))})
    else:
        data(str(path))


@pki.command(
    "issue",
    cls=ManCommand,
    params=[_directory()],
    examples=[
        ("frazil pki issue backup1", "for a host that peers reach as backup1"),
        ("frazil pki issue backup1 backup1.example 10.0.0.7", "by these names and addresses too"),
        ("scp /etc/frazil/pki/backup1/* root@backup1:/etc/frazil/", "and bring it there"),
    ],
    exits=(Kind.NOT_FOUND, Kind.EXISTS, Kind.CORRUPT),
)
@click.argument("host")
@click.argument("others", nargs=-1, metavar="[NAME|ADDRESS]...")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A directory to make, instead of one of the host's name beside the authority.",
)
@click.option("--days", type=click.IntRange(1, 36500), metavar="N", help="Valid for; 825.")
@pass_session
def issue(
    session: Session,
    host: str,
    others: tuple[str, ...],
    *,
    directory: Path,
    output: Path | None,
    days: int | None,
) -> None:
    """Make HOST's certificate and key.

    HOST is the identity that [[replica.allow]] names at its peers. It and every NAME and ADDRESS
    are what peers may reach it by. Writes ca.pem, host.pem and host.key into a new directory.
    """
    from control import pki as work

    issued = work.issue(
        host, others, directory=directory, output=output, days=days or work.HOST_DAYS
    )
    if session.as_json:
        document(as_document(issued))
    else:
        data(_text(issued))


def _text(issued: Issued) -> str:
    return fields(
        [
            ("names", ", ".join(issued.names)),
            ("expires", f"{issued.expires:%Y-%m-%d}"),
            ("authority", str(issued.ca)),
            ("certificate", str(issued.cert)),
            ("key", str(issued.key)),
        ]
    )


def as_document(issued: Issued) -> dict[str, object]:
    """For ``--json``."""
    return {
        "names": list(issued.names),
        "expires": issued.expires.isoformat().replace("+00:00", "Z"),
        "ca": str(issued.ca),
        "cert": str(issued.cert),
        "key": str(issued.key),
    }
