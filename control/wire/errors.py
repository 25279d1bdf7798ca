"""What can go wrong between a source and its replica, as types.

Both ends import these, so that an error raised at the replica is the same class at the source
(:mod:`control.wire.status`).
"""

from __future__ import annotations

from dm_tables.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Exists,
    NotFound,
    Precondition,
    Unavailable,
    Usage,
)


class PeerUnreachable(Unavailable):
    """The peer did not answer, or the connection broke. Retrying is right."""


class Stalled(Unavailable):
    """The connection stood, and nothing moved on it for the stall limit. Retrying is right."""


class SendStopped(Unavailable):
    """The sender was told to stop; what is durable at the replica stays there."""


class ReplicaBusy(Unavailable):
    """Another call holds the replica volume and did not let go in time. Retrying is right."""


class Superseded(Unavailable):
    """A newer call took the replica volume over from this one."""


class ProtocolMismatch(Precondition):
    """The two ends speak different versions of the protocol."""


class BaseMismatch(Precondition):
    """The delta does not build on what the replica has. Nothing was written."""


class OnOwnDevice(Precondition):
    """What a replica on a device of its own lacks is not known, so only a comparison helps."""


class KeepsPoints(Precondition):
    """A whole copy would take a replica's recovery points away, so only a comparison helps."""


class MirrorLoop(Precondition):
    """A volume of the replica's own host, sent by another one: a copy would come back to itself."""


class ReplicaPromoted(Precondition):
    """What was a replica is a source of its host now, and takes nothing from its old source."""


class SplitBrain(Precondition):
    """What was a replica is written as a source by its host, and so is the other side."""


class NotStaged(Precondition):
    """A member of a group has not come whole, or as another generation. Nothing was committed."""


class SizeMismatch(Precondition):
    """The replica volume is larger than the source's, or a seed is not as large."""


class ReplicaHeld(Precondition):
    """A device or a reader holds what would have to go."""


class ReplicaRefused(Denied):
    """The replica does not let this identity write or read this volume."""


class WrittenByAnother(ReplicaRefused):
    """Another identity writes this replica; that this one may use the name is not in question."""


class PlaintextRefused(Denied):
    """A connection without TLS that would leave this host."""


class VolumeNameTaken(Exists):
    """The name belongs to another volume at the replica."""


class ReplicaNotFound(NotFound):
    """No replica volume has this name."""


class GenerationNotFound(NotFound):
    """The replica does not have this generation, or has merged past it."""


class ReplicaFull(Exhausted):
    """No room at the replica. What was durable stays; the same call can be made again later."""


class QuotaExceeded(ReplicaFull):
    """The writer's replica volumes take more than it is allowed. As with :class:`ReplicaFull`."""


class BadManifest(Usage):
    """A manifest that describes nothing that could be received."""


class NotAStack(Usage):
    """A base and layers that do not make up the generation they are to be."""


class BadCommit(Usage):
    """The commit of a group that names no instant: no member, one twice, or two generations."""


class BadStream(Usage):
    """A message out of order, or a run that is not what it must be."""


class DataLoss(Corrupt):
    """Bytes arrived other than they were sent: a checksum, a count or a digest differs."""


class SourceChanged(Corrupt):
    """What was frozen did not read the same twice."""


class ReplicaDamaged(Corrupt):
    """The replica's journal or what it describes is not as it was left."""
