"""Typed errors over gRPC: ``google.rpc.Status`` with an ``ErrorInfo``, and back again.

The status message is the error's ``what``. The ``ErrorInfo`` carries the class name as its
reason, the domain ``frazil``, and as metadata the :class:`Kind`'s number and the hint. The
gRPC code follows from the kind, so that clients that know nothing of frazil still see the
code that the csi-addons conventions ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from dm_tables.errors import (
    Corrupt,
    Denied,
    Exhausted,
    Exists,
    FrazilError,
    Kind,
    NotFound,
    Precondition,
    Unavailable,
    Usage,
)

DOMAIN = "frazil"

# gRPC refuses trailers beyond 8 KiB, and the message travels in them twice.
MAX_TEXT = 1000

_CODES: dict[Kind, grpc.StatusCode] = {
    Kind.OK: grpc.StatusCode.UNKNOWN,
    Kind.FAILED: grpc.StatusCode.UNKNOWN,
    Kind.USAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.DEGRADED: grpc.StatusCode.ABORTED,
    Kind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.CORRUPT: grpc.StatusCode.DATA_LOSS,
    Kind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
}

_KINDS: dict[grpc.StatusCode, Kind] = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.USAGE,
    grpc.StatusCode.OUT_OF_RANGE: Kind.USAGE,
    grpc.StatusCode.NOT_FOUND: Kind.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Kind.EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION: Kind.PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED: Kind.PRECONDITION,
    grpc.StatusCode.UNAVAILABLE: Kind.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Kind.UNAVAILABLE,
    grpc.StatusCode.ABORTED: Kind.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.EXHAUSTED,
    grpc.StatusCode.DATA_LOSS: Kind.CORRUPT,
    grpc.StatusCode.PERMISSION_DENIED: Kind.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: Kind.DENIED,
}

_BASES: dict[Kind, type[FrazilError]] = {
    base.kind: base
    for base in (
        Usage,
        NotFound,
        Exists,
        Precondition,
        Unavailable,
        Exhausted,
        Corrupt,
        Denied,
        FrazilError,
    )
}


class RemoteFailed(FrazilError):
    """The other side failed without saying why in frazil's terms."""


class Degraded(FrazilError):
    """The other side did part of what was asked."""

    kind = Kind.DEGRADED


def status_of(error: FrazilError) -> status_pb2.Status:
    """``error`` as a ``google.rpc.Status``, its texts cut to what a trailer can hold."""
    info = error_details_pb2.ErrorInfo(
        reason=error.name,
        domain=DOMAIN,
        metadata={"kind": str(int(error.kind)), "hint": error.hint[:MAX_TEXT]},
    )
    code = _CODES[error.kind].value[0]
    status = status_pb2.Status(code=code, message=error.what[:MAX_TEXT])
    status.details.add().Pack(info)
    return status


def abort_with(context: grpc.ServicerContext, error: FrazilError) -> NoReturn:
    """End the call with ``error``, whole. :raises Exception: gRPC's own, always."""
    context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort_with_status returned")


def error_from_rpc(rpc_error: grpc.RpcError) -> FrazilError:
    """The typed error behind ``rpc_error``, with the class the other side raised.

    A class this process has not imported is made anew under the base of its kind, so that
    ``except`` by kind works and the name survives. A status that did not come from frazil
    becomes the base class its code stands for.
    """
    if not isinstance(rpc_error, grpc.Call):
        return RemoteFailed(f"the call failed: {rpc_error}")
    what = rpc_error.details() or f"the call ended with {rpc_error.code().name}"
    info = _info(rpc_error)
    if info is None:
        return _without_info(rpc_error.code(), what)
    return _rebuilt(info.reason, _kind(info, rpc_error.code()), what, info.metadata["hint"])


def _without_info(code: grpc.StatusCode, what: str) -> FrazilError:
    kind = _KINDS.get(code, Kind.FAILED)
    cls: type[FrazilError] = RemoteFailed if kind is Kind.FAILED else _BASES[kind]
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return cls(what, "the other side runs a version of frazil that does not know this call")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return cls("the other side did not answer within the time limit")
    return cls(what)


def _info(call: grpc.Call) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _kind(info: error_details_pb2.ErrorInfo, code: grpc.StatusCode) -> Kind:
    try:
        return Kind(int(info.metadata["kind"]))
    except ValueError:
        return _KINDS.get(code, Kind.FAILED)


def _rebuilt(reason: str, kind: Kind, what: str, hint: str) -> FrazilError:
    cls = _known(reason, kind) or _made(reason, kind)
    # The subclass's own __init__ may want fields that did not travel.
    error = cls.__new__(cls)
    FrazilError.__init__(error, what, hint)
    return error


def _known(reason: str, kind: Kind) -> type[FrazilError] | None:
    classes: list[type[FrazilError]] = [FrazilError, *_descendants(FrazilError)]
    for cls in classes:
        if cls.__name__ == reason and cls.kind is kind:
            return cls
    return None


def _descendants(cls: type[FrazilError]) -> Iterator[type[FrazilError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


@lru_cache(maxsize=256)
def _made(reason: str, kind: Kind) -> type[FrazilError]:
    base = _BASES.get(kind, FrazilError)
    name = reason if reason.isidentifier() else base.__name__
    return type(name, (base,), {"kind": kind})
