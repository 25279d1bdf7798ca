import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from proto.frazil.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetHostRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Host(_message.Message):
    __slots__ = ("uuid", "name", "software", "listen_address", "identity", "device_mapper", "device_mapper_missing", "pool", "tracer")
    UUID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    LISTEN_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MAPPER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MAPPER_MISSING_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    TRACER_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    name: str
    software: str
    listen_address: str
    identity: str
    device_mapper: bool
    device_mapper_missing: str
    pool: Pool
    tracer: Tracer
    def __init__(self, uuid: _Optional[str] = ..., name: _Optional[str] = ..., software: _Optional[str] = ..., listen_address: _Optional[str] = ..., identity: _Optional[str] = ..., device_mapper: _Optional[bool] = ..., device_mapper_missing: _Optional[str] = ..., pool: _Optional[_Union[Pool, _Mapping]] = ..., tracer: _Optional[_Union[Tracer, _Mapping]] = ...) -> None: ...

class Tracer(_message.Message):
    __slots__ = ("state", "problem", "epoch", "started", "layers")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    state: str
    problem: str
    epoch: str
    started: _timestamp_pb2.Timestamp
    layers: int
    def __init__(self, state: _Optional[str] = ..., problem: _Optional[str] = ..., epoch: _Optional[str] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., layers: _Optional[int] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("kind", "location", "size_bytes", "free_bytes", "used_bytes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    location: str
    size_bytes: int
    free_bytes: int
    used_bytes: int
    def __init__(self, kind: _Optional[str] = ..., location: _Optional[str] = ..., size_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("path", "offset_bytes", "length_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    LENGTH_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    offset_bytes: int
    length_bytes: int
    def __init__(self, path: _Optional[str] = ..., offset_bytes: _Optional[int] = ..., length_bytes: _Optional[int] = ...) -> None: ...

class CreateVolumeRequest(_message.Message):
    __slots__ = ("name", "spans", "chunk_bytes", "dry_run", "chunk_auto")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_AUTO_FIELD_NUMBER: _ClassVar[int]
    name: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    chunk_bytes: int
    dry_run: bool
    chunk_auto: bool
    def __init__(self, name: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., chunk_bytes: _Optional[int] = ..., dry_run: _Optional[bool] = ..., chunk_auto: _Optional[bool] = ...) -> None: ...

class ListVolumesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVolumesReply(_message.Message):
    __slots__ = ("volumes",)
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedCompositeFieldContainer[Volume]
    def __init__(self, volumes: _Optional[_Iterable[_Union[Volume, _Mapping]]] = ...) -> None: ...

class GetVolumeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveVolumeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Volume(_message.Message):
    __slots__ = ("name", "uuid", "spans", "size_bytes", "chunk_bytes", "head_path", "state", "problem", "layers", "newest", "mirrors", "chunk_auto", "chunk_reason", "pattern", "room")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEAD_PATH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_AUTO_FIELD_NUMBER: _ClassVar[int]
    CHUNK_REASON_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    name: str
    uuid: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    size_bytes: int
    chunk_bytes: int
    head_path: str
    state: str
    problem: str
    layers: _containers.RepeatedCompositeFieldContainer[AuxiliaryVolume]
    newest: _replica_pb2.Generation
    mirrors: _containers.RepeatedScalarFieldContainer[str]
    chunk_auto: bool
    chunk_reason: str
    pattern: WritePattern
    room: RoomForecast
    def __init__(self, name: _Optional[str] = ..., uuid: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., size_bytes: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., head_path: _Optional[str] = ..., state: _Optional[str] = ..., problem: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[AuxiliaryVolume, _Mapping]]] = ..., newest: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., mirrors: _Optional[_Iterable[str]] = ..., chunk_auto: _Optional[bool] = ..., chunk_reason: _Optional[str] = ..., pattern: _Optional[_Union[WritePattern, _Mapping]] = ..., room: _Optional[_Union[RoomForecast, _Mapping]] = ...) -> None: ...

class WritePattern(_message.Message):
    __slots__ = ("cycles", "writes", "bytes", "blocks", "sizes", "alignments")
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    ALIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    cycles: int
    writes: int
    bytes: int
    blocks: int
    sizes: _containers.RepeatedScalarFieldContainer[int]
    alignments: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, cycles: _Optional[int] = ..., writes: _Optional[int] = ..., bytes: _Optional[int] = ..., blocks: _Optional[int] = ..., sizes: _Optional[_Iterable[int]] = ..., alignments: _Optional[_Iterable[int]] = ...) -> None: ...

class RoomForecast(_message.Message):
    __slots__ = ("dirty_bytes_per_second", "average_bytes_per_second", "layer_full_seconds", "pool_full_seconds")
    DIRTY_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LAYER_FULL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POOL_FULL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    dirty_bytes_per_second: float
    average_bytes_per_second: float
    layer_full_seconds: float
    pool_full_seconds: float
    def __init__(self, dirty_bytes_per_second: _Optional[float] = ..., average_bytes_per_second: _Optional[float] = ..., layer_full_seconds: _Optional[float] = ..., pool_full_seconds: _Optional[float] = ...) -> None: ...

class GrowVolumeRequest(_message.Message):
    __slots__ = ("name", "spans", "dry_run")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    name: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    dry_run: bool
    def __init__(self, name: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ActivateVolumeRequest(_message.Message):
    __slots__ = ("name", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class DemoteRequest(_message.Message):
    __slots__ = ("name", "identity", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity: str
    force: bool
    def __init__(self, name: _Optional[str] = ..., identity: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

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

class GetHeatMapRequest(_message.Message):
    __slots__ = ("volume", "cycles")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    CYCLES_FIELD_NUMBER: _ClassVar[int]
    volume: str
    cycles: int
    def __init__(self, volume: _Optional[str] = ..., cycles: _Optional[int] = ...) -> None: ...

class HeatMap(_message.Message):
    __slots__ = ("volume", "size_bytes", "block_bytes", "regions", "rows")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    volume: str
    size_bytes: int
    block_bytes: int
    regions: int
    rows: _containers.RepeatedCompositeFieldContainer[HeatRow]
    def __init__(self, volume: _Optional[str] = ..., size_bytes: _Optional[int] = ..., block_bytes: _Optional[int] = ..., regions: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[HeatRow, _Mapping]]] = ...) -> None: ...

class HeatRow(_message.Message):
    __slots__ = ("sequence", "began", "frozen", "traced", "chunk_bytes", "blocks", "writes", "bytes", "counts")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    TRACED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    began: _timestamp_pb2.Timestamp
    frozen: _timestamp_pb2.Timestamp
    traced: bool
    chunk_bytes: int
    blocks: int
    writes: int
    bytes: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sequence: _Optional[int] = ..., began: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., frozen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traced: _Optional[bool] = ..., chunk_bytes: _Optional[int] = ..., blocks: _Optional[int] = ..., writes: _Optional[int] = ..., bytes: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class AuxiliaryVolume(_message.Message):
    __slots__ = ("sequence", "state", "chunk_bytes", "size_bytes", "used_bytes", "chunks", "path", "generation", "trace", "untraced_reason", "chunk_reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    UNTRACED_REASON_FIELD_NUMBER: _ClassVar[int]
    CHUNK_REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    state: str
    chunk_bytes: int
    size_bytes: int
    used_bytes: int
    chunks: int
    path: str
    generation: _replica_pb2.Generation
    trace: str
    untraced_reason: str
    chunk_reason: str
    def __init__(self, sequence: _Optional[int] = ..., state: _Optional[str] = ..., chunk_bytes: _Optional[int] = ..., size_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., path: _Optional[str] = ..., generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., trace: _Optional[str] = ..., untraced_reason: _Optional[str] = ..., chunk_reason: _Optional[str] = ...) -> None: ...

class WatchTraceRequest(_message.Message):
    __slots__ = ("volume", "sequence", "interval_ms")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    volume: str
    sequence: int
    interval_ms: int
    def __init__(self, volume: _Optional[str] = ..., sequence: _Optional[int] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class LayerTrace(_message.Message):
    __slots__ = ("volume", "sequence", "state", "trace", "untraced_reason", "since", "read_at", "chunk_bytes", "block_bytes", "chunks", "blocks", "writes", "bytes", "zeroes", "discards", "flushes", "fua", "metadata", "sizes", "alignments", "lost", "writes_per_second", "bytes_per_second", "blocks_per_second")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    UNTRACED_REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    READ_AT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    ZEROES_FIELD_NUMBER: _ClassVar[int]
    DISCARDS_FIELD_NUMBER: _ClassVar[int]
    FLUSHES_FIELD_NUMBER: _ClassVar[int]
    FUA_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    ALIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    WRITES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    volume: str
    sequence: int
    state: str
    trace: str
    untraced_reason: str
    since: _timestamp_pb2.Timestamp
    read_at: _timestamp_pb2.Timestamp
    chunk_bytes: int
    block_bytes: int
    chunks: int
    blocks: int
    writes: int
    bytes: int
    zeroes: int
    discards: int
    flushes: int
    fua: int
    metadata: int
    sizes: _containers.RepeatedScalarFieldContainer[int]
    alignments: _containers.RepeatedScalarFieldContainer[int]
    lost: int
    writes_per_second: float
    bytes_per_second: float
    blocks_per_second: float
    def __init__(self, volume: _Optional[str] = ..., sequence: _Optional[int] = ..., state: _Optional[str] = ..., trace: _Optional[str] = ..., untraced_reason: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., read_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., chunk_bytes: _Optional[int] = ..., block_bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., blocks: _Optional[int] = ..., writes: _Optional[int] = ..., bytes: _Optional[int] = ..., zeroes: _Optional[int] = ..., discards: _Optional[int] = ..., flushes: _Optional[int] = ..., fua: _Optional[int] = ..., metadata: _Optional[int] = ..., sizes: _Optional[_Iterable[int]] = ..., alignments: _Optional[_Iterable[int]] = ..., lost: _Optional[int] = ..., writes_per_second: _Optional[float] = ..., bytes_per_second: _Optional[float] = ..., blocks_per_second: _Optional[float] = ...) -> None: ...

class FreezeTableRequest(_message.Message):
    __slots__ = ("volume", "sequence", "changed_only")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_ONLY_FIELD_NUMBER: _ClassVar[int]
    volume: str
    sequence: int
    changed_only: bool
    def __init__(self, volume: _Optional[str] = ..., sequence: _Optional[int] = ..., changed_only: _Optional[bool] = ...) -> None: ...

class FreezeTablePart(_message.Message):
    __slots__ = ("summary", "run")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    summary: FreezeTableSummary
    run: FreezeTableRun
    def __init__(self, summary: _Optional[_Union[FreezeTableSummary, _Mapping]] = ..., run: _Optional[_Union[FreezeTableRun, _Mapping]] = ...) -> None: ...

class FreezeTableRun(_message.Message):
    __slots__ = ("first_chunk", "count", "address")
    FIRST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    first_chunk: int
    count: int
    address: int
    def __init__(self, first_chunk: _Optional[int] = ..., count: _Optional[int] = ..., address: _Optional[int] = ...) -> None: ...

class FreezeTableSummary(_message.Message):
    __slots__ = ("volume", "sequence", "state", "chunk_bytes", "chunks", "changed_chunks", "changed_bytes", "read_at")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_AT_FIELD_NUMBER: _ClassVar[int]
    volume: str
    sequence: int
    state: str
    chunk_bytes: int
    chunks: int
    changed_chunks: int
    changed_bytes: int
    read_at: _timestamp_pb2.Timestamp
    def __init__(self, volume: _Optional[str] = ..., sequence: _Optional[int] = ..., state: _Optional[str] = ..., chunk_bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., changed_chunks: _Optional[int] = ..., changed_bytes: _Optional[int] = ..., read_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

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

class SwitchOverRequest(_message.Message):
    __slots__ = ("mirror", "reverse_peer")
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PEER_FIELD_NUMBER: _ClassVar[int]
    mirror: str
    reverse_peer: str
    def __init__(self, mirror: _Optional[str] = ..., reverse_peer: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("phase", "done", "total", "bytes_per_second", "finished", "message", "generation", "differences")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    phase: str
    done: int
    total: int
    bytes_per_second: int
    finished: bool
    message: str
    generation: _replica_pb2.Generation
    differences: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, phase: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., finished: _Optional[bool] = ..., message: _Optional[str] = ..., generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class ListReplicasRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReplicasReply(_message.Message):
    __slots__ = ("replicas",)
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[_replica_pb2.ReplicaVolume]
    def __init__(self, replicas: _Optional[_Iterable[_Union[_replica_pb2.ReplicaVolume, _Mapping]]] = ...) -> None: ...

class GetReplicaRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AttachReplicaRequest(_message.Message):
    __slots__ = ("name", "generation", "writable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    generation: int
    writable: bool
    def __init__(self, name: _Optional[str] = ..., generation: _Optional[int] = ..., writable: _Optional[bool] = ...) -> None: ...

class AttachedReplica(_message.Message):
    __slots__ = ("device", "generation")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    device: str
    generation: _replica_pb2.Generation
    def __init__(self, device: _Optional[str] = ..., generation: _Optional[_Union[_replica_pb2.Generation, _Mapping]] = ...) -> None: ...

class DetachReplicaRequest(_message.Message):
    __slots__ = ("name", "generation", "writable")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    generation: int
    writable: bool
    def __init__(self, name: _Optional[str] = ..., generation: _Optional[int] = ..., writable: _Optional[bool] = ...) -> None: ...

class DetachReplicaReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveReplicaRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveReplicaReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetRetentionRequest(_message.Message):
    __slots__ = ("name", "retention")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    retention: _replica_pb2.Retention
    def __init__(self, name: _Optional[str] = ..., retention: _Optional[_Union[_replica_pb2.Retention, _Mapping]] = ...) -> None: ...

class SeedReplicaRequest(_message.Message):
    __slots__ = ("name", "spans", "identity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    identity: str
    def __init__(self, name: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ..., identity: _Optional[str] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("name", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    force: bool
    def __init__(self, name: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("since", "follow")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    since: int
    follow: bool
    def __init__(self, since: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "at", "level", "subject", "kind", "message", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    at: _timestamp_pb2.Timestamp
    level: str
    subject: str
    kind: str
    message: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, sequence: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., level: _Optional[str] = ..., subject: _Optional[str] = ..., kind: _Optional[str] = ..., message: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...
