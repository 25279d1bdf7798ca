"""The hooks that are given as examples, with the databases' clients played by scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "dist/examples"

CLIENT = """#!/bin/bash
echo "$*" >>{log}
while read -r line; do
    echo "$line" >>{log}
    case $line in
        FLUSH*) {flush} ;;
        "SELECT 'held';") echo held ;;
        UNLOCK*) echo released ;;
    esac
done
"""


class Example:
    """An example, run as frazil would but for where programs are found."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.script = EXAMPLES / name
        self.log = directory / "log"

    def program(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, phase: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [self.script, *arguments],
            env={
                "PATH": f"{self.directory}:{os.environ['PATH']}",
                "FRAZIL_GROUP": "db",
                "FRAZIL_VOLUMES": "data",
                "FRAZIL_PHASE": phase,
                "FRAZIL_HOOK_STATE": str(self.directory),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    @property
    def client(self) -> int:
        """The process id of the client in the background."""
        return int((self.directory / "mysql-db/pid").read_text())


@pytest.fixture
def mysql(tmp_path: Path) -> Example:
    made = Example(tmp_path, "mysql-hook.sh")
    made.program("mysql", CLIENT.format(log=made.log, flush=":"))
    return made


def test_mysql_is_held_from_before_to_after(mysql: Example) -> None:
    assert mysql.run("before", "--defaults-file=/x") == (0, "")
    os.kill(mysql.client, 0)
    said = mysql.log.read_text()
    assert said.startswith("--defaults-file=/x --batch")
    assert "FLUSH TABLES WITH READ LOCK;\nSELECT 'held';\n" in said
    assert "UNLOCK" not in said
    assert mysql.run("after") == (0, "")
    assert "UNLOCK TABLES;" in mysql.log.read_text()
    assert not (mysql.directory / "mysql-db").exists()
    assert mysql.run("after") == (0, ""), "and again finds nothing to undo"


def test_mysql_that_gives_no_lock(mysql: Example) -> None:
    refused = "echo 'ERROR 1205: Lock wait timeout' >&2; exit 1"
    mysql.program("mysql", CLIENT.format(log=mysql.log, flush=refused))
    code, said = mysql.run("before")
    assert (code, said) == (1, "the read lock is not to be had: ERROR 1205: Lock wait timeout\n")
    assert mysql.run("after") == (0, "")


def test_mysql_that_lost_the_lock_says_so(mysql: Example) -> None:
    assert mysql.run("before") == (0, "")
    os.kill(mysql.client, 15)
    code, said = mysql.run("after")
    assert code == 1
    assert said.startswith("the read lock was lost before the freeze was over")


def test_postgresql_is_asked_for_a_checkpoint(tmp_path: Path) -> None:
    made = Example(tmp_path, "postgresql-hook.sh")
    made.program("runuser", f'#!/bin/sh\necho "$*" >>{made.log}\n')
    assert made.run("after") == (0, "")
    assert not made.log.exists()
    assert made.run("before", "-h", "/run/x") == (0, "")
    assert made.log.read_text().startswith("-u postgres -- psql")
    assert "CHECKPOINT -h /run/x postgres" in made.log.read_text()
    made.program("runuser", "#!/bin/sh\nexit 2\n")
    assert made.run("before")[0] == 2
