"""The trace: which blocks of a layer are written, as they are written, by eBPF.

``layers.c`` is the program, ``compiling`` makes it, ``tracer`` is the process that holds it, and
``client`` is how the daemon asks that process. Nothing here is needed for mirroring: a missing,
late or broken trace costs bytes on the wire, never data.

The process runs on the standard library alone; only making the program needs bcc.
"""

from bpf.needs import Finding, availability

__all__ = ["Finding", "availability"]
