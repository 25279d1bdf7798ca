"""TOML text to :class:`Config`, with errors that name the file, the key and what is allowed.

Two passes: one over the raw tables, led by the section types, finds unknown keys and turns text
into values; then msgspec checks every type and bound.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec
from msgspec import inspect

from control.config.checks import check
from control.config.errors import BadValue, ConfigError
from control.config.sections import CONFIG_VERSION, Config
from control.config.texts import read_text
from control.paths import DEFAULT_CONFIG
from dm_tables.errors import Denied, NotFound

_AT = re.compile(r"^(?P<problem>.*) - at `\$\.?(?P<key>.*)`$", re.DOTALL)


class ConfigMissing(NotFound):
    """A configuration file was named, and is not there."""


class ConfigUnreadable(Denied):
    """A configuration file is there and may not be read."""


def load(path: Path | None = None) -> Config:
    """The configuration in ``path``; without one, that of the host, or the defaults.

    :raises ConfigError: it cannot be meant.
    :raises ConfigMissing: ``path`` was named and is not there.
    :raises ConfigUnreadable: it may not be read.
    """
    source = DEFAULT_CONFIG if path is None else path
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigMissing(f"there is no configuration file {source}") from None
    except PermissionError:
        raise ConfigUnreadable(f"{source} may not be read", "run as root") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(source, "", f"cannot be read: {error}") from None
    return read(text, source)


def read(text: str, source: Path = DEFAULT_CONFIG) -> Config:
    """The configuration written in ``text``; ``source`` is named in errors.

    :raises ConfigError: it cannot be meant.
    """
    try:
        raw: Mapping[str, object] = tomllib.loads(text)
        _check_version(raw)
        config = _convert(_table(raw, shape(), ""))
        check(config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, "", f"is not TOML: {error}") from None
    except BadValue as error:
        raise ConfigError(source, error.key, error.problem, error.hint) from None
    return config


@cache
def shape() -> inspect.Type:
    """What a configuration is made of."""
    return inspect.type_info(Config)


def salvage(path: Path | None = None) -> Config:
    """What can be meant of a configuration that cannot, as a whole: where things lie.

    Each of [state], [run] and [pool] by itself; the defaults for the rest. For the boot, which
    must not do without heads for a key that is new to this frazil.
    """
    source = DEFAULT_CONFIG if path is None else path
    try:
        raw = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return Config()
    kept: dict[str, object] = {}
    for name in ("state", "run", "pool"):
        try:
            alone = {name: raw[name]}
            check(_convert(_table(alone, shape(), "")))
            kept |= alone
        except (KeyError, BadValue):
            continue
    return _convert(_table(kept, shape(), ""))


def _check_version(raw: Mapping[str, object]) -> None:
    """First of all: what a newer version means by its keys is not known here."""
    version = raw.get("version", CONFIG_VERSION)
    if isinstance(version, int) and version > CONFIG_VERSION:
        raise BadValue(
            "version",
            f"{version} is newer than this frazil, which knows version {CONFIG_VERSION}",
            "install the frazil that this file was written for",
        )


def _table(value: object, wanted: inspect.Type, key: str) -> object:
    """``value`` with its text turned into values, wherever ``wanted`` has sections below it."""
    wanted = _without_none(wanted)
    if isinstance(wanted, inspect.VarTupleType) and isinstance(value, list):
        return [_table(one, wanted.item_type, f"{key}[{i}]") for i, one in enumerate(value)]
    if not isinstance(wanted, inspect.StructType):
        return value
    if not isinstance(value, Mapping):
        raise BadValue(key, "is not a table", f"write [{key}] and the keys below it")
    fields = {field.name: field for field in wanted.fields}
    meant: dict[str, object] = {}
    for name, one in value.items():
        if name not in fields:
            raise _unknown(str(name), _below(key, str(name)), fields)
        meant[name] = _field(one, fields[name], _below(key, str(name)))
    missing = [name for name, field in fields.items() if field.required and name not in meant]
    if missing:
        raise BadValue(_below(key, missing[0]), "is missing", f"[{key}] needs it")
    return meant


def _field(value: object, field: inspect.Field, key: str) -> object:
    extra: Mapping[str, object] = {}
    wanted = field.type
    if isinstance(wanted, inspect.Metadata):
        extra = wanted.extra or {}
        wanted = wanted.type
    if isinstance(wanted, inspect.LiteralType):
        _check_choice(value, key, [str(choice) for choice in wanted.values])
    return read_text(value, key, extra) if "text" in extra else _table(value, wanted, key)


def _check_choice(value: object, key: str, choices: list[str]) -> None:
    if value not in choices:
        allowed = " or ".join(f'"{choice}"' for choice in choices)
        raise BadValue(key, f"{value!r} is no choice here", f"write {allowed}")


def _unknown(name: str, key: str, known: Iterable[str]) -> BadValue:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    return BadValue(key, "is no known key", hint)


def _convert(raw: object) -> Config:
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        match = _AT.match(str(error))
        if match is None:
            raise BadValue("", str(error)) from None
        problem = match["problem"].replace("`", "")
        raise BadValue(match["key"], problem[0].lower() + problem[1:]) from None


def _without_none(wanted: inspect.Type) -> inspect.Type:
    if isinstance(wanted, inspect.UnionType):
        return next(one for one in wanted.types if not isinstance(one, inspect.NoneType))
    return wanted


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
