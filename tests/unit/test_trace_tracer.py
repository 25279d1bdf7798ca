"""The tracer and its client, over its socket, with a program in plain Python."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpf import client as clients
from bpf import messages, tracer
from bpf.client import TraceGone, TracerClient, TracerUnavailable
from bpf.compiling import REGIONS_AT_MOST, Compilation, Program
from bpf.layout import blocks_in, parse_regions
from bpf.tracer import Server, Tracer
from bpf.watching import Watched
from tests.fake_maps import FakeProgram

DEVNO = "254:7"


def ready(program: FakeProgram) -> Tracer:
    """A tracer whose program is there."""
    made = Tracer(lambda: None)  # type: ignore[arg-type,return-value]
    made.watched = Watched(
        program.layers, program.regions, lambda: program.missed, lambda: program.attached
    )
    return made


@contextmanager
def serving(made: Tracer, path: Path) -> Iterator[Server]:
    """A tracer at its socket."""
    bound = tracer.listen(path)
    assert bound is not None
    server = Server(made, bound[0])
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stopped = True
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as last:
            last.connect(str(path))
        thread.join()
        server.close()
        os.close(bound[1])


@pytest.fixture
def program() -> FakeProgram:
    return FakeProgram()


@pytest.fixture
def client(program: FakeProgram, tmp_path: Path) -> Iterator[TracerClient]:
    path = tmp_path / "tracer.sock"
    with serving(ready(program), path):
        made = TracerClient(path)
        yield made
        made.close()


def blocks(client: TracerClient, epoch: str, trace: int) -> list[int]:
    return list(blocks_in(parse_regions(client.read(epoch, trace).regions)))


def test_what_is_written_is_read(client: TracerClient, program: FakeProgram) -> None:
    program.write(DEVNO, 0, 4096)
    begun = client.add(DEVNO, "layer 1")
    program.write("254:8", 0, 4096)
    program.write(DEVNO, 3 * 4096 - 1, 2)
    program.write(DEVNO, 5 << 30, 512)
    found = client.read(begun.epoch, begun.trace)
    assert (found.layer, found.devno, found.why_lost) == ("layer 1", DEVNO, "")
    assert found.counters.writes == 2
    assert blocks(client, begun.epoch, begun.trace) == [2, 3, (5 << 30) // 4096]
    assert client.read(begun.epoch, begun.trace, blocks=False).regions == b""


def test_more_blocks_than_a_packet_holds_travel(client: TracerClient, program: FakeProgram) -> None:
    begun = client.add(DEVNO, "layer")
    for region in range(3000):
        program.write(DEVNO, region << 21, 4096)
    assert blocks(client, begun.epoch, begun.trace) == [n * 512 for n in range(3000)]


def test_each_loss_is_known(client: TracerClient, program: FakeProgram) -> None:
    for reason in ("full", "busy", "too_long", "unread"):
        begun = client.add(DEVNO, reason)
        assert client.read(begun.epoch, begun.trace).why_lost == ""
        program.lose(DEVNO, reason)
        assert "1 times" in client.read(begun.epoch, begun.trace).why_lost
    begun = client.add(DEVNO, "left out")
    program.missed += 2
    assert "left the program out (2 times)" in client.read(begun.epoch, begun.trace).why_lost
    assert client.status().state == "ready"


def test_a_program_that_was_detached_is_found_so(
    client: TracerClient, program: FakeProgram
) -> None:
    begun = client.add(DEVNO, "layer")
    program.attached = False
    assert client.read(begun.epoch, begun.trace).why_lost == "the program was detached"
    status = client.status()
    assert (status.state, status.why) == ("failed", "the program was detached")
    with pytest.raises(TracerUnavailable, match="detached"):
        client.add("254:8", "next layer")


def test_a_full_map_loses_and_says_so(tmp_path: Path) -> None:
    small = FakeProgram(regions=2)
    with serving(ready(small), tmp_path / "s"):
        client = TracerClient(tmp_path / "s")
        one, two = client.add("254:1", "one"), client.add("254:2", "two")
        small.write("254:1", 0, 4096)
        small.write("254:2", 0, 4096)
        small.write("254:2", 8 << 20, 4096)
        assert client.read(one.epoch, one.trace).why_lost == ""
        assert "full" in client.read(two.epoch, two.trace).why_lost
        client.drop(two.epoch, two.trace)
        assert list(small.regions.content) == [(one.trace << 32).to_bytes(8, "little")]
        client.close()


def test_a_device_given_away_breaks_the_older_trace(
    client: TracerClient, program: FakeProgram
) -> None:
    old = client.add(DEVNO, "old")
    program.write(DEVNO, 0, 4096)
    new = client.add(DEVNO, "new")
    program.write(DEVNO, 4096, 4096)
    assert "was given to new" in client.read(old.epoch, old.trace).why_lost
    assert blocks(client, new.epoch, new.trace) == [1]
    client.drop(old.epoch, old.trace)
    program.write(DEVNO, 8192, 4096)
    assert blocks(client, new.epoch, new.trace) == [1, 2]


def test_a_dropped_trace_is_gone_and_its_room_is_free(
    client: TracerClient, program: FakeProgram
) -> None:
    begun = client.add(DEVNO, "layer")
    program.write(DEVNO, 0, 4096)
    client.drop(begun.epoch, begun.trace)
    client.drop(begun.epoch, begun.trace)
    assert (program.layers.content, program.regions.content) == ({}, {})
    with pytest.raises(TraceGone):
        client.read(begun.epoch, begun.trace)
    again = client.add(DEVNO, "layer")
    assert again.trace != begun.trace
    assert client.traces() == (begun.epoch, [again.trace])


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    with serving(ready(FakeProgram(layers=1)), tmp_path / "s"):
        client = TracerClient(tmp_path / "s")
        client.add("254:1", "one")
        with pytest.raises(TracerUnavailable, match="too many"):
            client.add("254:2", "two")
        client.close()


def test_a_tracer_started_anew_has_none_of_the_old_traces(tmp_path: Path) -> None:
    path = tmp_path / "s"
    client = TracerClient(path, rest=0)
    with serving(ready(FakeProgram()), path):
        begun = client.add(DEVNO, "layer")
    with pytest.raises(TracerUnavailable):
        client.read(begun.epoch, begun.trace)
    with serving(ready(FakeProgram()), path):
        # The same number, in another life.
        assert client.add(DEVNO, "layer").trace == begun.trace
        with pytest.raises(TraceGone, match="anew"):
            client.read(begun.epoch, begun.trace)
        client.drop(begun.epoch, begun.trace)
        assert len(client.traces()[1]) == 1
        client.close()


def test_while_it_compiles_nothing_is_traced(tmp_path: Path) -> None:
    """Until the compiler ends, and for good when it ends badly."""
    stop = tmp_path / "stop"
    slow = fake_interpreter(tmp_path, "slow", f"until [ -e {stop} ]; do sleep 0.02; done; exit 9")
    with serving(Tracer(lambda: Compilation(16, [slow])), tmp_path / "s"):
        client = TracerClient(tmp_path / "s")
        assert client.status().state == "compiling"
        with pytest.raises(TracerUnavailable, match="being compiled"):
            client.add(DEVNO, "layer")
        stop.touch()
        while client.status().state == "compiling":
            time.sleep(0.02)
        assert client.status().state == "failed"
        with pytest.raises(TracerUnavailable, match="ended with code 9"):
            client.add(DEVNO, "layer")
        client.close()


def test_requests_that_make_no_sense_are_answered(client: TracerClient) -> None:
    for request in ({"do": "fly"}, {}, {"do": "read"}, {"do": "read", "trace": "x"}):
        with pytest.raises(TracerUnavailable, match="no such request"):
            client._ask(request)
    with pytest.raises(TracerUnavailable, match="no device number"):
        client.add("sda", "layer")
    assert client.status().traces == 0


def test_nobody_is_waited_for_longer_than_the_patience(tmp_path: Path) -> None:
    """A tracer that hangs costs its time limit once; then it is left alone for a while."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        client = TracerClient(path, patience=0.2, rest=60)
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(TracerUnavailable, match=r"0\.2 s"):
                client.add(DEVNO, "layer")
        assert 0.2 <= time.monotonic() - began < 0.9


def test_a_tracer_of_another_version_is_not_used(
    client: TracerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "PROTOCOL", 2)
    with pytest.raises(TracerUnavailable, match="another version"):
        client.status()


def test_one_tracer_has_the_socket(tmp_path: Path) -> None:
    with serving(ready(FakeProgram()), tmp_path / "s"):
        assert tracer.listen(tmp_path / "s") is None
        assert tracer.main(["--socket", str(tmp_path / "s")]) == tracer.AWAY
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_the_manual_page_has_every_option() -> None:
    page = (Path(tracer.__file__).parent / "frazil-tracer.8").read_text().replace("\\-", "-")
    for action in tracer.parser()._actions:
        for option in action.option_strings:
            assert option in page
    assert str(REGIONS_AT_MOST) in page


def fake_interpreter(folder: Path, name: str, body: str) -> str:
    """An interpreter that does what ``body`` says with its channel, ``$4``."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def outcome(interpreters: list[str]) -> Any:
    made = Compilation(16, interpreters)
    try:
        while (found := made.outcome()) is None:
            pass
        return found
    finally:
        made.stop()


def test_interpreters_are_tried_in_turn(tmp_path: Path) -> None:
    say = "python3 -c 'import socket,sys; socket.socket(fileno=int(sys.argv[1])).send(%s)' $4"
    without = fake_interpreter(tmp_path, "without", say % 'b"{\\"code\\": 3}"')
    broken = fake_interpreter(tmp_path, "broken", say % 'b"{\\"failed\\": \\"verifier\\"}"')
    dead = fake_interpreter(tmp_path, "dead", "exit 7")
    assert outcome([without, broken]) == "verifier"
    assert "tried" in outcome([without])
    assert outcome([dead, broken]) == "the compiler ended with code 7"


def test_a_program_is_handed_over_by_its_descriptors(tmp_path: Path) -> None:
    tracer_end, compiler_end = messages_pair()
    files = [messages.in_memory(bytes([n])) for n in range(4)]
    messages.send(compiler_end, {"ready": True}, files)
    received = messages.receive(tracer_end)
    assert received is not None
    program = Program(*received[1])
    assert [os.get_inheritable(file) for file in received[1]] == [False] * 4
    assert messages.contents(os.dup(program.attachment)) == b"\x03"
    program.close()
    for file in files:
        os.close(file)
    for end in (tracer_end, compiler_end):
        end.close()


def messages_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
