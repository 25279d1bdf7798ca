"""Errors the lab raises; every message says what to do next."""

from __future__ import annotations


def _tail(data: bytes, limit: int = 2000) -> str:
    text = data.decode("utf-8", "replace")
    return text if len(text) <= limit else "… " + text[-limit:]


class LabError(Exception):
    """The lab cannot do what was asked; the message says what to do."""


class GuestGone(LabError):
    """The guest's QEMU has ended, or its command channel is closed."""


class CommandFailed(LabError):
    """A command in a guest ended with an exit code other than 0.

    argv, code, stdout and stderr are whole; the message shows the tails.
    A negative code is the signal that ended the command.
    """

    def __init__(
        self, argv: list[str], code: int, stdout: bytes, stderr: bytes, why: str = ""
    ) -> None:
        self.argv = argv
        self.code = code
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(
            f"{why or f'exit code {code}'} from {argv}\n"
            f"--- stdout\n{_tail(stdout)}\n--- stderr\n{_tail(stderr)}"
        )


class CommandTimeout(CommandFailed):
    """A command outlived its time limit and was killed with its process group."""


class CallFailed(LabError):
    """A function called inside a guest raised; remote_type and traceback say what."""

    def __init__(self, target: str, remote_type: str, message: str, traceback: str) -> None:
        self.target = target
        self.remote_type = remote_type
        self.remote_message = message
        self.traceback = traceback
        super().__init__(f"{target} raised {remote_type}: {message}\n{traceback}")
