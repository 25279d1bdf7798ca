"""The JSON of ``--json``: the API's messages, field by field.

Names are those of the ``.proto`` files, in snake_case. Every field is always there: what is not
set is ``null`` for a message or an ``optional`` value, and 0, ``""``, ``[]`` or ``{}`` for the
others. Numbers are numbers, also beyond 2^53; times are ISO 8601 in UTC; bytes are hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from dm_tables.errors import FrazilError


def as_dict(message: Message) -> dict[str, Any]:
    """``message`` as plain values, fields in the order of the .proto file."""
    # The stubs name the C implementation's own type beside the public one.
    fields = cast(Iterable[FieldDescriptor], message.DESCRIPTOR.fields)
    return {field.name: _value(message, field) for field in fields}


def error_dict(error: FrazilError) -> dict[str, Any]:
    """``{"error": …}``, as printed on standard output when ``--json`` is given."""
    return {
        "error": {
            "name": error.name,
            "kind": error.kind.name.lower(),
            "exit_code": int(error.kind),
            "message": error.what,
            "hint": error.hint,
        }
    }


def iso(stamp: Timestamp) -> str:
    """``2026-03-01T12:00:00.123456Z``; the fraction is left out when there is none."""
    return stamp.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def line(document: dict[str, Any]) -> str:
    """``document`` on one line, for streams of them."""
    return json.dumps(document)


def pretty(document: dict[str, Any]) -> str:
    """``document`` for one reading."""
    return json.dumps(document, indent=2)


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_single(one, field) for one in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: Any, field: FieldDescriptor) -> Any:
    if isinstance(value, Timestamp):
        return iso(value)
    if isinstance(value, Message):
        return as_dict(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
