"""The example file, written from the section types: every key, its meaning and its default."""

from __future__ import annotations

import inspect as python_inspect
import textwrap
from collections.abc import Iterator

from msgspec import NODEFAULT, inspect

from control.config.sections import Config
from control.config.texts import Extra, write_text

_WIDTH = 96


def default_config_text() -> str:
    """A valid configuration that says nothing but the defaults, with every key explained.

    What has no default stands behind ``#`` with an example.
    """
    top = inspect.type_info(Config)
    assert isinstance(top, inspect.StructType)
    lines = [*_comment(python_inspect.getdoc(Config) or ""), ""]
    plain = [field for field in top.fields if isinstance(field.type, inspect.Metadata)]
    for field in plain:
        lines += _field(field, optional=False)
    for field in top.fields:
        if field not in plain:
            lines += ["", *_section(field.type, field.name, optional=False)]
    return "\n".join(lines) + "\n"


def _section(wanted: inspect.Type, name: str, *, optional: bool) -> Iterator[str]:
    """The lines of one table; ``optional``: all of it is behind ``#``."""
    header = f"[{name}]"
    if isinstance(wanted, inspect.UnionType):
        wanted = next(one for one in wanted.types if isinstance(one, inspect.StructType))
        optional = True
    if isinstance(wanted, inspect.VarTupleType):
        wanted, header, optional = wanted.item_type, f"[[{name}]]", True
    assert isinstance(wanted, inspect.StructType)
    yield from _comment(python_inspect.getdoc(wanted.cls) or "")
    yield f"#{header}" if optional else header
    below = []
    for field in wanted.fields:
        if isinstance(field.type, inspect.Metadata):
            yield from _field(field, optional=optional)
        else:
            below.append(field)
    for field in below:
        yield ""
        yield from _section(field.type, f"{name}.{field.name}", optional=optional)


def _field(field: inspect.Field, *, optional: bool) -> Iterator[str]:
    assert isinstance(field.type, inspect.Metadata)
    extra = field.type.extra or {}
    yield from _comment(str((field.type.extra_json_schema or {})["description"]))
    if "example" in extra:
        example = str(extra["example"])
        quoted = example if example.startswith('"') else f'"{example}"'
        yield f"#{field.name} = {quoted}"
    else:
        yield f"{'#' if optional else ''}{field.name} = {_value(field.default, extra)}"


def _value(value: object, extra: Extra) -> str:
    assert value is not NODEFAULT, "a key without a default needs an example"
    if "text" in extra or isinstance(value, str):
        return f'"{write_text(value, extra)}"' if extra else f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{one}"' for one in value) + "]"
    return str(value)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# "
    )
