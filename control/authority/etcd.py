"""The authority that etcd keeps, as the daemon asks it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from control.authority import rules
from control.authority.claims import claim_of
from control.authority.gateway import Gateway
from control.authority.keeper import Keeper
from control.authority.ledger import Ledger
from control.authority.ownership import Claim
from control.authority.post import Post
from control.config.authority import AuthoritySection
from control.events import Events
from control.fence import OVERRIDDEN
from control.journal import Journal
from dm_tables.errors import FrazilError

if TYPE_CHECKING:
    from control.host import Host
    from control.replica.side import ReplicaSide
    from control.switch import Roles
    from control.volume import Volume

STOP_SECONDS = 10.0


class EtcdAuthority:
    """See :class:`control.authority.authority.Authority`. Any thread may use it."""

    def __init__(
        self, ledger: Ledger, settings: AuthoritySection, journal: Journal, events: Events
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._journal = journal
        self._events = events
        self._lock = threading.RLock()
        self._forced: set[str] = set()
        self._keeper: Keeper | None = None

    def activating(self, volume: Volume) -> None:
        """Own the group, unless it is owned already, or was taken by force unasked.

        :raises Fenced: another host owns it, or did last. :raises AuthorityUnavailable: as named.
        """
        if volume.stack.head.exists() or self._ledger.owning(volume.uuid):
            return
        if volume.uuid in self._forced:
            self._journal.set_fenced(volume.name, OVERRIDDEN)
            return
        claim = claim_of(self._journal, volume.name)
        with self._lock:
            self._ledger.take(
                claim,
                lambda seen: rules.refused_head(seen, self._ledger.me, claim, volume.name),
            )

    def promoting(self, claim: Claim, *, force: bool) -> None:
        """Own the group as :meth:`Authority.promoting` says; force does without an answer too."""
        try:
            with self._lock:
                self._ledger.take(
                    claim,
                    lambda seen: (
                        None if force else rules.refused_promotion(seen, self._ledger.me, claim)
                    ),
                )
        except FrazilError as error:
            if not force:
                raise
            self._events.add("warning", claim.group, error.name, f"promoted all the same: {error}")
            self._forced.update(claim.volumes)

    def released(self, claim: Claim) -> None:
        """Let go; if the authority cannot be told, the lease ends by itself."""
        try:
            with self._lock:
                self._ledger.release(claim)
        except FrazilError as error:
            told = f"it could not be released, and is owned until its lease ends: {error}"
            self._events.add("warning", claim.group, error.name, told)

    def committed(self) -> None:
        """Stamp soon."""
        if self._keeper is not None:
            self._keeper.wake()

    def check(self) -> None:
        """Ask for what does not exist."""
        with self._lock:
            self._ledger.standing("none")

    def problem(self, group: str) -> str:
        """What the last look at a group found."""
        return self._keeper.problems.get(group, "") if self._keeper is not None else ""

    def start(self, host: Host, replicas: ReplicaSide, roles: Roles) -> None:
        """Begin to keep."""
        self._keeper = Keeper(self._ledger, self._lock, self._settings, host, replicas, roles=roles)
        self._keeper.start()

    def stop(self) -> None:
        """End the thread."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper.join(STOP_SECONDS)

    def at_work(self) -> bool:
        """Whether it runs."""
        return self._keeper is None or self._keeper.is_alive()


def etcd_authority(
    settings: AuthoritySection, name: str, journal: Journal, events: Events
) -> EtcdAuthority:
    """As configured; nothing is asked yet."""
    post = Post(
        settings.endpoints,
        min(5.0, max(1.0, settings.ttl / 10)),
        ca=settings.ca,
        cert=settings.cert,
        key=settings.key,
    )
    gateway = Gateway(post)
    me = journal.host_uuid
    ledger = Ledger(gateway, settings.prefix, me, name=name, ttl=int(settings.ttl))
    return EtcdAuthority(ledger, settings, journal, events)
