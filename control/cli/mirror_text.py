"""Mirrors as text: a line each, or one in full."""

from __future__ import annotations

from collections.abc import Sequence

from control.cli import members, outlook_text, words
from control.cli.output import columns, fields
from control.cli.progress import amounts
from control.units_text import human_duration, human_size
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb

HEADER = ("MIRROR", "VOLUME", "PEER", "STATE", "HEALTH", "GEN", "LAG")


def table(mirrors: Sequence[pb.Mirror], groups: Sequence[pb.Group] = ()) -> str:
    """A line a mirror; below, problems in full, members that are behind, and policies."""
    if not mirrors:
        return "no mirrors"
    rows = [
        (
            one.name,
            words.source(one),
            one.peer,
            words.standing(one),
            one.health,
            words.number(one.committed),
            words.lag(one),
        )
        for one in mirrors
    ]
    remarks = [f"{one.name}: {one.problem}" for one in mirrors if one.problem]
    remarks += [f"{one.name}: {members.brief(one)}" for one in mirrors if members.behind(one)]
    remarks += [said for group in groups if (said := _fan_out(group, mirrors))]
    return "\n".join([columns(HEADER, rows, right="GEN LAG"), *remarks])


def _fan_out(group: pb.Group, mirrors: Sequence[pb.Mirror]) -> str:
    """How a group with several mirrors goes on: ``db: lockstep of near and far, not night``."""
    own = [one for one in mirrors if (one.group or one.volume) == group.name]
    if len(own) < 2:
        return ""
    text = f"{group.name}: {words.policy(group)}"
    counting = [one.name for one in own if one.counts]
    others = [one.name for one in own if not one.counts]
    text += f" of {', '.join(counting)}" if counting else ""
    return f"{text}; nothing waits for {', '.join(others)}" if others else text


def details(one: pb.Mirror, groups: Sequence[pb.Group] = ()) -> str:
    """Everything about a mirror, for reading."""
    pairs = [
        ("mirror", one.name),
        ("group", words.source(one)) if one.group else ("volume", one.volume),
        ("peer", f"{one.peer}{_there(one)}{_security(one)}"),
        ("state", words.standing(one)),
        ("health", one.health),
        ("problem", one.problem),
        ("next attempt", words.when(one.next_attempt) if one.HasField("next_attempt") else ""),
        ("policy", _policy(one, groups)),
        ("cycles", words.cadence(one)),
        ("copies", one.window),
        ("rate", words.rate(one.rate_bytes)),
        ("verify", "every generation" if one.verify else "when asked"),
        ("committed", words.generation(one.committed)),
        ("lag", words.lag(one)),
        ("coming", _coming(one.current)),
        ("copied", _copied(one.current)),
        ("next", outlook_text.coming(one.forecast) if one.HasField("forecast") else ""),
        ("lacking", _lacking(one.lacking_bytes)),
    ]
    text = fields(pairs)
    if one.group and one.members:
        text += "\n\n" + members.table(one)
    if one.recent:
        rows = [words.cycle_row(cycle) for cycle in one.recent]
        text += "\n\n" + columns(words.CYCLE_HEADER, rows, right=words.CYCLE_RIGHT)
    return text


def _there(one: pb.Mirror) -> str:
    if one.group:
        return f", volumes {one.replica_volume}" if one.replica_volume else ""
    return f", volume {one.replica_volume or one.volume}"


def _policy(one: pb.Mirror, groups: Sequence[pb.Group]) -> str:
    """The group's policy, and what this mirror has to do with it."""
    for group in groups:
        if group.name == (one.group or one.volume):
            part = "it holds back the next cycle" if one.counts else "it holds nothing back"
            return f"{words.policy(group)}; {part}"
    return ""


def _security(one: pb.Mirror) -> str:
    return ", plaintext" if one.plaintext else ""


def _lacking(size: int) -> str:
    if not size:
        return ""
    return f"{human_size(size)} that no layer holds any more; the next cycle catches up"


def _coming(cycle: pb.Cycle) -> str:
    if not _is_coming(cycle):
        return ""
    text = f"generation {words.number(cycle.generation)} ({cycle.kind})"
    if cycle.freeze_pause_us:
        text += f", frozen in {human_duration(cycle.freeze_pause_us / 1e6)}"
    return text


def _copied(cycle: pb.Cycle) -> str:
    return amounts(as_progress(cycle, "")) if _is_coming(cycle) and cycle.total_bytes else ""


def _is_coming(cycle: pb.Cycle) -> bool:
    return cycle.state in ("frozen", "copying")


def as_progress(cycle: pb.Cycle, phase: str) -> pb.Progress:
    """A cycle's progress as the long calls report theirs."""
    return pb.Progress(
        phase=phase,
        done=cycle.done_bytes,
        total=cycle.total_bytes,
        bytes_per_second=cycle.bytes_per_second,
    )


def status_code(mirrors: Sequence[pb.Mirror]) -> int:
    """The exit code for the worst of them: FAILED for ERROR, DEGRADED for anything but OK."""
    healths = {one.health for one in mirrors}
    if "ERROR" in healths:
        return int(Kind.FAILED)
    return int(Kind.OK if healths <= {"OK"} else Kind.DEGRADED)
