"""The guest's own network card: delay, loss, rate and partitions, all undone by calling again."""

from __future__ import annotations

import contextlib

INTERFACE = "eth0"
# Nobody has this address: what is sent there vanishes, as it does on a cut cable.
NOWHERE = "02:00:00:00:00:00"


def shape(
    delay_ms: float = 0, jitter_ms: float = 0, loss_percent: float = 0, rate_mbit: float = 0
) -> None:
    """Shape what this guest sends; without arguments, send it as it comes."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as routes:
        index = routes.link_lookup(ifname=INTERFACE)[0]
        with contextlib.suppress(NetlinkError):  # nothing was shaped
            routes.tc("del", index=index, root=True)
        if not (delay_ms or loss_percent or rate_mbit):
            return
        microseconds = {"delay": int(delay_ms * 1000), "jitter": int(jitter_ms * 1000)}
        routes.tc("add", "netem", index, "1:", limit=20000, loss=loss_percent, **microseconds)
        if rate_mbit:
            # netem's own rate is refused by this kernel as pyroute2 writes it.
            rate = {"rate": f"{rate_mbit}mbit", "latency": "100ms", "burst": 64 * 1024}
            routes.tc("add", "tbf", index, "2:", parent="1:1", **rate)


def cut(addresses: list[str]) -> None:
    """Lose, silently, everything this guest sends to these addresses."""
    from pyroute2 import IPRoute

    with IPRoute() as routes:
        index = routes.link_lookup(ifname=INTERFACE)[0]
        for address in addresses:
            routes.neigh("replace", dst=address, lladdr=NOWHERE, ifindex=index, state="permanent")


def mend() -> None:
    """Forget every cut."""
    from pyroute2 import IPRoute

    with IPRoute() as routes:
        index = routes.link_lookup(ifname=INTERFACE)[0]
        for entry in routes.get_neighbours(ifindex=index):
            if entry.get_attr("NDA_LLADDR") == NOWHERE:
                routes.neigh("del", dst=entry.get_attr("NDA_DST"), ifindex=index)
