"""Mirrors as text: a line each, or one in full."""

from __future__ import annotations

from collections.abc import Sequence

from control.cli import outlook_text, words
from control.cli.output import columns, fields
from control.cli.progress import amounts
from control.units_text import human_duration, human_size
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb

HEADER = ("MIRROR", "VOLUME", "PEER", "STATE", "HEALTH", "GEN", "LAG")


def table(mirrors: Sequence[pb.Mirror]) -> str:
    """A line a mirror; problems in full below."""
    if not mirrors:
        return "no mirrors"
    rows = [
        (
            one.name,
            one.volume,
            one.peer,
            words.standing(one),
            one.health,
            words.number(one.committed),
            words.lag(one),
        )
        for one in mirrors
    ]
    problems = [f"{one.name}: {one.problem}" for one in mirrors if one.problem]
    return "\n".join([columns(HEADER, rows, right="GEN LAG"), *problems])


def details(one: pb.Mirror) -> str:
    """Everything about a mirror, for reading."""
    pairs = [
        ("mirror", one.name),
        ("volume", one.volume),
        ("peer", f"{one.peer}, volume {one.replica_volume or one.volume}{_security(one)}"),
        ("state", words.standing(one)),
        ("health", one.health),
        ("problem", one.problem),
        ("next attempt", words.when(one.next_attempt) if one.HasField("next_attempt") else ""),
        ("cycles", words.cadence(one)),
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
    if one.recent:
        rows = [words.cycle_row(cycle) for cycle in one.recent]
        text += "\n\n" + columns(words.CYCLE_HEADER, rows, right=words.CYCLE_RIGHT)
    return text


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
