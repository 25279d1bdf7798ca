"""Commands whose help reads as a manual page: examples and exit codes behind the options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from control.cli.exits import listed
from control.cli.session import common_options
from dm_tables.errors import Kind


class ManCommand(click.Command):
    """A leaf command: takes ``--json``, ``--socket`` and ``--timeout`` besides its own.

    :param examples: pairs of a command line and what it does.
    :param exits: the exit codes it can end with besides those every command has; None for a
        command with codes of its own, which its text then explains.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        exits: tuple[Kind, ...] | None = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())
        self.examples = examples
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, then exit codes."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                _write_examples(formatter, self.examples)
        if self.exits is not None:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), text) for code, text in listed(self.exits)])


class ManGroup(click.Group):
    """A noun; its verbs are :class:`ManCommand`."""

    command_class = ManCommand
    group_class = type

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order they were added, which is the order of use; to remove comes last."""
        return sorted(self.commands, key=lambda name: name == "remove")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                _write_examples(formatter, self.examples)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    pad = " " * formatter.current_indent
    for line, meaning in examples:
        formatter.write(f"{pad}{line}\n{pad}    {meaning}\n")
