"""The watch view of mirrors: what one glance should tell, drawn from messages alone.

A mirror takes a few lines of the terminal's width: what it is and how it fares, where the cycle
of figures 7 and 8 stands, how far the copy is, the numbers an operator asks for (how old the
replica is, how long the heads stood still, what was sent), and how they went lately.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rich.text import Text

from control.cli import members, words
from control.cli.glyphs import Glyphs, bar, shortened, sparkline
from control.cli.output import columns
from control.cli.progress import remaining
from control.units_text import human_duration, human_rate, human_size
from proto.frazil.v1 import control_pb2 as pb

PHASES = {
    "freezing": "freeze",
    "copying": "copy",
    "committing": "commit",
    "verifying": "verify",
    "merging": "merge",
    "waiting": "wait",
}
HEALTH_STYLES = {"OK": "green", "DEGRADED": "yellow", "ERROR": "bold red"}
VALUE = 8
HISTORY_MOST = 20
# Indent, labels, largest values and gaps of three sparklines.
HISTORY_TEXT = 54
INDENT = "  "
EMPTY: Mapping[str, str] = MappingProxyType({})


def view(
    mirrors: Sequence[pb.Mirror],
    width: int,
    height: int,
    glyphs: Glyphs,
    title: Text,
    *,
    policies: Mapping[str, str] = EMPTY,
) -> Text:
    """Everything at once, never wider than ``width``, nor higher than ``height`` lines.

    Members of groups have a line each; where that is too high, a line for all of them; where
    that is, too, mirrors become one line each. A single mirror with room below gets a table of
    its last cycles.

    :param policies: by group, and by volume for one by itself; what has none here shows none.
    """
    # Open all, then only those with a member that is behind, then none.
    for level in (0, 1, 2):
        lines = [title]
        for mirror in mirrors:
            folded = level == 2 or (level == 1 and not members.behind(mirror))
            lines += [Text(), *block(mirror, width, glyphs, policies, folded=folded)]
        if len(lines) <= height:
            break
    if not mirrors:
        lines += [Text(), Text("no mirrors", style="dim")]
    if len(lines) > height and len(mirrors) > 1:
        lines = [title, Text(), *_compact(mirrors, width, height - 3, glyphs)]
    elif len(mirrors) == 1:
        lines += _cycles(mirrors[0], width, height - len(lines), glyphs)
    return Text("\n", no_wrap=True, overflow="crop").join(lines[:height])


def block(
    mirror: pb.Mirror,
    width: int,
    glyphs: Glyphs,
    policies: Mapping[str, str] = EMPTY,
    *,
    folded: bool = False,
) -> list[Text]:
    """The lines of one mirror. :param folded: its members in one line."""
    lines = [_heading(mirror, width, glyphs), *_problem(mirror, width, glyphs)]
    lines += _phases(mirror, width, glyphs)
    if _is_copying(mirror):
        lines.append(_bar(mirror.current, width, glyphs))
    rhythm = _rhythm(mirror, width, glyphs, policies)
    lines += _flow([*_now(mirror), *rhythm], width)
    lines += _members(mirror, width, glyphs, folded=folded)
    lines += _last(mirror, width, glyphs)
    lines += _flow(_history(mirror, width, glyphs), width)
    return lines


def _rhythm(
    mirror: pb.Mirror, width: int, glyphs: Glyphs, policies: Mapping[str, str]
) -> list[Text]:
    """When cycles start, and who has a say in it; nothing where that is the default."""
    pairs = []
    if policy := policies.get(mirror.group or mirror.volume):
        pairs.append(("policy", policy if mirror.counts else f"{policy}, holds nothing back"))
    if mirror.on_demand or mirror.interval_ms or mirror.schedule or mirror.rpo_ms:
        pairs.append(("cycles", words.cadence(mirror)))
    if mirror.window:
        pairs.append(("copies", mirror.window))
    room = width - len(INDENT) - len("policy ")
    return [
        Text.assemble((f"{label} ", "dim"), shortened(value, room, glyphs))
        for label, value in pairs
    ]


def _members(mirror: pb.Mirror, width: int, glyphs: Glyphs, *, folded: bool) -> list[Text]:
    """A line a member, or one for all of them; those that are behind stand out."""
    if not mirror.group or not mirror.members:
        return []
    late = members.behind(mirror)
    if folded:
        text = shortened(members.brief(mirror), width - len("  volumes "), glyphs)
        style = "yellow" if late else ""
        return [Text.assemble((INDENT + "volumes ", "dim"), (text, style))]
    head, *body = columns(members.HEADER, members.rows(mirror), right="GEN LACKING").split("\n")
    lines = [Text(shortened(INDENT + head, width, glyphs), style="dim")]
    for one, line in zip(mirror.members, body, strict=True):
        style = "yellow" if one in late else ""
        lines.append(Text(shortened(INDENT + line, width, glyphs), style=style))
    return lines


def _heading(mirror: pb.Mirror, width: int, glyphs: Glyphs) -> Text:
    health = mirror.health or "unknown"
    right = Text.assemble(mirror.state, "  ", (health, HEALTH_STYLES.get(health, "dim")))
    where = f"{words.source(mirror)} {glyphs.arrow} {mirror.peer}"
    if mirror.replica_volume and mirror.replica_volume != mirror.volume:
        where += f"/{mirror.replica_volume}"
    room = width - len(right.plain) - 2
    name = shortened(mirror.name, room, glyphs)
    rest = shortened(f"  {where}", room - len(name), glyphs)
    return _spread(Text.assemble((name, "bold"), rest), right, width)


def _phases(mirror: pb.Mirror, width: int, glyphs: Glyphs) -> list[Text]:
    left = Text(INDENT)
    verifies = mirror.verify or mirror.phase == "verifying"
    steps = [step for step in PHASES.items() if step[1] != "verify" or verifies]
    for i, (phase, word) in enumerate(steps):
        if i:
            left.append(f" {glyphs.then} ", style="dim")
        if phase == mirror.phase:
            # Capitals too: the step must show on a terminal without colours.
            left.append(word.upper(), style="bold cyan")
        else:
            left.append(word, style="dim")
    right = Text(_generations(mirror))
    if len(left.plain) + len(right.plain) + 2 > width:
        return [left, Text(INDENT).append_text(right)]
    return [_spread(left, right, width)]


def _generations(mirror: pb.Mirror) -> str:
    committed = mirror.committed.number
    text = f"generation {committed} committed" if committed else "nothing committed yet"
    coming = mirror.current.generation.number
    if coming > committed:
        text += f", {coming} coming"
        text += f" ({mirror.current.kind})" if mirror.current.kind != "delta" else ""
    return text


def _is_copying(mirror: pb.Mirror) -> bool:
    return mirror.current.total_bytes > 0 and mirror.current.state in ("frozen", "copying")


def _bar(cycle: pb.Cycle, width: int, glyphs: Glyphs) -> Text:
    part = cycle.done_bytes / cycle.total_bytes
    numbers = f"  {min(int(part * 100), 100)} %"
    numbers += f"  {human_size(cycle.done_bytes)} of {human_size(cycle.total_bytes)}"
    numbers += f"  {human_rate(cycle.bytes_per_second)}"
    left = remaining(cycle.done_bytes, cycle.total_bytes, cycle.bytes_per_second)
    if left is not None:
        numbers += f"  {human_duration(left)} left"
    # A bar that grows and shrinks with its numbers is hard to read: keep a steady width for them.
    room = max(width - max(len(numbers), 52) - len(INDENT), 8)
    done, rest = bar(part, room, glyphs)
    return Text.assemble(INDENT, (done, "cyan"), (rest, "dim"), numbers[: width - room - 2])


def _now(mirror: pb.Mirror) -> list[Text]:
    last = _committed(mirror)[:1]
    frozen = mirror.current if mirror.current.freeze_pause_us else (last[0] if last else None)
    items = [_item("lag", words.lag(mirror))]
    if frozen is not None:
        items.append(_item("pause", words.pause(frozen.freeze_pause_us)))
    if mirror.rate_bytes:
        items.append(_item("limit", human_rate(mirror.rate_bytes)))
    if mirror.current.resumed:
        items.append(_item("resumed", f"{mirror.current.resumed}x"))
    if mirror.lacking_bytes:
        items.append(_item("lacking", human_size(mirror.lacking_bytes), "yellow"))
    return items


def _last(mirror: pb.Mirror, width: int, glyphs: Glyphs) -> list[Text]:
    """The newest committed cycle in a sentence."""
    for cycle in _committed(mirror)[:1]:
        text = f"{human_size(cycle.changed_bytes)} changed, {human_size(cycle.sent_bytes)} sent"
        text += f" in {human_duration(cycle.copy_ms / 1000)}"
        remark = words.remark(cycle)
        text += f", {remark}" if remark else ""
        style = "bold red" if cycle.verified == "differs" else ""
        short = shortened(text, width - len("  last "), glyphs)
        return [Text.assemble((INDENT + "last ", "dim"), (short, style))]
    return []


def _problem(mirror: pb.Mirror, width: int, glyphs: Glyphs) -> list[Text]:
    """What is wrong, on two lines at most: it is what an operator came for."""
    if not mirror.problem:
        return []
    style = HEALTH_STYLES.get(mirror.health, "")
    wrapped = textwrap.wrap(mirror.problem, width - len(INDENT))
    kept = wrapped[:2]
    if len(wrapped) > 2:
        kept[1] = shortened(" ".join(wrapped[1:]), width - len(INDENT), glyphs)
    return [Text(INDENT + line, style=style) for line in kept]


def _committed(mirror: pb.Mirror) -> list[pb.Cycle]:
    return [cycle for cycle in mirror.recent if cycle.state == "committed"]


def _history(mirror: pb.Mirror, width: int, glyphs: Glyphs) -> list[Text]:
    """Three sparklines, as long as the width allows, each with its largest value."""
    count = min(max((width - HISTORY_TEXT) // 3, 2), HISTORY_MOST)
    cycles = _committed(mirror)[:count][::-1]
    if len(cycles) < 2:
        return []
    lags = [cycle.lag_ms / 1e3 for cycle in cycles]
    pauses = [cycle.freeze_pause_us / 1e6 for cycle in cycles]
    sent = [float(cycle.sent_bytes) for cycle in cycles]
    return [
        Text.assemble(
            (f"{name} ", "dim"),
            (sparkline(values, glyphs).rjust(count), "cyan"),
            (f" {most:<{VALUE}}", "dim"),
        )
        for name, values, most in (
            ("lag", lags, human_duration(max(lags))),
            ("pause", pauses, human_duration(max(pauses))),
            ("sent", sent, human_size(int(max(sent)))),
        )
    ]


def _item(label: str, value: str, style: str = "") -> Text:
    # Padded, so that what stands behind it does not jump as the value changes.
    return Text.assemble((f"{label} ", "dim"), (f"{value:<{VALUE}}", style))


def _flow(items: Sequence[Text], width: int) -> Iterator[Text]:
    """Items side by side, three spaces apart, on as many lines as they need."""
    line = Text(INDENT)
    for item in items:
        gap = "   " if line.plain.strip() else ""
        if gap and len(line.plain) + len(gap) + len(item.plain) > width:
            yield line
            line, gap = Text(INDENT), ""
        line.append(gap)
        line.append_text(item)
    if line.plain.strip():
        yield line


def _spread(left: Text, right: Text, width: int) -> Text:
    gap = max(width - len(left.plain) - len(right.plain), 1)
    return Text.assemble(left, " " * gap, right)


def _compact(mirrors: Sequence[pb.Mirror], width: int, room: int, glyphs: Glyphs) -> list[Text]:
    """A line each; where not all fit, those that are not well come first."""
    more = ""
    if len(mirrors) > room:
        room = max(room - 1, 1)
        more = f"and {len(mirrors) - room} more; name the ones to watch"
        mirrors = sorted(mirrors, key=lambda mirror: mirror.health == "OK")[:room]
    rows = [
        (
            shortened(mirror.name, 24, glyphs),
            mirror.state,
            mirror.phase,
            mirror.health,
            words.number(mirror.committed),
            words.lag(mirror),
            _percent(mirror),
            _counted(mirror),
        )
        for mirror in mirrors
    ]
    # Without groups the last one is empty, and so is its header.
    grouped = any(mirror.group for mirror in mirrors)
    header = ("MIRROR", "STATE", "PHASE", "HEALTH", "GEN", "LAG", "COPY", "VOLUMES" * grouped)
    head, *body = columns(header, rows, right="GEN LAG COPY").split("\n")
    lines = [Text(shortened(head, width, glyphs), style="dim")]
    for mirror, line in zip(mirrors, body, strict=True):
        lines.append(Text(shortened(line, width, glyphs), style=_unwell(mirror)))
    if more:
        return [*lines, Text(more, style="dim")]
    problems = [
        Text(shortened(f"{mirror.name}: {mirror.problem}", width, glyphs), style=_unwell(mirror))
        for mirror in mirrors
        if mirror.problem
    ]
    return [*lines, Text(), *problems] if problems else lines


def _unwell(mirror: pb.Mirror) -> str:
    return "" if mirror.health == "OK" else HEALTH_STYLES.get(mirror.health, "")


def _percent(mirror: pb.Mirror) -> str:
    if not _is_copying(mirror):
        return ""
    return f"{100 * mirror.current.done_bytes // mirror.current.total_bytes} %"


def _counted(mirror: pb.Mirror) -> str:
    return members.brief(mirror) if mirror.group else ""


def _cycles(mirror: pb.Mirror, width: int, room: int, glyphs: Glyphs) -> list[Text]:
    if room < 4 or not mirror.recent:
        return []
    rows = [words.cycle_row(cycle) for cycle in mirror.recent[: room - 2]]
    head, *body = columns(words.CYCLE_HEADER, rows, right=words.CYCLE_RIGHT).split("\n")
    return [
        Text(),
        Text(shortened(head, width, glyphs), style="dim"),
        *(Text(shortened(line, width, glyphs)) for line in body),
    ]
