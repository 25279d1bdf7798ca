"""python3 -m vagrant.lab: build what guests need, open a shell, run a command, clean up."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys

from . import probe
from .cache import cache_dir
from .errors import CommandFailed, LabError
from .image import image
from .lab import Lab, sweep
from .progress import say
from .qemu import version
from .shell import find, shell
from .template import template

NAMES = ("local", "remote", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m vagrant.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="build image and template; nothing when they are there")
    opened = commands.add_parser("shell", help="a shell in a new guest, or in a running one")
    opened.add_argument("name", nargs="?", help="a running guest: its name or its folder")
    opened.add_argument("--guests", type=int, default=1, metavar="N", help="new guests to start")
    ran = commands.add_parser("run", help="run a command in a fresh guest")
    ran.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("image", help="build the root image alone: the part that needs root")
    commands.add_parser("clean", help="remove everything the lab has built")
    commands.add_parser("probe", help="say which accelerator works here")
    return parser


def _shell(name: str | None, count: int) -> int:
    if name:
        return shell(find(name))
    if not 1 <= count <= len(NAMES):
        raise LabError(f"--guests takes 1 to {len(NAMES)}")
    with Lab() as lab:
        guests = lab.start(*NAMES[:count])
        for guest in guests[1:]:
            say(f"{guest.name} {guest.address}: {guest.shell_command}")
        return shell(guests[0].folder)


def _run(argv: list[str]) -> int:
    with Lab() as lab:
        (guest,) = lab.start(NAMES[0])
        result = guest.run(argv[0] if len(argv) == 1 else argv, check=False, timeout=3600)
        sys.stdout.buffer.write(result.stdout)
        sys.stderr.buffer.write(result.stderr)
        return result.code if result.code >= 0 else 128 - result.code


def main() -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if options.command == "clean":
        sweep()
        shutil.rmtree(cache_dir(), ignore_errors=True)
        return 0
    if options.command == "shell":
        return _shell(options.name, options.guests)
    if options.command == "run":
        return _run(options.argv)
    if options.command == "image":
        image()
        return 0
    found = template()
    if options.command == "probe":
        named = probe.accel(found.image, found.initramfs)
        print(f"{named} ({version()})")
    else:
        say(f"ready: guests start from {found.folder} ({found.accel})")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, CommandFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
