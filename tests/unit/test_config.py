"""The configuration file: what it means, and how precisely it is refused."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from control.config import (
    AllowSection,
    Config,
    ConfigError,
    ConfigMissing,
    ConfigUnreadable,
    default_config_text,
    load,
    read,
    salvage,
)
from control.paths import DEFAULT_CONFIG
from dm_tables.errors import Kind
from dm_tables.units import GIB, MIB

SOURCE = Path("/some/where.toml")

EVERYTHING = """
version = 1
[host]
name = "alpha"
[state]
directory = "/srv/frazil"
[listen]
address = "0.0.0.0:7420"
[tls]
ca = "/etc/frazil/ca.pem"
cert = "/etc/frazil/host.pem"
key = "/etc/frazil/host.key"
[pool]
kind = "lvm"
volume_group = "vg0"
initial = "256MiB"
limit = "10GiB"
grow_at = 0.4
horizon = "1m30s"
[replica]
kind = "lvm"
[[replica.allow]]
identity = "beta"
volumes = ["db-*", "mail"]
[[replica.allow]]
identity = "gamma"
[merge]
rate = "100MiB/s"
[freeze]
deadline = "750ms"
consistency = "crash"
[copy]
rate = 0
window = " Mon-Fri  22:00-06:00,Sat-Sun"
compress = false
[verify]
every = "never"
rate = "none"
"""


def test_nothing_said_means_the_defaults() -> None:
    config = read("", SOURCE)
    assert config == Config()
    assert config.pool_directory == Path("/var/lib/frazil/pool")
    assert config.replica_directory == Path("/var/lib/frazil/replica")
    assert config.paths.control_socket == Path("/run/frazil/control.sock")
    assert config.freeze.deadline == 5.0
    assert config.pool.initial is None


def test_everything_said() -> None:
    config = read(EVERYTHING, SOURCE)
    assert config.host.name == "alpha"
    assert config.pool_directory == Path("/srv/frazil/pool")
    assert (config.pool.initial, config.pool.limit) == (256 * MIB, 10 * GIB)
    assert config.pool.horizon == 90.0
    assert config.replica.allow == (
        AllowSection(identity="beta", volumes=("db-*", "mail")),
        AllowSection(identity="gamma", volumes=("*",)),
    )
    assert config.merge.rate == 100 * MIB
    assert config.freeze.deadline == 0.75
    assert config.copy.rate == 0
    assert not config.copy.compress
    assert config.copy.window == "Mon-Fri 22:00-06:00,Sat-Sun"
    assert (config.verify.every, config.verify.rate) == (None, 0)


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("verzion = 1", "verzion", "did you mean version?"),
        ("version = 2", "version", "newer than this frazil"),
        ("[pol]", "pol", "did you mean pool?"),
        ("[pool]\nkindd = 'files'", "pool.kindd", "did you mean kind?"),
        ("[pool]\nzzz = 1", "pool.zzz", "there are directory, grow_at"),
        ("pool = 3", "pool", "is not a table"),
        ("[pool]\nkind = 'zfs'", "pool.kind", '"files" or "lvm"'),
        ("[pool]\nkind = ['files']", "pool.kind", '"files" or "lvm"'),
        ("[pool]\ndirectory = 'pool'", "pool.directory", "not an absolute path"),
        ("[pool]\ninitial = 'some'", "pool.initial", '"some" is not a size'),
        ("[pool]\ninitial = 1.5", "pool.initial", '"1.5" is not a size'),
        ("[pool]\ninitial = '1KiB'", "pool.initial", "from 1MiB up"),
        ("[pool]\ninitial = true", "pool.initial", '"true" is not a size'),
        ("[pool]\ngrow_at = 1.5", "pool.grow_at", "<= 0.9"),
        ("[pool]\ngrow_at = 'half'", "pool.grow_at", "expected float, got str"),
        ("[pool]\ngrow_at = 0.8", "pool.sacrifice_at", "not above pool.grow_at"),
        ("[pool]\nkind = 'lvm'", "pool.volume_group", "is missing"),
        ("[pool]\nvolume_group = 'vg'", "pool.volume_group", 'needs kind = "lvm"'),
        ("[pool]\nkind = 'lvm'\nvolume_group = '-x'", "pool.volume_group", "matching regex"),
        ("[replica]\nkind = 'lvm'", "replica.volume_group", "is missing"),
        ("[[replica.allow]]\nvolumes = ['*']", "replica.allow[0].identity", "is missing"),
        ("[[replica.allow]]\nidentity = 4", "replica.allow[0].identity", "4 is not text"),
        (
            "[[replica.allow]]\nidentity = 'a'\nvolumes = [4]",
            "replica.allow[0].volumes[0]",
            "expected str, got int",
        ),
        ("[replica.allow]\nidentity = 'a'", "replica.allow", "expected array"),
        ("[merge]\nrate = 'fast'", "merge.rate", '"fast" is not a rate'),
        ("[freeze]\ndeadline = '1h'", "freeze.deadline", "from 100ms to 1m"),
        ("[freeze]\ndeadline = [5]", "freeze.deadline", "an array"),
        ("[freeze]\nconsistency = 'app'", "freeze.consistency", '"crash" or "filesystem"'),
        ("[copy]\ncompress = 'yes'", "copy.compress", "expected bool, got str"),
        ("[copy]\nretry_first = '2m'", "copy.retry_longest", "shorter"),
        ("[copy]\nwindow = 'Mon-Fry'", "copy.window", '"Fry" is no day of the week'),
        ("[copy]\nwindow = 22", "copy.window", "22 names no hours"),
        ("[verify]\nevery = '5s'", "verify.every", "from 1m to 52w2d"),
        ("[verify]\nevery = 'monthly'", "verify.every", '"monthly" is not a length of time'),
        ("[verify]\nrate = '-1'", "verify.rate", '"-1" is not a rate'),
        ("[verify]\nslice = '2h'", "verify.slice", "from 1s to 1h"),
        ("[verify]\nrepair = 'yes'", "verify.repair", "expected bool, got str"),
        ("[verify]\nscrub = '1d'", "verify.scrub", "there are every, rate, repair, slice"),
        ("[listen]\naddress = '7420'", "listen.address", "is not an address"),
        ("[listen]\naddress = '10.0.0.1:7420'", "tls", "is missing"),
        ("[listen]\naddress = '[::1]:7420'", "tls", "or set plaintext = true"),
        (
            "[listen]\naddress = '10.0.0.1:7420'\nplaintext = true",
            "listen.plaintext",
            "loopback only",
        ),
        ("[tls]\nca = '/a'\ncert = '/b'", "tls.key", "is missing"),
        ("[tls]\nca = '/a'\ncert = '/b'\nkey = 5", "tls.key", "not an absolute path"),
        ("pool = [", "", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, SOURCE)
    error = caught.value
    assert error.key == key
    assert says in str(error)
    assert str(error).startswith(f"{SOURCE}: {key}" if key else f"{SOURCE}: is not")
    assert error.kind is Kind.USAGE


@pytest.mark.parametrize("address", ["127.0.0.1:7420", "localhost:0", "[::1]:1"])
def test_plaintext_is_for_loopback(address: str) -> None:
    config = read(f"[listen]\naddress = '{address}'\nplaintext = true", SOURCE)
    assert config.listen.address == address


def test_the_example_says_the_defaults() -> None:
    assert read(default_config_text(), SOURCE) == Config()


def test_the_example_names_every_key_and_its_examples_are_valid() -> None:
    lines = default_config_text().splitlines()
    bare = [line[1:] if line.startswith("#") and line[1:2] != " " else line for line in lines]
    text = "\n".join(line for line in bare if not line.startswith("volume_group"))
    config = read(text, SOURCE)
    assert config.tls is not None
    said = tomllib.loads("\n".join(bare))
    for section in msgspec.structs.fields(Config):
        value = getattr(config, section.name)
        if isinstance(value, msgspec.Struct):
            names = {field.name for field in msgspec.structs.fields(value)}
            assert set(said[section.name]) == names


def test_the_example_file_in_dist_is_this_one() -> None:
    root = Path(__file__).parents[2]
    assert (root / "dist/config.toml.example").read_text() == default_config_text()


def test_load_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[host]\nname = "alpha"\n')
    assert load(path).host.name == "alpha"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigMissing) as caught:
        load(tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in str(caught.value)
    assert caught.value.kind is Kind.NOT_FOUND


def test_the_default_file_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path, encoding: str) -> str:
        assert self == DEFAULT_CONFIG
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", absent)
    assert load() == Config()


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, encoding: str) -> str:
        raise PermissionError(self)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigUnreadable):
        load()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(os.urandom(4) + b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)


def test_the_boot_salvages_where_things_lie(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'version = 9\n[state]\ndirectory = "/srv/state"\n[pool]\ndirectory = "/srv/pool"\n'
        'grow_att = 1\n[run]\ndirectory = "/srv/run"\n[unheard_of]\nkey = 1\n'
    )
    kept = salvage(path)
    assert kept.paths.state == Path("/srv/state")
    assert kept.paths.run == Path("/srv/run")
    assert kept.pool_directory == Path("/srv/state/pool")
    path.write_text(path.read_text().replace("grow_att = 1\n", ""))
    assert salvage(path).pool_directory == Path("/srv/pool")
    path.write_text("not = = toml")
    assert salvage(path) == salvage(tmp_path / "missing") == Config()
