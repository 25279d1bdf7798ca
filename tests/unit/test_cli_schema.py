"""The JSON schema, and the manual that promises it."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from control.cli.manual import manual
from control.cli.schema import as_dict, iso
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import mirrors_pb2 as mpb
from proto.frazil.v1 import replica_pb2 as rpb
from proto.frazil.v1 import volumes_pb2 as vpb
from tests.unit.cli_messages import generation, mirror, stamp, volume

MESSAGES = {
    name: message
    for file in (pb, mpb, rpb, vpb)
    for name, message in file.DESCRIPTOR.message_types_by_name.items()
}
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"

# What --json had when it was promised. New fields need no place here.
PROMISED = {
    "Host": (
        "uuid name software listen_address identity device_mapper device_mapper_missing pool tracer"
    ),
    "Tracer": "state problem epoch started layers",
    "Pool": "kind location size_bytes free_bytes used_bytes",
    "Span": "path offset_bytes length_bytes",
    "Volume": (
        "name uuid spans size_bytes chunk_bytes head_path state problem layers newest mirrors "
        "chunk_auto chunk_reason pattern room"
    ),
    "HeatMap": "volume size_bytes block_bytes regions rows",
    "HeatRow": "sequence began frozen traced chunk_bytes blocks writes bytes counts",
    "AuxiliaryVolume": (
        "sequence state chunk_bytes size_bytes used_bytes chunks path generation trace "
        "untraced_reason chunk_reason"
    ),
    "Mirror": (
        "name volume peer replica_volume state phase health problem interval_ms rate_bytes "
        "on_demand plaintext verify committed lag_ms current recent lacking_bytes "
        "next_attempt forecast"
    ),
    "CycleForecast": "bytes freeze_seconds commit_seconds lag_seconds falling_behind",
    "Cycle": (
        "generation kind state freeze_pause_us chunks changed_bytes sent_bytes payload_bytes "
        "done_bytes total_bytes copy_ms lag_ms verified bytes_per_second resumed committed_at"
    ),
    "Progress": "phase done total bytes_per_second finished message generation differences",
    "AttachedReplica": "device generation",
    "Event": "sequence at level subject kind message fields",
    "Generation": "number uuid parent_uuid frozen_at",
    "ReplicaVolume": (
        "name volume_uuid size_bytes newest incoming incoming_bytes layers base_path "
        "source_identity committed_at held history merging_chunks_done merging_chunks_total"
    ),
    "Layer": "generation chunk_bytes chunks state path allocated_bytes",
}


def lost(promised: dict[str, str]) -> list[str]:
    """The promised fields that no message has any more."""
    return [
        f"{name}.{field}"
        for name, fields in promised.items()
        for field in fields.split()
        if field not in MESSAGES[name].fields_by_name
    ]


def test_nothing_that_was_promised_is_lost() -> None:
    assert lost(PROMISED) == []
    assert lost({"Mirror": "name former_name"}) == ["Mirror.former_name"]


def test_every_field_is_there_when_nothing_is_set() -> None:
    empty = as_dict(pb.Mirror())
    assert set(empty) == {field.name for field in pb.Mirror.DESCRIPTOR.fields}
    assert empty["committed"] is None
    assert empty["next_attempt"] is None
    assert empty["recent"] == []
    assert empty["lag_ms"] == 0
    assert empty["on_demand"] is False


def test_optional_scalars_are_null_until_set() -> None:
    assert as_dict(pb.WatchEventsRequest())["since"] is None
    assert as_dict(pb.WatchEventsRequest(since=0))["since"] == 0


def test_numbers_are_numbers_however_large() -> None:
    large = 2**63 + 1
    text = json.dumps(as_dict(pb.Pool(size_bytes=large)))
    assert f'"size_bytes": {large}' in text
    assert as_dict(pb.FreezeTableRun(address=-1))["address"] == -1


def test_times_are_iso_in_utc() -> None:
    assert as_dict(generation(3))["frozen_at"] == "2026-03-01T12:00:00Z"
    assert iso(stamp(nanos=123_456_000)) == "2026-03-01T12:00:00.123456Z"
    assert iso(Timestamp(seconds=0)) == "1970-01-01T00:00:00Z"


def test_nested_messages_maps_enums_and_bytes() -> None:
    assert [layer["sequence"] for layer in as_dict(volume())["layers"]] == [2, 3]
    event = pb.Event(fields={"pause_us": "12", "a": "b"})
    assert as_dict(event)["fields"] == {"a": "b", "pause_us": "12"}
    run = rpb.Run(encoding=rpb.ENCODING_ZSTD, checksum=b"\x00\xff")
    assert as_dict(run)["encoding"] == "ENCODING_ZSTD"
    assert as_dict(run)["checksum"] == "00ff"


def test_a_message_survives_json() -> None:
    whole = as_dict(mirror())
    assert json.loads(json.dumps(whole)) == whole


def test_the_manual_is_what_the_commands_say() -> None:
    assert DOCS.read_text() == manual(), "run: python -m control.cli.manual > docs/cli.md"
