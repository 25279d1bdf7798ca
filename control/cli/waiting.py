"""``--wait``: stay until a mirror is where it was told to go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from control.cli.mirror_text import as_progress
from control.cli.progress import view_for
from dm_tables.errors import Unavailable
from proto.frazil.v1 import control_pb2 as pb

if TYPE_CHECKING:
    from control.cli.session import Session


class StillWaiting(Unavailable):
    """The mirror did not get there in time; it goes on trying."""

    def __init__(self, name: str, goal: str, seen: pb.Mirror | None) -> None:
        standing = f"it is {seen.state}, {seen.phase or 'idle'}" if seen else "it was never seen"
        super().__init__(
            f"{name}: {goal} is not done yet: {standing}",
            (seen.problem if seen else "") or "it goes on without this command",
        )


def wait_for(
    session: Session, name: str, goal: str, reached: Callable[[pb.Mirror], bool]
) -> pb.Mirror:
    """Watch the mirror ``name`` until ``reached`` says so, with its progress on standard error.

    :param goal: what is waited for, in a few words.
    :raises StillWaiting: the time limit passed, or the daemon went away.
    :raises FrazilError: the daemon refused.
    """
    request = pb.WatchMirrorsRequest(names=[name])
    seen: pb.Mirror | None = None
    view = view_for(name)
    try:
        for reply in session.api.stream("WatchMirrors", request, pb.ListMirrorsReply):
            for mirror in reply.mirrors:
                seen = mirror
                if reached(mirror):
                    return mirror
                view.update(as_progress(mirror.current, mirror.phase or mirror.state))
    except Unavailable:
        raise StillWaiting(name, goal, seen) from None
    finally:
        view.close()
    raise StillWaiting(name, goal, seen)
