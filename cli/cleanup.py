"""`droptune cleanup`: what the cleanup made of each line's endpoint at its last look, and what would change that.

Called by `__main__`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.client_options import OF_LINE, add_client_options, client_of
from cli.moments import ago, local
from cli.say import NAME, SENTENCE, escaped, say, say_json, tell_cuts

if TYPE_CHECKING:
    from shared.api.schema import CleanupView, VerdictView

_TOLD = {
    "go": "is due",
    "notice": "is idle",
    "pending": "is idle",
    "unjudged": "not judged",
    "going": "goes now",
    "keep": "stays",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    command = commands.add_parser("cleanup", help="which endpoints are idle, when they go, and what keeps the others")
    command.add_argument("--why", metavar="LINE", default="", help=f"of one line alone: {OF_LINE}")
    command.set_defaults(run=_cleanup)
    add_client_options(command)


def _cleanup(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import Screen

    found = client_of(options).cleanup(options.why)
    if options.json:
        say_json(as_json(found))
        return 0
    screen = Screen()
    for each in _head(found, options.why):
        say(each)
    for line in found.lines:
        screen.text(f"{escaped(line.folder or line.line, NAME)}  {_TOLD.get(line.verdict, line.verdict)}")
        screen.text(escaped(line.why, SENTENCE), indent=4, style="dim")
        if options.why:
            for more in _of(line):
                screen.text(more, indent=4)
    tell_cuts("--json has all of it")
    return 0


def _head(found: CleanupView, only: str) -> Iterator[str]:
    if not found.lines:
        yield "the cleanup has not looked at that line yet" if only else "the cleanup has seen no endpoint yet"
    elif not only:
        newest = max(line.at for line in found.lines)
        mode = "tears down what is due" if found.mode == "delete" else "only reports: it tears nothing down"
        yield f"the cleanup looked {ago(newest)}, and {mode} (CLEANUP_MODE={found.mode})"


def _of(line: VerdictView) -> Iterator[str]:
    yield f"line      {line.line}, endpoint {line.endpoint}"
    yield f"seen      {local(line.at)} ({ago(line.at)})"
    if line.requests is not None:
        last = f", the last {ago(line.last)}" if line.last else ""
        yield f"requests  {line.requests:,.0f}{last}"
    if line.until:
        yield f"until     {local(line.until)}"
