"""The one error of the command line: a sentence for the person who typed the command, printed by `__main__`."""

from __future__ import annotations


class CliError(Exception):
    """The command can't be carried out. The text says why and what to do."""
