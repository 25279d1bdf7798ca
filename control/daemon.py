"""``frazild``: one daemon with both roles, source and replica."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from control import VERSION
from control.config import Config, load
from control.figures import Figures
from control.heartbeat import Heartbeat, sentence
from control.host import Host, StateLock, open_context
from control.notify import Notifier
from control.paths import DEFAULT_CONFIG
from control.replica.seeds import occupied
from control.replica.side import ReplicaSide
from control.server import serve_control
from control.switch import Roles
from dm_tables.errors import Denied, FrazilError, Kind

log = logging.getLogger("frazil")

DESCRIPTION = """\
The daemon of frazil: it keeps this host's volumes mirrored to other hosts, and other hosts'
volumes mirrored here. Stopping it stops neither heads nor applications; starting it again goes on
where it stopped. It speaks to frazil(1) on a unix socket, and to other hosts over TLS.
"""

EXITS = """\
exit codes: 0 ended as asked; 2 the configuration is wrong; 5 another frazild has this state
directory; 10 not root; see frazil --help for the others. SIGTERM and SIGINT end it.
"""


def parser() -> argparse.ArgumentParser:
    """What frazild takes."""
    made = argparse.ArgumentParser(
        "frazild",
        description=DESCRIPTION,
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--config", type=Path, metavar="FILE", help=f"the configuration; {DEFAULT_CONFIG}"
    )
    made.add_argument("--debug", action="store_true", help="say more on stderr")
    made.add_argument("--version", action="version", version=f"frazild {VERSION}")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop. :return: the exit code, a :class:`Kind`."""
    options = parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s",
    )
    notifier = Notifier()
    try:
        if os.geteuid() != 0:
            raise Denied("frazild needs root: it makes device-mapper devices", "use sudo")
        run(load(options.config), notifier, options.config or DEFAULT_CONFIG)
    except FrazilError as error:
        print(f"frazild: {error.what}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        notifier.status(sentence(error))
        return int(error.kind)
    return int(Kind.OK)


def run(config: Config, notifier: Notifier, source: Path) -> None:
    """Hold the state directory, bring both roles up, serve, and come down in order.

    What can be put right while the daemon runs (the pool's disk, certificates, the listener's
    address) does not keep it from starting: see :mod:`control.heartbeat`.

    :raises AlreadyRunning: another frazild has the state directory.
    :raises FrazilError: the state cannot be opened, or a socket not be bound.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    config.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = StateLock(config.paths.lock)
    try:
        context = open_context(config)
        host = Host(context)
        heart = Heartbeat(host, notifier, source)
        heart.open_pool()
        notifier.status("assembling heads")
        host.start()
        try:
            serve(host, heart, notifier, stop)
        finally:
            host.stop()
    finally:
        lock.release()


def serve(host: Host, heart: Heartbeat, notifier: Notifier, stop: threading.Event) -> None:
    """Be a replica too, and answer until told to stop."""
    replicas = ReplicaSide(host.context)
    figures = Figures(host, replicas)
    try:
        roles = Roles(host, replicas)
        host.roster.mirror_on(replicas.store)
        replicas.on_commit = host.roster.committed_here
        replicas.start()
        replicas.take_over = roles.take_over
        replicas.give_up = roles.give_up
        host.occupied = lambda: occupied(replicas.store)
        roles.resume()
        host.context.authority.start(host, replicas, roles)
        heart.attempt("listener", replicas.listen)
        heart.attempt("metrics", figures.serve, again=True)
        heart.attempt("disks", host.check_disks, again=True)
        with serve_control(host, replicas, roles) as path:
            heart.start(replicas, path)
            log.info("frazild %s serves %s", VERSION, path)
            stop.wait()
            notifier.stopping("ending; heads and mounted filesystems go on")
            log.info("frazild ends; heads and mounted filesystems go on")
            heart.stop()
    finally:
        host.context.authority.stop()
        figures.stop()
        host.scrubber.stop()
        host.roster.end_mirroring_on()
        replicas.stop()


if __name__ == "__main__":
    sys.exit(main())
