"""What is wrong on a host is said, and heads that can be assembled are, with daemon and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pair import DISK, MIB, PATIENT
from vagrant.cluster import Certificates, FrazilHost, HostSettings
from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest

CONFIG = "/etc/frazil/config.toml"
POOL = "/var/lib/frazil/pool"
HEADS_AWAY = """
for turn in 1 2 3 4 5 6 7 8 9; do
    for name in $(dmsetup ls | sed -n 's/^\\(frazil[^[:space:]]*\\).*/\\1/p'); do
        dmsetup remove "$name" 2>/dev/null || true
    done
done
losetup -D
"""


@pytest.fixture
def host(lab: Lab) -> Iterator[FrazilHost]:
    """A host with the volumes ``layered``, which stands on the pool, and ``plain``."""
    (guest,) = lab.start("source")
    settings = HostSettings(peers=("source",), extra=PATIENT)
    made = FrazilHost(guest, Certificates(), settings)
    made.configure()
    made.start()
    for number, name in enumerate(("layered", "plain")):
        span = f"{DISK}d0,offset={(1 + 40 * number) * MIB},length={32 * MIB}"
        made.frazil("volume", "create", name, span)
    made.frazil("mirror", "create", "m", "layered", "source:7420", "--on-demand", "--start")
    made.frazil("mirror", "sync-now", "m", "--wait")
    made.stop()
    guest.run(HEADS_AWAY)
    yield made


def heads(guest: Guest) -> set[str]:
    """The heads that are there."""
    there = guest.run("ls /dev/mapper").text.split()
    return {name for name in ("layered", "plain") if f"frazil-{name}" in there}


def test_the_pools_disk_is_missing(host: FrazilHost) -> None:
    guest = host.guest
    assert heads(guest) == set()
    guest.run(f"mv {POOL} /var/lib/frazil/away")
    said = host.frazil("activate", check=False)
    assert said.code == 6
    assert f"volume layered: the pool {POOL} is not there" in said.err
    assert "attach its disk" in said.err
    assert heads(guest) == {"plain"}
    host.start()
    assert f"the pool {POOL} is not there" in host.log_tail()
    assert heads(guest) == {"plain"}
    guest.run(f"test ! -e {POOL}")
    guest.run(f"mv /var/lib/frazil/away {POOL}")
    host.until("the head comes by itself", lambda: heads(guest) == {"layered", "plain"})
    host.frazil("mirror", "sync-now", "m", "--wait")


def test_a_configuration_of_a_newer_version(host: FrazilHost) -> None:
    guest = host.guest
    guest.run(f"sed -i 's/^version = 1/version = 9/' {CONFIG}")
    said = host.frazil("activate", check=False)
    assert said.code == 2
    assert "version: 9 is newer than this frazil" in said.err
    assert heads(guest) == {"layered", "plain"}
    daemon = guest.run("frazild", check=False)
    assert daemon.code == 2


def test_certificates_that_do_not_match(host: FrazilHost) -> None:
    other = Certificates().issue("source")
    right = host.guest.get("/etc/frazil/host.key")
    host.guest.put(other.key, "/etc/frazil/host.key", mode=0o600)
    host.start()
    assert "/etc/frazil/host.key is not the key of" in host.log_tail()
    assert heads(host.guest) == {"layered", "plain"}
    host.guest.put(right, "/etc/frazil/host.key", mode=0o600)
    host.until("it listens after all", lambda: "listener: recovered" in host.log_tail())
    host.frazil("mirror", "sync-now", "m", "--wait")
