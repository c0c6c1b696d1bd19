"""`make demo`: the whole way on this machine, from a broken dataset over a trained and serving model to its teardown.

It is the commands that a person would type, shown and run one after the other (cli/demo/shell.py), in a folder with a
local cloud of its own. At the end it checks what it claims: exit code 1 names what doesn't hold. Called by the command
`droptune demo`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from cli.apps import STATE
from cli.client import as_number
from cli.demo.data import DEFAULT_MODEL, TINY, TRAIN, Dataset, base, broken, facts, own
from cli.demo.shell import LOG, Shell
from cli.errors import CliError
from cli.screen import Screen
from localcloud.environment import DescriptionError
from localcloud.reset import reset
from localcloud.stack import REPO, StackError
from shared.api.schema import LineList, LineView, RunList, RunView
from shared.dataset.report import counted

SETTINGS = {
    # The app's own defaults are Phi-4, a cleanup that only reports, and waits that make sense on Azure.
    "BASE_MODEL": DEFAULT_MODEL,
    "CLEANUP_MODE": "delete",
    "SETTLE_TIME": "PT2S",
    "POLL_INTERVAL": "PT1S",
}
MOST_FILES = 4
"""Files of one dataset: to train on, to validate, to test, and a finetune.yaml."""


@dataclass(kw_only=True)
class Claims:
    """What the demo has to show: whether it does, and what was found."""

    held: list[tuple[str, bool, str]] = field(default_factory=list)

    def that(self, claim: str, holds: bool, found: str) -> None:
        """Notes a claim."""
        self.held.append((claim, holds, found))

    def judge(self, screen: Screen) -> int:
        """Shows them. Returns the exit code."""
        screen.title("Is it true?")
        for claim, holds, found in self.held:
            screen.check(claim, holds=holds, found=found)
        return 0 if all(holds for _, holds, _ in self.held) else 1


def demo(*, model: str | None, data: Path | None, state: Path) -> int:
    """The demo. Returns its exit code: 0, 1 when something isn't as it should be, 130 after Ctrl-C. Raises CliError."""
    dataset = own(data, model) if data else None
    _empty(state)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    screen = Screen()
    shell = Shell(state, screen)
    show = _Demo(shell, screen, dataset or facts(state, model))
    try:
        show.start(SETTINGS | ({"BASE_MODEL": model} if model else {}))
        show.broken_dataset()
        run = show.good_dataset()
        show.question()
        show.idle(run)
        show.revival()
        run = show.end(run)
    except KeyboardInterrupt:
        screen.line("interrupted: stopping")
        return 130
    except (StackError, DescriptionError, CliError) as error:
        screen.line(f"{error}", style="red")
        screen.text(f"logs: {shell.folder / LOG}, {shell.folder / STATE / 'logs'}")
        return 1
    finally:
        shell.stop()
    code = show.claims.judge(screen)
    _summary(screen, run)
    screen.gap()
    if code:
        failed = "; ".join(claim for claim, holds, _ in show.claims.held if not holds)
        screen.line(f"the demo failed; what is not so: {failed}", style="red")
        screen.text(f"logs: {shell.folder / STATE / 'logs'}")
        return code
    screen.line("done: all of it is so. How to go on, with data of your own: docs/tutorial.md", style="green")
    screen.text(f"The cloud keeps its state: `droptune local up` in {os.path.relpath(shell.folder)} goes on.")
    return code


class _Demo:
    """The chapters."""

    def __init__(self, shell: Shell, screen: Screen, dataset: Dataset) -> None:
        self._shell, self._screen, self._dataset = shell, screen, dataset
        self._name = dataset.name
        self.claims = Claims()

    def start(self, settings: dict[str, str]) -> None:
        """Chapter 0: the local cloud and the app."""
        self._screen.title("The cloud, on this machine")
        self._screen.text("Each line after a $ is a command that you could type in this terminal:")
        if not shutil.which("droptune"):
            self._screen.prompt(f'export PATH="{"$PWD" if Path.cwd() == REPO else REPO}:$PATH"')
        self._screen.prompt(f"cd {shlex.quote(os.path.relpath(self._shell.folder))}")
        self._shell.start(settings)
        self._screen.text("Azurite, Event Grid, Azure ML, identity, metrics and the Functions host are up.")

    def broken_dataset(self) -> None:
        """Chapter 1: bad rows are named before anything is paid for, by the command and by the app."""
        bad = broken(self._shell.folder)
        self._screen.title(f"1. A broken dataset: {bad.what}")
        told = self._shell.run("push", bad.name, code=1, keep=re.compile(rf"^ *{TRAIN}:|^droptune: "))
        self._screen.text("(The rows themselves, and what cures them, are left out here.)", style="dim")
        sent = self._shell.other_tool("uploads", bad.name)
        self.claims.that("push sent nothing of the broken dataset", not sent, f"{len(sent)} blobs in its folder")

        self._screen.gap()
        self._screen.text(
            "Another tool would not check. So one uploads it now, with the storage SDK; the app refuses it:"
        )
        self._shell.other_tool("upload", bad.name, f"{bad.name}/{TRAIN}")
        for found in self._shell.until("the app has looked at the upload", "runs", shape=RunList):
            if found.runs and found.runs[0].outcome:
                break
        self._shell.run("runs")
        run = self._shell.read("show", bad.name, shape=RunView)
        lines = {str(fault["line"]) for fault in (run.report or {}).get("faults", [])}
        same = run.run.phase == "rejected" and lines == set(re.findall(rf"^ *{TRAIN}:(\d+) ", told, re.MULTILINE))
        found_bad = f"it {run.run.outcome}, with {len(lines)} lines named"
        self.claims.that("the app rejected it, for the lines that push had named", same and bool(lines), found_bad)

    def good_dataset(self) -> RunView:
        """Chapter 2: uploaded once, told twice, trained once, served. Returns the run."""
        path = os.path.relpath(self._dataset.path.resolve(), self._shell.folder)
        named = () if Path(path).name == self._name else ("--as", self._name)
        self._screen.title(f"2. A good dataset: {self._dataset.what}")
        self._screen.text("Event Grid may deliver an event twice. Here it has to, for each file:")
        self._shell.run("local", "fault", "events", "double", str(MOST_FILES))
        self._shell.run("push", path, *named, "--follow")
        return self._shell.read("show", self._name, shape=RunView)

    def question(self) -> None:
        """Chapter 3: a question that it was not trained on."""
        self._screen.title("3. A question that it was not trained on")
        self._shell.run("url", self._name)
        self._judged(f"its answer {self._dataset.wanted}")

    def idle(self, run: RunView) -> None:
        """Chapter 4: nobody asks any more. First there is a notice, then it is torn down."""
        self._screen.title("4. Nobody asks any more")
        self._screen.text("After a day without a question (IDLE_WINDOW) there is a notice:")
        self._shell.run("local", "clock", "advance", "2d")
        told = self._until("the notice", run, lambda line: line.idle_since is not None)
        self._shell.run("lines")
        self._screen.gap()
        self._screen.text("Half a day after that (IDLE_GRACE) it is torn down, so that nothing is paid for any more:")
        self._shell.run("local", "clock", "advance", "1d")
        gone = self._until("the teardown", run, lambda line: line.state == "empty")
        self._shell.run("lines")
        self._shell.run("ask", self._name, code=1)
        self.claims.that(
            "there was a notice before the teardown",
            told.serving is not None and gone.serving is None,
            f"{told.state} at the notice, {gone.state} a day later",
        )
        left = self._shell.other_tool("endpoint", gone.endpoint)
        alone = left["endpoint"] and not left["deployments"] and not left["jobs"]
        self.claims.that("only the empty endpoint was left", alone, json.dumps(left))

    def revival(self) -> None:
        """Chapter 5: it is wanted again, and comes back at its address, without training."""
        self._screen.title("5. Wanted again: it comes back at the same address, without training")
        self._shell.run("revive", self._name)
        self._shell.run("watch", self._name)
        self._judged(f"brought back, its answer {self._dataset.wanted}")

    def end(self, run: RunView) -> RunView:
        """The last look at all of it, before the cloud stops. Returns the run as it is now."""
        run = self._shell.read("show", run.run.id, shape=RunView)
        losses = [as_number(value) for _, value in run.metrics.get("eval_loss", [])] or [as_number(None)]
        fell, factor = ("is at most half", 0.5) if self._dataset.strict else ("fell", 1.0)
        self.claims.that(
            f"the eval loss {fell}", losses[-1] < losses[0] * factor, f"{losses[0]:.3f} -> {losses[-1]:.3f}"
        )
        ledger = self._shell.control("/_local/ledger")
        jobs = {entry["name"] for entry in ledger if entry["method"] == "PUT" and entry.get("kind") == "jobs"}
        asked = [each for each in self._shell.control("/_local/eventgrid")["disturbances"] if each["what"] == "double"]
        twice = sum(MOST_FILES - each["count"] for each in asked)
        found = f"{counted(twice, 'event')} came twice; jobs: {', '.join(sorted(jobs))}"
        self.claims.that("one job, though each event came twice", len(jobs) == 1 and twice > 0, found)
        denied = len(self._shell.control("/_local/denied"))
        outside = ", ".join(sorted(self._shell.outside))
        looked = f"{self._shell.looks} looks at all sockets, {denied} attempts refused"
        self.claims.that("nothing left this machine", not denied and not outside, outside or looked)
        self._screen.title("The end")
        self._shell.run("local", "down")
        running = self._shell.left()
        self.claims.that("nothing runs any more", not running, ", ".join(map(str, running)) or "no process left")
        return run

    def _judged(self, claim: str) -> None:
        """Asks a held-out row, and notes whether the answer is what can be expected."""
        told = self._shell.run("ask", self._name, "--random-row", keep=re.compile(""))
        found = re.search(r"^answer {4}(.*)^expected {2}(.*)", told, re.MULTILINE | re.DOTALL)
        if not found:
            raise CliError("droptune ask has shown no answer beside an expected one")
        answer, expected = (" ".join(each.split()) for each in found.groups())
        self.claims.that(claim, self._dataset.judge(answer, expected), answer)

    def _until(self, what: str, run: RunView, seen: Callable[[LineView], bool]) -> LineView:
        """Its line, once it is seen so: a timer looks within seconds."""
        for found in self._shell.until(what, "lines", shape=LineList):
            line = next(one for one in found.lines if one.id == run.run.line)
            if seen(line):
                return line
        raise AssertionError("the loop above ends by an answer or an error")


def _summary(screen: Screen, run: RunView) -> None:
    """What was real, and what was not."""
    losses = run.metrics.get("loss")
    steps, rows = losses[-1][0] if losses else 0, run.data.rows.get("train", "?")
    real = [
        ("function code", "triggers, rules and SDK calls as in Azure, under Microsoft's Python worker library"),
        ("storage", "blobs and queues in Azurite, over HTTPS, by managed identity"),
        ("training", f"{steps} steps on {rows} rows: transformers and torch, a process of its own"),
        ("serving", "Azure ML's own inference server, with the weights that were trained"),
    ]
    simulated = [
        ("Azure ML, Event Grid", "servers of this repository that speak Azure's protocols; no GPU, no charge"),
        ("identity, metrics", "tokens of a local issuer; requests and CPU counted on this machine"),
        ("time", "moved ahead by three days, in which nobody asked"),
    ]
    (simulated if run.run.base_model in TINY else real).append(("base model", base(run.run.base_model)))
    screen.table("This ran for real", real)
    screen.table("This was simulated", simulated)


def _empty(folder: Path) -> None:
    """A folder without a local cloud. Raises CliError where one runs in it."""
    try:
        for _ in reset(folder / STATE, yes=True):
            pass
    except (StackError, DescriptionError) as error:
        raise CliError(str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends the demo; another must not disturb the stopping."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
