"""The command line: nouns, then verbs, over the same gRPC API as any orchestrator's."""

from control.cli.app import main

__all__ = ["main"]
