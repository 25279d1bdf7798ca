import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from proto.frazil.v1 import replica_pb2 as _replica_pb2
from proto.frazil.v1 import volumes_pb2 as _volumes_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Group(_message.Message):
    __slots__ = ("name", "volumes", "consistency", "policy", "quorum", "hooks", "mirrors", "newest", "freeze_pause_us", "problem", "implicit", "fencing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    FREEZE_PAUSE_US_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    IMPLICIT_FIELD_NUMBER: _ClassVar[int]
    FENCING_FIELD_NUMBER: _ClassVar[int]
    name: str
    volumes: _containers.RepeatedScalarFieldContainer[str]
    consistency: str
    policy: str
    quorum: int
    hooks: Hooks
    mirrors: _containers.RepeatedScalarFieldContainer[str]
    newest: _replica_pb2.Generation
    freeze_pause_us: int
    problem: str
    implicit: bool
    fencing: str
    def __init__(self, name: _Optional[str] = ..., volumes: _Optional[_Iterable[str]] = ..., consistency: _Optional[str] = ..., policy: _Optional[str] = ..., quorum: _Optional[int] = ..., hooks: _Optional[_Union[Hooks, _Mapping]] = ..., mirrors: _Optional[_Iterable[str]] = ..., newest: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., freeze_pause_us: _Optional[int] = ..., problem: _Optional[str] = ..., implicit: _Optional[bool] = ..., fencing: _Optional[str] = ...) -> None: ...

class Hooks(_message.Message):
    __slots__ = ("before", "before_ms", "after", "after_ms")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    before: _containers.RepeatedScalarFieldContainer[str]
    before_ms: int
    after: _containers.RepeatedScalarFieldContainer[str]
    after_ms: int
    def __init__(self, before: _Optional[_Iterable[str]] = ..., before_ms: _Optional[int] = ..., after: _Optional[_Iterable[str]] = ..., after_ms: _Optional[int] = ...) -> None: ...

class CreateGroupRequest(_message.Message):
    __slots__ = ("name", "volumes", "consistency", "policy", "quorum", "hooks", "fencing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    FENCING_FIELD_NUMBER: _ClassVar[int]
    name: str
    volumes: _containers.RepeatedScalarFieldContainer[str]
    consistency: str
    policy: str
    quorum: int
    hooks: Hooks
    fencing: str
    def __init__(self, name: _Optional[str] = ..., volumes: _Optional[_Iterable[str]] = ..., consistency: _Optional[str] = ..., policy: _Optional[str] = ..., quorum: _Optional[int] = ..., hooks: _Optional[_Union[Hooks, _Mapping]] = ..., fencing: _Optional[str] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGroupsReply(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ...) -> None: ...

class GetGroupRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UpdateGroupRequest(_message.Message):
    __slots__ = ("name", "add", "remove", "consistency", "policy", "quorum", "hooks", "fencing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    FENCING_FIELD_NUMBER: _ClassVar[int]
    name: str
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    consistency: str
    policy: str
    quorum: int
    hooks: Hooks
    fencing: str
    def __init__(self, name: _Optional[str] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ..., consistency: _Optional[str] = ..., policy: _Optional[str] = ..., quorum: _Optional[int] = ..., hooks: _Optional[_Union[Hooks, _Mapping]] = ..., fencing: _Optional[str] = ...) -> None: ...

class RemoveGroupRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveGroupReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateMirrorRequest(_message.Message):
    __slots__ = ("name", "volume", "peer", "replica_volume", "interval_ms", "rate_bytes", "start", "on_demand", "plaintext", "verify", "group", "schedule", "rpo_ms", "window")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REPLICA_VOLUME_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    RPO_MS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    volume: str
    peer: str
    replica_volume: str
    interval_ms: int
    rate_bytes: int
    start: bool
    on_demand: bool
    plaintext: bool
    verify: bool
    group: str
    schedule: str
    rpo_ms: int
    window: str
    def __init__(self, name: _Optional[str] = ..., volume: _Optional[str] = ..., peer: _Optional[str] = ..., replica_volume: _Optional[str] = ..., interval_ms: _Optional[int] = ..., rate_bytes: _Optional[int] = ..., start: _Optional[bool] = ..., on_demand: _Optional[bool] = ..., plaintext: _Optional[bool] = ..., verify: _Optional[bool] = ..., group: _Optional[str] = ..., schedule: _Optional[str] = ..., rpo_ms: _Optional[int] = ..., window: _Optional[str] = ...) -> None: ...

class ListMirrorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMirrorsReply(_message.Message):
    __slots__ = ("mirrors",)
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    mirrors: _containers.RepeatedCompositeFieldContainer[Mirror]
    def __init__(self, mirrors: _Optional[_Iterable[_Union[Mirror, _Mapping]]] = ...) -> None: ...

class GetMirrorRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchMirrorsRequest(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateMirrorRequest(_message.Message):
    __slots__ = ("name", "interval_ms", "rate_bytes", "on_demand", "peer", "verify", "schedule", "rpo_ms", "window")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    RPO_MS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    interval_ms: int
    rate_bytes: int
    on_demand: bool
    peer: str
    verify: bool
    schedule: str
    rpo_ms: int
    window: str
    def __init__(self, name: _Optional[str] = ..., interval_ms: _Optional[int] = ..., rate_bytes: _Optional[int] = ..., on_demand: _Optional[bool] = ..., peer: _Optional[str] = ..., verify: _Optional[bool] = ..., schedule: _Optional[str] = ..., rpo_ms: _Optional[int] = ..., window: _Optional[str] = ...) -> None: ...

class StartMirrorRequest(_message.Message):
    __slots__ = ("name", "whole")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    whole: bool
    def __init__(self, name: _Optional[str] = ..., whole: _Optional[bool] = ...) -> None: ...

class SyncNowRequest(_message.Message):
    __slots__ = ("name", "wait")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    wait: bool
    def __init__(self, name: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class PauseMirrorRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class BreakMirrorRequest(_message.Message):
    __slots__ = ("name", "now")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    now: bool
    def __init__(self, name: _Optional[str] = ..., now: _Optional[bool] = ...) -> None: ...

class RemoveMirrorRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveMirrorReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("mirror", "block_bytes", "repair", "rate_bytes", "resume")
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    mirror: str
    block_bytes: int
    repair: bool
    rate_bytes: int
    resume: bool
    def __init__(self, mirror: _Optional[str] = ..., block_bytes: _Optional[int] = ..., repair: _Optional[bool] = ..., rate_bytes: _Optional[int] = ..., resume: _Optional[bool] = ...) -> None: ...

class DiscardThereRequest(_message.Message):
    __slots__ = ("mirror",)
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    mirror: str
    def __init__(self, mirror: _Optional[str] = ...) -> None: ...

class SwitchOverRequest(_message.Message):
    __slots__ = ("mirror", "reverse_peer", "identity")
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PEER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    mirror: str
    reverse_peer: str
    identity: str
    def __init__(self, mirror: _Optional[str] = ..., reverse_peer: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class Mirror(_message.Message):
    __slots__ = ("name", "volume", "peer", "replica_volume", "state", "phase", "health", "problem", "interval_ms", "rate_bytes", "on_demand", "plaintext", "verify", "committed", "lag_ms", "current", "recent", "lacking_bytes", "next_attempt", "forecast", "group", "members", "schedule", "rpo_ms", "window", "counts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REPLICA_VOLUME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    LACKING_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    RPO_MS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    volume: str
    peer: str
    replica_volume: str
    state: str
    phase: str
    health: str
    problem: str
    interval_ms: int
    rate_bytes: int
    on_demand: bool
    plaintext: bool
    verify: bool
    committed: _replica_pb2.Generation
    lag_ms: int
    current: Cycle
    recent: _containers.RepeatedCompositeFieldContainer[Cycle]
    lacking_bytes: int
    next_attempt: _timestamp_pb2.Timestamp
    forecast: CycleForecast
    group: str
    members: _containers.RepeatedCompositeFieldContainer[MirrorMember]
    schedule: str
    rpo_ms: int
    window: str
    counts: bool
    def __init__(self, name: _Optional[str] = ..., volume: _Optional[str] = ..., peer: _Optional[str] = ..., replica_volume: _Optional[str] = ..., state: _Optional[str] = ..., phase: _Optional[str] = ..., health: _Optional[str] = ..., problem: _Optional[str] = ..., interval_ms: _Optional[int] = ..., rate_bytes: _Optional[int] = ..., on_demand: _Optional[bool] = ..., plaintext: _Optional[bool] = ..., verify: _Optional[bool] = ..., committed: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., lag_ms: _Optional[int] = ..., current: _Optional[_Union[Cycle, _Mapping]] = ..., recent: _Optional[_Iterable[_Union[Cycle, _Mapping]]] = ..., lacking_bytes: _Optional[int] = ..., next_attempt: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., forecast: _Optional[_Union[CycleForecast, _Mapping]] = ..., group: _Optional[str] = ..., members: _Optional[_Iterable[_Union[MirrorMember, _Mapping]]] = ..., schedule: _Optional[str] = ..., rpo_ms: _Optional[int] = ..., window: _Optional[str] = ..., counts: _Optional[bool] = ...) -> None: ...

class MirrorMember(_message.Message):
    __slots__ = ("volume", "replica_volume", "committed", "lacking_bytes", "state")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    REPLICA_VOLUME_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    LACKING_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    volume: str
    replica_volume: str
    committed: _replica_pb2.Generation
    lacking_bytes: int
    state: str
    def __init__(self, volume: _Optional[str] = ..., replica_volume: _Optional[str] = ..., committed: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., lacking_bytes: _Optional[int] = ..., state: _Optional[str] = ...) -> None: ...

class CycleForecast(_message.Message):
    __slots__ = ("bytes", "freeze_seconds", "commit_seconds", "lag_seconds", "falling_behind")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FREEZE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FALLING_BEHIND_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    freeze_seconds: float
    commit_seconds: float
    lag_seconds: float
    falling_behind: bool
    def __init__(self, bytes: _Optional[int] = ..., freeze_seconds: _Optional[float] = ..., commit_seconds: _Optional[float] = ..., lag_seconds: _Optional[float] = ..., falling_behind: _Optional[bool] = ...) -> None: ...

class Cycle(_message.Message):
    __slots__ = ("generation", "kind", "state", "freeze_pause_us", "chunks", "changed_bytes", "sent_bytes", "payload_bytes", "done_bytes", "total_bytes", "copy_ms", "lag_ms", "verified", "bytes_per_second", "resumed", "committed_at")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FREEZE_PAUSE_US_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    COPY_MS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    generation: _replica_pb2.Generation
    kind: str
    state: str
    freeze_pause_us: int
    chunks: int
    changed_bytes: int
    sent_bytes: int
    payload_bytes: int
    done_bytes: int
    total_bytes: int
    copy_ms: int
    lag_ms: int
    verified: str
    bytes_per_second: int
    resumed: int
    committed_at: _timestamp_pb2.Timestamp
    def __init__(self, generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., kind: _Optional[str] = ..., state: _Optional[str] = ..., freeze_pause_us: _Optional[int] = ..., chunks: _Optional[int] = ..., changed_bytes: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., copy_ms: _Optional[int] = ..., lag_ms: _Optional[int] = ..., verified: _Optional[str] = ..., bytes_per_second: _Optional[int] = ..., resumed: _Optional[int] = ..., committed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "done", "total", "bytes_per_second", "finished", "message", "generation", "differences", "compared")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    phase: str
    done: int
    total: int
    bytes_per_second: int
    finished: bool
    message: str
    generation: _replica_pb2.Generation
    differences: _containers.RepeatedCompositeFieldContainer[_volumes_pb2.Span]
    compared: _containers.RepeatedCompositeFieldContainer[ComparedVolume]
    def __init__(self, phase: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., finished: _Optional[bool] = ..., message: _Optional[str] = ..., generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[_volumes_pb2.Span, _Mapping]]] = ..., compared: _Optional[_Iterable[_Union[ComparedVolume, _Mapping]]] = ...) -> None: ...

class ComparedVolume(_message.Message):
    __slots__ = ("volume", "generation")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    volume: str
    generation: _replica_pb2.Generation
    def __init__(self, volume: _Optional[str] = ..., generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ...) -> None: ...
