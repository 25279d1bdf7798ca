"""Names and UUIDs, and the udev rules that go by them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from uuid import UUID

import pytest

from dm_tables import names
from dm_tables.names import BadName, DmName, DmUuid, Identity, Role

VOLUME = UUID("0123456789abcdef0123456789abcdef")
RULES = Path(__file__).parents[2] / "dist/udev/56-frazil.rules"


def test_names_are_those_that_are_documented() -> None:
    assert names.head_name("orders") == "frazil-orders"
    assert names.layer_name("orders", 7) == "frazil-orders-7"
    assert names.held_name("orders", 12) == "frazil-orders-g12"
    assert names.test_name("orders", 12) == "frazil-orders-g12-test"


@pytest.mark.parametrize("form", [VOLUME, str(VOLUME), VOLUME.hex, str(VOLUME).upper()])
def test_uuids_read_back(form: UUID | str) -> None:
    assert names.parse_uuid(names.head_uuid(form)) == Identity(VOLUME, Role.HEAD)
    assert names.parse_uuid(names.layer_uuid(form, 0)) == Identity(VOLUME, Role.LAYER, 0)
    assert names.parse_uuid(names.held_uuid(form, 31)) == Identity(VOLUME, Role.HELD, 31)
    assert names.parse_uuid(names.test_uuid(form, 31)) == Identity(VOLUME, Role.TEST, 31)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "LVM-0123456789abcdef0123456789abcdef",
        "FRAZIL-0123456789abcdef0123456789abcdef",
        "FRAZIL-0123456789abcdef0123456789abcdef-head-1",
        "FRAZIL-0123456789abcdef0123456789abcdef-layer",
        "FRAZIL-0123456789abcdef0123456789abcdef-layer-01",
        "FRAZIL-0123456789ABCDEF0123456789ABCDEF-head",
        "FRAZIL-0123456789abcdef0123456789abcde-head",
    ],
)
def test_other_uuids_are_nobodys(text: str) -> None:
    assert names.parse_uuid(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "a b", "-a", ".a", "a\n", "ä", "x" * 65, "db-1", "db-g1", "db-007", "db-g1-test"],
)
def test_names_of_volumes_that_cannot_be(text: str) -> None:
    with pytest.raises(BadName):
        names.head_name(text)


@pytest.mark.parametrize(
    "text", ["a", "db1", "db_1", "db-1a", "0", "a.b-c", "db-g", "db-test", "x" * 64]
)
def test_names_of_volumes_that_can_be(text: str) -> None:
    assert names.layer_name(text, 2**63)
    assert names.volume_name(text) == text


def test_no_two_devices_share_a_name() -> None:
    volumes = ["db", "db-g", "db.1", "db_1", "1", "db1", "db-test"]
    made = [names.head_name(v) for v in volumes]
    made += [names.layer_name(v, n) for v in volumes for n in range(12)]
    made += [names.held_name(v, n) for v in volumes for n in range(12)]
    made += [names.test_name(v, n) for v in volumes for n in range(12)]
    assert len(set(made)) == len(made)


def test_limits_are_the_kernels() -> None:
    assert len(DmName("n" * 127)) == 127
    assert len(DmUuid("u" * 128)) == 128
    with pytest.raises(BadName):
        DmName("n" * 128)
    with pytest.raises(BadName):
        DmUuid("u" * 129)
    with pytest.raises(BadName):
        DmName("..")


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(BadName):
        names.layer_name("db", -1)
    with pytest.raises(BadName):
        names.head_uuid("not a uuid")


def udev(environment: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """What the rules make of an event: as much of udev's language as they use."""
    env = {"ACTION": "change", "DM_UDEV_RULES_VSN": "2", **environment}
    options: list[str] = []
    skip_to = ""
    for line in RULES.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        parts = re.findall(r'([A-Z]+)(?:\{(\w+)\})?(==|!=|\+=|:=|=)"([^"]*)"', line)
        assert parts and ", ".join(line.split(", ")) == line
        if skip_to and not any(k == "LABEL" and value == skip_to for k, _, _, value in parts):
            continue
        skip_to = ""
        for key, field, operator, value in parts:
            if operator in ("==", "!="):
                found = env.get(field or key, "")
                if any(fnmatchcase(found, p) for p in value.split("|")) != (operator == "=="):
                    break
            elif key == "GOTO":
                skip_to = value
            elif key == "OPTIONS":
                options.append(value)
            elif key == "ENV":
                env[field] = value
    assert not skip_to
    return env, options


@pytest.mark.parametrize(
    "uuid",
    [names.layer_uuid(VOLUME, 0), names.held_uuid(VOLUME, 4), names.test_uuid(VOLUME, 4)],
)
def test_udev_leaves_inner_devices_alone(uuid: DmUuid) -> None:
    env, options = udev({"DM_UUID": uuid})
    assert env["DM_UDEV_DISABLE_DISK_RULES_FLAG"] == "1"
    assert env["DM_UDEV_DISABLE_OTHER_RULES_FLAG"] == "1"
    assert env["SYSTEMD_READY"] == "0"
    assert options == ["nowatch"]


def test_udev_prefers_the_head() -> None:
    env, options = udev({"DM_UUID": names.head_uuid(VOLUME)})
    assert "DM_UDEV_DISABLE_OTHER_RULES_FLAG" not in env
    assert options == ["link_priority=50"]


@pytest.mark.parametrize("uuid", ["", "LVM-abc-layer-1", "CRYPT-FRAZIL-x-layer-1"])
def test_udev_leaves_others_as_they_were(uuid: str) -> None:
    event = {"DM_UUID": uuid, "ACTION": "change", "DM_UDEV_RULES_VSN": "2"}
    assert udev(event) == (event, [])
