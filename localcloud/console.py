"""`droptune local clock`, `fault` and `pretend`: the control routes of a running local cloud, from a terminal.

What they ask for is in localcloud/clock.py, faults.py, eventgrid.py and azureml/pretend.py; this is argparse and texts
alone.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from localcloud import stack
from localcloud.environment import Description
from localcloud.stack import StackError, running

type Json = dict[str, Any]

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


def add(commands: Any) -> Iterator[argparse.ArgumentParser]:
    """Add `clock`, `fault` and `pretend` to a parser's commands. Yields the parsers that a state folder belongs to."""
    yield _clock(commands)
    kinds = "\n".join(f"  {name:<14}{what}" for name, (what, _) in KINDS.items())
    fault = commands.add_parser(
        "fault",
        help="make the local cloud fail as Azure does",
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
    return None if text == "all" else int(text)


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def run(options: argparse.Namespace) -> Iterator[str]:
    """Do what was asked, and yield what to tell. Raises StackError when no cloud runs or it refuses."""
    description = running(options.state)
    if options.command == "clock":
        yield from _time(description, options)
        return
    given = {name: value for name, value in vars(options).items() if value is not None or name == "count"}
    for name in ("command", "what", "state"):
        del given[name]
    match options.command, options.what:
        case "fault", "add":
            fault = KINDS[given.pop("kind")][1] | given
            control(description, "POST", "/_local/faults", fault)
        case "fault", "events":
            event = {given.pop("disturbance"): given.pop("number")} | given
            control(description, "POST", "/_local/eventgrid", event)
        case "fault", "job":
            ended = control(description, "POST", f"/_local/jobs/{given.pop('name')}", given)
            yield f"job {ended['name']} is {ended['properties']['status']}"
            return
        case "fault", "clear":
            control(description, "DELETE", "/_local/faults")
            control(description, "DELETE", "/_local/eventgrid")
        case "pretend", "jobs" | "deployments":
            if "metrics" in given:
                given["metrics"] = dict(given["metrics"])
            control(description, "POST", "/_local/pretend", {options.what: given})
        case "pretend", "clear":
            control(description, "DELETE", "/_local/pretend")
    yield from _listed(description, options.command)


def control(description: Description, method: str, path: str, body: Any = None) -> Any:
    """stack.control(); raises StackError too when nobody answers."""
    try:
        return stack.control(description, method, path, body)
    except OSError as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        log = description.state / "logs" / "server.log"
        raise StackError(
            f"the local cloud in {description.state} doesn't answer ({why}): try again in a moment, or see {log}"
        ) from None


def _time(description: Description, options: argparse.Namespace) -> Iterator[str]:
    """Changes the clock, if that is wanted, and yields what it shows then."""
    change: Json | None = None
    if options.what == "advance":
        change = {"advance": options.length.total_seconds()}
    elif options.what == "rate":
        change = {"rate": options.rate}
    now = control(description, "POST" if change else "GET", "/_local/clock", change)
    if options.json:
        yield json.dumps(now)
        return
    local = datetime.fromisoformat(now["now"])
    yield f"local time  {local.astimezone():%Y-%m-%d %H:%M:%S %Z}, {_ahead(local - datetime.now(UTC))}"
    yield f"rate        {now['rate']:g}: a real second is {now['rate']:g} of local time"
    if options.what == "advance":
        yield (
            "Timers and events that are due by now go off within a second, the sweep among them, which takes up runs "
            "whose wait is over."
        )
    elif options.what == "rate":
        yield "Timers, events and waits keep to this rate from now on, over restarts too."


def _ahead(by: timedelta) -> str:
    """How far local time is ahead of this machine's, in its two largest units."""
    seconds = round(by.total_seconds())
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            parts.append(f"{seconds // length} {unit}")
            seconds %= length
    return f"{' '.join(parts[:2])} ahead of this machine's" if parts else "this machine's"


def _listed(description: Description, command: str) -> Iterator[str]:
    lines = list(_faults(description) if command == "fault" else _pretending(description))
    yield from lines or ["nothing was asked for"]


def _faults(description: Description) -> Iterator[str]:
    for fault in control(description, "GET", "/_local/faults"):
        left = "all" if fault["count"] is None else fault["count"]
        what = fault["moment"] if fault["moment"] in ("delay", "stale") else f"{fault['moment']} the effect: "
        if fault["moment"] in ("before", "after"):
            what += "reset" if fault["reset"] else f"{fault['status']} {fault['code']}".strip()
        where = f"{fault['service']} {fault['method']} {fault['path']}{'?' if fault['query'] else ''}{fault['query']}"
        skip = f", after {fault['skip']} more" if fault["skip"] else ""
        yield f"{where}  {what}; {left} to come{skip}, {fault['taken']} so far"
    grid = control(description, "GET", "/_local/eventgrid")
    for topic, times in grid["deliver"].items():
        if times != 1:
            yield f"events of {topic}  delivered {times} times"
    for each in grid["disturbances"]:
        if each["count"] or each["held"]:
            yield f"events of {each['topic']} {each['match']}  {each['what']} {each['count']} more, {each['held']} held"


def _pretending(description: Description) -> Iterator[str]:
    for kind, rules in control(description, "GET", "/_local/pretend").items():
        for rule in rules:
            left = "always" if rule["count"] is None else f"{rule['count']} more"
            yield f"{kind} {rule['match'] or '.*'}  {rule['outcome']} after {rule['seconds']:g} s, {left}"
