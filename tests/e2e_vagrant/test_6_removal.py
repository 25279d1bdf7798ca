"""Removing leaves heads and data as they are; purging leaves nothing but the data."""

from __future__ import annotations

from tests.e2e_vagrant.hosts import HEAD, MIRROR, Hosts

TRACES = (
    "set +e; find / -xdev -iname '*frazil*' -not -path '/root/*' -not -path '/var/log/*' "
    "-not -path '/var/cache/*' -not -path '/proc/*';"
    "find /etc /run -lname '*frazil*'; dmsetup ls | grep frazil; losetup -l -n;"
    "getent group frazil; systemctl list-unit-files --no-legend | grep frazil; true"
)


def test_removing_leaves_heads_in_use(hosts: Hosts) -> None:
    local = hosts.local
    writer = hosts.writer()
    committed = hosts.goes_on(hosts.mirror().committed).committed
    said = local.run("apt-get remove --yes frazil 2>&1").out
    assert HEAD in said.split()
    assert "frazil volume remove NAME" in said
    writer.goes_on()
    assert local.out("findmnt -no SOURCE /srv/data") == HEAD
    # Installed anew, it goes on where it was.
    local.run(f"cd /root && apt-get install --yes ./{hosts.newer.name}")
    local.run("systemctl enable --now frazil-activate frazild")
    now = hosts.goes_on(committed)
    assert {one.kind for one in now.recent if one.generation > 1} == {"delta"}
    writer.stop()
    assert writer.faults(writer.found_at(local, "/srv/data")) == []


def test_purging_leaves_the_data_alone(hosts: Hosts) -> None:
    local, remote = hosts.local, hosts.remote
    writer = hosts.writer()
    hosts.goes_on(hosts.mirror().committed)
    writer.stop()
    # The negative control: before, there is a lot to be found.
    assert len(local.out(TRACES).splitlines()) > 20
    local.run(f"umount /srv/data; frazil mirror remove {MIRROR}; frazil volume remove data")
    local.run("apt-get purge --yes frazil")
    assert local.out(TRACES) == ""
    disk = "/dev/disk/by-id/virtio-data"
    local.run(f"e2fsck -f -n {disk}; mount {disk} /srv/data")
    assert local.out("cat /srv/data/first") == "written before frazil"
    assert writer.faults(writer.found_at(local, "/srv/data")) == []

    said = remote.run("apt-get purge --yes frazil 2>&1").out
    assert "/var/lib/frazil stays: it holds data" in said
    left = remote.out(TRACES).splitlines()
    assert [path for path in left if not path.startswith("/var/lib/frazil")] == []
    assert remote.out("find /var/lib/frazil/replica -type f | head -n 1")
    for machine in (local, remote):
        assert hosts.failed_units(machine) == []
