"""What the daemon asks an authority, and the one that there is by default: none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from control.authority.ownership import Claim
    from control.host import Host
    from control.replica.side import ReplicaSide
    from control.switch import Roles
    from control.volume import Volume


class Authority(Protocol):
    """Says which host may give a group's heads to applications."""

    def activating(self, volume: Volume) -> None:
        """A head is about to be made: own its group.

        :raises Fenced: another host owns it. :raises AuthorityUnavailable: nobody says who does.
        """

    def promoting(self, claim: Claim, *, force: bool) -> None:
        """A replica is about to become the source: own its group.

        :raises OwnedElsewhere, NotTheStamped: without ``force``.
        :raises AuthorityUnavailable: without ``force``.
        """

    def released(self, claim: Claim) -> None:
        """The group's heads are gone from here, and another host may own it; never fails."""

    def committed(self) -> None:
        """A replica committed: a generation is to be stamped. Returns at once."""

    def check(self) -> None:
        """:raises AuthorityUnavailable, AuthorityDenied: it cannot be asked now."""

    def problem(self, group: str) -> str:
        """What is wrong between a group and the authority; empty if nothing is."""

    def start(self, host: Host, replicas: ReplicaSide, roles: Roles) -> None:
        """Keep what is owned from now on, and take over where that is wanted."""

    def stop(self) -> None:
        """No more of it; what is owned is owned until its lease ends."""

    def at_work(self) -> bool:
        """Whether its thread runs, if it must."""


class NoAuthority:
    """Every host decides for itself, and promote is a person's act."""

    def activating(self, volume: Volume) -> None:
        """Nobody is asked."""

    def promoting(self, claim: Claim, *, force: bool) -> None:
        """Nobody is asked."""

    def released(self, claim: Claim) -> None:
        """Nobody is told."""

    def committed(self) -> None:
        """Nobody is told."""

    def check(self) -> None:
        """Nobody is asked."""

    def problem(self, group: str) -> str:
        """There is none."""
        return ""

    def start(self, host: Host, replicas: ReplicaSide, roles: Roles) -> None:
        """There is nothing to keep."""

    def stop(self) -> None:
        """There is nothing to end."""

    def at_work(self) -> bool:
        """It has no thread."""
        return True


NO_AUTHORITY = NoAuthority()
