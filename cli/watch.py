"""`droptune watch`: a run as it goes, until it has ended or a person has to do something.

Lines as they come; on a terminal with a bar under them while something is under way. `push --follow` calls `follow`.
"""

from __future__ import annotations

import argparse
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.client_options import OF_RUN, add_client_options, client_of
from cli.errors import CliError
from cli.moments import clock, lasted
from cli.say import NAME, SENTENCE, escaped, say_json

if TYPE_CHECKING:
    from rich.progress import Progress

    from cli.client import AppClient
    from shared.api.schema import RunSummary, RunView

SOON, LATER = 2.0, 5.0
"""Seconds between two looks: in the first minute, and after that."""
FIRST = 60.0
PATIENCE = 120.0
"""Seconds for which an app need not answer."""
WAITS, LATE, DETACHED = 3, 4, 130
"""Exit codes: a person has to do something, the time is over, Ctrl-C. 0 and 1: it ended well, or badly."""
_WELL = ("live", "unchanged")
_TENTHS = 10
_STEPS = 1e12
"""More than a training has: metrics that say so say nothing."""
_ROOM = 48
"""Characters beside a bar, in 80 columns."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    watch = commands.add_parser(
        "watch",
        help="a run as it goes, until it has ended or needs you",
        epilog="Exit code: 0 live or unchanged; 1 rejected, failed, rolled back or cancelled; 3 waits for you, or "
        "parked; 4 the time is over; 130 after Ctrl-C, which leaves the run as it is.",
    )
    watch.add_argument("id", metavar="RUN", help=OF_RUN)
    watch.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="end after so long, with exit code 4")
    watch.add_argument("--strict", action="store_true", help="superseded: exit code 1, instead of the newer run")
    watch.set_defaults(run=_watch)
    add_client_options(watch)


def follow(client: AppClient, run_name: str, *, timeout: float | None = None, strict: bool = False) -> int:
    """Shows a run as it goes. Returns the exit code, see WAITS. Raises CliError, as after a long outage of the app."""
    code, _ = _Watch(client, timeout=timeout, strict=strict).until_end(run_name)
    return code


def code_of(run: RunSummary) -> int | None:
    """The exit code when the run is so; None as long as it goes on by itself."""
    if run.outcome:
        return 0 if run.phase in _WELL else 1
    if run.status.startswith("ends as "):
        return None
    return WAITS if run.parked or run.by_people or run.hold in ("approval", "pin", "endpoint") else None


def next_of(run: RunSummary, *, serves: bool, shown: bool = False) -> str:
    """The command to paste after this, "" for none; `shown`: after `show`, so that is not it.

    Where its status says what to do in Azure, it is the one to go on with after that.
    """
    if run.parked:
        return f"droptune retry {run.id}"
    if run.hold == "approval":
        return f"droptune approve {run.id}"
    if run.hold == "pin":
        return f"droptune unpin {run.line}"
    if run.phase == "live":
        return f"droptune ask {shlex.quote(run.folder)}" if serves else "droptune lines"
    if run.phase == "rejected":
        return f"droptune show {run.id} --data"
    if run.phase == "superseded":
        return f"droptune watch {shlex.quote(run.folder)}"
    if run.phase in ("failed", "rolled_back", "cancelled"):
        return f"droptune retry {run.id}" if shown or run.phase == "cancelled" else f"droptune show {run.id}"
    return "droptune lines" if run.outcome else f"droptune watch {run.id}"


class Patient:
    """Asks an app again and again. One that does not answer for a while is told of once, and ends nothing."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._knows = False
        self._since: float | None = None

    def ask[A](self, question: Callable[[], A]) -> A | None:
        """The answer; None while there is none. Raises CliError where there never was one, or not for PATIENCE."""
        try:
            answer = question()
        except CliError as error:
            if not self._knows:
                raise
            if self._since is None:
                self._since = time.monotonic()
                self._tell(f"no answer, asked again for up to {lasted(timedelta(seconds=PATIENCE))}: {error}")
            elif time.monotonic() - self._since > PATIENCE:
                raise
            return None
        if self._since is not None:
            self._tell("the app answers again")
        self._knows, self._since = True, None
        return answer


class Trained(NamedTuple):
    """How far a training is. `fraction`: from 0 to 1, None where that is not known; `steps`: of all, 0 likewise."""

    fraction: float | None
    step: int
    steps: int = 0
    losses: str = ""

    def told(self, left: str = "") -> str:
        """In words."""
        of = f" of {self.steps}" if self.steps else ""
        share = f"{self.fraction:.0%}, " if self.fraction is not None else ""
        return ", ".join(filter(None, (f"{share}step {self.step}{of}", self.losses, left)))


def trained(view: RunView) -> Trained | None:
    """How far the training is by the metrics of its job; None where there are none."""
    metrics, parameters = view.metrics, view.plan.parameters if view.plan else {}
    points = [points[-1] for name in ("loss", "epoch", "eval_loss") if (points := metrics.get(name))]
    if not points:
        return None
    step = max(step for step, _ in points)
    shown = [(name, metrics[name][-1][1]) for name in ("loss", "eval_loss") if metrics.get(name)]
    losses = ", ".join(f"{name} {math.nan if value is None else value:.3f}" for name, value in shown)
    steps, epochs = _number(parameters, "max_steps"), _number(parameters, "num_train_epochs") or 1.0
    at, epoch = (metrics.get("epoch") or [(0, 0.0)])[-1]
    if steps <= 0 and at > 0 and epoch and epoch > 0:
        steps = at / epoch * epochs
    if 1 <= steps < _STEPS:
        return Trained(fraction=min(max(step / round(steps), 0.0), 1.0), step=step, steps=round(steps), losses=losses)
    return Trained(fraction=None, step=step, losses=losses)


class _Watch:
    """One run, and those that took its place."""

    def __init__(self, client: AppClient, *, timeout: float | None, strict: bool, aside: bool = False) -> None:
        from cli.screen import Screen, console_of

        self._client, self._strict = client, strict
        self._began = time.monotonic()
        self._until = None if timeout is None else self._began + timeout
        self._timeout = timeout or 0.0
        self._console = console_of(stderr=aside)
        self._screen = Screen(self._console)
        self._patient = Patient(lambda text: self._screen.text(text, style="yellow"))
        self._bar: Progress | None = None
        self._followed: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        """Nothing is known of the run yet."""
        self._seen: set[object] = set()
        self._day: datetime | None = None
        self._status = ""
        self._told = -1.0
        self._first: tuple[float, float] | None = None

    def until_end(self, name: str) -> tuple[int, RunView | None]:
        """The exit code, and the run as it was seen last. Raises CliError."""
        view = None
        try:
            with self._bar_below():
                while True:
                    found = self._patient.ask(partial(self._client.run, name))
                    if found is not None:
                        view, name = found, found.run.id
                        self._tell(view)
                        code, newer = code_of(view.run), ""
                        if view.run.phase == "superseded" and not self._strict:
                            code, newer = self._superseded(view)
                        if code is not None:
                            break
                        if newer:
                            name = newer
                            continue
                    if not self._pause():
                        break
        except KeyboardInterrupt:
            self._say(f"detached, nothing is stopped by that; next: droptune watch {shlex.quote(name)}")
            return DETACHED, view
        if code is None:
            self._say(f"not done after {self._timeout:g} s; next: droptune watch {shlex.quote(name)}")
            return LATE, view
        self._end(view)
        return code, view

    def _superseded(self, view: RunView) -> tuple[int | None, str]:
        """The exit code, if the newest of the folder is this run or one that led to it; else the run to follow.

        Neither where the app does not answer.
        """
        self._followed.add(view.run.id)
        newest = self._patient.ask(partial(self._client.run, view.run.folder))
        if newest is None:
            return None, ""
        if newest.run.id in self._followed:
            return 1, ""
        self._say(f"run {view.run.id} was superseded; followed from here on: run {newest.run.id} of the same folder")
        self._begin()
        return None, newest.run.id

    def _pause(self) -> bool:
        """Waits until the next look; False where the time is over."""
        now = time.monotonic()
        left = math.inf if self._until is None else self._until - now
        if left <= 0:
            return False
        time.sleep(min(SOON if now - self._began < FIRST else LATER, left))
        return True

    # What is shown -------------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str = "") -> None:
        self._screen.text(text, style=style)

    def _tell(self, view: RunView) -> None:
        """What is new of it."""
        run = view.run
        if not self._seen:
            self._seen.add("")
            self._say(f"run {run.id} of {escaped(run.folder, NAME)}, attempt {run.attempt}, {run.base_model}", "bold")
        for entry in view.history:
            if (key := (entry.at, entry.phase, entry.what)) not in self._seen:
                self._seen.add(key)
                self._say(f"{clock(entry.at, self._day or entry.at)}  {entry.phase:<11}  {entry.what}")
                self._day = self._day or entry.at
        status = "" if run.outcome else escaped(run.status, SENTENCE)
        if status and status != self._status:
            self._say(f"{'':10}{status}", "dim")
        self._status = status
        progress = trained(view) if run.phase == "training" else None
        left = self._left(progress.fraction) if progress else ""
        if self._bar is not None:
            words = progress.told(left) if progress else status or f"is {run.phase}"
            share = None if progress is None else progress.fraction
            self._bar.update(self._task, description=escaped(words, _ROOM), total=share and 1.0, completed=share or 0.0)
        elif progress and self._is_further(progress):
            self._say(f"{'':10}{'training':<11}  {progress.told(left)}")

    def _is_further(self, now: Trained) -> bool:
        """Whether it is a tenth further than what was told last, or twice as many steps where the share isn't known."""
        at = float(now.step) if now.fraction is None else math.floor(now.fraction * _TENTHS) / _TENTHS
        if at <= self._told * (2 if now.fraction is None and self._told > 0 else 1):
            return False
        self._told = at
        return True

    def _left(self, fraction: float | None) -> str:
        """The time left, as fast as it went while it was watched; "" where that can't be told."""
        if fraction is None or not 0 < fraction < 1:
            return ""
        now = time.monotonic()
        if self._first is None or fraction < self._first[1]:
            self._first = (now, fraction)
        began, share = self._first
        if fraction == share:
            return ""
        return f"about {lasted(timedelta(seconds=(1 - fraction) * (now - began) / (fraction - share)))} left"

    def _end(self, view: RunView | None) -> None:
        if view is None:
            return
        run, why = view.run, escaped(view.run.status, SENTENCE)
        said = run.outcome or ("is parked" if run.parked else "waits for you")
        # A run that waits says so itself.
        told = why if why.startswith(said) else f"{said}: {why.removeprefix('waits: ')}" if why else said
        good = code_of(run) == 0
        self._say(f"run {run.id} {told}", "bold green" if good else "bold red")
        if why != escaped(run.status):
            self._say(f"… stands for text that is cut; `droptune show {run.id}` has all of it")
        if run.phase == "live" and not view.serves:
            now = view.line_serves
            self._say(f"its line serves {f'{now.model} of run {now.run}' if now else 'nothing'} now")
        if command := next_of(run, serves=view.serves):
            self._say(f"next: {command}")

    @contextmanager
    def _bar_below(self) -> Iterator[None]:
        """On a terminal a bar is below the lines as long as the block runs."""
        from cli.screen import redraws

        if not redraws(self._console):
            yield
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(16), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as self._bar:
            self._task = self._bar.add_task("", total=None)
            yield
        self._bar = None


def _watch(options: argparse.Namespace) -> int:
    from cli.client import as_json

    shown = _Watch(client_of(options), timeout=options.timeout, strict=options.strict, aside=options.json)
    code, view = shown.until_end(options.id)
    if options.json and view is not None:
        say_json(as_json(view))
    return code


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{escaped(text, NAME)!r} is no number of seconds above 0")
    return seconds


def _number(parameters: Mapping[str, Any], name: str) -> float:
    """A parameter that is a number, also as text; 0 where it is none."""
    try:
        found = float(parameters.get(name) or 0)
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) else 0.0
