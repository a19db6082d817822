"""The command `redoseg`: one file a verb. What needs torch is imported when a verb runs: help is instant."""

from redoseg.cli.app import main

__all__ = ["main"]
