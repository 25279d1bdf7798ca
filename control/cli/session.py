"""What every command needs to know: where the daemon is, how long to wait, how to print."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from control.cli.types import DURATION
from control.paths import Paths

if TYPE_CHECKING:
    from control.cli.api import Api

DEFAULT_SOCKET = str(Paths().control_socket)


def _socket() -> str:
    return os.environ.get("FRAZIL_SOCKET") or DEFAULT_SOCKET


@dataclass
class Session:
    """One run of the command.

    :ivar socket: the control socket of this host's daemon.
    :ivar timeout: seconds until a call is given up; None: the call's own default.
    :ivar as_json: print one JSON document instead of text.
    """

    socket: str = field(default_factory=_socket)
    timeout: float | None = None
    as_json: bool = False

    @cached_property
    def api(self) -> Api:
        """The daemon, connected. gRPC is imported only here: ``--help`` must stay quick.

        :raises DaemonUnreachable, SocketDenied: nothing answers, or not to this user.
        """
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from control.cli.api import Api

        return Api(self.socket, self.timeout)

    def fresh_api(self) -> Api:
        """A new connection, in place of one that broke."""
        self.__dict__.pop("api", None)
        return self.api


pass_session = click.make_pass_decorator(Session, ensure=True)


def common_options() -> list[click.Option]:
    """``--json``, ``--socket`` and ``--timeout``: before the noun or behind the verb."""
    return [
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_keep,
            help="Print JSON on standard output, errors too.",
        ),
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            callback=_keep,
            help=f"The daemon's socket; else FRAZIL_SOCKET, else {DEFAULT_SOCKET}.",
        ),
        click.Option(
            ["--timeout"],
            type=DURATION,
            metavar="DURATION",
            expose_value=False,
            callback=_keep,
            help="Give up after this long, as in 90s or 5m.",
        ),
    ]


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        setattr(ctx.ensure_object(Session), str(param.name), value)
