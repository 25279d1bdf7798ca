"""The configuration's sections: what may be set, its type, its default and what it means.

The descriptions here are the ones printed in the example file. Text such as ``"256MiB"`` is
turned into a value by :mod:`control.config.reading` where a field's ``text`` says so; ``none``
names the word that stands for ``None``, which TOML lacks.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from control.config.authority import AuthoritySection
from control.config.section import Section
from control.paths import DEFAULT_RUN, DEFAULT_STATE, Paths
from control.units_text import Rate, Seconds
from dm_tables.units import MIB, Bytes

CONFIG_VERSION = 1
PoolKind = Literal["files", "lvm"]
Consistency = Literal["filesystem", "crash"]
VolumeGroupName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,126}$")]


class HostSection(Section, frozen=True):
    """This host."""

    name: Annotated[
        str,
        Meta(
            description="The name that peers and events show.",
            min_length=1,
            max_length=253,
            extra={"text": "text", "example": "the host's own name"},
        ),
    ] = msgspec.field(default_factory=socket.gethostname)


class StateSection(Section, frozen=True):
    """What has to outlive a reboot: the journal, and by default the pool and the replicas."""

    directory: Annotated[
        Path, Meta(description="An absolute path on a local disk.", extra={"text": "path"})
    ] = DEFAULT_STATE


class RunSection(Section, frozen=True):
    """What need not outlive a reboot: the control socket."""

    directory: Annotated[Path, Meta(description="An absolute path.", extra={"text": "path"})] = (
        DEFAULT_RUN
    )


class ListenSection(Section, frozen=True):
    """Where other frazilds reach this one. Left out, this host can be no replica."""

    address: Annotated[
        str | None,
        Meta(
            description="host:port; beyond loopback [tls] is needed.",
            extra={"text": "address", "example": '"0.0.0.0:7420"'},
        ),
    ] = None
    plaintext: Annotated[bool, Meta(description="No TLS; allowed on a loopback address only.")] = (
        False
    )


class TlsSection(Section, frozen=True):
    """Both sides show a certificate, and both check it."""

    ca: Annotated[
        Path,
        Meta(
            description="The authority that signed the peers' certificates (PEM).",
            extra={"text": "path", "example": '"/etc/frazil/ca.pem"'},
        ),
    ]
    cert: Annotated[
        Path,
        Meta(
            description="This host's certificate (PEM).",
            extra={"text": "path", "example": '"/etc/frazil/host.pem"'},
        ),
    ]
    key: Annotated[
        Path,
        Meta(
            description="Its private key (PEM).",
            extra={"text": "path", "example": '"/etc/frazil/host.key"'},
        ),
    ]


class PoolSection(Section, frozen=True):
    """Where the auxiliary volumes of this host's own volumes lie, and how they grow."""

    kind: Annotated[
        PoolKind,
        Meta(description='"files": preallocated files on loop devices; "lvm": a volume group.'),
    ] = "files"
    directory: Annotated[
        Path | None,
        Meta(
            description="Of kind files: where; by default pool/ below the state directory.",
            extra={"text": "path", "example": '"/var/lib/frazil/pool"'},
        ),
    ] = None
    volume_group: Annotated[
        VolumeGroupName | None,
        Meta(
            description="Of kind lvm: the volume group's name.",
            extra={"text": "text", "example": '"vg0"'},
        ),
    ] = None
    initial: Annotated[
        Bytes | None,
        Meta(
            description='A new auxiliary volume\'s size. "auto": room for all of the volume, or a '
            "quarter of what is free when that is less.",
            extra={"text": "size", "none": "auto", "least": MIB},
        ),
    ] = None
    limit: Annotated[
        Bytes | None,
        Meta(
            description='The most that the pool may take in all; "none": what there is.',
            extra={"text": "size", "none": "none", "least": MIB},
        ),
    ] = None
    grow_at: Annotated[
        float,
        Meta(description="An auxiliary volume this full is made larger.", ge=0.05, le=0.9),
    ] = 0.5
    sacrifice_at: Annotated[
        float,
        Meta(
            description="One this full that cannot be made larger gives the mirror up for the "
            "application: layers are merged before the replica has them.",
            ge=0.1,
            le=0.95,
        ),
    ] = 0.8
    horizon: Annotated[
        Seconds,
        Meta(
            description="Room is made for the writes of this long ahead, at their present rate.",
            extra={"text": "duration", "least": 1, "most": 3600},
        ),
    ] = Seconds(30.0)
    reserve: Annotated[
        Bytes,
        Meta(
            description="Never taken by growing: kept for the start of a next auxiliary volume.",
            extra={"text": "size", "least": 0},
        ),
    ] = Bytes(64 * MIB)


class AllowSection(Section, frozen=True):
    """Which client may write which replica volumes."""

    identity: Annotated[
        str,
        Meta(
            description="The name in the client's certificate (CN or a DNS name); "
            '"loopback" for a plaintext listener.',
            min_length=1,
            extra={"text": "text", "example": '"source.example"'},
        ),
    ]
    volumes: Annotated[
        tuple[str, ...],
        Meta(description="Shell patterns of replica volume names.", min_length=1),
    ] = ("*",)
    discard: Annotated[
        bool,
        Meta(
            description="Whether this client may end a split brain by having what was written to "
            "them here given up (frazil mirror resolve --discard remote). It is kept as a "
            "recovery point.",
        ),
    ] = False
    quota: Annotated[
        Bytes | None,
        Meta(
            description="The most that all replica volumes this client writes may take here; "
            '"none": what there is.',
            extra={"text": "size", "none": "none", "least": MIB},
        ),
    ] = None


class ReplicaSection(Section, frozen=True):
    """Where other hosts' volumes are kept here. Without [[replica.allow]] nobody may write."""

    kind: Annotated[PoolKind, Meta(description='"files" or "lvm", as for [pool].')] = "files"
    directory: Annotated[
        Path | None,
        Meta(
            description="Where; by default replica/ below the state directory.",
            extra={"text": "path", "example": '"/var/lib/frazil/replica"'},
        ),
    ] = None
    volume_group: Annotated[
        VolumeGroupName | None,
        Meta(
            description="Of kind lvm: the volume group's name; by default the pool's.",
            extra={"text": "text", "example": '"vg0"'},
        ),
    ] = None
    keep_last: Annotated[
        int,
        Meta(
            description="Recovery points of replicas that have no retention of their own: the "
            "newest so many generations can be shown. The newest one always can.",
            ge=0,
        ),
    ] = 0
    keep_hourly: Annotated[
        int, Meta(description="And the newest one of each of so many hours.", ge=0)
    ] = 0
    keep_daily: Annotated[
        int, Meta(description="And the newest one of each of so many days.", ge=0)
    ] = 0
    keep_weekly: Annotated[
        int, Meta(description="And the newest one of each of so many weeks.", ge=0)
    ] = 0
    allow: tuple[AllowSection, ...] = ()


class MergeSection(Section, frozen=True):
    """Folding layers into their base, in the background."""

    rate: Annotated[
        Rate,
        Meta(
            description='At most so many bytes a second, "100MiB/s"; "none": no limit.',
            extra={"text": "rate"},
        ),
    ] = Rate(0)


class FreezeSection(Section, frozen=True):
    """The instant at which a cycle starts."""

    deadline: Annotated[
        Seconds,
        Meta(
            description="A freeze that takes longer is given up, and the application goes on.",
            extra={"text": "duration", "least": 0.1, "most": 60},
        ),
    ] = Seconds(5.0)
    consistency: Annotated[
        Consistency,
        Meta(
            description='"filesystem": a mounted filesystem is made clean first; '
            '"crash": as after a power cut.',
        ),
    ] = "filesystem"


class CopySection(Section, frozen=True):
    """Sending layers to replicas."""

    rate: Annotated[
        Rate,
        Meta(
            description="The limit of mirrors that have none of their own, bytes a second.",
            extra={"text": "rate"},
        ),
    ] = Rate(0)
    window: Annotated[
        str,
        Meta(
            description='When mirrors that say nothing else freeze and copy, as in "Mon-Fri '
            '22:00-06:00, Sat-Sun"; "always".',
            extra={"text": "hours"},
        ),
    ] = "always"
    compress: Annotated[bool, Meta(description="Compress what is sent, where that pays.")] = True
    skip_same: Annotated[
        bool,
        Meta(
            description="Leave out blocks that were written with the bytes they had. To know them, "
            "both generations are read here before anything is sent.",
        ),
    ] = False
    stall: Annotated[
        Seconds,
        Meta(
            description="A transfer without progress for this long is broken off and retried.",
            extra={"text": "duration", "least": 1, "most": 3600},
        ),
    ] = Seconds(60.0)
    retry_first: Annotated[
        Seconds,
        Meta(
            description="The wait before the first retry; it doubles from one to the next.",
            extra={"text": "duration", "least": 0.01, "most": 3600},
        ),
    ] = Seconds(1.0)
    retry_longest: Annotated[
        Seconds,
        Meta(
            description="The longest wait between retries.",
            extra={"text": "duration", "least": 0.01, "most": 86400},
        ),
    ] = Seconds(60.0)

    keep_layers: Annotated[
        int,
        Meta(
            description="How many layers are kept for a replica that does not come along. Past "
            "this and the next two limits layers are merged here, and which blocks the replica "
            "lacks is remembered until it has caught up. 0: no limit.",
            ge=0,
            le=64,
        ),
    ] = 8
    keep_size: Annotated[
        Bytes | None,
        Meta(
            description='How much room layers may take that are kept for such a replica; "none": '
            "no limit.",
            extra={"text": "size", "none": "none", "least": MIB},
        ),
    ] = None
    keep_age: Annotated[
        Seconds,
        Meta(
            description="How old the oldest layer may be that is kept for such a replica; 0s: no "
            "limit.",
            extra={"text": "duration"},
        ),
    ] = Seconds(0.0)


class VerifySection(Section, frozen=True):
    """Comparing replicas with their source in the background, block by block."""

    every: Annotated[
        Seconds | None,
        Meta(
            description='From the end of one pass over a mirror to the start of the next; "never".',
            extra={"text": "duration", "none": "never", "least": 60, "most": 366 * 86400},
        ),
    ] = Seconds(30 * 86400.0)
    rate: Annotated[
        Rate,
        Meta(
            description="At most so many bytes a second are read, at either end.",
            extra={"text": "rate"},
        ),
    ] = Rate(50 * MIB)
    slice: Annotated[
        Seconds,
        Meta(
            description="A generation is held at both ends for this long at a time; then the pass "
            "goes on with the newest one.",
            extra={"text": "duration", "least": 1, "most": 3600},
        ),
    ] = Seconds(60.0)
    repair: Annotated[bool, Meta(description="What differs is sent again with the next cycle.")] = (
        True
    )


class VolumeSection(Section, frozen=True):
    """This host's own volumes."""

    chunk_size: Annotated[
        Bytes | None,
        Meta(
            description="Of volumes that are made without a chunk size of their own: a power of "
            'two from 4KiB to 1MiB, small for random writes, large for streams. "auto": chosen for '
            "each layer by how the volume is written.",
            extra={"text": "size", "none": "auto", "least": 4096, "most": MIB},
        ),
    ] = None


class MetricsSection(Section, frozen=True):
    """Figures for Prometheus, over HTTP. Left out, there are none."""

    address: Annotated[
        str | None,
        Meta(
            description="host:port on loopback.",
            extra={"text": "address", "example": '"127.0.0.1:9420"'},
        ),
    ] = None


class TraceSection(Section, frozen=True):
    """Which blocks are written, finer than chunks, by eBPF; without it whole chunks are sent."""

    enabled: Annotated[
        bool, Meta(description="Trace writes, where bcc and the kernel's headers are there.")
    ] = True


class Config(Section, frozen=True):
    """frazil's configuration. Sizes: "256MiB"; durations: "1h30m"; rates: "10MB/s"."""

    version: Annotated[
        int, Meta(description="The format of this file.", ge=1, le=CONFIG_VERSION)
    ] = CONFIG_VERSION
    host: HostSection = msgspec.field(default_factory=HostSection)
    state: StateSection = StateSection()
    run: RunSection = RunSection()
    listen: ListenSection = ListenSection()
    tls: TlsSection | None = None
    pool: PoolSection = PoolSection()
    replica: ReplicaSection = ReplicaSection()
    merge: MergeSection = MergeSection()
    freeze: FreezeSection = FreezeSection()
    copy: CopySection = CopySection()
    verify: VerifySection = VerifySection()
    volume: VolumeSection = VolumeSection()
    trace: TraceSection = TraceSection()
    metrics: MetricsSection = MetricsSection()
    authority: AuthoritySection = AuthoritySection()

    @property
    def paths(self) -> Paths:
        """Where this host's files lie."""
        return Paths(state=self.state.directory, run=self.run.directory)

    @property
    def pool_directory(self) -> Path:
        """Where auxiliary volumes lie when the pool is one of files."""
        return self.pool.directory or self.paths.pool

    @property
    def replica_directory(self) -> Path:
        """Where replica volumes lie: their journal always, their bytes when kept in files."""
        return self.replica.directory or self.paths.replica
