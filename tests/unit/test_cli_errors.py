"""Failures: one sentence, one hint, one number, the same from daemon, socket and command line."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.cli import api, main
from control.cli.api import DaemonUnreachable, SocketDenied, lasting
from control.cli.exits import MEANINGS
from dm_tables.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Exists,
    FrazilError,
    Kind,
    NotFound,
    Precondition,
    Unavailable,
    Usage,
)
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import host
from tests.unit.fake_control import FakeControl, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


class PoolDegraded(FrazilError):
    """An error class of a kind without a base class of its own."""

    kind = Kind.DEGRADED


@pytest.mark.parametrize(
    "cls",
    [
        FrazilError, Usage, NotFound, Exists, Precondition, Unavailable, PoolDegraded, Exhausted,
        Corrupt, Denied,
    ],
)  # fmt: skip
def test_the_kind_is_the_exit_code(
    control: FakeControl, capsys: pytest.CaptureFixture[str], cls: type[FrazilError]
) -> None:
    control.answers["GetHost"] = cls("it went wrong here", "do this")
    assert control.frazil("host") == int(cls.kind)
    captured = capsys.readouterr()
    assert captured.err == "frazil: it went wrong here\n  do this\n"
    assert captured.out == ""
    assert control.frazil("host", "--json") == int(cls.kind)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {
            "name": cls.__name__,
            "kind": cls.kind.name.lower(),
            "exit_code": int(cls.kind),
            "message": "it went wrong here",
            "hint": "do this",
        }
    }
    assert captured.err == "frazil: it went wrong here\n  do this\n"


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == {int(kind) for kind in Kind} | {130}


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.sock")
    assert main(["host", "--socket", missing]) == Kind.UNAVAILABLE
    error = capsys.readouterr().err
    assert f"no frazild answers at {missing}: there is no such socket" in error
    assert "systemctl start frazild" in error


def test_a_socket_that_a_dead_daemon_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    assert main(["host", "--socket", str(left)]) == Kind.UNAVAILABLE
    assert "nothing listens on it" in capsys.readouterr().err


def test_a_path_that_no_socket_can_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["host", "--socket", "/tmp/" + "x" * 200]) == Kind.USAGE
    assert "cannot be a socket" in capsys.readouterr().err


def test_a_socket_of_somebody_else() -> None:
    error = api._unreachable("/run/frazil/control.sock", PermissionError(13, "Permission denied"))
    assert isinstance(error, SocketDenied)
    assert error.kind is Kind.DENIED


def test_the_socket_of_the_environment_and_the_option_before_it(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.answers["GetHost"] = host()
    monkeypatch.setenv("FRAZIL_SOCKET", str(control.socket))
    assert main(["host"]) == 0
    assert main(["--socket", "/nowhere", "host"]) == Kind.UNAVAILABLE
    assert main(["--socket", "/nowhere", "host", "--socket", str(control.socket)]) == 0


def test_a_daemon_that_does_not_answer_in_time(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(_request: object) -> pb.Host:
        import time

        time.sleep(1.0)
        return host()

    control.answers["GetHost"] = slow
    assert control.frazil("host", "--timeout", "50ms") == Kind.UNAVAILABLE
    assert "time limit" in capsys.readouterr().err


def test_a_stream_of_progress_without_an_end(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["SyncNow"] = [pb.Progress(phase="copying")]
    assert control.frazil("mirror", "sync-now", "data-b") == Kind.UNAVAILABLE
    assert "before the work was done" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("frobnicate", "frobnicate"),
        ("mirror create x", "volume"),
        ("mirror create x y z", '"z" is not an address'),
        ("mirror create x y z:1 --interval soon", '"soon" is not a length of time'),
        ("mirror create x y z:1 --interval 1m --on-demand", "exclude each other"),
        ("mirror create x --volume y --group g --peer z:1", "y and g are named"),
        ("mirror create x y --volume v --peer z:1", "y and v are named"),
        ("mirror create x --peer z:1", "none is named"),
        ("mirror create x --group g", "no peer is named"),
        ("mirror create x y z:1 --peer w:1", "two peers are named"),
        ("mirror create x y z:1 --schedule '0 1 * * *' --rpo 5m", "exclude each other"),
        ("mirror create x y z:1 --rpo 0", "cannot be met"),
        ("mirror set x", "nothing to set"),
        ("mirror set x --continuous --schedule '0 1 * * *'", "exclude each other"),
        ("mirror switch x --reverse nowhere", '"nowhere" is not an address'),
        ("mirror resolve x --discard both --force", "both"),
        ("group create x", "volume"),
        ("group create x y --policy quorum=0", '"quorum=0" is not a policy'),
        ("group create x y --policy most", '"most" is not a policy'),
        ("group create x y --before-limit 5s", "--before-limit limits a command"),
        ("group create x y --before '\"open'", "is not a command"),
        ("group create x y --after ' '", "it is empty"),
        ("group create x y --consistency hopeful", "hopeful"),
        ("group set x", "nothing to set"),
        ("volume demote x", "--identity"),
        ("volume grow x --span /dev/vdb,start=3", '"start=3" is neither'),
        ("replica keep x", "nothing to set"),
        ("replica keep x --last -1", "-1"),
        ("replica seed x /dev/vdb", "--identity"),
        ("replica mount x --generation 0", "0"),
        ("verify x --rate soon", '"soon" is not a rate'),
        ("mirror set x --interval 5s --on-demand", "exclude each other"),
        ("mirror status --watch --exit-code", "--watch has no end"),
        ("volume create x", "span"),
        ("volume create x /dev/vdb --chunk large", '"large" is not a size'),
        ("volume create x /dev/vdb,offset=1MiB,offset=2MiB", "offset is given twice"),
        ("volume create x /dev/vdb,start=3", '"start=3" is neither'),
        ("volume create x ,offset=3", "names no device"),
        ("volume create x /dev/vdb,length=0", "no bytes"),
        ("volume create x /dev/vdb,length=big", "is not a size"),
        ("replica mount x /no/such/directory", "is not a directory"),
        ("--timeout never host", "is not a length of time"),
    ],
)
def test_a_command_line_that_cannot_be_meant(
    control: FakeControl, capsys: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    code = main(["--socket", str(control.socket), *shlex.split(arguments)])
    captured = capsys.readouterr()
    assert code == Kind.USAGE
    assert control.asked == []
    assert captured.err.startswith("frazil: ")
    assert says.lower() in captured.err.lower()
    assert captured.out == ""


def test_a_command_line_with_nothing_wrong_is_asked(control: FakeControl) -> None:
    wrong_only_in_name = "mirror create x y z:1 --interval 1m --rate 3MB/s"
    assert control.frazil(*wrong_only_in_name.split()) == Kind.FAILED
    assert [method for method, _ in control.asked] == ["CreateMirror"]


def test_a_noun_alone_shows_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror"]) == Kind.USAGE
    assert "sync-now" in capsys.readouterr().err


def test_usage_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mirror", "show-me", "--json"]) == Kind.USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("usage", 2)
    assert "frazil mirror --help" in error["hint"]


def test_help_is_quick() -> None:
    code = (
        "import sys; from control.cli import main; code = main(['mirror', '--help'])\n"
        "heavy = {'grpc', 'rich', 'sqlite3'} & set(sys.modules); assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sync-now" in done.stdout


def test_a_reader_that_leaves_gets_no_traceback(control: FakeControl) -> None:
    control.answers["FreezeTable"] = (
        pb.FreezeTablePart(run=pb.FreezeTableRun(first_chunk=2 * i, count=1, address=i))
        for i in range(100_000)
    )
    command = [sys.executable, "-c", "import sys; from control.cli import main; sys.exit(main())"]
    arguments = ["freeze-table", "data", "--socket", str(control.socket)]
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "Chunk No." in process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""
    assert process.returncode == Kind.FAILED


class Daemon:
    """Streams that break or end as told, and at last refuse, as a mirror that is removed.

    A life of None is a daemon that is not there.
    """

    def __init__(self, *lives: list[int | FrazilError] | None) -> None:
        self.lives = list(lives)

    def connect(self) -> Iterator[int]:
        if not self.lives:
            raise NotFound("it was removed")
        life = self.lives.pop(0)
        if life is None:
            raise DaemonUnreachable("/s", "gone")
        return self.stream(life)

    def stream(self, life: list[int | FrazilError]) -> Iterator[int]:
        for step in life:
            if isinstance(step, FrazilError):
                raise step
            yield step


def test_a_lasting_stream_outlives_restarts() -> None:
    broken = Unavailable("the connection broke")
    daemon = Daemon([1, 2, broken], None, [broken], [3], [4, broken])
    seen: list[int] = []
    gaps: list[str] = []
    pauses: list[float] = []
    with pytest.raises(NotFound):
        for item in lasting(daemon.connect, lambda gap: gaps.append(gap.name), pauses.append):
            seen.append(item)
    assert seen == [1, 2, 3, 4]
    broke = "Unavailable"
    assert gaps == [broke, "DaemonUnreachable", broke, "StreamEnded", broke]
    assert pauses == [1.0, 2.0, 4.0, 1.0, 1.0]


def never(told: object) -> None:
    pytest.fail(f"told {told}")


def test_a_stream_that_breaks_before_its_first_item_is_tried_again() -> None:
    daemon = Daemon([Unavailable("it stops")], [1])
    seen = lasting(daemon.connect, lambda gap: None, lambda seconds: None)
    assert next(seen) == 1


def test_a_lasting_stream_raises_when_nobody_is_there_and_every_refusal() -> None:
    with pytest.raises(DaemonUnreachable):
        list(lasting(Daemon(None).connect, never, never))
    with pytest.raises(NotFound):
        list(lasting(Daemon([1, NotFound("no such mirror")]).connect, never, never))
