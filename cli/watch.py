"""`droptune watch`: a run as it goes on, until it ends, waits for a person, or somebody has seen enough."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.errors import CliError
from cli.moments import lasted, local
from cli.say import SENTENCE, complain, escaped, say, say_json

if TYPE_CHECKING:
    from cli.client import AppClient
    from shared.api.schema import RunView

EVERY = 2.0
"""Seconds between two looks."""
PATIENCE = 120.0
"""Seconds for which an app that does not answer is asked again."""
FINE = ("live", "unchanged")
WAITS, LATE = 3, 4
"""Exit codes: it waits for a person, or is parked; the time is over."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds this command to the parser."""
    watch = commands.add_parser("watch", help="a run as it goes on, to its end")
    watch.add_argument("id", metavar="RUN", help=OF_RUN)
    watch.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="stop watching after so long")
    watch.add_argument("--strict", action="store_true", help="end with 1 where a newer run takes its place")
    watch.set_defaults(run=_watch)
    add_client_options(watch)


def _seconds(text: str) -> float:
    """Raises what argparse tells."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, more than 0")
    return seconds


def _watch(options: argparse.Namespace) -> int:
    return follow(client_of(options), options.id, timeout=options.timeout, strict=options.strict, as_json=options.json)


def follow(
    client: AppClient, name: str, *, timeout: float | None = None, strict: bool = False, as_json: bool = False
) -> int:
    """Shows what happens to a run until it ends. Returns the exit code. Raises CliError.

    A run that is superseded is left for its folder's newest, unless `strict`. `as_json`: only how it stands in the end.
    """
    watching = _Watching(client, None if timeout is None else time.monotonic() + timeout, quiet=as_json)
    try:
        view, code = watching.to_its_end(name, strict=strict)
    except KeyboardInterrupt:
        complain(f"not watched any more; the run goes on: droptune watch {watching.run or name} comes back to it")
        return 130
    if as_json:
        from cli.client import as_json as shown

        say_json(shown(view))
    return code


class _Watching:
    """What was shown of a run so far. `until`: on the monotonic clock."""

    def __init__(self, client: AppClient, until: float | None, *, quiet: bool) -> None:
        self._client = client
        self._until = until
        self._quiet = quiet
        self.run = ""
        self._shown = 0
        self._told = ""
        self._step = -1

    def to_its_end(self, name: str, *, strict: bool) -> tuple[RunView, int]:
        """How the run stands in the end, and the exit code for that."""
        while True:
            view = self._look(self.run or name)
            if view.run.id != self.run:
                self.run, self._shown, self._told, self._step = view.run.id, 0, "", -1
                self._say(f"run {view.run.id} of {view.run.folder}, attempt {view.run.attempt}")
            self._show(view)
            if view.run.outcome:
                newer = "" if strict or view.run.phase != "superseded" else self._newest(view)
                if not newer:
                    return view, self._ended(view)
                self._say(f"run {newer} takes its place, and is watched now")
                self.run = ""
                name = newer
            elif view.run.parked or view.run.hold in ("approval", "pin"):
                return view, WAITS
            elif self._until is not None and time.monotonic() > self._until:
                complain(f"the time is over; the run goes on: droptune watch {self.run} comes back to it")
                return view, LATE
            time.sleep(EVERY)

    def _look(self, name: str) -> RunView:
        """The run. An app that has answered before may be silent for a while. Raises CliError."""
        begun = time.monotonic()
        while True:
            try:
                return self._client.run(name)
            except CliError as error:
                if not self.run or time.monotonic() - begun > PATIENCE:
                    raise
                if not self._told.startswith("!"):
                    self._told = f"!{self._told}"
                    complain(f"{error}; it is asked again")
                time.sleep(EVERY)

    def _newest(self, view: RunView) -> str:
        """The newest run of the folder, if that is another one."""
        newest = self._client.run(view.run.folder).run.id
        return "" if newest == view.run.id else newest

    def _show(self, view: RunView) -> None:
        """What is new since the last look."""
        for number, entry in enumerate(view.history):
            if number >= self._shown:
                before = view.history[number - 1].at if number else entry.at
                passed = f"  (+{lasted(entry.at - before)})" if number else ""
                self._say(f"  {local(entry.at)}  {entry.phase:<11}  {entry.what}{passed}")
        self._shown = max(self._shown, len(view.history))
        steps = {name: points[-1] for name, points in view.metrics.items() if "loss" in name and points}
        step = max((at for at, _ in steps.values()), default=-1)
        if step > self._step:
            self._step = step
            losses = ", ".join(f"{name} {value:.3f}" for name, (_, value) in steps.items() if value is not None)
            self._say(f"  step {step}: {losses}")
        status = "" if view.run.outcome else view.run.status
        if status and status != self._told.removeprefix("!"):
            self._say(f"  {status}")
        self._told = status

    def _ended(self, view: RunView) -> int:
        """Says what it came to. Returns the exit code."""
        run = view.run
        fine = run.phase in FINE
        why = f": {run.status}" if run.status else ""
        self._say(f"{run.outcome}{why}")
        if run.phase == "live":
            self._say(f"next: droptune ask {run.line}")
        elif not fine:
            self._say(f"next: droptune show {run.id}")
        return 0 if fine else 1

    def _say(self, text: str) -> None:
        if not self._quiet:
            say(escaped(text, SENTENCE))
