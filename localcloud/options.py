"""What may be typed: the parser of `droptune local` and `python -m localcloud`, and how both speak to the terminal.

Loads nothing but argparse, so that `--help` and mistakes answer at once. What a command does is in commands.py, for a
cloud's control routes in console.py.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

type Json = dict[str, Any]

STATE = Path(".droptune")
"""The state folder of whoever names none."""
KINDS: dict[str, tuple[str, Json]] = {
    "busy": ("503", {"status": 503}),
    "error": ("500", {"status": 500}),
    "throttled": ("429 with Retry-After", {"status": 429, "retry_after": 5}),
    "lost-answer": ("it has its effect, the answer is lost (500)", {"moment": "after", "status": 500}),
    "reset": ("reset before the effect; with --moment after, after it", {"reset": True}),
    "slow": ("the answer comes late: --delay seconds, 5 by default", {"moment": "delay", "delay": 5.0}),
    "not-found": ("404, as just after a create", {"status": 404, "method": "GET"}),
    "conflict": ("409", {"status": 409}),
    "changed": ("412, as if somebody else had written first", {"status": 412}),
    "expired-token": ("401 with the service's challenge", {"status": 401}),
    "no-quota": (
        "400 OutOfQuota to a new deployment",
        {
            "status": 400,
            "code": "OutOfQuota",
            "message": "Not enough quota is available.",
            "method": "PUT",
            "path": "/deployments/",
        },
    ),
    "stale": ("GETs of Azure ML are answered as --seconds ago (60)", {"moment": "stale", "count": None}),
}
"""What `fault add` knows by name, and what each asks for."""
LONGEST = timedelta(days=366)
"""How far the clock is advanced at once at most."""
SLOWEST, FASTEST = 0.01, 86_400.0
"""Rates of the clock: at the last a day goes by in a second."""
_LENGTH = re.compile(
    r"p?(?:(?P<days>\d+)d)?t?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?", re.ASCII
)
_EXAMPLES = """examples:
  droptune local fault add throttled --method PUT --path /jobs/ --count 3
  droptune local fault add lost-answer --method PUT --path /deployments/
  droptune local fault add busy --service blob --path /state/ --skip 2
  droptune local fault add stale --path /onlineEndpoints/ --seconds 120
  droptune local fault events lose 1 --topic azureml --match Completed
  droptune local fault job NAME Failed --why "the node was preempted"
"""


def parser(prog: str, *, settable: bool) -> argparse.ArgumentParser:
    """The parser. `settable`: whether settings of the app can be told from mistakes."""
    made = _Parser(prog=prog, description="Azure on this machine, on loopback only.")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    start = commands.add_parser(
        "up",
        help="start the cloud and the app; Ctrl-C stops it",
        description="Starts the cloud and the app, and stays in the foreground until Ctrl-C or `down`.",
    )
    start.add_argument("--no-host", action="store_true", help="without the Functions host: only the cloud")
    if settable:
        start.add_argument(
            "--set",
            dest="settings",
            metavar="NAME=VALUE",
            action="append",
            type=_setting,
            help="a setting of the app (docs/settings.md), for this start only; may be given again",
        )
    stop = commands.add_parser("down", help="stop the cloud that runs in the state folder")
    text = 'print the app\'s environment for a shell: eval "$(... env)"'
    variables = commands.add_parser("env", help=text)
    away = commands.add_parser(
        "reset",
        help="delete the state folder of a cloud that is stopped: uploads, runs, models, endpoints",
        description="Deletes what a local cloud has made in its state folder, which begins anew then. Stops nothing: "
        "it refuses while the cloud runs. What somebody else put into the folder stays.",
    )
    away.add_argument("--yes", action="store_true", help="without asking; needed where nobody can be asked")
    for command in (start, stop, variables, away, *_routes(commands)):
        command.add_argument(
            "--state", type=Path, default=STATE, metavar="DIR", help="state folder (default: %(default)s)"
        )
    return made


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        complain(f"{message}: see `{self.prog} --help`")
        sys.exit(2)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in CLEANUP_MODE=delete")
    return name, value


def _routes(commands: Any) -> Iterator[argparse.ArgumentParser]:
    """Add `clock`, `fault` and `pretend` to a parser's commands. Yields the parsers that a state folder belongs to."""
    yield _clock(commands)
    kinds = "\n".join(f"  {name:<14}{what}" for name, (what, _) in KINDS.items())
    fault = commands.add_parser(
        "fault",
        help="have the local cloud fail as Azure does",
        description="Faults are asked for by route, count and moment, and end with `fault clear`\nor the cloud.",
        epilog=f"kinds of faults:\n{kinds}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    faults = fault.add_subparsers(dest="what", required=True, metavar="list|add|events|job|clear")
    yield faults.add_parser("list", help="what was asked for, and how often it took place")
    yield _fault(faults)
    yield _events(faults)
    job = faults.add_parser("job", help="end a job that runs, at once")
    job.add_argument("name", metavar="JOB")
    job.add_argument("status", choices=("Failed", "Canceled", "Completed"))
    job.add_argument("--why", help="the reason that the job gives")
    yield job
    yield faults.add_parser("clear", help="forget all faults, and deliver events as they are")

    pretend = commands.add_parser(
        "pretend",
        help="jobs and deployments that take a time asked for and do nothing",
        description="The first rule that matches a name wins; what matches none is real. Seconds are local time.",
    )
    pretends = pretend.add_subparsers(dest="what", required=True, metavar="list|jobs|deployments|clear")
    yield pretends.add_parser("list", help="the rules")
    yield from _rules(pretends)
    yield pretends.add_parser("clear", help="forget the rules; what pretends already goes on")


def _clock(commands: Any) -> argparse.ArgumentParser:
    clock: argparse.ArgumentParser = commands.add_parser(
        "clock",
        help="the local cloud's time: show it, advance it, have it run faster",
        description="Timers, events, retries and metrics follow the local cloud's time. Tokens, and messages that wait "
        "in a queue, keep real time.",
    )
    clock.add_argument("--json", action="store_true", help="as JSON, in UTC")
    changes = clock.add_subparsers(dest="what", metavar="[advance LENGTH | rate NUMBER]")
    advance = changes.add_parser("advance", help="jump ahead: 3h, 90m, 1d12h")
    advance.add_argument("length", metavar="LENGTH", type=_length, help="3h, 90m, 1d12h or PT3H; 366 days at most")
    rate = changes.add_parser("rate", help="local seconds in a real one, from now on")
    rate.add_argument("rate", metavar="NUMBER", type=_rate, help="1 is real time; 60: a minute goes by in a second")
    for change in (advance, rate):  # what was said before `advance` counts too
        change.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON, in UTC")
        change.add_argument("--state", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="state folder")
    return clock


def _length(text: str) -> timedelta:
    match = _LENGTH.fullmatch(text.strip().lower())
    numbers = {unit: number for unit, number in match.groupdict().items() if number} if match else {}
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time such as 3h, 90m or 1d12h")
    try:
        length = timedelta(**{unit: int(number) for unit, number in numbers.items()})
    except (OverflowError, ValueError):  # more than Python counts, or reads
        length = timedelta.max
    if not timedelta(0) < length <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1s and {LONGEST.days}d")
    return length


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not SLOWEST <= rate <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {SLOWEST:g} to {FASTEST:.0f}")
    return rate


def _fault(faults: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = faults.add_parser(
        "add", help="ask for one", description="Options go over what the kind says."
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, default="busy", help="default: %(default)s", metavar="KIND")
    parser.add_argument("--service", choices=("management", "blob", "queue"), help="default: management (Azure ML)")
    parser.add_argument("--method", help="GET, PUT, ...; default: any")
    parser.add_argument("--path", help="a regular expression, searched in the path; default: any")
    parser.add_argument("--query", help="another, searched in the query (comp=blocklist)")
    parser.add_argument("--skip", type=int, help="so many matching requests pass first")
    parser.add_argument("--count", type=_count, default=argparse.SUPPRESS, help="how many fail, or `all`; default: 1")
    parser.add_argument("--moment", choices=("before", "after", "delay", "stale"), help="before or after the effect")
    parser.add_argument("--status", type=int, help="the HTTP status")
    parser.add_argument("--code", help="Azure's error code; default: the service's own for the status")
    parser.add_argument("--message", help="the error's text")
    parser.add_argument("--retry-after", type=int, help="seconds, for the header")
    parser.add_argument("--delay", type=float, help="seconds of real time to wait first")
    parser.add_argument("--seconds", type=float, help="local seconds that stale reads lag behind")
    parser.add_argument("--reset", action="store_const", const=True, help="reset the connection instead of an answer")
    return parser


def _events(faults: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = faults.add_parser("events", help="disturb the next events of Event Grid")
    parser.add_argument("disturbance", choices=("lose", "double", "delay", "shuffle"))
    parser.add_argument("number", type=int, metavar="N", help="how many events")
    parser.add_argument("--topic", choices=("storage", "azureml"), default="storage", help="default: %(default)s")
    parser.add_argument("--match", help="a regular expression, searched in the event's type and subject")
    parser.add_argument("--seconds", type=float, help="local time; how late, or how long a shuffle waits for N (60)")
    parser.add_argument("--seed", type=int, help="of a shuffle; without it the order is reversed")
    return parser


def _rules(pretends: Any) -> Iterator[argparse.ArgumentParser]:
    for kind, outcomes in (
        ("jobs", ("Completed", "Failed", "Canceled")),
        ("deployments", ("Succeeded", "Failed", "Stuck")),
    ):
        parser = pretends.add_parser(kind, help=f"a rule for {kind} that are made from now on")
        matched = "the name" if kind == "jobs" else "ENDPOINT/DEPLOYMENT"
        parser.add_argument("--match", help=f"a regular expression, searched in {matched}; default: any")
        parser.add_argument("--seconds", type=float, help="how long it takes; default: 0")
        parser.add_argument("--outcome", choices=outcomes, help=f"default: {outcomes[0]}")
        parser.add_argument("--why", help="the reason of a failure")
        parser.add_argument("--count", type=_count, default=argparse.SUPPRESS, help="how often; default: all")
        if kind == "jobs":
            parser.add_argument("--metric", action="append", type=_metric, metavar="NAME=VALUE", dest="metrics")
        else:
            parser.add_argument("--answer", help="what it answers; {question} is the last message")
        yield parser


def _count(text: str) -> int | None:
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `all`")
    return None if text == "all" else int(text)


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in eval_loss=1.2") from None


def typed(what: str, state: Path) -> str:
    """A command of the local cloud as it is typed for that folder."""
    return f"droptune local {what}{option(state)}"


def option(state: Path) -> str:
    """What names the folder to a command, with a space before; nothing for the folder that is meant without."""
    return "" if state == STATE else f" --state {shlex.quote(str(state))}"


def say(line: str) -> None:
    """A line on standard output, without anything that a terminal would obey."""
    sys.stdout.write(f"{_visible(line)}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line; of the end of a log, which may follow the first line, the last one: that says what went wrong."""
    first, *more = [line.strip() for line in text.splitlines() if line.strip()] or ["it can't be done"]
    sys.stderr.write(f"droptune: {_visible(': '.join([first, *more[-1:]]))}\n")
    sys.stderr.flush()


def _visible(text: str) -> str:
    """Without anything that a terminal would obey: names and settings may hold it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
