"""What a host owns at etcd: taken by compare-and-swap, kept by leases, stamped, released."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from control.authority.errors import AuthorityUnavailable
from control.authority.gateway import Delete, Gateway, Put
from control.authority.ownership import Claim, Owner, Standing, read_owner, stamp_of
from control.authority.rules import is_mine
from dm_tables.errors import FrazilError

Refusal = Callable[[Standing], FrazilError | None]
"""Why what stands at etcd does not allow it, if it does not."""

TAKES = 4
"""How often a group is read again when somebody else changed it meanwhile."""


@dataclass(frozen=True, slots=True)
class Held:
    """A group that is owned. ``until``: its lease lives at least so long, by this host's clock."""

    claim: Claim
    lease: int
    until: float


class Ledger:
    """One host's ownership. The caller sees to it that one thread at a time uses it.

    :param me: this host's UUID. :param name: what others are told.
    :param ttl: of leases, in seconds.
    :param clock: this host's seconds, monotonic. :param now: seconds since the epoch.
    """

    def __init__(
        self,
        gateway: Gateway,
        prefix: str,
        me: str,
        *,
        name: str,
        ttl: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.me = me
        self.held: dict[str, Held] = {}
        self._gateway = gateway
        self._prefix = prefix.rstrip("/")
        self._name = name
        self._ttl = ttl
        self._clock = clock
        self._now = now

    def owns(self, key: str) -> bool:
        """Whether it is certain that no other host owns a group: its lease cannot have ended."""
        held = self.held.get(key)
        return held is not None and self._clock() < held.until

    def owning(self, volume_uuid: str) -> bool:
        """Whether a volume is in a group that :meth:`owns`."""
        return any(
            volume_uuid in held.claim.volumes and self.owns(key)
            for key, held in list(self.held.items())
        )

    def standing(self, key: str) -> Standing:
        """How a group stands at etcd. :raises AuthorityDamaged: a key is not frazil's."""
        below = f"{self._prefix}/groups/{key}/"
        found = {one.key.removeprefix(below): one for one in self._gateway.below(below)}
        owner, last = found.get("owner"), found.get("last")
        return Standing(
            read_owner(owner.key, owner.value) if owner else None,
            owner.revision if owner else 0,
            owner.lease if owner else 0,
            read_owner(last.key, last.value) if last else None,
            last.revision if last else 0,
        )

    def take(self, claim: Claim, refusal: Refusal) -> None:
        """Own a group, unless what stands there forbids it.

        :raises FrazilError: what ``refusal`` said. :raises AuthorityUnavailable: also when others
            change the group again and again.
        """
        for _ in range(TAKES):
            standing = self.standing(claim.key)
            refused = refusal(standing)
            if refused is not None:
                raise refused
            if self._adopt(claim, standing) or self._put(claim, standing):
                return
        raise AuthorityUnavailable(f"other hosts are taking {claim.group}", "it is tried again")

    def _adopt(self, claim: Claim, standing: Standing) -> bool:
        """Go on with a lease that this host has already, from before it was started anew."""
        if not is_mine(standing.owner, self.me):
            return False
        return self._alive(claim, standing.lease)

    def _alive(self, claim: Claim, lease: int) -> bool:
        # Before it is sent: the lease ends there later than it is taken to end here.
        began = self._clock()
        ttl = self._gateway.keep_alive(lease) if lease else 0
        if ttl <= 0:
            self.held.pop(claim.key, None)
            return False
        self.held[claim.key] = Held(claim, lease, began + ttl)
        return True

    def _put(self, claim: Claim, standing: Standing) -> bool:
        began = self._clock()
        lease = self._gateway.grant(self._ttl)
        last = standing.last
        since = self._now()
        if last is not None and is_mine(last, self.me) and not last.released:
            since = last.since
        owner = Owner(self.me, self._name, stamp_of(claim, last), since)
        if self._write(claim.key, standing, owner, lease):
            self.held[claim.key] = Held(claim, lease, began + self._ttl)
            return True
        with suppress(FrazilError):
            self._gateway.revoke(lease)
        return False

    def _write(self, key: str, seen: Standing, owner: Owner, lease: int) -> bool:
        """Both keys, if they are as they were seen; lease 0 leaves no owner."""
        below = f"{self._prefix}/groups/{key}"
        leased = Put(f"{below}/owner", owner.text(), lease) if lease else Delete(f"{below}/owner")
        unchanged = {
            f"{below}/owner": seen.owner_revision,
            f"{below}/last": seen.last_revision,
        }
        return self._gateway.change(unchanged, [leased, Put(f"{below}/last", owner.text())])

    def keep(self, claim: Claim) -> bool:
        """Keep a group that is owned, and stamp what was committed since.

        :return: whether it is owned still.
        """
        held = self.held.get(claim.key)
        if held is None or not self._alive(claim, held.lease):
            return False
        standing = self.standing(claim.key)
        if not is_mine(standing.owner, self.me) or standing.lease != held.lease:
            del self.held[claim.key]
            return False
        assert standing.owner is not None
        stamp = stamp_of(claim, standing.owner)
        if stamp != standing.owner.stamp:
            owner = replace(standing.owner, stamp=stamp)
            return self._write(claim.key, standing, owner, held.lease) or self.keep(claim)
        return True

    def release(self, claim: Claim) -> None:
        """Let anybody who has what is stamped own a group; nothing happens if another one does."""
        held = self.held.pop(claim.key, None)
        standing = self.standing(claim.key)
        if is_mine(standing.owner or standing.last, self.me):
            assert standing.last is not None
            owner = replace(standing.last, stamp=stamp_of(claim, standing.last), released=True)
            self._write(claim.key, standing, owner, 0)
        if held is not None:
            self._gateway.revoke(held.lease)
