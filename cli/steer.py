"""`droptune retry`, `cancel`, `approve`, `rollback`, `revive`, `pin`, `unpin`, `recover`: what a person asks of an app.

The app carries it out (shared/api/run_commands.py), and answers with what happens next. Called by `__main__`.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from cli.client_options import OF_LINE, OF_RUN, add_client_options, client_of
from cli.say import say, say_json

OF_RUNS = {
    "retry": "takes up a run that is parked, or makes another attempt of one that failed",
    "cancel": "ends a run that has not ended",
    "approve": "lets a run have traffic whose finetune.yaml asks for that",
}
OF_LINES = {
    "rollback": "serves again what a line served before",
    "revive": "serves again what a line served last that was torn down",
    "pin": "keeps a line at what it serves",
    "unpin": "lets newer versions of a line go live again",
}
RECOVER = "makes lost records again from what Azure shows"


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds these commands to the parser."""
    made = []
    for kind, what, verbs in (("runs", "RUN", OF_RUNS), ("lines", "LINE", OF_LINES)):
        for verb, help_ in verbs.items():
            command = commands.add_parser(verb, help=help_)
            of = OF_RUN if what == "RUN" else OF_LINE
            command.add_argument("name", metavar=what, help=of)
            command.set_defaults(run=partial(_ask, kind, verb))
            made.append(command)
    command = commands.add_parser("recover", help=RECOVER)
    command.set_defaults(run=_recover)
    made.append(command)
    for command in made:
        add_by(command)
        add_client_options(command)


def add_by(command: argparse.ArgumentParser) -> None:
    """Adds the option that says who asks."""
    command.add_argument("--by", help="who asks, for the history, as a claim (default: your login name)")


def _ask(kind: str, verb: str, options: argparse.Namespace) -> int:
    from cli.client import as_json, part
    from shared import naming

    name = part(naming.FOLDER, options.name)
    answer = client_of(options).ask(f"{kind}/{name}/{verb}", who(options))
    if options.json:
        say_json(as_json(answer))
    else:
        say(answer.told)
    return 0


def _recover(options: argparse.Namespace) -> int:
    from cli.client import as_json

    answer = client_of(options).recover(who(options))
    if options.json:
        say_json(as_json(answer))
        return 0
    for each in answer.rebuilt:
        say(f"made again: {each}")
    for each in answer.told:
        say(f"note: {each}")
    if not answer.rebuilt:
        say("no record is lost that could be made again")
    return 0


def who(options: argparse.Namespace) -> str:
    """Who asks, as a claim."""
    if options.by:
        return str(options.by)
    import getpass  # here, so that --help does not load it

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # nobody is logged in, as in some containers
        return ""
