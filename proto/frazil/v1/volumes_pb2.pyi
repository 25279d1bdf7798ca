import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from proto.frazil.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
