"""Processes the agent starts: by exec, or as forked children of the warm interpreter."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

CODE = "/opt/frazil"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "linux",
    # There is no udev in a lab guest; libdevmapper has to make the nodes itself.
    "DM_DISABLE_UDEV": "1",
    "PYTHONPATH": CODE,
    "PYTHONUNBUFFERED": "1",
}
# Programs that run in a forked child of the agent, with grpc and the rest imported.
ENTRY_POINTS = {
    "frazil": "control.cli:main",
    "frazild": "control.daemon:main",
    "frazild-broken": "tests.sabotage.faults:main",
}
RESULT_DESCRIPTOR = 3
PR_SET_NAME = 15


def environment(request: dict[str, Any]) -> dict[str, str]:
    """The environment of a request's process."""
    return {**ENVIRONMENT, **request.get("env", {})}


def execute(
    request: dict[str, Any], stdin: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    """Start argv by exec in a session of its own; raises OSError."""
    argv = request["argv"]
    if request.get("pty"):
        # setsid gives the process the pseudo-terminal as its controlling one.
        argv = ["setsid", "-c", *argv]
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=request.get("cwd") or "/root",
        env=environment(request),
        start_new_session=not request.get("pty"),
    )


def forked(request: dict[str, Any]) -> Callable[[], int] | None:
    """What to run in a forked child for this request, or None when it is for exec."""
    if "call" in request:
        return lambda: _call(request)
    argv = request.get("argv") or [""]
    if argv[0] in ENTRY_POINTS and not request.get("exec") and not request.get("pty"):
        return lambda: _entry_point(argv)
    return None


def fork(
    work: Callable[[], int],
    request: dict[str, Any],
    streams: tuple[int, int, int],
    result: int | None,
) -> int:
    """Run work in a forked child with these descriptors; returns its process id."""
    pid = os.fork()
    if not pid:
        _leave(_run(work, request, streams, result))
    return pid


def _run(
    work: Callable[[], int],
    request: dict[str, Any],
    streams: tuple[int, int, int],
    result: int | None,
) -> int:
    try:
        _become(request, streams, result)
        return work()
    except SystemExit as ended:
        return _exit_code(ended)
    except BaseException:
        traceback.print_exc()
        return 1


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _exit_code(ended: SystemExit) -> int:
    if ended.code is None:
        return 0
    if isinstance(ended.code, int):
        return ended.code & 255
    print(ended.code, file=sys.stderr)
    return 1


def _become(request: dict[str, Any], streams: tuple[int, int, int], result: int | None) -> None:
    gc.enable()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    if result is None:
        os.closerange(RESULT_DESCRIPTOR, 4096)
    else:
        if result != RESULT_DESCRIPTOR:
            os.dup2(result, RESULT_DESCRIPTOR, inheritable=False)
        os.closerange(RESULT_DESCRIPTOR + 1, 4096)
    os.environ.clear()
    os.environ.update(environment(request))
    os.chdir(request.get("cwd") or "/root")
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="replace")
    if CODE not in sys.path:
        sys.path.insert(0, CODE)


def _title(name: str) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _target(named: str) -> Callable[..., Any]:
    import importlib

    module, _, path = named.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = found
    return function


def _entry_point(argv: list[str]) -> int:
    _title(argv[0])
    sys.argv = [f"/usr/local/bin/{argv[0]}", *argv[1:]]
    code = _target(ENTRY_POINTS[argv[0]])()
    return _exit_code(SystemExit(code))


def _call(request: dict[str, Any]) -> int:
    named = request["call"]
    _title(named.rpartition(":")[2])
    answer: dict[str, Any]
    try:
        value = _target(named)(*request.get("args", ()), **request.get("kwargs", {}))
        answer = {"value": value}
        text = json.dumps(answer)
    except BaseException as error:
        text = json.dumps(
            {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            }
        )
    with open(RESULT_DESCRIPTOR, "wb") as result:
        result.write(text.encode())
    return 0
