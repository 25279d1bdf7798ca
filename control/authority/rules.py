"""Who may do what, decided from values alone."""

from __future__ import annotations

from control.authority.errors import NotTheStamped, OwnedElsewhere
from control.authority.ownership import Claim, Owner, Standing
from control.fence import Fenced
from dm_tables.errors import FrazilError


def refused_head(standing: Standing, me: str, claim: Claim, volume: str) -> FrazilError | None:
    """Why a volume's head is not given to applications by host ``me``, if it is not.

    That a lease ended is no reason to take a group back: its last owner's applications may have
    written what it never committed. So only the last owner itself, or anybody after a release.
    """
    owner, last = standing.owner, standing.last
    if owner is not None and owner.host_uuid != me:
        return _fenced(claim, volume, f"{owner.host} owns it since {owner.told}")
    if last is None:
        return None
    if last.host_uuid != me and not last.released:
        why = f"{last.host} owned it last, since {last.told}, and did not release it"
        return _fenced(claim, volume, why)
    if not claim.has(last.stamp):
        why = f"{last.host} committed generation {last.stamp.number} of it, which is not here"
        return _fenced(claim, volume, why)
    return None


def refused_promotion(standing: Standing, me: str, claim: Claim) -> FrazilError | None:
    """Why a replica may not become the source at host ``me`` without force, if it may not."""
    owner, last = standing.owner, standing.last
    if owner is not None and owner.host_uuid != me:
        return OwnedElsewhere(
            f"{owner.host} owns {claim.group} since {owner.told}, and its lease lives",
            "switch roles there, with frazil mirror switch; or, when that host is dead, wait for "
            "the end of its lease; --force takes it away, and both sides may be written then",
        )
    newest = owner or last
    if newest is None or not newest.stamp.uuid:
        return NotTheStamped(
            f"no generation of {claim.group} is stamped at the authority",
            "its source was never under it, or could not reach it: promote with --force",
        )
    if not claim.has(newest.stamp):
        return NotTheStamped(
            f"{newest.host} committed generation {newest.stamp.number} of {claim.group}, and the "
            f"newest here is {claim.stamp.number}",
            "promote where that one is; --force gives up what is newer",
        )
    return None


def promotes_itself(standing: Standing, me: str, claim: Claim) -> bool:
    """Whether a replica at host ``me`` takes over unasked.

    Another host's lease ended without a release, and what it stamped is here.
    """
    last = standing.last
    return (
        standing.owner is None
        and last is not None
        and not last.released
        and last.host_uuid != me
        and last.stamp.uuid in claim.known
    )


def is_mine(owner: Owner | None, me: str) -> bool:
    """Whether host ``me`` is this owner."""
    return owner is not None and owner.host_uuid == me


def _fenced(claim: Claim, volume: str, why: str) -> Fenced:
    return Fenced(
        f"{volume} is kept from applications: {why}",
        f"frazil volume demote {claim.group}; or, to use it all the same, "
        f"frazil volume activate {volume} --force",
    )
