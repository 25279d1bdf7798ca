import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from proto.frazil.v1 import mirrors_pb2 as _mirrors_pb2
from proto.frazil.v1 import replica_pb2 as _replica_pb2
from proto.frazil.v1 import volumes_pb2 as _volumes_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union
from proto.frazil.v1.mirrors_pb2 import Group as Group
from proto.frazil.v1.mirrors_pb2 import Hooks as Hooks
from proto.frazil.v1.mirrors_pb2 import CreateGroupRequest as CreateGroupRequest
from proto.frazil.v1.mirrors_pb2 import ListGroupsRequest as ListGroupsRequest
from proto.frazil.v1.mirrors_pb2 import ListGroupsReply as ListGroupsReply
from proto.frazil.v1.mirrors_pb2 import GetGroupRequest as GetGroupRequest
from proto.frazil.v1.mirrors_pb2 import UpdateGroupRequest as UpdateGroupRequest
from proto.frazil.v1.mirrors_pb2 import RemoveGroupRequest as RemoveGroupRequest
from proto.frazil.v1.mirrors_pb2 import RemoveGroupReply as RemoveGroupReply
from proto.frazil.v1.mirrors_pb2 import CreateMirrorRequest as CreateMirrorRequest
from proto.frazil.v1.mirrors_pb2 import ListMirrorsRequest as ListMirrorsRequest
from proto.frazil.v1.mirrors_pb2 import ListMirrorsReply as ListMirrorsReply
from proto.frazil.v1.mirrors_pb2 import GetMirrorRequest as GetMirrorRequest
from proto.frazil.v1.mirrors_pb2 import WatchMirrorsRequest as WatchMirrorsRequest
from proto.frazil.v1.mirrors_pb2 import UpdateMirrorRequest as UpdateMirrorRequest
from proto.frazil.v1.mirrors_pb2 import StartMirrorRequest as StartMirrorRequest
from proto.frazil.v1.mirrors_pb2 import SyncNowRequest as SyncNowRequest
from proto.frazil.v1.mirrors_pb2 import PauseMirrorRequest as PauseMirrorRequest
from proto.frazil.v1.mirrors_pb2 import BreakMirrorRequest as BreakMirrorRequest
from proto.frazil.v1.mirrors_pb2 import RemoveMirrorRequest as RemoveMirrorRequest
from proto.frazil.v1.mirrors_pb2 import RemoveMirrorReply as RemoveMirrorReply
from proto.frazil.v1.mirrors_pb2 import VerifyRequest as VerifyRequest
from proto.frazil.v1.mirrors_pb2 import DiscardThereRequest as DiscardThereRequest
from proto.frazil.v1.mirrors_pb2 import SwitchOverRequest as SwitchOverRequest
from proto.frazil.v1.mirrors_pb2 import Mirror as Mirror
from proto.frazil.v1.mirrors_pb2 import MirrorMember as MirrorMember
from proto.frazil.v1.mirrors_pb2 import CycleForecast as CycleForecast
from proto.frazil.v1.mirrors_pb2 import Cycle as Cycle
from proto.frazil.v1.mirrors_pb2 import Progress as Progress
from proto.frazil.v1.mirrors_pb2 import ComparedVolume as ComparedVolume
from proto.frazil.v1.volumes_pb2 import Span as Span
from proto.frazil.v1.volumes_pb2 import CreateVolumeRequest as CreateVolumeRequest
from proto.frazil.v1.volumes_pb2 import ListVolumesRequest as ListVolumesRequest
from proto.frazil.v1.volumes_pb2 import ListVolumesReply as ListVolumesReply
from proto.frazil.v1.volumes_pb2 import GetVolumeRequest as GetVolumeRequest
from proto.frazil.v1.volumes_pb2 import RemoveVolumeRequest as RemoveVolumeRequest
from proto.frazil.v1.volumes_pb2 import Volume as Volume
from proto.frazil.v1.volumes_pb2 import WritePattern as WritePattern
from proto.frazil.v1.volumes_pb2 import RoomForecast as RoomForecast
from proto.frazil.v1.volumes_pb2 import GrowVolumeRequest as GrowVolumeRequest
from proto.frazil.v1.volumes_pb2 import ActivateVolumeRequest as ActivateVolumeRequest
from proto.frazil.v1.volumes_pb2 import DemoteRequest as DemoteRequest
from proto.frazil.v1.volumes_pb2 import GetHeatMapRequest as GetHeatMapRequest
from proto.frazil.v1.volumes_pb2 import HeatMap as HeatMap
from proto.frazil.v1.volumes_pb2 import HeatRow as HeatRow
from proto.frazil.v1.volumes_pb2 import AuxiliaryVolume as AuxiliaryVolume
from proto.frazil.v1.volumes_pb2 import WatchTraceRequest as WatchTraceRequest
from proto.frazil.v1.volumes_pb2 import LayerTrace as LayerTrace
from proto.frazil.v1.volumes_pb2 import FreezeTableRequest as FreezeTableRequest
from proto.frazil.v1.volumes_pb2 import FreezeTablePart as FreezeTablePart
from proto.frazil.v1.volumes_pb2 import FreezeTableRun as FreezeTableRun
from proto.frazil.v1.volumes_pb2 import FreezeTableSummary as FreezeTableSummary

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

class GetReplicaGroupRequest(_message.Message):
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
    __slots__ = ("name", "retention", "drop_diverged")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    DROP_DIVERGED_FIELD_NUMBER: _ClassVar[int]
    name: str
    retention: _replica_pb2.Retention
    drop_diverged: bool
    def __init__(self, name: _Optional[str] = ..., retention: _Optional[_Union[_replica_pb2.Retention, _Mapping]] = ..., drop_diverged: _Optional[bool] = ...) -> None: ...

class SetWriterRequest(_message.Message):
    __slots__ = ("name", "identity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity: str
    def __init__(self, name: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class SeedReplicaRequest(_message.Message):
    __slots__ = ("name", "spans", "identity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    spans: _containers.RepeatedCompositeFieldContainer[_volumes_pb2.Span]
    identity: str
    def __init__(self, name: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[_volumes_pb2.Span, _Mapping]]] = ..., identity: _Optional[str] = ...) -> None: ...

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
