"""`droptune status`, `runs`, `lines`: what serves, what needs a person, what was done and what is under way.

What a run did and what serves now are two things, and are told apart. Called by `__main__`.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from cli.client_options import add_client_options, client_of
from cli.moments import ago, local
from cli.say import NAME, SENTENCE, escaped, say, say_json, tell_cuts

if TYPE_CHECKING:
    from rich.console import Console

    from cli.client import AppClient
    from cli.screen import Screen
    from shared.api.schema import LineView, RunSummary, StatusView, UnreadableView

EVERY = 5.0
"""Seconds between two looks of `status --watch`."""
ALL = "1000"
"""As many runs as the app lists at most."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds these commands to the parser."""
    status = commands.add_parser("status", help="what serves, what needs you, and what is under way")
    status.add_argument("--watch", action="store_true", help="show it again whenever it changes, until Ctrl-C")
    status.set_defaults(run=_status)
    runs = commands.add_parser("runs", help="what the runs did that changed last, and which of them serve now")
    runs.add_argument("--folder", default="", help="those of this dataset's folder alone")
    runs.add_argument("--phase", default="", help="those in this phase alone: training, live, failed, ...")
    many = runs.add_mutually_exclusive_group()
    many.add_argument("--limit", default="", metavar="N", help="so many at most (default: 50)")
    many.add_argument("--all", action="store_true", help=f"up to {ALL}")
    runs.set_defaults(run=_runs)
    lines = commands.add_parser("lines", help="the model lines: what each serves, since when, and where it is asked")
    lines.set_defaults(run=_lines)
    for command in (status, runs, lines):
        add_client_options(command)


# Runs ----------------------------------------------------------------------------------------------------------------


def _runs(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import Screen

    client = client_of(options)
    limit = ALL if options.all else options.limit
    found = client.runs(folder=options.folder, phase=options.phase, limit=limit)
    if options.json:
        say_json(as_json(found))
        return 0
    screen, chosen = Screen(), bool(options.folder or options.phase)
    if not chosen:
        _waiting(screen, client.folders().waiting)
    if not found.runs:
        say("no such runs" if chosen else "no runs yet: upload a dataset as datasets/NAME/FILE.jsonl")
    _table(screen, found.runs)
    _unreadable(screen, found.unreadable)
    if len(found.runs) == int(limit or 50) and not options.all:
        say(f"these are the {len(found.runs)} that changed last; next: droptune runs --all")
    _unseen(screen, found.unseen)
    tell_cuts("--json has all of it, and `droptune show RUN` all of a run")
    return 0


def did(run: RunSummary) -> str:
    """What the run has come to, or where it is."""
    return run.outcome or f"is {run.phase}"


def _table(screen: Screen, runs: Iterable[RunSummary], indent: int = 0) -> None:
    """A line for each run, and under it what it waits for, or why it ended."""
    from rich.cells import cell_len

    rows = [
        (
            *(escaped(text, NAME) for text in (run.id, did(run), ago(run.since), run.folder)),
            "serves now" if run.serves else "",
            escaped(run.status, SENTENCE),
        )
        for run in runs
    ]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row[:-1], widths, strict=False))
        screen.text("  ".join(cells).rstrip(), indent=indent)
        if row[-1]:
            screen.text(row[-1], indent=indent + 4, style="dim")


def _waiting(screen: Screen, waiting: dict[str, list[str]], indent: int = 0) -> None:
    for folder, files in waiting.items():
        screen.text(f"datasets/{folder} waits for {', '.join(files)}", indent=indent)


def _unreadable(screen: Screen, records: Iterable[UnreadableView]) -> None:
    for record in records:
        screen.text(f"{escaped(record.id, NAME)}  can't be read: {record.why}")


def _unseen(screen: Screen, why: str) -> None:
    if why:
        screen.text(f"note: {why}", style="yellow")


# Lines ---------------------------------------------------------------------------------------------------------------


def _lines(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import Screen

    found = client_of(options).lines()
    if options.json:
        say_json(as_json(found))
        return 0
    screen = Screen()
    if not found.lines:
        say("no lines yet: the first run of a dataset makes one")
    names = _names(found.lines)
    for line in found.lines:
        name = names[line.id]
        screen.text(f"{escaped(line.folder, NAME)}: {state_of(line)}")
        for text in _of_line(line, name):
            screen.text(text, indent=4)
    _unreadable(screen, found.unreadable)
    _unseen(screen, found.unseen)
    tell_cuts("--json has all of it")
    return 0


def _names(lines: Sequence[LineView]) -> dict[str, str]:
    """What commands may call each line: its folder, where that has no other one."""
    folders = Counter(line.folder for line in lines)
    return {line.id: line.folder if folders[line.folder] == 1 else line.id for line in lines}


def state_of(line: LineView) -> str:
    """What the line is now, in words."""
    if line.seen:
        return f"does not serve what was recorded: {line.seen}"
    if line.state == "tearing_down":
        return "is being torn down"
    if serving := line.serving:
        return f"serves {serving.model} of run {serving.run}"
    if line.latest is None and line.state == "empty":
        return f"has served nothing yet: droptune runs --folder {shlex.quote(line.folder)} shows why"
    since = f" since {local(line.since)} ({ago(line.since)})" if line.since else ""
    told = {
        "not_made": "its endpoint is not made yet",
        "standing": "its endpoint stands, and serves nothing",
        "empty": f"serves nothing: its deployments are torn down{since}",
        "removed": f"serves nothing: its endpoint is removed{since}",
    }
    return told.get(line.state, f"is {line.state}")


def _of_line(line: LineView, name: str) -> Iterator[str]:
    """What there is to know of it besides; `name`: what commands name it by."""
    named = shlex.quote(name)
    yield f"line      {line.id}, {line.base_model}"
    if line.serving:
        yield f"since     {local(line.serving.since)} ({ago(line.serving.since)})"
    if line.address:
        yield f"address   {line.address}"
    if line.rollout:
        yield f"changes   for run {line.rollout}: droptune watch {shlex.quote(line.rollout)}"
    if line.previous:
        yield f"before    {line.previous.model} of run {line.previous.run}: droptune rollback {named}"
    if line.pinned_by:
        yield f"pinned    by {line.pinned_by}: newer versions wait; droptune unpin {named}"
    if keep := line.keep:
        until = f"until {local(keep.until)} " if keep.until else ""
        yield f"kept      {until}by {keep.who}{': ' if keep.why else ''}{keep.why}; droptune keep {named} --end"
    if line.hours:
        yield f"hours     {line.hours}: it is not torn down then"
    if line.no_traffic_since:
        yield f"traffic   somebody took it away, {ago(line.no_traffic_since)}"
    if line.missing_since:
        yield f"missing   Azure does not show what ought to be there since {local(line.missing_since)}"
    if line.verdict and line.state == "standing":
        yield f"cleanup   {line.verdict.why} (seen {ago(line.verdict.at)})"
    if line.idle_since:
        yield f"idle      nobody calls it; known since {local(line.idle_since)} ({ago(line.idle_since)})"
    for gone in line.retiring:
        whose = ", which no run owns," if gone.orphan else ""
        yield f"retiring  {gone.deployment}{whose} is deleted at {local(gone.until)}"
    for orphan in line.orphans:
        yield f"orphan    deployment {orphan} is no run's: nobody deletes it"
    for refusal in line.refused:
        yield f"refused   {refusal.what}, {ago(refusal.since)}: {refusal.why}"
    yield from _money(line)
    if line.latest and not line.serving and line.state != "tearing_down":
        yield f"next: droptune revive {named}"


def _money(line: LineView) -> Iterator[str]:
    """What an instance of it costs, and what was saved since its deployments are gone."""
    if line.price and line.serving:
        price, told = line.price, {"api": "Azure's public price list", "file": "the file of prices"}
        source = told.get(line.price.source, "a setting of the app")
        as_of = f" of {local(price.as_of)}" if price.as_of else ""
        yield f"price     {price.per_hour:,} {price.currency} an hour and instance, from {source}{as_of}"
    if line.unpriced and (line.serving or line.saved is None):
        yield f"price     {line.unpriced.removeprefix('price ')}"
    if line.saved is None:
        yield "saved     not known, for want of a price"
    elif line.saved:
        yield f"saved     {line.saved:,.2f}{f' {line.price.currency}' if line.price else ''} since then"


# Status --------------------------------------------------------------------------------------------------------------


def _status(options: argparse.Namespace) -> int:
    from cli.client import as_json
    from cli.screen import console_of

    client, console = client_of(options), console_of()
    if options.watch:
        return _watched(client, console, as_json=options.json)
    found = client.status()
    if options.json:
        say_json(as_json(found))
    else:
        _show_status(console, found)
    return 0


def _watched(client: AppClient, console: Console, *, as_json: bool) -> int:
    """Shows it whenever it has changed; 130 after Ctrl-C."""
    from cli.client import as_json as written
    from cli.say import complain
    from cli.screen import redraws
    from cli.watch import Patient

    patient, before = Patient(complain), None
    try:
        while True:
            found = patient.ask(client.status)
            if found is not None and (found != before or (redraws(console) and not as_json)):
                if as_json:
                    say_json(written(found))
                elif redraws(console):
                    console.clear()  # "3 min ago" has become another one
                elif before is not None:
                    say()
                if not as_json:
                    _show_status(console, found)
                before = found
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return 130


def _show_status(console: Console, found: StatusView) -> None:
    from cli.screen import Screen

    screen = Screen(console)
    screen.text("What serves", style="bold")
    for line in found.serving:
        screen.text(f"{escaped(line.folder, NAME)}: {state_of(line)}", indent=2)
        since = f", since {local(line.serving.since)} ({ago(line.serving.since)})" if line.serving else ""
        screen.text(f"{line.address or f'endpoint {line.endpoint}'}{since}", indent=6)
        if line.pinned_by:
            screen.text(f"pinned by {escaped(line.pinned_by, NAME)}: newer versions wait", indent=6)
        if line.idle_since:
            screen.text(f"nobody calls it; known since {local(line.idle_since)} ({ago(line.idle_since)})", indent=6)
    if not found.serving:
        screen.text("nothing", indent=2)
    if found.seats:
        screen.text(escaped(found.seats, SENTENCE), indent=2)
    if found.torn_down:
        screen.title("What is torn down")
    names = _names([*found.serving, *found.torn_down])
    for line in found.torn_down:
        screen.text(f"{escaped(line.folder, NAME)}: {state_of(line)}", indent=2)
        screen.text(f"next: droptune revive {shlex.quote(names[line.id])}", indent=6)
    if found.needs:
        screen.title("What needs you")
    for need in found.needs:
        since = f" ({ago(need.since)})" if need.since else ""
        folder = f"{escaped(need.folder, NAME)}: " if need.folder else ""
        of = f"run {escaped(need.run, NAME)}: " if need.run else ""
        screen.text(f"{folder}{of}{escaped(need.what, SENTENCE)}{since}", indent=2)
        if need.command:
            screen.text(f"next: {need.command}", indent=6)
    if found.working:
        screen.title("What is under way")
        _table(screen, found.working, indent=2)
    if found.waiting:
        screen.title("Folders that wait for files")
        _waiting(screen, found.waiting, indent=2)
    if found.unseen:
        screen.gap()
        _unseen(screen, found.unseen)
    if not (found.serving or found.torn_down or found.needs or found.working or found.waiting):
        say("next: droptune push DIR")
    tell_cuts("--json has all of it, and `droptune show RUN` all of a run")
