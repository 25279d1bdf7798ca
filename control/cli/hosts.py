"""``frazil host`` and ``frazil status``."""

from __future__ import annotations

from typing import Any

import click

from control.cli import groups, members, mirror_text, replicas, volumes
from control.cli.man import ManCommand
from control.cli.output import data, document, fields, show
from control.cli.session import Session, pass_session
from control.units_text import human_size
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb


@click.command(
    "host", cls=ManCommand, examples=[("frazil host", "who this is, and how full its pool is")]
)
@pass_session
def host(session: Session) -> None:
    """Show this host's frazild.

    Its name, where it listens, its pool, and whether there is a device-mapper.
    """
    one = session.api.ask("GetHost", pb.GetHostRequest(), pb.Host)
    show(session, one, details(one))


def details(one: pb.Host) -> str:
    """Everything about a host, for reading."""
    missing = one.device_mapper_missing or "not there"
    return fields(
        [
            ("host", one.name),
            ("uuid", one.uuid),
            ("software", one.software),
            ("listens at", one.listen_address or "no peer may connect"),
            ("identity", one.identity),
            ("device-mapper", "there" if one.device_mapper else f"{missing}; replicas only"),
            ("tracer", _tracer(one.tracer)),
            ("pool", f"{one.pool.kind}, {one.pool.location}"),
            ("pool size", human_size(one.pool.size_bytes) if one.pool.size_bytes else ""),
            ("pool used", human_size(one.pool.used_bytes)),
            ("pool free", human_size(one.pool.free_bytes)),
        ]
    )


def _tracer(one: pb.Tracer) -> str:
    if one.state == "ready":
        return f"ready, {one.layers} layers traced"
    return f"{one.state}: {one.problem}" if one.problem else one.state


@click.command(
    "status",
    cls=ManCommand,
    examples=[
        ("frazil status", "everything on this host, in brief"),
        ("frazil status --exit-code >/dev/null || alert", "0 only when all is well"),
    ],
    exits=(Kind.DEGRADED,),
)
@click.option("--exit-code", is_flag=True, help="7 if something is degraded, 1 if it failed.")
@pass_session
def status(session: Session, exit_code: bool) -> int:
    """Show everything here in brief.

    The volumes, groups, mirrors and replicas of this host, and the room in its pool.
    """
    api = session.api
    one = api.ask("GetHost", pb.GetHostRequest(), pb.Host)
    found = api.ask("ListVolumes", pb.ListVolumesRequest(), pb.ListVolumesReply)
    mirrors = api.ask("ListMirrors", pb.ListMirrorsRequest(), pb.ListMirrorsReply)
    kept = api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
    grouped = members.groups(session)
    if session.as_json:
        from control.cli.schema import as_dict

        whole: dict[str, Any] = {"host": as_dict(one)}
        for reply in (found, mirrors, kept, pb.ListGroupsReply(groups=grouped)):
            whole |= as_dict(reply)
        document(whole)
    else:
        parts = [_heading(one)]
        parts += [volumes.table(list(found.volumes))] if found.volumes else []
        named = [one for one in grouped if not one.implicit]
        parts += [groups.table(named)] if named else []
        parts += [mirror_text.table(mirrors.mirrors, grouped)] if mirrors.mirrors else []
        parts += [replicas.table(list(kept.replicas))] if kept.replicas else []
        data("\n\n".join(parts))
    if not exit_code:
        return int(Kind.OK)
    return worst(list(found.volumes), list(mirrors.mirrors))


def _heading(one: pb.Host) -> str:
    text = f"{one.name}: pool {one.pool.kind}, {human_size(one.pool.free_bytes)} free"
    if not one.device_mapper:
        # In brief: 'frazil host' has it whole.
        missing = one.device_mapper_missing.partition(";")[0] or "not there"
        text += f"\nno device-mapper here: {missing}"
    return text


def worst(found: list[pb.Volume], mirrors: list[pb.Mirror]) -> int:
    """FAILED beats DEGRADED beats OK."""
    states = {volume.state for volume in found}
    if "failed" in states:
        return int(Kind.FAILED)
    code = mirror_text.status_code(mirrors)
    degraded = bool(states - {"active"}) or any(volume.problem for volume in found)
    return int(Kind.DEGRADED) if code == Kind.OK and degraded else code
