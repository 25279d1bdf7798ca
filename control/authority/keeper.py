"""The thread that keeps what is owned, stamps what is committed, and takes over where asked to.

It never touches a head in use: losing a lease is told, and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from control import fence
from control.authority import rules
from control.authority.claims import promoting_key, replica_groups, source_claims
from control.authority.errors import AuthorityDamaged
from control.authority.ledger import Ledger
from control.authority.ownership import Claim, Standing
from control.config.authority import AuthoritySection
from dm_tables.errors import Denied, FrazilError, Unavailable

if TYPE_CHECKING:
    from control.host import Host
    from control.replica.side import ReplicaSide
    from control.switch import Roles
    from control.volume import Volume

log = logging.getLogger("frazil.authority")

BEATS = 3
"""How often a lease is renewed in its time."""

AUTHORITY = "authority"
"""What events are about that concern no single group."""


class Keeper(threading.Thread):
    """One thread a host. ``problems`` are sentences by group."""

    def __init__(
        self,
        ledger: Ledger,
        lock: threading.RLock,
        settings: AuthoritySection,
        host: Host,
        replicas: ReplicaSide,
        *,
        roles: Roles,
    ) -> None:
        super().__init__(name=AUTHORITY, daemon=True)
        self.problems: dict[str, str] = {}
        self._ledger = ledger
        self._lock = lock
        self._settings = settings
        self._host = host
        self._replicas = replicas
        self._roles = roles
        self._journal = host.context.journal
        self._events = host.context.events
        self._wanted = threading.Event()
        self._failed = ""
        self._stopping = False

    def wake(self) -> None:
        """Look now."""
        self._wanted.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wanted.set()

    def run(self) -> None:
        """Look, again and again."""
        while not self._stopping:
            self._wanted.clear()
            try:
                self.beat()
            except Exception:
                log.exception("authority")
            self._wanted.wait(self._settings.ttl / BEATS)

    def beat(self) -> None:
        """One look at every group."""
        claims = source_claims(self._journal)
        names = {claim.group for claim in claims}
        self.problems = {name: text for name, text in self.problems.items() if name in names}
        try:
            self._let_go(claims)
            for claim in claims:
                self._keep(claim)
            if self._settings.auto_promote:
                self._take_over()
        except (Unavailable, Denied) as error:
            # The next group would be waited for as long, while leases end.
            for claim in claims:
                self._tell(claim, error.name, self._silent(claim, error))

    # Sources.

    def _let_go(self, claims: Sequence[Claim]) -> None:
        """Release groups that are no more, or have other members now."""
        wanted = {claim.key for claim in claims}
        promoting = promoting_key(self._journal)
        for key, held in list(self._ledger.held.items()):
            with self._lock:
                if key == promoting:
                    self._ledger.keep(held.claim)
                elif key not in wanted:
                    self._ledger.release(held.claim)

    def _keep(self, claim: Claim) -> None:
        volumes = [one for one in self._host.volumes() if one.uuid in claim.volumes]
        overridden = all(one.record.fenced.startswith(fence.OVERRIDDEN) for one in volumes)
        if not volumes or any(fence.is_fenced(one) for one in volumes):
            return
        try:
            with self._lock:
                had = claim.key in self._ledger.held
                if not self._ledger.keep(claim):
                    self._ledger.take(
                        claim, lambda seen: self._refusal(seen, claim, overridden=overridden)
                    )
                    if had:
                        self._lost(claim, "its lease had ended; nobody else took the group")
        except fence.Fenced as error:
            self._taken(claim, volumes, error, forced=overridden)
            return
        except AuthorityDamaged as error:
            self._tell(claim, error.name, error.what)
            return
        if self.problems.pop(claim.group, ""):
            self._events.add("info", claim.group, "authority-regained", "this host owns it")
        for volume in volumes:
            if volume.record.fenced.startswith(fence.OVERRIDDEN):
                self._journal.set_fenced(volume.name, "")

    def _refusal(self, seen: Standing, claim: Claim, *, overridden: bool) -> FrazilError | None:
        """A group that a person took by force is taken once no lease of another's lives."""
        if overridden and seen.owner is None:
            return None
        return rules.refused_head(seen, self._ledger.me, claim, claim.group)

    def _taken(
        self, claim: Claim, volumes: Sequence[Volume], error: fence.Fenced, *, forced: bool
    ) -> None:
        """Another host's; what is in use here goes on, and what is not is kept back."""
        self._tell(claim, "authority-lost", error.what)
        for volume in volumes if not forced else ():
            if volume.stack.head.exists():
                fence.fence(volume, error.what)

    def _lost(self, claim: Claim, why: str) -> None:
        self._events.add("warning", claim.group, "authority-lapsed", why)

    def _silent(self, claim: Claim, error: FrazilError) -> str:
        if self._ledger.owns(claim.key):
            return f"this host's lease cannot be renewed: {error.what}"
        return f"this host's lease has ended, and another host may take over: {error.what}"

    def _tell(self, claim: Claim, kind: str, text: str) -> None:
        if self.problems.get(claim.group) != text:
            self._events.add("error", claim.group, kind, text)
        self.problems[claim.group] = text

    # Replicas.

    def _take_over(self) -> None:
        for claim in replica_groups(self._replicas.store):
            try:
                with self._lock:
                    standing = self._ledger.standing(claim.key)
            except AuthorityDamaged as error:
                self._tell_failure(claim, error)
                continue
            if not rules.promotes_itself(standing, self._ledger.me, claim):
                continue
            last = standing.last
            assert last is not None
            told = f"the lease of {last.host} ended, which owned it since {last.told}"
            self._promote(claim, told)

    def _promote(self, claim: Claim, told: str) -> None:
        try:
            self._roles.take_over_unasked(claim.group)
        except FrazilError as error:
            self._tell_failure(claim, error)
            return
        self._events.add("warning", claim.group, "auto-promoted", told)

    def _tell_failure(self, claim: Claim, error: FrazilError) -> None:
        text = f"{claim.group} cannot be promoted: {error}"
        if self._failed != text:
            self._events.add("error", claim.group, error.name, text)
        self._failed = text
