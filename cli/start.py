"""`droptune start`: has the app look into a dataset's folder, where no event tells it that there is something new."""

from __future__ import annotations

import argparse

from cli.client_options import add_client_options, client_of
from cli.say import say, say_json
from cli.steer import add_by, who


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    start = commands.add_parser("start", help="looks into a dataset's folder: a renamed or undeleted blob tells nobody")
    start.add_argument("folder", metavar="FOLDER", help="in the container datasets")
    start.set_defaults(run=_start)
    add_by(start)
    add_client_options(start)


def _start(options: argparse.Namespace) -> int:
    from cli.client import as_json

    answer = client_of(options).start(options.folder, who(options))
    if options.json:
        say_json(as_json(answer))
    else:
        say(answer.told)
    return 0
