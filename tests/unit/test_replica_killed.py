"""kill -9 of a replica's process, again and again, while a source keeps sending."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import pytest

from control.limiter import RateLimiter
from control.replica.receive import Pace
from control.wire.batches import Checkpoint
from control.wire.channel import connect
from control.wire.errors import PeerUnreachable
from control.wire.send import commit, send
from dm_tables.units import MIB
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import Replica, generation, manifest, noise, whole

CHUNK = 65536
KILLS = 2
GROUP_KILLS = 5
MEMBERS = ("a", "b", "c")
ROOT = Path(__file__).parents[2]
SERVE = """
import sys, threading
from pathlib import Path
from control.replica.receive import Pace
from control.replica.server import PeerServer
from tests.replica_tools import Replica
replica = Replica(Path(sys.argv[1]), Pace(bytes=1 << 20))
server = PeerServer(replica.service, f"unix:{sys.argv[1]}/peer.sock", plaintext=True)
replica.merger.start()
server.start()
print("ready", flush=True)
threading.Event().wait()
"""


@contextmanager
def process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A replica in a process of its own."""
    directory.mkdir(exist_ok=True)
    (directory / "peer.sock").unlink(missing_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


class Source:
    """Sends generations, and goes on after a replica died."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images = {1: noise(24 * MIB)}
        self.marks: list[Checkpoint] = []
        self.resumed = 0

    def change(self, number: int) -> None:
        """A third of everything."""
        made = bytearray(self.images[number - 1])
        for at in range(0, len(made), 3 * CHUNK):
            made[at : at + CHUNK] = noise(CHUNK)
        self.images[number] = bytes(made)

    def bring(self, number: int, at_mark: Callable[[int], None] = lambda count: None) -> None:
        """Send a generation; ``at_mark`` is told how many checkpoints this call has seen."""
        delta = whole(self.images[number], CHUNK)
        seen = 0

        def marked(mark: Checkpoint) -> None:
            nonlocal seen
            seen += 1
            self.marks.append(mark)
            at_mark(seen)

        with connect(f"unix:{self.directory}/peer.sock", None, True) as channel:
            result = send(
                ReplicaStub(channel),
                manifest(number, delta, base=number - 1),
                delta,
                checkpoint=self.marks[-1] if self.marks else None,
                on_checkpoint=marked,
                limiter=RateLimiter(64 * MIB),
            )
        self.resumed += result.resumed
        self.marks.clear()


def test_killed_again_and_again(tmp_path: Path) -> None:
    chance = random.Random(1)
    source = Source(tmp_path / "replica")
    for number in (1, 2):
        if number > 1:
            source.change(number)
        for _ in range(KILLS):
            with process(source.directory) as replica:
                with suppress(PeerUnreachable):
                    source.bring(number, killer(replica, chance.randint(1, 3)))
                assert replica.wait(10) == -signal.SIGKILL
            # It may have got as far as the commit before it died.
            _check(source, number - 1, number)
        with process(source.directory):
            source.bring(number)
        _check(source, number)
    assert source.resumed > 0


def killer(replica: subprocess.Popen[str], fatal: int) -> Callable[[int], None]:
    """Kills at the ``fatal``-th checkpoint."""

    def at_mark(count: int) -> None:
        if count == fatal:
            replica.kill()

    return at_mark


def _check(source: Source, *allowed: int) -> None:
    """The replica's newest is one of these generations, byte for byte."""
    found = Replica(source.directory, Pace())
    newest = found.newest()
    assert newest in allowed
    if newest:
        assert found.image() == source.images[newest]
    found.store.close()


# A group.


def stamped(name: str, number: int) -> bytes:
    """A member's image, which tells its generation."""
    return f"{name}{number:07d}".encode() * CHUNK


def bring_group(
    directory: Path, number: int, at_commit: Callable[[], object] = lambda: None
) -> None:
    """Stage every member, then commit them; ``at_commit`` comes between."""
    with connect(f"unix:{directory}/peer.sock", None, True) as channel:
        stub = ReplicaStub(channel)
        for name in MEMBERS:
            delta = whole(stamped(name, number), CHUNK)
            uuid = str(uuid5(NAMESPACE_DNS, name))
            named = {"volume": name, "volume_uuid": uuid, "staged": number > 1}
            send(stub, manifest(number, delta, base=number - 1, **named), delta)
        at_commit()
        commit(stub, "shop", dict.fromkeys(MEMBERS, generation(number).uuid))


def shown_by(directory: Path) -> set[int]:
    """The generations that the members' images show."""
    found = Replica(directory, Pace())
    numbers = set()
    for name in MEMBERS:
        newest = found.newest(name)
        seen = found.image(name=name)
        assert seen == stamped(name, newest)
        numbers.add(newest)
    found.store.close()
    return numbers


def test_a_group_that_is_killed_at_its_commit(tmp_path: Path) -> None:
    """Never one member new and another old, wherever in the commit it dies."""
    directory = tmp_path / "replica"
    with process(directory):
        bring_group(directory, 1)
    chance = random.Random(2)
    for number in range(2, 2 + GROUP_KILLS):
        with process(directory) as replica:
            killing = threading.Timer(chance.uniform(0, 0.03), replica.kill)
            with suppress(PeerUnreachable):
                bring_group(directory, number, killing.start)
            killing.join()
            assert replica.wait(10) == -signal.SIGKILL
        assert len(shown_by(directory)) == 1
        with process(directory):
            bring_group(directory, number)
        assert shown_by(directory) == {number}


def test_the_check_can_fail(tmp_path: Path) -> None:
    """The negative control: a byte that is not the generation's is seen."""
    source = Source(tmp_path / "replica")
    with process(source.directory):
        source.bring(1)
    _check(source, 1)
    source.images[1] = source.images[1][:-1] + bytes([source.images[1][-1] ^ 1])
    with pytest.raises(AssertionError):
        _check(source, 1)
