"""The commands' own help as one page of Markdown.

``python -m control.cli.manual > docs/cli.md`` writes the one that is kept.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from control.cli.app import frazil
from control.cli.exits import EVERYWHERE, MEANINGS
from control.cli.man import ManCommand, ManGroup

COMMON = ("as_json", "socket", "timeout")

INTRODUCTION = """\
# The `frazil` command

<!-- Written by `python -m control.cli.manual`: change the commands' help, not this file. -->

`frazil NOUN VERB` asks the frazild of this host, over `/run/frazil/control.sock`, through the
gRPC service `frazil.v1.Control`: whatever it can do, an orchestrator can do too. Only
`frazil activate`, `frazil doctor` and `frazil pki` work without the daemon.

## Conventions

Data goes to standard output; progress, remarks and errors go to standard error. Progress is a
bar on a terminal, and elsewhere a line every two seconds.

Sizes are written `64KiB`, `4GiB` or `10GB`; `K` alone is 1024 bytes. Lengths of time are `250ms`,
`90s` or `1h30m`; a number alone is seconds. Rates are `50MB/s`, `100Mbit/s` or `none`.

### Options of every command

| option | |
| --- | --- |
| `--json` | print JSON on standard output, errors too |
| `--socket PATH` | the daemon's socket; else `FRAZIL_SOCKET`, else `/run/frazil/control.sock` |
| `--timeout DURATION` | give up after this long; questions give up after two minutes anyway, \
what rightly takes long never does by itself |
| `-h`, `--help` | the command's help |

They stand behind the verb or right behind `frazil`.

In bash, `eval "$(_FRAZIL_COMPLETE=bash_source frazil)"` completes commands and options; zsh and
fish have `zsh_source` and `fish_source`.

### JSON

With `--json` a command prints one JSON document: the message of the API that answers it, with
the names of `proto/frazil/v1/*.proto`. Every field is always there; what is not set is `null` for
a message or an optional value, and `0`, `""`, `[]` or `{}` otherwise. Sizes are in bytes, times
are ISO 8601 in UTC, numbers are numbers, also beyond 2^53. Fields may be added, but none is
renamed or removed within `v1`.

- A list is one document with a list in it: `{"mirrors": [...]}`.
- What goes on prints one document a line: `events`, and `mirror status --watch`.
- `freeze-table` prints `{"runs": [...], "summary": {...}}` row by row, however large it is. Should
  the daemon fail in the middle, the document ends with an `error` and is whole JSON still.
- What reports progress prints its last message.
- An error is `{"error": {"name": "NotFound", "kind": "not_found", "exit_code": 3, "message":
  "...", "hint": "..."}}`. `name` is the error's class, for programs to tell errors apart.

### Exit codes

They are stable.

| code | meaning |
| --- | --- |
"""

OWN_CODES = "It has exit codes of its own, named above."


def manual() -> str:
    """The whole manual."""
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    common = ", ".join(str(int(code)) for code in EVERYWHERE)
    after = f"\nAny command may end with {common}; others are named at each command.\n"
    root = click.Context(frazil, info_name="frazil")
    return INTRODUCTION + codes + after + "".join(_sections(frazil, root))


def _sections(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, ManGroup):
            yield f"\n## frazil {name}\n\n{_text(command)}\n"
            yield from _sections(command, inner)
        elif isinstance(command, ManCommand):
            level = "##" if context.parent is None else "###"
            yield f"\n{level} {inner.command_path}\n\n{_section(command, inner)}"


def _section(command: ManCommand, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"    {usage}\n", _text(command) + "\n"]
    options = "".join(_options(command, context))
    if options:
        parts.append(f"| option | |\n| --- | --- |\n{options}")
    if command.examples:
        lines = (f"# {meaning}\n{line}\n" for line, meaning in command.examples)
        parts.append("```sh\n" + "".join(lines) + "```\n")
    if command.exits is None:
        parts.append(OWN_CODES + "\n")
    elif command.exits:
        codes = ", ".join(f"{int(code)} ({code.name})" for code in sorted(command.exits))
        parts.append(f"Also exits with {codes}.\n")
    return "\n".join(parts)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for param in command.params:
        record = param.get_help_record(context)
        if isinstance(param, click.Option) and param.name not in COMMON and record is not None:
            yield f"| `{record[0]}` | {record[1]} |\n"


def _text(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


if __name__ == "__main__":
    sys.stdout.write(manual())
