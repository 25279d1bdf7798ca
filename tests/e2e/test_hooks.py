"""When and how a group is frozen: hooks and what is owed after a kill, consistency, hours, rates,
schedules, a break in the middle of a copy; and what of it cannot be meant."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from control.pace import MARGIN, SPARE_SECONDS
from dm_tables.errors import Kind
from tests.pair import MIB, digest
from tests.topology import SIZE, SLOW, Member, Mirroring, Site, running
from vagrant.cluster import FrazilHost
from vagrant.cluster.cycles import seconds_of
from vagrant.cluster.host import Said
from vagrant.cluster.watch import MirrorWatch

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

HOOK = "/etc/frazil/hook.sh"
TEXT = """#!/bin/sh
echo "$FRAZIL_PHASE $FRAZIL_GROUP $FRAZIL_VOLUMES $FRAZIL_RESULT" >>/var/lib/frazil/hooks.log
. /etc/frazil/$FRAZIL_PHASE.sh
"""
QUICK = "2s"


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A source and a replica."""
    with running("source", "replica") as started:
        yield started
        started.last_words(request)


@pytest.fixture(scope="module")
def hooked(site: Site) -> Mirroring:
    """A volume with a hook before and after its freezes, and one generation."""
    member = site.member("source", "quiet", 0)
    mirroring = Mirroring.of_volume(member, site["replica"])
    mirroring.sync()
    member.host.guest.put(TEXT.encode(), HOOK, mode=0o755)
    hook(member)
    words = ("--before", HOOK, "--after", f"{HOOK} with words")
    member.host.frazil("group", "set", member.name, *words)
    return mirroring


def hook(member: Member, before: str = "", after: str = "") -> None:
    """What the hooks do from now on; what they did is forgotten."""
    guest = member.host.guest
    guest.put(before.encode() + b"\n", "/etc/frazil/before.sh")
    guest.put(after.encode() + b"\n", "/etc/frazil/after.sh")
    guest.run("rm -f /var/lib/frazil/hooks.log /run/began")


def ran(host: FrazilHost) -> list[str]:
    """What the hooks wrote down, in pairs of before and after."""
    log = host.guest.get("/var/lib/frazil/hooks.log").decode().splitlines()
    assert [line.split()[0] for line in log[::2]] == ["before"] * len(log[::2])
    return [line.strip() for line in log[1::2]]


def stamp(member: Member, text: str) -> str:
    """A command that writes a word to the head."""
    return f"printf %-512s {text} | dd of={member.head} oflag=direct bs=512 count=1 conv=notrunc"


def stamped(host: FrazilHost, device: str) -> str:
    """The word on a device."""
    return host.guest.run(f"dd if={device} bs=512 count=1 iflag=direct status=none").text.strip()


def frozen(member: Member) -> int:
    """The newest instant's number."""
    return int(member.host.json("group", "show", member.name)["newest"]["number"])


def test_the_freeze_is_between_the_hooks(hooked: Mirroring) -> None:
    (member,) = hooked.members
    hook(member, stamp(member, "quiet"), stamp(member, "busy"))
    hooked.sync()
    assert ran(member.host) == ["after quiet quiet frozen"]
    shown = hooked.replica.json("replica", "mount", member.name)["device"]
    assert stamped(hooked.replica, shown) == "quiet"
    hooked.replica.frazil("replica", "unmount", member.name)
    assert stamped(member.host, member.head) == "busy"


def test_a_before_that_fails_freezes_nothing(hooked: Mirroring) -> None:
    (member,) = hooked.members
    number = frozen(member)
    hook(member, "echo the lock was not given >&2; exit 3")
    said = hooked.ask()
    assert said.code == Kind.PRECONDITION
    assert "ended with exit code 3: the lock was not given; nothing was frozen" in said.err
    assert frozen(member) == hooked.committed() == number
    assert set(ran(member.host)) == {"after quiet quiet failed"}
    hook(member)
    assert hooked.sync() > number


def test_each_hook_has_its_own_limit(hooked: Mirroring) -> None:
    (member,) = hooked.members
    host, limits = member.host, ("--before-limit", QUICK, "--after-limit", QUICK)
    host.frazil("group", "set", member.name, *limits)
    number = frozen(member)
    hook(member, "sleep 4321")
    assert hooked.ask("20s").code == Kind.UNAVAILABLE
    assert f"was not done within {QUICK}, and was ended" in str(hooked.status()["problem"])
    assert frozen(member) == number
    assert set(ran(host)) == {"after quiet quiet failed"}

    hook(member, after="sleep 4321")
    assert hooked.sync() > number, "the generation counts"
    lines = host.frazil("events", "--level", "error", "--json").out.splitlines()
    told = [json.loads(line)["message"] for line in lines]
    assert any("it should have let go may still be held" in one for one in told)
    assert host.guest.run("pgrep -f 'sleep 432[1]'", check=False).code == 1, "nothing is left"
    hook(member)
    host.frazil("group", "set", member.name, "--before-limit", "5m", "--after-limit", "1m")


def test_after_runs_although_the_daemon_was_killed(hooked: Mirroring) -> None:
    (member,) = hooked.members
    host = member.host
    hook(member, "touch /run/began; sleep 4321")
    host.frazil("mirror", "sync-now", hooked.name)
    host.until(
        "before has begun", lambda: host.guest.run("test -e /run/began", check=False).code == 0
    )
    host.kill()
    assert ran(host) == [], "nobody has run after"
    host.guest.put(b"\n", "/etc/frazil/before.sh")
    host.start()
    hooked.sync()
    after = ran(host)
    assert after[0] == "after quiet quiet failed", "at the start, before the next freeze"
    assert set(after[1:]) == {"after quiet quiet frozen"}
    assert host.guest.run("pgrep -f 'sleep 432[1]'", check=False).code == 1, "nothing is left"


@pytest.mark.parametrize("consistency", ["filesystem", "crash"])
def test_consistency(site: Site, consistency: str) -> None:
    member = site.member("source", consistency, 1, slot={"filesystem": 0, "crash": 1}[consistency])
    guest, replica = member.host.guest, site["replica"]
    member.host.frazil("group", "set", member.name, "--consistency", consistency)
    guest.run(f"mkfs.ext4 -q {member.head} && mkdir -p /mnt/fs && mount {member.head} /mnt/fs")
    mirroring = Mirroring.of_volume(member, replica)
    mirroring.sync()
    # A transaction that is committed, and not checkpointed.
    guest.run("echo content >/mnt/fs/file && sync /mnt/fs/file")
    mirroring.sync()
    device = replica.json("replica", "mount", member.name)["device"]
    features = replica.guest.run(f"dumpe2fs -h {device} 2>/dev/null | grep features").text
    assert ("needs_recovery" in features) == (consistency == "crash")
    replica.frazil("replica", "unmount", member.name)
    guest.run("umount /mnt/fs")
    mirroring.end()
    member.host.frazil("volume", "remove", member.name, timeout=SLOW)


def test_nothing_starts_outside_the_hours_but_what_is_asked_for(site: Site) -> None:
    member = site.member("source", "nightly", 2)
    host = member.host
    clock = datetime.fromtimestamp(int(host.guest.run("date +%s").text), UTC)
    assert host.guest.run("date +%z").text.strip() == "+0000"
    opens = clock + timedelta(days=3)
    words = ("--group", member.name, "--peer", site["replica"].peer, "--window")
    host.frazil("mirror", "create", "nightly", *words, f"{opens:%a} 22:00-23:00", "--start")
    mirroring = Mirroring("nightly", host, site["replica"], [member])
    opening = opens.replace(hour=22, minute=0, second=0, microsecond=0).timestamp()

    def waits() -> float:
        return seconds_of(str(mirroring.status()["next_attempt"] or ""))

    host.until("it says until when it waits", waits)
    assert round(waits()) == opening
    assert mirroring.status()["health"] != "ERROR"
    assert host.json("group", "show", member.name)["newest"] is None, "nothing was frozen"
    mirroring.sync()
    assert member.at(site["replica"]) == member.frozen()
    member.write()
    host.until("it waits again", waits)
    assert frozen(member) == mirroring.committed() == 1
    host.frazil("mirror", "set", "nightly", "--window", "always")
    host.until("it goes on", lambda: mirroring.committed() > 1, timeout=SLOW)
    host.frazil("mirror", "set", "nightly", "--on-demand")
    mirroring.sync()
    assert member.at(site["replica"]) == member.frozen()


def test_a_copy_stops_at_the_end_of_its_hours(site: Site) -> None:
    member = site.member("source", "evening", 3, slot=1)
    host, replica = member.host, site["replica"]
    mirroring = Mirroring.of_volume(member, replica)
    number, kept = mirroring.sync(), member.frozen()
    member.fill()
    clock = datetime.fromtimestamp(int(host.guest.run("date +%s").text), UTC)
    closes = (clock + timedelta(seconds=115)).replace(second=0, microsecond=0)
    hours = f"{clock:%H:%M}-{closes:%H:%M}"
    words = ("mirror", "set", mirroring.name, "--continuous", "--window", hours, "--rate")
    watch = MirrorWatch(host, mirroring.name)
    host.frazil(*words, "30KB/s")
    host.until("a part is copied", lambda: watch.midway(0.95, 0.01), pause=0.1)
    watch.close()

    def waits() -> float:
        return seconds_of(str(mirroring.status()["next_attempt"] or ""))

    host.until("the hours have ended", waits, timeout=SLOW)
    assert int(host.guest.run("date +%s").text) >= closes.timestamp()
    again = clock.replace(second=0, microsecond=0) + timedelta(days=1)
    assert round(waits()) == again.timestamp()
    assert frozen(member) == number + 1
    assert mirroring.committed() == number
    assert member.at(replica) == kept, "the copy came to nothing yet"
    host.frazil("mirror", "set", mirroring.name, "--window", "always", "--rate", "none")
    host.until("it goes on", lambda: mirroring.committed() > number, timeout=SLOW)
    (first, cycle, *_) = mirroring.now().recent
    assert (first.kind, cycle.kind) == ("whole", "delta")
    assert cycle.resumed > 0, "it went on where it was"
    assert cycle.sent + cycle.resumed < SIZE + MIB
    host.frazil("mirror", "set", mirroring.name, "--on-demand")
    mirroring.sync()
    assert member.at(replica) == member.frozen()


def test_a_rate_is_kept(site: Site) -> None:
    member = site.member("source", "gentle", 2, slot=1)
    mirroring = Mirroring.of_volume(member, site["replica"])
    mirroring.sync()
    member.fill()
    member.host.frazil("mirror", "set", mirroring.name, "--rate", "1MB/s")
    mirroring.sync()
    cycle = mirroring.now().recent[-1]
    assert cycle.sent > 4 * MIB
    # All but what may go at once.
    assert cycle.copying > 0.8 * (cycle.sent - MIB) / 1e6


def test_a_break_at_once_is_gone_on_from(site: Site) -> None:
    member = site.member("source", "broken", 2, slot=2)
    host, replica = member.host, site["replica"]
    mirroring = Mirroring.of_volume(member, replica)
    number, kept = mirroring.sync(), member.frozen()
    member.fill()
    host.frazil("mirror", "set", mirroring.name, "--rate", "200KB/s")
    watch = MirrorWatch(host, mirroring.name)
    host.frazil("mirror", "sync-now", mirroring.name)
    host.until("the copy is half done", lambda: watch.midway(0.9, 0.3), pause=0.1)
    watch.close()
    host.frazil("mirror", "break", mirroring.name, "--now", "--wait")
    assert mirroring.status()["state"] == "broken"
    assert mirroring.committed() == number
    assert member.at(replica) == kept, "the running cycle came to nothing yet"
    member.write()
    said = mirroring.ask("5s")
    assert said.code == Kind.PRECONDITION
    assert "is broken" in said.err

    host.frazil("mirror", "set", mirroring.name, "--rate", "none")
    host.frazil("mirror", "start", mirroring.name)
    mirroring.sync()
    first, *later = mirroring.now().recent
    assert first.kind == "whole"
    assert {cycle.kind for cycle in later} == {"delta"}, "no other whole copy"
    assert sum(cycle.resumed for cycle in later) > 0, "it went on where it was"
    assert member.at(replica) == member.frozen()


def refused(said: Said, kind: Kind, words: str) -> None:
    """The last sentence has these words; a hint at most comes after it, and the code."""
    assert said.code == kind, said.err
    assert said.out == ""
    lines = said.err.splitlines()
    (last,) = [line for line in lines[-2:] if line.startswith("frazil: ") and words in line]
    assert len(lines) - lines.index(last) <= 2


def test_what_cannot_be_meant_changes_nothing(site: Site) -> None:
    source, replica = site["source"], site["replica"]
    member = site.member("source", "odd", 3)

    def known() -> list[tuple[str, str]]:
        """Mirrors and groups, without what time alone changes."""
        mirrors = source.json("mirror", "list")["mirrors"]
        groups = source.json("group", "list")["groups"]
        of_mirrors = [(str(one["name"]), str(one["state"])) for one in mirrors]
        return of_mirrors + [(str(one["name"]), str(one["hooks"])) for one in groups]

    begun = known()

    def scheduled(text: str) -> Said:
        words = ("mirror", "create", "odd", member.name, replica.peer, "--schedule", text)
        return source.frazil(*words, check=False)

    refused(scheduled("61 * * * *"), Kind.USAGE, 'the schedule "61 * * * *"')
    refused(scheduled("at noon"), Kind.USAGE, 'the schedule "at noon"')
    refused(scheduled("0 0 30 2 *"), Kind.USAGE, 'the schedule "0 0 30 2 *"')
    twice = source.frazil("group", "create", "twice", member.name, member.name, check=False)
    refused(twice, Kind.USAGE, f"volume {member.name} is named twice")
    before = source.frazil("group", "set", member.name, "--before", "quiet.sh", check=False)
    refused(before, Kind.USAGE, '"quiet.sh", is not an absolute path')
    before = source.frazil("group", "set", member.name, "--before", "/no/such", check=False)
    refused(before, Kind.PRECONDITION, "/no/such, is not there")
    demoted = source.frazil("volume", "demote", member.name, "--identity", "replica", check=False)
    refused(demoted, Kind.PRECONDITION, f"no other host has a generation of {member.name}")
    assert "only what differs is sent then (frazil replica seed)" in demoted.err
    assert known() == begun
    assert source.json("volume", "show", member.name)["state"] == "active"


def test_nothing_is_promoted_of_which_nothing_is_committed(site: Site) -> None:
    source, replica = site["source"], site["replica"]
    member = site.member("source", "begun", 0, slot=1)
    member.fill()
    words = ("mirror", "create", "begun", member.name, replica.peer, "--rate", "100KB/s")
    source.frazil(*words, "--start")

    def begun() -> bool:
        found = replica.json("replica", "list")["replicas"]
        return any(one["name"] == member.name and one["incoming"] for one in found)

    replica.until("the first copy runs", begun, pause=0.1)
    source.frazil("mirror", "break", "begun", "--now", "--wait")
    said = replica.frazil("replica", "promote", member.name, check=False)
    refused(said, Kind.NOT_FOUND, f"{member.name} has no committed generation here")
    assert begun(), "what had come in is kept"
    assert replica.json("volume", "list")["volumes"] == []
    source.frazil("mirror", "set", "begun", "--rate", "none")
    source.frazil("mirror", "start", "begun", "--wait")
    assert member.at(replica) == member.frozen() == digest(source.guest, member.head)


def test_a_target_sets_the_pace(site: Site) -> None:
    member, target = site.member("source", "aimed", 0, slot=2), 30.0
    host, replica = member.host, site["replica"]
    mirroring = Mirroring.of_volume(member, replica)
    number = mirroring.sync()
    host.frazil("mirror", "set", mirroring.name, "--rpo", f"{target:.0f}s")

    def went_on() -> bool:
        member.touch()
        return mirroring.committed() >= number + 2

    host.until("it goes on by itself", went_on, timeout=SLOW, pause=5)
    cycles = [one for one in mirroring.now().recent if one.generation >= number]
    longest = max(one.lag for one in cycles)
    headroom = MARGIN * longest + SPARE_SECONDS
    for before, after in itertools.pairwise(cycles):
        apart = after.frozen_at - before.frozen_at
        assert apart > target - headroom - 1, "no sooner than it must"
        assert apart + after.lag < target + longest, "what the replica had when the next one came"

    member.fill()
    host.frazil("mirror", "set", mirroring.name, "--rpo", "2s", "--rate", "300KB/s")
    host.until(
        "that it is not kept is told",
        lambda: "the target of 2s" in mirroring.status()["problem"],
        timeout=SLOW,
    )
    host.frazil("mirror", "set", mirroring.name, "--on-demand", "--rate", "none")
    mirroring.sync()
    assert member.at(replica) == member.frozen()


def test_a_schedule_starts_at_its_minute(site: Site) -> None:
    """The guest's clock is set, so that it comes soon: nothing may follow in this module."""
    member = site.member("source", "on-time", 3, slot=2)
    host = member.host
    mirroring = Mirroring.of_volume(member, site["replica"])
    soon = 60 * (int(host.guest.run("date +%s").text) // 60 + 3)
    # A time that had passed since the last freeze would be made up for at once.
    host.guest.run(f"date -s @{soon - 50}")
    number = mirroring.sync()
    member.write()
    host.guest.run(f"date -s @{soon - 4}")
    host.frazil("mirror", "set", mirroring.name, "--schedule", "* * * * *")
    host.until("its minute came", lambda: mirroring.committed() > number, timeout=SLOW)
    cycle = next(one for one in mirroring.now().recent if one.generation > number)
    assert cycle.frozen_at >= soon, "and not before"
    host.frazil("mirror", "pause", mirroring.name)
    assert member.at(site["replica"], mirroring.committed()) == member.frozen()
