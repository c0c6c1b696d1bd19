"""`droptune local clock`, `fault` and `pretend`: the control routes of a running local cloud, from a terminal.

What they ask for is in localcloud/clock.py, faults.py, eventgrid.py and azureml/pretend.py; what may be typed, in
options.py.
"""

from __future__ import annotations

import argparse
import json
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud import stack
from localcloud.environment import Description
from localcloud.options import KINDS
from localcloud.stack import StackError, running

type Json = dict[str, Any]


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
        yield "Due timers and events go off within a second; the sweep wakes overdue runs."
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
