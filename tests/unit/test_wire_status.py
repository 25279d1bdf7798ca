"""Typed errors over gRPC: what one side raises, the other side catches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from control.cli.api import Api
from control.wire.status import MAX_TEXT, Degraded, RemoteFailed, error_from_rpc, status_of
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
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.fake_control import FakeControl, running


class GenerationGone(NotFound):
    """A class with fields of its own, which do not travel."""

    def __init__(self, number: int) -> None:
        super().__init__(f"generation {number} is gone", "ask for a newer one")
        self.number = number


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


def raised(control: FakeControl, error: FrazilError) -> FrazilError:
    """``error`` as it arrives on the other side of a real call."""
    control.answers["GetHost"] = error
    api = Api(str(control.socket))
    try:
        with pytest.raises(FrazilError) as caught:
            api.ask("GetHost", pb.GetHostRequest(), pb.Host)
    finally:
        api.close()
    return caught.value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FrazilError("a", "b"), grpc.StatusCode.UNKNOWN),
        (Usage("a", "b"), grpc.StatusCode.INVALID_ARGUMENT),
        (NotFound("a", "b"), grpc.StatusCode.NOT_FOUND),
        (Exists("a", "b"), grpc.StatusCode.ALREADY_EXISTS),
        (Precondition("a", "b"), grpc.StatusCode.FAILED_PRECONDITION),
        (Unavailable("a", "b"), grpc.StatusCode.UNAVAILABLE),
        (Degraded("a", "b"), grpc.StatusCode.ABORTED),
        (Exhausted("a", "b"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Corrupt("a", "b"), grpc.StatusCode.DATA_LOSS),
        (Denied("a", "b"), grpc.StatusCode.PERMISSION_DENIED),
        (GenerationGone(4), grpc.StatusCode.NOT_FOUND),
    ],
)
def test_an_error_keeps_class_kind_words_and_code(
    control: FakeControl, error: FrazilError, code: grpc.StatusCode
) -> None:
    arrived = raised(control, error)
    assert type(arrived) is type(error)
    assert (arrived.what, arrived.hint, arrived.kind) == (error.what, error.hint, error.kind)
    assert status_of(error).code == code.value[0]


def test_an_error_keeps_its_class_in_the_middle_of_a_stream(control: FakeControl) -> None:
    control.answers["WatchEvents"] = [pb.Event(sequence=1), GenerationGone(4)]
    api = Api(str(control.socket))
    stream = api.stream("WatchEvents", pb.WatchEventsRequest(), pb.Event)
    assert next(stream).sequence == 1
    with pytest.raises(GenerationGone):
        next(stream)
    api.close()


def test_a_class_unknown_here_keeps_its_name_and_is_caught_by_its_kind(
    control: FakeControl,
) -> None:
    far = type("NobodyHasImportedThis", (Precondition,), {})
    error = far("a", "b")
    # The class exists in this process all the same, so the name has to differ on the wire.
    far.__name__ = "OnlyOnTheOtherSide"
    sent = status_of(error)
    far.__name__ = "NobodyHasImportedThis"
    arrived = error_from_rpc(call_with(sent))
    assert arrived.name == "OnlyOnTheOtherSide"
    assert isinstance(arrived, Precondition)
    assert not isinstance(arrived, far)


def test_words_too_long_for_a_trailer_are_cut(control: FakeControl) -> None:
    arrived = raised(control, NotFound("x" * 100_000, "y" * 100_000))
    assert isinstance(arrived, NotFound)
    assert arrived.what == "x" * MAX_TEXT
    assert arrived.hint == "y" * MAX_TEXT


def test_words_in_any_script(control: FakeControl) -> None:
    arrived = raised(control, NotFound("Datenträger „ä“ fehlt — 卷", "é" * MAX_TEXT))
    assert arrived.what == "Datenträger „ä“ fehlt — 卷"
    assert arrived.hint == "é" * MAX_TEXT


class Call(grpc.RpcError, grpc.Call):
    """A failed call with a given status: what a server that is not frazil may send."""

    def __init__(
        self, code: grpc.StatusCode, details: str | None, trailers: list[tuple[str, bytes]]
    ) -> None:
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:  # type: ignore[override]
        return self._details

    def trailing_metadata(self) -> object:  # type: ignore[override]
        return self._trailers

    def initial_metadata(self) -> object:  # type: ignore[override]
        return []

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: object) -> bool:
        return False


def call_with(status: status_pb2.Status) -> Call:
    """A call that ended with ``status``."""
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    trailers = [("grpc-status-details-bin", status.SerializeToString())]
    return Call(code, status.message, trailers)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Kind.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Kind.UNAVAILABLE),
        (grpc.StatusCode.CANCELLED, Kind.UNAVAILABLE),
        (grpc.StatusCode.UNAUTHENTICATED, Kind.DENIED),
        (grpc.StatusCode.OUT_OF_RANGE, Kind.USAGE),
        (grpc.StatusCode.UNIMPLEMENTED, Kind.PRECONDITION),
        (grpc.StatusCode.INTERNAL, Kind.FAILED),
        (grpc.StatusCode.UNKNOWN, Kind.FAILED),
    ],
)
def test_a_status_that_is_not_frazils_becomes_the_kind_of_its_code(
    code: grpc.StatusCode, kind: Kind
) -> None:
    arrived = error_from_rpc(Call(code, "why", []))
    assert arrived.kind is kind
    assert arrived.what


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b""])
def test_details_that_cannot_be_read_do_not_hide_the_error(details: bytes) -> None:
    trailers = [("grpc-status-details-bin", details)]
    arrived = error_from_rpc(Call(grpc.StatusCode.NOT_FOUND, "no such thing", trailers))
    assert isinstance(arrived, NotFound)
    assert arrived.what == "no such thing"


def test_another_services_details_are_not_taken_for_frazils() -> None:
    status = status_of(NotFound("a", "b"))
    info = error_details_pb2.ErrorInfo(reason="GenerationGone", domain="example.org")
    status.details[0].Pack(info)
    arrived = error_from_rpc(call_with(status))
    assert type(arrived) is NotFound


@pytest.mark.parametrize("number", ["", "many", "77"])
def test_a_kind_from_the_future_falls_back_to_the_code(number: str) -> None:
    status = status_of(NotFound("a", "b"))
    info = error_details_pb2.ErrorInfo(
        reason="Brandnew", domain="frazil", metadata={"kind": number}
    )
    status.details[0].Pack(info)
    arrived = error_from_rpc(call_with(status))
    assert isinstance(arrived, NotFound)
    assert (arrived.name, arrived.hint) == ("Brandnew", "")


def test_an_error_that_is_no_call() -> None:
    assert isinstance(error_from_rpc(grpc.RpcError("odd")), RemoteFailed)
