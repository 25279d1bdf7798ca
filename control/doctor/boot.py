"""The order of the boot: heads before their mounts, and nothing mounted beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from control.beneath import TableOf, live_table
from control.bypass import bypasses
from control.doctor.findings import Finding, Level, ok, problem
from control.doctor.patient import Patient
from control.doctor.programs import output_of, run_quietly
from control.fstab import NETWORK, Mount, fstab_of, waits_for_network
from control.records import VolumeRecord
from dm_tables.names import head_name

AREA = "boot"
RULES = "56-frazil.rules"
RULE_PLACES = ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
GENERATORS = tuple(
    f"{place}/systemd/system-generators/frazil-generator" for place in ("/usr/lib", "/lib", "/etc")
)
STABLE = ("/dev/disk/", "/dev/mapper/", "/dev/md/")
RENUMBERED = ("sd", "vd", "xvd", "nvme", "hd", "mmcblk", "dm-", "loop")


def check_boot(patient: Patient) -> Iterator[Finding]:
    """Units, udev rules, fstab, names of devices."""
    yield from check_units(patient)
    yield check_rules(patient)
    lines = fstab_of(patient.at("/etc/fstab"))
    signs = {str(span.path): signs_of(span.path) for one in patient.volumes for span in one.spans}
    for volume in patient.volumes:
        yield from judge_fstab(volume, lines, signs)
        yield from judge_names(volume)
        yield from judge_lvm(volume)
        yield from judge_users(volume)
    yield from judge_network(patient, lines)
    yield from judge_places(patient, lines)


def check_units(patient: Patient) -> Iterator[Finding]:
    """Both units are started at boot, once there is something to start them for."""
    if not patient.at("/run/systemd/system").is_dir():
        yield Finding(
            AREA,
            Level.NOTE,
            "no systemd runs here",
            "let something else run frazil activate before filesystems are mounted, then frazild",
        )
        return
    needed = ["frazil-activate", "frazild"] if patient.volumes else ["frazild"]
    for unit in needed:
        if run_quietly(["systemctl", "is-enabled", "--quiet", f"{unit}.service"]):
            yield ok(AREA, f"{unit}.service is started at boot")
        else:
            level = Level.PROBLEM if patient.volumes else Level.NOTE
            yield Finding(
                AREA, level, f"{unit}.service is not started at boot", f"systemctl enable {unit}"
            )


def check_rules(patient: Patient) -> Finding:
    """Without them links by UUID may lead below the head."""
    if any((patient.at(place) / RULES).is_file() for place in RULE_PLACES):
        return ok(AREA, f"udev rules {RULES}")
    return Finding(
        AREA,
        Level.WARNING,
        f"the udev rules {RULES} are not installed: inner devices look like further disks",
        f"copy dist/udev/{RULES} to /etc/udev/rules.d, then: udevadm control --reload",
    )


def signs_of(path: Path) -> set[str]:
    """What fstab could name a device's filesystem by: its path, ``UUID=…``, ``LABEL=…``."""
    said = output_of(["blkid", "-p", "-o", "export", str(path)]) or ""
    pairs = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    signs = {f"{key}={pairs[key]}" for key in ("UUID", "LABEL") if pairs.get(key)}
    return signs | {str(path), str(path.resolve())}


def judge_fstab(
    volume: VolumeRecord, lines: list[Mount], signs: dict[str, set[str]]
) -> Iterator[Finding]:
    """A mount of what lies below the head would write past its mirrors."""
    head = f"/dev/mapper/{head_name(volume.name)}"
    for mount in lines:
        if mount.what == head:
            yield ok(AREA, f"/etc/fstab mounts {head} at {mount.where}")
        for span in volume.spans:
            names = signs.get(str(span.path), set())
            if mount.what.replace('"', "") in names or _same(mount.what, span.path):
                yield Finding(
                    AREA,
                    Level.PROBLEM,
                    f"/etc/fstab mounts {mount.what} at {mount.where}, which is also the disk "
                    f"below the volume {volume.name}",
                    f"name {head} there instead",
                )


def judge_network(patient: Patient, lines: list[Mount]) -> Iterator[Finding]:
    """Before the network is there nobody can say that another host took a volume over."""
    for volume in patient.volumes if patient.mirrors else ():
        head = f"/dev/mapper/{head_name(volume.name)}"
        if any(mount.what == head for mount in lines) and not waits_for_network(volume.name, lines):
            yield Finding(
                AREA,
                Level.NOTE,
                f"{head} is mounted before this host can ask whether another one took "
                f"{volume.name} over",
                f"add {NETWORK} to its options in /etc/fstab where it need not be that early",
            )


def judge_names(volume: VolumeRecord) -> Iterator[Finding]:
    """A disk that gets another name at the next boot is not found, or is another one."""
    for span in volume.spans:
        path = str(span.path)
        name = path.removeprefix("/dev/")
        if path.startswith(STABLE) or not path.startswith("/dev/"):
            continue
        if name.startswith(RENUMBERED) and "/" not in name:
            yield Finding(
                AREA,
                Level.WARNING,
                f"the volume {volume.name} is on {path}, a name that the next boot may give to "
                "another disk",
                "remove the volume and create it on the disk's link in /dev/disk/by-id",
            )


def judge_lvm(volume: VolumeRecord) -> Iterator[Finding]:
    """LVM activates at boot what it finds first, which is the disk below the head."""
    head = f"/dev/mapper/{head_name(volume.name)}"
    for span in volume.spans:
        if run_quietly(["pvs", str(span.path)]):
            yield Finding(
                AREA,
                Level.PROBLEM,
                f"LVM sees a physical volume on {span.path}, the disk below the volume "
                f"{volume.name}",
                f"let global_filter in /etc/lvm/lvm.conf accept {head} alone: see docs/hosts.md",
            )


def judge_users(volume: VolumeRecord, table_of: TableOf = live_table) -> Iterator[Finding]:
    """Other devices on a disk below a head, as LVM's that came first: they write past mirrors."""
    for found in bypasses([volume], table_of):
        yield problem(AREA, found)


def judge_places(patient: Patient, lines: list[Mount]) -> Iterator[Finding]:
    """Heads are assembled once state and pool are there: best before anything is mounted."""
    places = {"state": patient.config.paths.state}
    if patient.config.pool.kind == "files":
        places["pool"] = patient.config.pool_directory
    orders = any(patient.at(place).is_file() for place in GENERATORS)
    for what, path in places.items():
        mount = next((one for one in lines if _below(path, one.where)), None)
        if mount is None or not patient.volumes:
            continue
        text = f"the {what} {path} is on {mount.where}: heads are assembled after that is mounted"
        if orders:
            remedy = "name heads in /etc/fstab by /dev/mapper/frazil-NAME, not by UUID or LABEL"
            yield Finding(AREA, Level.NOTE, text, remedy)
        else:
            remedy = "install dist/systemd/frazil-generator, which sees to that order"
            yield Finding(AREA, Level.PROBLEM, text, remedy)


def _below(path: Path, where: str) -> bool:
    return where not in ("/", "none", "swap") and path.is_relative_to(where)


def _same(what: str, path: Path) -> bool:
    try:
        return what.startswith("/") and Path(what).resolve() == path.resolve()
    except OSError:
        return False
