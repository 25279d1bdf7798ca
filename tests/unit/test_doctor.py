"""The doctor: each finding from what is there and what is not, and what the whole comes to."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bpf.needs import Finding as Need
from control import fstab, pki
from control.cli import main
from control.cli.examining import report
from control.config import (
    AllowSection,
    Config,
    ListenSection,
    PoolSection,
    ReplicaSection,
    StateSection,
    TlsSection,
    TraceSection,
)
from control.doctor import boot, clock, kernel, peers, pools, tools, tracing, trust
from control.doctor.examination import guarded
from control.doctor.findings import Finding, Level, exit_kind, worst
from control.doctor.patient import Patient, admit, configured
from control.journal import Journal
from control.pool.files import FilesPool
from control.records import (
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    VolumeRecord,
    VolumeState,
)
from control.spans import Span
from control.wire.errors import PeerUnreachable
from dm_tables.errors import Kind
from dm_tables.units import Bytes

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def volume(path: str = "/dev/disk/by-id/virtio-data") -> VolumeRecord:
    """A volume on one device."""
    span = Span(Path(path), Bytes(0), Bytes(1 << 20))
    return VolumeRecord("data", "u", (span,), Bytes(1 << 20), Bytes(65536), VolumeState.ACTIVE, 0)


def mirror(name: str = "m", peer: str = "b:7420") -> MirrorRecord:
    """A mirror to a peer."""
    return MirrorRecord(name, "data", peer, "data", MirrorState.RUNNING, 0, 0, False, False, False)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level.name for finding in findings]


def test_what_it_comes_to() -> None:
    def of(*found: Level) -> Kind:
        return exit_kind([Finding("a", level, "x") for level in found])

    assert of() is of(Level.OK, Level.NOTE) is Kind.OK
    assert of(Level.NOTE, Level.WARNING) is Kind.DEGRADED
    assert of(Level.WARNING, Level.PROBLEM, Level.OK) is Kind.PRECONDITION
    assert worst([]) is Level.OK


def test_targets() -> None:
    def has(*modules: str) -> Callable[[str], bool]:
        return lambda module: module in modules

    found = list(kernel.judge_targets({"linear": "1.4.0"}, has("dm-snapshot")))
    assert levels(found) == ["OK", "OK"]
    assert "on first use" in found[1].what
    found = list(kernel.judge_targets({"linear": "1.4.0"}, has()))
    assert levels(found) == ["OK", "PROBLEM"]
    assert "dm-snapshot" in found[1].remedy
    assert kernel.judge_loops(False, has()).level is Level.PROBLEM
    assert kernel.judge_loops(False, has("loop")).level is Level.OK


def test_tools() -> None:
    files, lvm = Config(), Config(pool=PoolSection(kind="lvm", volume_group="vg"))
    assert levels(list(tools.check_tools(Patient(files), lambda tool: "/x"))) == ["OK"]
    without_lvm = lambda tool: None if tool == "lvs" else "/x"  # noqa: E731
    assert levels(list(tools.check_tools(Patient(files), without_lvm))) == ["OK"]
    found = list(tools.check_tools(Patient(lvm), without_lvm))
    assert found[0].remedy == "apt install lvm2"


def test_what_tracing_lacks_is_a_warning() -> None:
    needs = [Need(True, "bcc"), Need(False, "headers are not installed", "apt install them")]
    found = list(tracing.check_tracing(Patient(Config()), lambda: needs))
    assert levels(found) == ["OK", "WARNING"]
    assert found[1].remedy == "apt install them"
    off = Config(trace=TraceSection(enabled=False))
    assert levels(list(tracing.check_tracing(Patient(off), lambda: needs))) == ["OK"]
    assert len(list(tracing.check_tracing(Patient(Config())))) > 3


def test_the_clock() -> None:
    assert clock.judge_clock(clock.Clock(True, 0.01), NOW).level is Level.OK
    assert clock.judge_clock(clock.Clock(False, 0.01), NOW).level is Level.WARNING
    assert clock.judge_clock(clock.Clock(True, 3.0), NOW).level is Level.WARNING
    long_ago = clock.judge_clock(clock.Clock(True, 0.0), datetime(1970, 1, 1, tzinfo=UTC))
    assert long_ago.level is Level.PROBLEM
    assert len(list(clock.check_clock())) == 1


def test_certificates(tmp_path: Path) -> None:
    pki.init(tmp_path / "pki")
    issued = pki.issue("one", directory=tmp_path / "pki", days=100)
    other = pki.issue("two", directory=tmp_path / "pki")
    tls = TlsSection(ca=issued.ca, cert=issued.cert, key=issued.key)
    patient = Patient(Config(tls=tls))
    now = datetime.now(UTC)
    found = list(trust.check_trust(patient, now))
    assert levels(found) == ["OK"]
    assert "this host is one" in found[0].what
    assert levels(list(trust.check_trust(patient, now + timedelta(80)))) == ["OK", "WARNING"]
    issued.key.chmod(0o640)
    assert f"chmod 600 {issued.key}" in list(trust.check_trust(patient, now))[1].remedy
    wrong = TlsSection(ca=issued.ca, cert=issued.cert, key=other.key)
    assert levels(list(trust.check_trust(Patient(Config(tls=wrong)), now))) == ["PROBLEM"]
    assert list(trust.check_trust(Patient(Config()))) == []
    assert levels(list(trust.check_trust(Patient(Config(), mirrors=(mirror(),))))) == ["PROBLEM"]


def test_peers_are_asked_once_each() -> None:
    asked = []

    def greeting(patient: Patient, address: str, plaintext: bool) -> tuple[str, str]:
        asked.append(address)
        if address == "c:7420":
            raise PeerUnreachable("c:7420 cannot be reached: refused", "it is tried again")
        return "backup", "source"

    mirrors = (mirror(), mirror("n"), mirror("o", "c:7420"))
    found = list(peers.check_peers(Patient(Config(), mirrors=mirrors), greeting))
    assert asked == ["b:7420", "c:7420"]
    assert levels(found) == ["OK", "PROBLEM"]
    assert "knows this host as source" in found[0].what
    assert "systemctl status frazild" in found[1].remedy


def test_a_pool_that_lacks_what_volumes_need(tmp_path: Path) -> None:
    pool = FilesPool(tmp_path)
    live = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.LIVE)
    prepared = LayerRecord("data", 2, "data.2", Bytes(65536), LayerState.PREPARED)
    config = Config(state=StateSection(directory=tmp_path / "state"))
    patient = Patient(config, layers=(live, prepared))
    found = [one for one in pools.check_pool(patient, pool) if one.level is Level.PROBLEM]
    assert len(found) == 1
    assert "data.1" in found[0].what
    assert "data.2" not in found[0].what
    pool.create("data.1", Bytes(1 << 20))
    assert [one for one in pools.check_pool(patient, pool) if one.level is Level.PROBLEM] == []


def test_what_was_merged_while_the_doctor_looked_is_not_missing(tmp_path: Path) -> None:
    pool = FilesPool(tmp_path / "pool")
    config = Config(state=StateSection(directory=tmp_path))
    layer = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.FROZEN)
    journal = Journal(config.paths.journal)
    journal.add_volume(volume())
    journal.save_layer(layer)
    journal.close()
    patient = Patient(config, layers=(layer,))
    found = list(pools.check_pool(patient, pool))
    assert levels(found).count("PROBLEM") == 1
    journal = Journal(config.paths.journal)
    journal.remove_layer("data", 1)
    journal.close()
    assert "PROBLEM" not in levels(list(pools.check_pool(patient, pool)))


def test_fstab(tmp_path: Path) -> None:
    lines = fstab.mounts_in(
        "# /dev/vdb /old ext4 defaults 0 0\n"
        "UUID=123 /srv/a ext4 defaults 0 2\n"
        "/dev/mapper/frazil-data /srv/b ext4 defaults 0 2\n\n"
        "LABEL=x /srv/c ext4 defaults # remark\n"
    )
    assert [one.where for one in lines] == ["/srv/a", "/srv/b", "/srv/c"]
    path = "/dev/disk/by-id/virtio-data"
    found = list(boot.judge_fstab(volume(), lines, {path: {path, "UUID=123", "LABEL=y"}}))
    assert levels(found) == ["PROBLEM", "OK"]
    assert "UUID=123 at /srv/a" in found[0].what
    assert found[0].remedy == "name /dev/mapper/frazil-data there instead"


HEAD = "/dev/mapper/frazil-data"


@pytest.mark.parametrize(
    ("lines", "waits"),
    [
        (f"{HEAD} /srv/b ext4 defaults,_netdev 0 2\n", True),
        (f"{HEAD} /srv/b ext4 _netdev\n{HEAD} /srv/c ext4 noatime,_netdev,ro 0 0\n", True),
        (f"{HEAD} /srv/b ext4 _netdev\n{HEAD} /srv/c ext4 noatime 0 0\n", False),
        (f"{HEAD} /srv/b ext4\n", False),
        (f"{HEAD} /srv/b ext4 x_netdev 0 0\n", False),
        (f"#{HEAD} /srv/b ext4 _netdev 0 0\n", False),
        ("/dev/mapper/frazil-data2 /srv/b ext4 _netdev 0 0\nUUID=1 /srv/c ext4 _netdev\n", False),
    ],
)
def test_mounts_that_wait_for_the_network(lines: str, waits: bool) -> None:
    assert fstab.waits_for_network("data", fstab.mounts_in(lines)) == waits


def test_a_mirrored_head_that_is_mounted_before_the_network(tmp_path: Path) -> None:
    early = fstab.mounts_in(f"{HEAD} /srv/b ext4 defaults 0 2\n")
    late = fstab.mounts_in(f"{HEAD} /srv/b ext4 _netdev 0 2\n")
    alone = Patient(Config(), volumes=(volume(),))
    mirrored = dataclasses.replace(alone, mirrors=(mirror("far:7420"),))
    (found,) = boot.judge_network(mirrored, early)
    assert found.level is Level.NOTE
    assert found.remedy is not None
    assert "_netdev" in found.remedy
    for patient, lines in ((mirrored, late), (mirrored, []), (alone, early)):
        assert not list(boot.judge_network(patient, lines))


def test_a_fstab_that_cannot_be_read_names_nothing(tmp_path: Path) -> None:
    assert fstab.fstab_of(tmp_path / "none") == []
    (tmp_path / "fstab").write_bytes(b"\xff\xfe\n")
    assert fstab.fstab_of(tmp_path / "fstab") == []


@pytest.mark.parametrize(
    ("path", "warned"),
    [
        ("/dev/vdb", True),
        ("/dev/nvme0n1p2", True),
        ("/dev/disk/by-id/virtio-data", False),
        ("/dev/vg0/data", False),
        ("/dev/mapper/crypt", False),
        ("/srv/image", False),
    ],
)
def test_names_that_the_next_boot_may_give_to_another_disk(path: str, warned: bool) -> None:
    assert bool(list(boot.judge_names(volume(path)))) is warned


def test_what_lvm_sees_below_a_head_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = "/dev/disk/by-id/x"
    monkeypatch.setattr(boot, "run_quietly", lambda argv: argv == ["pvs", disk])
    found = list(boot.judge_lvm(volume(disk)))
    assert levels(found) == ["PROBLEM"]
    assert f"LVM sees a physical volume on {disk}" in found[0].what
    assert "accept /dev/mapper/frazil-data alone" in found[0].remedy
    assert list(boot.judge_lvm(volume("/dev/disk/by-id/y"))) == []


def test_places_on_filesystems_of_their_own(tmp_path: Path) -> None:
    config = Config(pool=PoolSection(directory=Path("/srv/pool/frazil")))
    lines = [fstab.Mount("/dev/vdc", "/srv/pool", "xfs"), fstab.Mount("/dev/vda1", "/", "ext4")]
    patient = Patient(config, volumes=(volume(),), root=tmp_path)
    assert levels(list(boot.judge_places(patient, lines))) == ["PROBLEM"]
    generator = tmp_path / boot.GENERATORS[0].lstrip("/")
    generator.parent.mkdir(parents=True)
    generator.touch()
    assert levels(list(boot.judge_places(patient, lines))) == ["NOTE"]
    assert list(boot.judge_places(patient, lines[1:])) == []


def test_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert configured(path, Config()).level is Level.NOTE
    path.touch()
    assert configured(path, Config()).level is Level.OK
    listening = Config(listen=ListenSection(address="0.0.0.0:7420"))
    assert configured(path, listening).level is Level.WARNING
    allowed = ReplicaSection(allow=(AllowSection(identity="a"),))
    known = Config(listen=listening.listen, replica=allowed)
    assert configured(path, known).level is Level.OK


def test_admission(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("version = 2\n")
    patient, found = admit(path)
    assert not patient.sound
    assert "newer than this frazil" in found[0].what
    path.write_text(f'[state]\ndirectory = "{tmp_path}/state"\n')
    (tmp_path / "state").mkdir()
    journal = Journal(tmp_path / "state/journal.db")
    journal.add_volume(volume())
    journal.close()
    patient, found = admit(path)
    assert [one.name for one in patient.volumes] == ["data"]
    (tmp_path / "state/journal.db").write_bytes(b"no database" * 1000)
    patient, found = admit(path)
    assert found[-1].level is Level.PROBLEM


def test_a_check_that_fails_is_a_finding() -> None:
    def broken(patient: Patient) -> list[Finding]:
        raise ZeroDivisionError("oh")

    found = list(guarded("pool", broken, Patient(Config())))
    assert levels(found) == ["WARNING"]
    assert "oh" in found[0].what


def test_the_report_shows_what_is_wrong_and_what_to_do() -> None:
    found = [
        Finding("kernel", Level.OK, "fine"),
        Finding("time", Level.WARNING, "late", "set it"),
        Finding("pool", Level.PROBLEM, "gone", "mount it"),
    ]
    text = report(found, everything=False)
    assert "fine" not in text
    assert "fine" in report(found, everything=True)
    assert "PROBLEM: pool: gone\n" in text
    assert text.endswith("3 things looked at: 1 problem and 1 warning")
    assert report(found[:1], everything=False) == "1 things looked at: all is well"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text("version = 7\n")
    assert main(["doctor", "--json", "--config", str(path)]) == Kind.PRECONDITION
    said = json.loads(capsys.readouterr().out)
    assert said["level"] == "problem"
    assert {one["area"] for one in said["findings"]} >= {"configuration", "kernel", "tools"}
    assert "pool" not in {one["area"] for one in said["findings"]}
    assert StateSection().directory == Path("/var/lib/frazil")
