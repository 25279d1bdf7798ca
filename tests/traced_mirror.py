"""A mirror whose layers are traced: what is said of its layers, and whether its images agree."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from tests.pair import Pair, Volume, Writer
from vagrant.cluster.cycles import Cycle
from vagrant.lab import GuestProcess

INSIDE: Final = "tests.guest.inside.tracing"
SOCKET: Final = "/run/frazil/tracer.sock"
PATIENT_S: Final = 1000.0


def tracer(pair: Pair) -> dict[str, Any]:
    """The source's tracer, as ``frazil host`` tells of it."""
    found: dict[str, Any] = pair.source.json("host")["tracer"]
    return found


def until_ready(pair: Pair) -> None:
    """Wait until the tracer traces, and the daemon knows it."""
    found = pair.source.guest.call(f"{INSIDE}:ready", SOCKET, timeout=PATIENT_S)
    assert (found["state"], found["why"]) == ("ready", "")
    pair.source.until("the daemon has it", lambda: tracer(pair)["state"] == "ready")


def start_tracer(pair: Pair, *words: str) -> GuestProcess:
    """Start a tracer in place of the daemon's own, before it needs one."""
    command = shlex.join(["exec", "python3", "-m", *words, "--socket", SOCKET])
    process = pair.source.guest.spawn(command, log="/run/tracer.log")
    until_ready(pair)
    return process


def live(volume: Volume) -> dict[str, Any]:
    """The live layer."""
    shown = volume.pair.source.json("volume", "show", volume.name)
    return next(layer for layer in shown["layers"] if layer["state"] == "live")


def trace_of(layer: dict[str, Any]) -> tuple[str, str]:
    """What is said of a layer's trace."""
    return layer["trace"], layer["untraced_reason"]


def why_untraced(volume: Volume, sequence: int) -> str:
    """What the event said that told of an untraced layer; empty without one."""
    lines = volume.pair.source.frazil("events", "--level", "warning", "--json").out.splitlines()
    for event in map(json.loads, lines):
        told = event["subject"], event["kind"], event["fields"].get("layer")
        if told == (volume.name, "untraced", str(sequence)):
            return str(event["message"])
    return ""


def arrived(volume: Volume, writer: Writer) -> Cycle:
    """One more generation, the same everywhere: the writer's model, the frozen image, the replica.

    The writer rests.
    """
    cycle = volume.sync()
    images = {
        "written": writer.digest(),
        "frozen": volume.frozen_digest(cycle.generation),
        "replica": volume.replica_digest(cycle.generation),
    }
    assert len(set(images.values())) == 1, images
    volume.pair.source.frazil("verify", volume.name)
    return cycle


def journaled(volume: Volume, sequence: int) -> dict[str, Any]:
    """What the daemon wrote down of a layer's trace."""
    found: dict[str, Any] = volume.pair.source.guest.call(
        f"{INSIDE}:journaled", volume.name, sequence
    )
    return found
