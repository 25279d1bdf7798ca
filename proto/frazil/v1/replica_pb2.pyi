import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_RAW: _ClassVar[Encoding]
    ENCODING_ZSTD: _ClassVar[Encoding]
    ENCODING_ZERO: _ClassVar[Encoding]
ENCODING_UNSPECIFIED: Encoding
ENCODING_RAW: Encoding
ENCODING_ZSTD: Encoding
ENCODING_ZERO: Encoding

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "host_uuid", "host_name", "software")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_UUID_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    host_uuid: str
    host_name: str
    software: str
    def __init__(self, protocol: _Optional[int] = ..., host_uuid: _Optional[str] = ..., host_name: _Optional[str] = ..., software: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "host_uuid", "host_name", "software", "identity")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_UUID_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    host_uuid: str
    host_name: str
    software: str
    identity: str
    def __init__(self, protocol: _Optional[int] = ..., host_uuid: _Optional[str] = ..., host_name: _Optional[str] = ..., software: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("number", "uuid", "parent_uuid", "frozen_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    PARENT_UUID_FIELD_NUMBER: _ClassVar[int]
    FROZEN_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    uuid: str
    parent_uuid: str
    frozen_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., uuid: _Optional[str] = ..., parent_uuid: _Optional[str] = ..., frozen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("volume", "volume_uuid")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_UUID_FIELD_NUMBER: _ClassVar[int]
    volume: str
    volume_uuid: str
    def __init__(self, volume: _Optional[str] = ..., volume_uuid: _Optional[str] = ...) -> None: ...

class ReplicaVolume(_message.Message):
    __slots__ = ("name", "volume_uuid", "size_bytes", "newest", "incoming", "incoming_bytes", "layers", "base_path", "source_identity", "committed_at", "held", "history", "merging_chunks_done", "merging_chunks_total", "group", "points", "retention", "role", "role_since", "allocated_bytes", "written_by_another")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_UUID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    INCOMING_FIELD_NUMBER: _ClassVar[int]
    INCOMING_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    BASE_PATH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    MERGING_CHUNKS_DONE_FIELD_NUMBER: _ClassVar[int]
    MERGING_CHUNKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ROLE_SINCE_FIELD_NUMBER: _ClassVar[int]
    ALLOCATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_ANOTHER_FIELD_NUMBER: _ClassVar[int]
    name: str
    volume_uuid: str
    size_bytes: int
    newest: Generation
    incoming: Generation
    incoming_bytes: int
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    base_path: str
    source_identity: str
    committed_at: _timestamp_pb2.Timestamp
    held: _containers.RepeatedCompositeFieldContainer[Generation]
    history: _containers.RepeatedCompositeFieldContainer[Generation]
    merging_chunks_done: int
    merging_chunks_total: int
    group: str
    points: _containers.RepeatedCompositeFieldContainer[RecoveryPoint]
    retention: Retention
    role: str
    role_since: _timestamp_pb2.Timestamp
    allocated_bytes: int
    written_by_another: bool
    def __init__(self, name: _Optional[str] = ..., volume_uuid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., newest: _Optional[_Union[Generation, _Mapping]] = ..., incoming: _Optional[_Union[Generation, _Mapping]] = ..., incoming_bytes: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., base_path: _Optional[str] = ..., source_identity: _Optional[str] = ..., committed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., held: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., merging_chunks_done: _Optional[int] = ..., merging_chunks_total: _Optional[int] = ..., group: _Optional[str] = ..., points: _Optional[_Iterable[_Union[RecoveryPoint, _Mapping]]] = ..., retention: _Optional[_Union[Retention, _Mapping]] = ..., role: _Optional[str] = ..., role_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., allocated_bytes: _Optional[int] = ..., written_by_another: _Optional[bool] = ...) -> None: ...

class RecoveryPoint(_message.Message):
    __slots__ = ("generation", "committed_at", "bytes", "kept_by", "devices")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_BY_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    committed_at: _timestamp_pb2.Timestamp
    bytes: int
    kept_by: _containers.RepeatedScalarFieldContainer[str]
    devices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ..., committed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bytes: _Optional[int] = ..., kept_by: _Optional[_Iterable[str]] = ..., devices: _Optional[_Iterable[str]] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("last", "hourly", "daily", "weekly")
    LAST_FIELD_NUMBER: _ClassVar[int]
    HOURLY_FIELD_NUMBER: _ClassVar[int]
    DAILY_FIELD_NUMBER: _ClassVar[int]
    WEEKLY_FIELD_NUMBER: _ClassVar[int]
    last: int
    hourly: int
    daily: int
    weekly: int
    def __init__(self, last: _Optional[int] = ..., hourly: _Optional[int] = ..., daily: _Optional[int] = ..., weekly: _Optional[int] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("generation", "chunk_bytes", "chunks", "state", "path", "allocated_bytes")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ALLOCATED_BYTES_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    chunk_bytes: int
    chunks: int
    state: str
    path: str
    allocated_bytes: int
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ..., chunk_bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., state: _Optional[str] = ..., path: _Optional[str] = ..., allocated_bytes: _Optional[int] = ...) -> None: ...

class ReceiveRequest(_message.Message):
    __slots__ = ("manifest", "runs", "trailer")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    TRAILER_FIELD_NUMBER: _ClassVar[int]
    manifest: Manifest
    runs: Runs
    trailer: Trailer
    def __init__(self, manifest: _Optional[_Union[Manifest, _Mapping]] = ..., runs: _Optional[_Union[Runs, _Mapping]] = ..., trailer: _Optional[_Union[Trailer, _Mapping]] = ...) -> None: ...

class ReceiveReply(_message.Message):
    __slots__ = ("ready", "durable", "committed", "staged")
    READY_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    durable: Durable
    committed: Committed
    staged: Staged
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., durable: _Optional[_Union[Durable, _Mapping]] = ..., committed: _Optional[_Union[Committed, _Mapping]] = ..., staged: _Optional[_Union[Staged, _Mapping]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("volume", "volume_uuid", "generation", "base_uuid", "size_bytes", "chunk_bytes", "chunks", "logical_block_bytes", "staged", "host_uuid")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_UUID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    BASE_UUID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    HOST_UUID_FIELD_NUMBER: _ClassVar[int]
    volume: str
    volume_uuid: str
    generation: Generation
    base_uuid: str
    size_bytes: int
    chunk_bytes: int
    chunks: int
    logical_block_bytes: int
    staged: bool
    host_uuid: str
    def __init__(self, volume: _Optional[str] = ..., volume_uuid: _Optional[str] = ..., generation: _Optional[_Union[Generation, _Mapping]] = ..., base_uuid: _Optional[str] = ..., size_bytes: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., logical_block_bytes: _Optional[int] = ..., staged: _Optional[bool] = ..., host_uuid: _Optional[str] = ...) -> None: ...

class Runs(_message.Message):
    __slots__ = ("run", "digest")
    RUN_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    run: _containers.RepeatedCompositeFieldContainer[Run]
    digest: bytes
    def __init__(self, run: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("ordinal", "address", "length", "encoding", "payload", "checksum")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    address: int
    length: int
    encoding: Encoding
    payload: bytes
    checksum: bytes
    def __init__(self, ordinal: _Optional[int] = ..., address: _Optional[int] = ..., length: _Optional[int] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., payload: _Optional[bytes] = ..., checksum: _Optional[bytes] = ...) -> None: ...

class Trailer(_message.Message):
    __slots__ = ("runs", "chunks", "bytes", "digest")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    runs: int
    chunks: int
    bytes: int
    digest: bytes
    def __init__(self, runs: _Optional[int] = ..., chunks: _Optional[int] = ..., bytes: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("next_ordinal", "digest")
    NEXT_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    next_ordinal: int
    digest: bytes
    def __init__(self, next_ordinal: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Durable(_message.Message):
    __slots__ = ("next_ordinal", "digest")
    NEXT_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    next_ordinal: int
    digest: bytes
    def __init__(self, next_ordinal: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Committed(_message.Message):
    __slots__ = ("generation", "already")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ALREADY_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    already: bool
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ..., already: _Optional[bool] = ...) -> None: ...

class Staged(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("group", "members")
    class Member(_message.Message):
        __slots__ = ("volume", "generation_uuid")
        VOLUME_FIELD_NUMBER: _ClassVar[int]
        GENERATION_UUID_FIELD_NUMBER: _ClassVar[int]
        volume: str
        generation_uuid: str
        def __init__(self, volume: _Optional[str] = ..., generation_uuid: _Optional[str] = ...) -> None: ...
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    group: str
    members: _containers.RepeatedCompositeFieldContainer[CommitRequest.Member]
    def __init__(self, group: _Optional[str] = ..., members: _Optional[_Iterable[_Union[CommitRequest.Member, _Mapping]]] = ...) -> None: ...

class TakeOverRequest(_message.Message):
    __slots__ = ("group", "generation_uuid", "volumes", "reverse_peer", "plaintext", "dry_run")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    GENERATION_UUID_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PEER_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    group: str
    generation_uuid: str
    volumes: _containers.RepeatedScalarFieldContainer[str]
    reverse_peer: str
    plaintext: bool
    dry_run: bool
    def __init__(self, group: _Optional[str] = ..., generation_uuid: _Optional[str] = ..., volumes: _Optional[_Iterable[str]] = ..., reverse_peer: _Optional[str] = ..., plaintext: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class TakeOverReply(_message.Message):
    __slots__ = ("head_paths",)
    HEAD_PATHS_FIELD_NUMBER: _ClassVar[int]
    head_paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, head_paths: _Optional[_Iterable[str]] = ...) -> None: ...

class GiveUpRequest(_message.Message):
    __slots__ = ("volumes",)
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, volumes: _Optional[_Iterable[str]] = ...) -> None: ...

class GiveUpReply(_message.Message):
    __slots__ = ("volumes",)
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, volumes: _Optional[_Iterable[str]] = ...) -> None: ...

class DigestsRequest(_message.Message):
    __slots__ = ("volume", "generation_uuid", "block_bytes", "offset", "length", "rate_bytes")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_UUID_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    RATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    volume: str
    generation_uuid: str
    block_bytes: int
    offset: int
    length: int
    rate_bytes: int
    def __init__(self, volume: _Optional[str] = ..., generation_uuid: _Optional[str] = ..., block_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., rate_bytes: _Optional[int] = ...) -> None: ...

class BlockDigests(_message.Message):
    __slots__ = ("offset", "block_bytes", "digests", "blocks")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    offset: int
    block_bytes: int
    digests: bytes
    blocks: int
    def __init__(self, offset: _Optional[int] = ..., block_bytes: _Optional[int] = ..., digests: _Optional[bytes] = ..., blocks: _Optional[int] = ...) -> None: ...
