"""``frazil group``: volumes that are frozen at one instant."""

from __future__ import annotations

import shlex
from typing import Any

import click

from control.cli import words
from control.cli.man import ManGroup
from control.cli.output import columns, data, fields, show
from control.cli.refusals import LimitWithoutCommand, NothingToSet
from control.cli.session import Session, pass_session
from control.cli.types import COMMAND, DURATION, POLICY
from control.units_text import Seconds, human_duration
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb

HOOK_SECONDS = 30.0
HOOK_OPTIONS = ("before", "before_limit", "after", "after_limit")
SETTINGS = (
    "--consistency",
    "--policy",
    "--before",
    "--before-limit",
    "--after",
    "--after-limit",
    "--fencing",
)


@click.group(cls=ManGroup)
def group() -> None:
    """Volumes that are frozen at one instant.

    A group's volumes share each cycle and each generation: a replica shows a generation of all
    of them, or of none. A volume in no group has one of its own name.
    """


def settings(command: Any) -> Any:
    """The options that ``create`` and ``set`` share."""
    options = [
        click.option(
            "--consistency",
            type=click.Choice(["filesystem", "crash"]),
            help="A mounted filesystem is written out and frozen clean; or as after a power cut.",
        ),
        click.option(
            "--policy",
            type=POLICY,
            metavar="lockstep|quorum=N|independent",
            help="The next cycle may start when every mirror that counts has committed; when N"
            " have; when one has.",
        ),
        click.option(
            "--before", type=COMMAND, metavar="CMD", help="Run before the freeze, or none."
        ),
        click.option(
            "--before-limit", type=DURATION, metavar="DURATION", help="Its time limit; 30s."
        ),
        click.option(
            "--after",
            type=COMMAND,
            metavar="CMD",
            help="Run after it, whatever happened since --before began, or none.",
        ),
        click.option(
            "--after-limit", type=DURATION, metavar="DURATION", help="Its time limit; 30s."
        ),
        click.option(
            "--fencing",
            type=click.Choice(["off", "ask", "peer"]),
            help="Whether after a restart the replicas' hosts are asked if one of them took over,"
            " before heads are given to applications: off; ask, where they answer; peer, and"
            " heads stay away until all have answered.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@group.command(
    "create",
    exits=(Kind.NOT_FOUND, Kind.EXISTS, Kind.PRECONDITION),
    examples=[
        ("frazil group create db data log wal", "three volumes, one instant"),
        (
            "frazil group create db data log --policy quorum=1 --fencing peer",
            "the slower of two replicas holds nothing back",
        ),
    ],
)
@click.argument("name")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
@settings
@pass_session
def create(session: Session, /, name: str, volumes: tuple[str, ...], **given: Any) -> None:
    """Make a group NAME of one or more VOLUMEs.

    They are frozen at one instant from the next cycle on. A VOLUME can be in one group only.
    CMD is a program, named from / on, with its arguments; no shell runs it. What is not given:
    consistency as configured, lockstep, no commands, fencing ask.
    """
    request = pb.CreateGroupRequest(name=name, volumes=volumes, **_plain(given))
    if any(given[option] is not None for option in HOOK_OPTIONS):
        request.hooks.CopyFrom(hooks(pb.Hooks(), given))
    _show_members(session, session.api.ask("CreateGroup", request, pb.Group))


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of the request without the hooks."""
    chosen = {key: given[key] for key in ("consistency", "fencing") if given[key] is not None}
    if given["policy"] is not None:
        chosen["policy"], chosen["quorum"] = given["policy"]
    return chosen


def hooks(present: pb.Hooks, given: dict[str, Any]) -> pb.Hooks:
    """``present`` with what is given in place of what it has.

    :raises LimitWithoutCommand: a limit for a command that there is none of.
    """
    made = pb.Hooks()
    for option in ("before", "after"):
        command = given[option]
        argv = list(getattr(present, option)) if command is None else list(command)
        limit: Seconds | None = given[f"{option}_limit"]
        if limit is not None and not argv:
            raise LimitWithoutCommand(option)
        kept = getattr(present, f"{option}_ms") or round(HOOK_SECONDS * 1000)
        getattr(made, option).extend(argv)
        if argv:
            milliseconds = kept if limit is None else max(round(limit * 1000), 1)
            setattr(made, f"{option}_ms", milliseconds)
    return made


@group.command(
    "list",
    examples=[
        ("frazil group list", "a line a group"),
        ("frazil group list --all", "those of one volume by itself, too"),
    ],
)
@click.option("--all", "every", is_flag=True, help="Also the groups of volumes by themselves.")
@pass_session
def list_groups(session: Session, every: bool) -> None:
    """List the groups of this host. With --json, all of them."""
    reply = session.api.ask("ListGroups", pb.ListGroupsRequest(), pb.ListGroupsReply)
    show(session, reply, table([one for one in reply.groups if every or not one.implicit]))


def table(groups: list[pb.Group]) -> str:
    """A line a group; problems in full below."""
    if not groups:
        return "no groups"
    rows = [
        (
            one.name,
            str(len(one.volumes)),
            words.policy(one),
            one.consistency,
            one.fencing,
            words.number(one.newest),
            words.pause(one.freeze_pause_us),
            ", ".join(one.mirrors) or words.NONE,
        )
        for one in groups
    ]
    header = ("GROUP", "VOLUMES", "POLICY", "CONSISTENCY", "FENCING", "GEN", "PAUSE", "MIRRORS")
    problems = [f"{one.name}: {one.problem}" for one in groups if one.problem]
    return "\n".join([columns(header, rows, right="VOLUMES GEN PAUSE"), *problems])


@group.command("show", exits=(Kind.NOT_FOUND,), examples=[("frazil group show db", "in full")])
@click.argument("name")
@pass_session
def show_group(session: Session, name: str) -> None:
    """Show the group NAME. The name of a volume by itself shows its own group."""
    one = session.api.ask("GetGroup", pb.GetGroupRequest(name=name), pb.Group)
    show(session, one, details(one))


def details(one: pb.Group) -> str:
    """Everything about a group, for reading."""
    return fields(
        [
            ("group", f"{one.name} (of one volume by itself)" if one.implicit else one.name),
            ("volumes", ", ".join(one.volumes)),
            ("problem", one.problem),
            ("policy", words.policy(one)),
            ("consistency", one.consistency),
            ("before", _hook(list(one.hooks.before), one.hooks.before_ms)),
            ("after", _hook(list(one.hooks.after), one.hooks.after_ms)),
            ("fencing", one.fencing),
            ("newest", words.generation(one.newest)),
            ("pause", words.pause(one.freeze_pause_us)),
            ("mirrors", ", ".join(one.mirrors) or words.NONE),
        ]
    )


def _hook(argv: list[str], limit_ms: int) -> str:
    if not argv:
        return ""
    return f"{shlex.join(argv)} (at most {human_duration(limit_ms / 1000)})"


@group.command(
    "set",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil group set db --policy independent", "one replica is enough to go on"),
        (
            "frazil group set db --before '/usr/local/sbin/hold db' --after /usr/local/sbin/go",
            "programs around the freeze",
        ),
        ("frazil group set db --before-limit 5s", "the command stays, its limit changes"),
        ("frazil group set db --before none --after none", "no more commands"),
        ("frazil group set data --consistency crash", "of a volume by itself, too"),
    ],
)
@click.argument("name")
@settings
@pass_session
def set_group(session: Session, /, name: str, **given: Any) -> None:
    """Change the group NAME; it holds from the next freeze on. What is not given stays."""
    if all(value is None for value in given.values()):
        raise NothingToSet(f"the group {name}", SETTINGS)
    request = pb.UpdateGroupRequest(name=name, **_plain(given))
    if any(given[option] is not None for option in HOOK_OPTIONS):
        one = session.api.ask("GetGroup", pb.GetGroupRequest(name=name), pb.Group)
        request.hooks.CopyFrom(hooks(one.hooks, given))
    one = session.api.ask("UpdateGroup", request, pb.Group)
    show(session, one, details(one))


@group.command(
    "add",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil group add db archive", "with the next cycle")],
)
@click.argument("name")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
@pass_session
def add(session: Session, name: str, volumes: tuple[str, ...]) -> None:
    """Let each VOLUME join the group NAME, between two cycles.

    Its first copy to each replica runs while the others' cycles go on; it is part of the group
    there from the first instant that all have in common.
    """
    request = pb.UpdateGroupRequest(name=name, add=volumes)
    _show_members(session, session.api.ask("UpdateGroup", request, pb.Group))


@group.command(
    "leave",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil group leave db archive", "with the next cycle")],
)
@click.argument("name")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
@pass_session
def leave(session: Session, name: str, volumes: tuple[str, ...]) -> None:
    """Let each VOLUME leave the group NAME, between two cycles.

    It goes on by itself. Its replicas keep the newest generation that they have of it. Copies that
    run are stopped, and those of the others go on where they were.
    """
    request = pb.UpdateGroupRequest(name=name, remove=volumes)
    _show_members(session, session.api.ask("UpdateGroup", request, pb.Group))


@group.command(
    "remove",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil group remove db", "its volumes stay, each by itself")],
)
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget the group NAME. Its volumes stay, each by itself."""
    request = pb.RemoveGroupRequest(name=name)
    show(session, session.api.ask("RemoveGroup", request, pb.RemoveGroupReply), "")
    if not session.as_json:
        data(f"{name}: removed; its volumes stay, each by itself")


def _show_members(session: Session, one: pb.Group) -> None:
    text = f"{one.name}: {', '.join(one.volumes) or 'no volumes'}"
    show(session, one, f"{text}: {one.problem}" if one.problem else text)
