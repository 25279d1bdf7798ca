"""How this host stands, in one sentence, and whether it lives: for systemd, again and again.

What is wrong and may be put right from outside is tried again here: a pool whose disk was not
mounted, a volume that could not be assembled, a listener without its address or certificates.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from control.config import Config
from control.doctor.findings import Finding, Level
from control.doctor.patient import Patient, configured
from control.doctor.tracing import check_tracing
from control.host import Host
from control.notify import Notifier
from control.pool.presence import check_present, mark
from control.replica.side import ReplicaSide
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil")

PERIOD = 5.0
RETRY = 15.0
ANSWER_SECONDS = 10.0


class Heartbeat:
    """Watches over one host; ``problems`` are sentences by what they are about.

    :param source: where the configuration is, or would be.
    """

    def __init__(self, host: Host, notifier: Notifier, source: Path) -> None:
        self.problems: dict[str, str] = {}
        self._host = host
        self._notifier = notifier
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._notes = notes(source, host.context.config)
        self._again: dict[str, Callable[[], None]] = {}

    def open_pool(self) -> None:
        """See that the pool is the one that it was, and can be used."""
        context = self._host.context

        def look() -> None:
            check_present(context.journal, context.pool)
            context.pool.check()
            mark(context.journal, context.pool)

        self.attempt("pool", look)

    def start(self, replicas: ReplicaSide, socket: Path) -> None:
        """Everything is up: say so, and go on saying how it is."""
        self._notifier.ready(self.standing())
        self._thread = threading.Thread(
            target=self._beat, args=(replicas, socket), name="heartbeat", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """No more of it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(ANSWER_SECONDS)

    def attempt(self, about: str, work: Callable[[], None], *, again: bool = False) -> bool:
        """Do what may fail; a failure is said once, and so is that it is over.

        :param again: try it again while the daemon runs; once it worked it does nothing.
        """
        if again:
            self._again[about] = work
        try:
            try:
                work()
            except FrazilError:
                raise
            except Exception as error:
                # Whatever it is: heads are in use, and the daemon is needed.
                log.exception("%s", about)
                raise FrazilError(f"internal error: {error!r}") from error
        except FrazilError as error:
            text = sentence(error)
            if self.problems.get(about) != text:
                self._host.context.events.add("error", about, error.name, text)
            self.problems[about] = text
            return False
        if self.problems.pop(about, ""):
            self._host.context.events.add("info", about, "recovered", "it works again")
        return True

    def standing(self) -> str:
        """One sentence: what is wrong and what to do, or that all is well."""
        wrong = list(self.problems.values())
        unassembled = self._host.unassembled
        wrong += [
            f"volume {one.name}: {problem}"
            for one in self._host.volumes()
            if (problem := unassembled.get(one.name) or one.problem)
        ]
        if self._host.device_mapper_missing and self._host.volumes():
            wrong.append(self._host.device_mapper_missing)
        authority = self._host.context.authority
        wrong += [
            f"group {one.name}: {problem}"
            for one in self._host.context.journal.groups()
            if (problem := authority.problem(one.name))
        ]
        wrong += [
            f"mirror {one.mirror}: {one.now.problem}"
            for one in self._host.roster.workers()
            if one.now.problem
        ]
        return summary(
            wrong, self._notes, len(self._host.volumes()), len(self._host.roster.workers())
        )

    def _beat(self, replicas: ReplicaSide, socket: Path) -> None:
        period = min(PERIOD, self._notifier.watchdog_seconds / 4 or PERIOD)
        waited = 0.0
        with Pulse(socket) as pulse:
            while not self._stop.wait(period):
                waited += period
                if waited >= RETRY:
                    waited = 0.0
                    self._try_again(replicas)
                self._notifier.status(self.standing())
                if pulse.felt() and self._host.at_work():
                    self._notifier.alive()

    def _try_again(self, replicas: ReplicaSide) -> None:
        if "pool" in self.problems:
            self.open_pool()
        for about, work in (("listener", replicas.listen), *self._again.items()):
            self.attempt(about, work)
        for volume in self._host.volumes():
            if volume.name in self._host.unassembled:
                self._host.assemble(volume)


class Pulse:
    """Whether the control socket answers: the daemon's threads run, and so does gRPC."""

    def __init__(self, socket: Path) -> None:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        self._channel = grpc.insecure_channel(f"unix:{socket}")
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        self._check: Callable[..., object] = stub.Check
        self._request = health_pb2.HealthCheckRequest()
        self._failure = grpc.RpcError

    def __enter__(self) -> Pulse:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def felt(self) -> bool:
        """Ask, and wait for the answer a while."""
        try:
            self._check(self._request, timeout=ANSWER_SECONDS)
        except self._failure as error:
            log.warning("the control socket does not answer: %s", error)
            return False
        return True


def sentence(error: FrazilError) -> str:
    """What is wrong and what to do, on one line."""
    return f"{error.what}: {error.hint}" if error.hint else error.what


def summary(wrong: Sequence[str], notes: Sequence[str], volumes: int, mirrors: int) -> str:
    """The first thing that is wrong, and how many more there are; else what is there."""
    if wrong:
        more = f" (and {len(wrong) - 1} more: frazil doctor)" if len(wrong) > 1 else ""
        return f"{wrong[0]}{more}"
    there = f"{_count(volumes, 'volume')}, {_count(mirrors, 'mirror')}"
    return f"{there}; {'; '.join(notes)}" if notes else f"{there}; all is well"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def notes(source: Path, config: Config) -> list[str]:
    """What is not as good as it could be on this host, logged once at start."""
    findings: list[Finding] = []
    if not source.exists():
        findings.append(configured(source, config))
    findings += [one for one in check_tracing(Patient(config)) if one.level > Level.OK]
    for one in findings:
        log.warning("%s: %s", one.what, one.remedy)
    return [f"{one.what}: {one.remedy}" for one in findings[:1]]
