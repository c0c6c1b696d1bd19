"""`droptune retry`, `cancel`, `approve`, `rollback`, `revive`, `pin`, `unpin`, `keep`, `hours`, `stop`, `recover`.

What a person asks of an app.

The app carries it out (shared/api/run_commands.py), and answers with what happens next. Called by `__main__`.
"""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from typing import Any

from cli.client_options import OF_LINE, OF_RUN, add_client_options, client_of
from cli.errors import stopped_with
from cli.say import say, say_json, tell

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
    "keep": "keeps what a line serves from being torn down, whoever calls it",
    "hours": "gives a line office hours, in which it is not torn down",
    "stop": "tears down what a line serves, now and on purpose",
}
GOES_ON = ("retry", "approve", "rollback", "revive")
"""Those after which a run is under way."""
_TAKEN = ("until", "why", "hours", "end")
"""What some of them take besides, as the app calls it."""
RECOVER = "makes lost records again from what Azure shows"


def _until(command: argparse.ArgumentParser) -> None:
    command.add_argument("--until", help="12h, 3d, 2w, or a day such as 2026-12-24 (default: until --end)")


def _why(command: argparse.ArgumentParser) -> None:
    command.add_argument("--why", help="the reason, for whoever looks at the line")


def _hours(command: argparse.ArgumentParser) -> None:
    command.add_argument("hours", nargs="?", metavar="HOURS", help='"Mon-Fri 08:00-18:00 Europe/Berlin"')


def _end(command: argparse.ArgumentParser) -> None:
    command.add_argument("--end", action="store_true", help="ends that")


MORE = {"keep": (_until, _why, _end), "hours": (_hours, _end), "stop": (_why,)}


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds these commands to the parser."""
    made = []
    for kind, what, verbs in (("runs", "RUN", OF_RUNS), ("lines", "LINE", OF_LINES)):
        for verb, help_ in verbs.items():
            command = commands.add_parser(verb, help=help_)
            of = OF_RUN if what == "RUN" else OF_LINE
            command.add_argument("name", metavar=what, help=of)
            for option in MORE.get(verb, ()):
                option(command)
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
    client, by = client_of(options), who(options)
    look = f"droptune show {shlex.quote(options.name)}" if kind == "runs" else "droptune lines"
    with stopped_with(f"the app may carry it out all the same; next: {look}"):
        more = {each: given for each in _TAKEN if (given := getattr(options, each, None))}
        answer = client.ask(f"{kind}/{name}/{verb}", by, more)
    if options.json:
        say_json(as_json(answer))
        return 0
    tell(answer.told)
    if verb in GOES_ON and answer.runs:
        say(f"next: droptune watch {answer.runs[0]}")
    return 0


def _recover(options: argparse.Namespace) -> int:
    from cli.client import as_json

    client, by = client_of(options), who(options)
    with stopped_with("the app may go on with it all the same; next: droptune runs"):
        answer = client.recover(by)
    if options.json:
        say_json(as_json(answer))
        return 0
    for each in answer.rebuilt:
        tell(f"made again: {each}")
    for each in answer.told:
        tell(f"note: {each}")
    if not answer.rebuilt:
        tell("no record is lost that could be made again")
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
