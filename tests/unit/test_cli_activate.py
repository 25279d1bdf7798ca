"""``frazil activate``, and what surrounds every command: version, encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from control import VERSION, activate
from control.cli import main
from control.config import Config
from dm_tables.errors import Kind, NotFound
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import mirror
from tests.unit.fake_control import FakeControl, running

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "import sys; from control.cli import main; sys.exit(main())"]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


class Activation:
    """What was to be activated."""

    def __init__(self, code: int | NotFound) -> None:
        self.code = code
        self.asked: list[tuple[Config, tuple[str, ...]]] = []

    def __call__(self, config: Config, volumes: Sequence[str] = (), *, wait: float = 0.0) -> int:
        self.asked.append((config, tuple(volumes)))
        if isinstance(self.code, NotFound):
            raise self.code
        return self.code


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 0), (9, 9), (NotFound("there is no volume 'x'"), 3)]
)
def test_activate_needs_no_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int | NotFound, expected: int
) -> None:
    activation = Activation(code)
    monkeypatch.setattr(activate, "main", activation)
    configured = tmp_path / "config.toml"
    configured.write_text(f'version = 1\n[state]\ndirectory = "{tmp_path}"\n')
    assert main(["activate", "data", "more", "--config", str(configured)]) == expected
    ((config, volumes),) = activation.asked
    assert volumes == ("data", "more")
    assert config.paths.state == tmp_path


def test_activate_with_a_configuration_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = tmp_path / "config.toml"
    state = tmp_path / "state"
    configured.write_text(f'version = 1\ncolour = 2\n[state]\ndirectory = "{state}"\n')
    assert main(["activate", "--config", str(configured)]) == Kind.USAGE
    assert "colour" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"frazil {VERSION}\n"


def test_a_terminal_that_knows_only_ascii_stops_nothing(control: FakeControl) -> None:
    slow = mirror(problem="Datenträger fehlt", recent=[])
    slow.recent.add(state="committed", freeze_pause_us=500).generation.number = 41
    control.answers["GetMirror"] = slow
    environment = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "FRAZIL_SOCKET": str(control.socket),
    }
    done = subprocess.run(
        [*COMMAND, "mirror", "status", "data-b"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert "Datentr?ger fehlt" in text
    assert "500 us" in text
    assert control.only(pb.GetMirrorRequest).name == "data-b"
