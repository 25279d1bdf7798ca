"""A Control service that answers what it is told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from control.cli import main
from control.wire.status import abort_with
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["Control"]
Step = Message | FrazilError
Answer = Step | Iterable[Step] | Callable[[Any], Any]
M = TypeVar("M", bound=Message)

BESIDE = frozenset({"ListGroups"})
"""Asked beside what a command is about: that it is answered is not what the command needs."""


class FakeControl:
    """Every method of the service, each answering with ``answers[method]``.

    An answer is a message; an error, which ends the call; for a streaming method an iterable of
    both; or a function that makes one of these from the request.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Message]] = []

    def frazil(self, *arguments: str) -> int:
        """Run the command against this service. :return: its exit code."""
        return main([*arguments, "--socket", str(self.socket)])

    def only(self, request: type[M]) -> M:
        """The one request that came, but for what is asked beside it; it is a ``request``."""
        asked = [message for method, message in self.asked if method not in BESIDE]
        assert len(asked) == 1, self.asked
        assert isinstance(asked[0], request)
        return asked[0]

    def every(self, request: type[M]) -> list[M]:
        """The requests of one kind, in the order they came."""
        return [message for _, message in self.asked if isinstance(message, request)]

    def answer(self, method: str, request: Message) -> Any:
        """What ``method`` answers."""
        self.asked.append((method, request))
        found = self.answers.get(method, FrazilError(f"nobody told {method} what to answer"))
        return found(request) if callable(found) else found


@contextmanager
def running(socket: Path) -> Iterator[FakeControl]:
    """The service, listening at ``socket`` until the end of the block."""
    fake = FakeControl(socket)
    server = grpc.server(ThreadPoolExecutor(8))
    handlers = {method.name: _handler(fake, method) for method in SERVICE.methods}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),)
    )
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()


def _handler(fake: FakeControl, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
    request = message_factory.GetMessageClass(method.input_type)

    def single(asked: Message, context: grpc.ServicerContext) -> Message:
        return _sent(fake.answer(method.name, asked), context)

    def stream(asked: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        answer = fake.answer(method.name, asked)
        for step in [answer] if isinstance(answer, Message | FrazilError) else answer:
            yield _sent(step, context)

    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(
            stream, request.FromString, lambda message: message.SerializeToString()
        )
    return grpc.unary_unary_rpc_method_handler(
        single, request.FromString, lambda message: message.SerializeToString()
    )


def _sent(step: Step, context: grpc.ServicerContext) -> Message:
    if isinstance(step, FrazilError):
        abort_with(context, step)
    return step
