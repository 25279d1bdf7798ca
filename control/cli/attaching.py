"""``replica mount``, ``unmount``, ``test`` and ``test-end``: a generation to look at or to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from control.cli import mounting, words
from control.cli.man import ManCommand
from control.cli.mounting import Shown
from control.cli.output import data, document, say
from control.cli.replicas import get
from control.cli.session import Session, pass_session
from dm_tables.errors import FrazilError, Kind, NotFound, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

GENERATION = click.IntRange(min=1)


class NothingHeld(Precondition):
    """An end of what no device shows."""

    def __init__(self, name: str, hint: str) -> None:
        super().__init__(f"no generation of the replica {name} is attached or mounted", hint)


class NoTest(Precondition):
    """The end of a test that nobody began."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the replica {name} has no test head",
            "a read-only device is let go with 'frazil replica unmount'",
        )


class NotHeld(NotFound):
    """``replica unmount`` of a generation that no device shows."""

    def __init__(self, name: str, generation: int, held: str) -> None:
        super().__init__(
            f"generation {generation} of the replica {name} is not attached or mounted",
            f"attached: {held}",
        )


class WhichGeneration(Usage):
    """One generation wanted, where several are there."""

    def __init__(self, name: str, held: str) -> None:
        super().__init__(
            f"several generations of the replica {name} are held: {held}",
            "name one with --generation, or all of them with --all",
        )


class NotADirectory(Usage):
    """A place to mount at that is none."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not a directory", f"make it first: mkdir -p {path}")


@click.command(
    "mount",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil replica mount data /mnt", "its newest instant, read-only, under /mnt"),
        ("frazil replica mount data /mnt --generation 40", "a recovery point"),
        ("dev=$(frazil replica mount data) && sha256sum $dev", "only the device"),
    ],
)
@click.argument("name")
@click.argument("directory", metavar="[DIRECTORY]", required=False)
@click.option("--generation", type=GENERATION, metavar="N", help="Not the newest.")
@pass_session
def mount(session: Session, name: str, directory: str | None, generation: int | None) -> None:
    """Show a committed generation of the replica NAME as a read-only device, and mount it.

    Prints the device, or the DIRECTORY it is mounted at. The generation is held, unchanged,
    while newer ones come in, until it is unmounted. A filesystem whose journal would have to be
    replayed is mounted without a replay, and a line says so. 'frazil replica points' lists the
    generations that can be shown.
    """
    _show(session, name, directory, generation, writable=False)


@click.command(
    "test",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.EXHAUSTED),
    examples=[
        ("frazil replica test data /mnt", "its newest instant, to be written, under /mnt"),
        ("frazil replica test data --generation 40", "a recovery point; only the device"),
        ("frazil replica test-end data", "thrown away"),
    ],
)
@click.argument("name")
@click.argument("directory", metavar="[DIRECTORY]", required=False)
@click.option("--generation", type=GENERATION, metavar="N", help="Not the newest.")
@pass_session
def test(session: Session, name: str, directory: str | None, generation: int | None) -> None:
    """Put a writable test head on the replica NAME.

    The head begins with a committed generation, the newest unless told otherwise. Prints the
    device, or the DIRECTORY it is mounted at. Mirroring goes on meanwhile, and neither the
    generation nor the replica is changed by what is written. 'frazil replica test-end' throws it
    all away.
    """
    _show(session, name, directory, generation, writable=True)


def _show(
    session: Session, name: str, directory: str | None, generation: int | None, *, writable: bool
) -> None:
    if directory is not None and not Path(directory).is_dir():
        raise NotADirectory(directory)
    before = {one.generation for one in shown(get(session, name)) if one.writable is writable}
    request = pb.AttachReplicaRequest(name=name, generation=generation or 0, writable=writable)
    attached = session.api.ask("AttachReplica", request, pb.AttachedReplica)
    mounted = None
    if directory is not None:
        one = Shown(attached.generation.number, attached.device, writable)
        ours = one.generation not in before
        mounted = _mounted(session, name, one, directory, ours=ours)
    if session.as_json:
        from control.cli.schema import as_dict

        place = {
            "mountpoint": mounted.directory if mounted else None,
            "options": mounted.options if mounted else None,
        }
        document(as_dict(attached) | place)
        return
    what = "a test head on generation" if writable else "generation"
    say(f"{what} {words.generation(attached.generation)} of {name}")
    data(mounted.directory if mounted else attached.device)


def _mounted(
    session: Session, name: str, one: Shown, directory: str, *, ours: bool
) -> mounting.Mounted:
    try:
        mounted = mounting.mount(one.device, directory, writable=one.writable)
    except FrazilError:
        # Whoever asked for a mounted directory does not know of a device to detach; but one
        # that was there before is somebody else's.
        if ours:
            _detach(session, name, one)
        raise
    if not mounted.replayed:
        say(f"mounted with {mounted.options}: the journal of the {mounted.filesystem} was not read")
    return mounted


def _detach(session: Session, name: str, one: Shown) -> None:
    request = pb.DetachReplicaRequest(name=name, generation=one.generation, writable=one.writable)
    session.api.ask("DetachReplica", request, pb.DetachReplicaReply)


@click.command(
    "unmount",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil replica unmount data", "and let the generation go")],
)
@click.argument("name")
@click.option("--generation", type=GENERATION, metavar="N", help="Which one.")
@click.option("--all", "every", is_flag=True, help="Every one that is held.")
@pass_session
def unmount(session: Session, name: str, generation: int | None, every: bool) -> None:
    """Unmount the replica NAME wherever it is mounted, and take its read-only device away.

    Test heads are left alone: they end with 'frazil replica test-end'.
    """
    there = shown(get(session, name))
    held = [one for one in there if not one.writable]
    if not held:
        raise NothingHeld(name, "a test head ends with 'frazil replica test-end'" if there else "")
    _end(session, name, chosen(name, held, generation, every), "let go")


@click.command(
    "test-end",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil replica test-end data", "what was written on it is gone")],
)
@click.argument("name")
@click.option("--generation", type=GENERATION, metavar="N", help="Which one.")
@click.option("--all", "every", is_flag=True, help="Every test head of it.")
@pass_session
def test_end(session: Session, name: str, generation: int | None, every: bool) -> None:
    """End a test on the replica NAME.

    Its head is unmounted and taken away, and what was written on it is thrown away.
    """
    heads = [one for one in shown(get(session, name)) if one.writable]
    if not heads:
        raise NoTest(name)
    _end(session, name, chosen(name, heads, generation, every), "as it was; the test is over")


def _end(session: Session, name: str, ends: Sequence[Shown], how: str) -> None:
    gone: list[str] = []
    for one in ends:
        for point in mounting.mountpoints(one.device):
            mounting.unmount(point)
            gone.append(point)
        _detach(session, name, one)
    if session.as_json:
        numbers = [one.generation for one in ends]
        document({"name": name, "generations": numbers, "unmounted": gone})
        return
    for one in ends:
        data(f"{name}: generation {one.generation} is {how}")


def shown(one: rpb.ReplicaVolume) -> list[Shown]:
    """The devices that show generations of a replica, the oldest generation first.

    A generation that is held without a word about its device has the one of its name.
    """
    found = [
        Shown(point.generation.number, device, mounting.is_writable(device))
        for point in one.points
        for device in point.devices
    ]
    told = {device.generation for device in found}
    found += [
        Shown(held.number, mounting.held_device(one.name, held.number), writable=False)
        for held in one.held
        if held.number not in told
    ]
    return sorted(found, key=lambda device: device.generation)


def chosen(
    name: str, there: Sequence[Shown], generation: int | None, every: bool
) -> Sequence[Shown]:
    """Those to end: the only one, the one of ``generation``, or all. It is never guessed.

    :raises NotHeld: not that one. :raises WhichGeneration: several.
    """
    listed = ", ".join(str(one.generation) for one in there)
    if generation is not None:
        wanted = [one for one in there if one.generation == generation]
        if not wanted:
            raise NotHeld(name, generation, listed)
        return wanted
    if len(there) > 1 and not every:
        raise WhichGeneration(name, listed)
    return there
