"""``replica mount``, ``unmount``, ``test`` and ``test-end``: a generation to look at or to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from control.cli import mounting, words
from control.cli.holding import Held, chosen, detach, hold, let_go, members, shown
from control.cli.man import ManCommand
from control.cli.mounting import Shown
from control.cli.output import data, document, say
from control.cli.session import Session, pass_session
from dm_tables.errors import FrazilError, Kind, Precondition, Usage

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

    NAME may be a group that is committed here: all its volumes are shown at one instant, the
    newest that there is of all of them, and mounted in DIRECTORY by their names.
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
    all away. NAME may be a group, as for 'frazil replica mount'.
    """
    _show(session, name, directory, generation, writable=True)


def _show(
    session: Session, name: str, directory: str | None, generation: int | None, *, writable: bool
) -> None:
    if directory is not None and not Path(directory).is_dir():
        raise NotADirectory(directory)
    held = hold(session, name, generation or 0, writable=writable)
    mounted = _mounted(session, held, _places(name, held, directory))
    if session.as_json:
        _document(name, held, mounted)
        return
    what = "a test head on generation" if writable else "generation"
    say(f"{what} {words.generation(held[0].attached.generation)} of {name}")
    for one in held:
        data(mounted[one.name].directory if one.name in mounted else one.attached.device)


def _document(name: str, held: Sequence[Held], mounted: Mapping[str, mounting.Mounted]) -> None:
    from control.cli.schema import as_dict

    documents = []
    for one in held:
        there = mounted.get(one.name)
        place = {
            "mountpoint": there.directory if there else None,
            "options": there.options if there else None,
        }
        documents.append(as_dict(one.attached) | place)
    if held[0].name == name:
        document(documents[0])
        return
    named = [{"name": one.name} | made for one, made in zip(held, documents, strict=True)]
    document({"group": name, "members": named})


def _places(name: str, held: Sequence[Held], directory: str | None) -> dict[str, str]:
    """Where each is mounted: a group's members below the directory, by their names."""
    if directory is None:
        return {}
    if held[0].name == name:
        return {name: directory}
    return {one.name: str(Path(directory, one.name)) for one in held}


def _mounted(
    session: Session, held: Sequence[Held], places: Mapping[str, str]
) -> dict[str, mounting.Mounted]:
    """Mount what has a place; all or none."""
    done: dict[str, mounting.Mounted] = {}
    try:
        for one in held:
            if one.name not in places:
                continue
            Path(places[one.name]).mkdir(exist_ok=True)
            made = mounting.mount(one.attached.device, places[one.name], writable=one.writable)
            done[one.name] = made
            if not made.replayed:
                way = f"mounted with {made.options}"
                say(f"{way}: the journal of the {made.filesystem} was not read")
    except (FrazilError, OSError) as error:
        mounted = _unmounted(done)
        # Whoever asked for a mounted directory does not know of a device to detach.
        let_go(session, [one for one in held if one.name not in mounted])
        if isinstance(error, OSError):
            raise Usage(f"{error.filename}: {error.strerror}", "give another directory") from error
        raise
    return done


def _unmounted(done: Mapping[str, mounting.Mounted]) -> set[str]:
    """Unmount them again, all that can be. :return: those that stay, which is told."""
    stay = set()
    for name, made in done.items():
        try:
            mounting.unmount(made.directory)
        except FrazilError as error:
            say(f"{name} stays mounted: {error.what}")
            stay.add(name)
    return stay


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
    """Unmount the replica or group NAME wherever it is mounted, and take its device away.

    Test heads are left alone: they end with 'frazil replica test-end'.
    """
    replicas = members(session, name)
    there = {one.name: shown(one) for one in replicas}
    held = {at: [one for one in every_one if not one.writable] for at, every_one in there.items()}
    if not any(held.values()):
        tests = any(there.values())
        raise NothingHeld(name, "a test head ends with 'frazil replica test-end'" if tests else "")
    _end(session, name, _chosen(held, generation, every), "let go")


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
    """End a test on the replica or group NAME.

    Its head is unmounted and taken away, and what was written on it is thrown away.
    """
    heads = {
        one.name: [head for head in shown(one) if head.writable] for one in members(session, name)
    }
    if not any(heads.values()):
        raise NoTest(name)
    _end(session, name, _chosen(heads, generation, every), "as it was; the test is over")


def _chosen(
    there: Mapping[str, Sequence[Shown]], generation: int | None, every: bool
) -> dict[str, Sequence[Shown]]:
    """Of every replica that shows something; nothing is ended before all are known."""
    return {name: chosen(name, one, generation, every) for name, one in there.items() if one}


def _end(session: Session, name: str, ends: Mapping[str, Sequence[Shown]], how: str) -> None:
    gone: list[str] = []
    for member, every_one in ends.items():
        for one in every_one:
            for point in mounting.mountpoints(one.device):
                mounting.unmount(point)
                gone.append(point)
            detach(session, member, one.generation, writable=one.writable)
    numbers = sorted({one.generation for every_one in ends.values() for one in every_one})
    if session.as_json:
        document({"name": name, "generations": numbers, "unmounted": gone})
        return
    for number in numbers:
        data(f"{name}: generation {number} is {how}")
