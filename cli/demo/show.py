"""`make demo`: the whole way on this machine, from a broken dataset over a trained and serving model to its teardown.

It starts the local cloud and the app, behaves like a person with Azure's SDKs and a browser (cli/demo/sdk.py, the app's
HTTP API), shows what happens, and at the end checks what it claims: exit code 1 names what doesn't hold. Called by the
command `droptune demo`.
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from cli.client import AppClient, as_number
from cli.demo.data import DEFAULT_MODEL, TINY, Upload, base, broken, facts, own
from cli.errors import CliError
from cli.screen import Screen
from localcloud.environment import child_environment
from localcloud.stack import REPO, Stack, StackError
from shared.api.schema import RunView

FASTER = 120
"""Local seconds in a real one while the endpoint idles: its minute is half a second long then."""
SETTINGS = {
    # The app's own defaults are Phi-4, and a cleanup that only reports.
    "BASE_MODEL": DEFAULT_MODEL,
    "CLEANUP_MODE": "delete",
    "SETTLE_TIME": "PT2S",
    "POLL_INTERVAL": "PT1S",
    "IDLE_WINDOW": "PT5M",
    "IDLE_GRACE": "PT3M",
    "ENDPOINT_MINIMUM_AGE": "PT5M",
    "SWEEP_SCHEDULE": "*/30 * * * * *",
    "UPLOADS_SWEEP": "PT1M",
    "CLEANUP_SCHEDULE": "0 * * * * *",
}
PATIENCE = 3600.0
"""Seconds that one stretch of the way may take; training somebody's own data is the longest."""
_IDLE = {
    "notice": "no request in five minutes of the cloud's time",
    "deletion": "nor in the three minutes after that: the traffic goes, then the deployment",
}
_SHOWN = 6
_BAD = ("failed", "rolled_back", "superseded", "cancelled", "unchanged")
_LOOPBACK = ("127.", "::1", "::ffff:127.")


@dataclass(kw_only=True)
class Claims:
    """What the demo checks at its end."""

    screen: Screen
    failed: list[str] = field(default_factory=list)

    def that(self, claim: str, holds: bool, found: str) -> None:
        """Shows the claim; one that doesn't hold is what the demo fails with."""
        self.screen.check(claim, holds=holds, found=found)
        if not holds:
            self.failed.append(f"{claim}: {found}")


def demo(*, model: str | None, data: Path | None, state: Path) -> int:
    """The demo. Returns its exit code: 0, 1 when something isn't as it should be, 130 after Ctrl-C. Raises CliError."""
    _empty(state)
    scratch = state / "data"
    upload = own(data, scratch, model) if data else facts(scratch, model)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    screen = Screen()
    stack = Stack(state / "cloud", settings=SETTINGS)
    show = _Demo(stack=stack, screen=screen, upload=upload)
    try:
        show.start()
        show.broken_dataset()
        run = show.good_dataset()
        answer = show.ask(run)
        show.idle(run)
        claims = show.claims(run, answer)
        show.summary(run)
    except KeyboardInterrupt:
        screen.line("interrupted: stopping")
        return 130
    except (StackError, CliError) as error:
        screen.line(f"{error}", style="red")
        screen.detail(f"logs: {stack.state}/logs")
        return 1
    finally:
        stack.stop()
    left = [process for process in show.processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    claims.that("nothing runs any more", not left, ", ".join(str(one.pid) for one in left) or "no process left")
    if claims.failed:
        screen.line(f"the demo failed: {'; '.join(claims.failed)} (logs: {stack.state}/logs)", style="red")
        return 1
    screen.line("done. How to go on: README.md", style="green")
    return 0


class _Demo:
    """The chapters."""

    def __init__(self, *, stack: Stack, screen: Screen, upload: Upload) -> None:
        self._stack, self._screen, self._upload = stack, screen, upload
        self.processes: set[psutil.Process] = set()
        self._outside: set[str] = set()
        self._looks = 0

    def start(self) -> None:
        """Chapter 0: the local cloud and the app."""
        self._screen.title("The cloud, on this machine")
        self._stack.start()
        key = self._stack.description.function_key
        self._app = AppClient(url=self._stack.urls["host"], key=key)
        self._screen.line("Azurite, Event Grid, Azure ML, identity, metrics and the Functions host are up")
        self._screen.detail(f"runs: {self._app.url}/api/runs?code={key}")
        self._screen.detail(
            f"set for this demo: BASE_MODEL={DEFAULT_MODEL} (the real one has retired; the default is Phi-4), "
            "CLEANUP_MODE=delete (the default only reports)"
        )

    def broken_dataset(self) -> None:
        """Chapter 1: bad rows are named before anything is paid for."""
        upload = broken(self._stack.state.parent / "data")
        self._screen.title(f"1. A broken dataset: {upload.what}")
        self._send(upload)
        run = self._follow(upload.folder, until="rejected", bad=(*_BAD, "live"))
        faults = (run.report or {})["faults"]
        for fault in faults[:_SHOWN]:
            self._screen.detail(f"line {fault['line']}: {fault['reason']}")
        self._screen.detail(f"and {len(faults) - _SHOWN} more, in the run's report")

    def good_dataset(self) -> RunView:
        """Chapter 2: uploaded once, told twice, trained once, served. Returns the run."""
        self._screen.title(f"2. A good dataset: {self._upload.what}")
        self._stack.control("POST", "/_local/eventgrid", {"topic": "storage", "deliver": 2})
        self._send(self._upload)
        self._screen.detail("Event Grid is made to deliver each upload's event twice")
        return self._follow(self._upload.folder, until="live", bad=(*_BAD, "rejected"))

    def ask(self, run: RunView) -> dict[str, Any]:
        """Chapter 3: a question that it was not trained on."""
        self._screen.title("3. A question to the endpoint")
        answer: dict[str, Any] = self._visit(
            "ask", {"prepared": run.data.prepared, "endpoint": _endpoint(run), "seed": run.run.id}
        )
        self._screen.line(answer["question"], title="question")
        self._screen.line(answer["answer"], title="answer", style="bold")
        self._screen.detail(f"expected: {answer['expected']}")
        return answer

    def idle(self, run: RunView) -> None:
        """Chapter 4: nobody calls any more. Local time runs faster, so that minutes are seconds."""
        self._screen.title(f"4. Nobody calls any more (the cloud's clock now runs {FASTER} times as fast)")
        self._stack.control("POST", "/_local/clock", {"rate": FASTER})
        told = ""
        for _ in self._until("the endpoint is torn down"):
            line = next(one for one in self._app.lines().lines if one.id == run.run.line)
            if line.state == "empty":
                break
            now = "deletion" if line.state == "tearing_down" else "notice" if line.idle_since else ""
            if now and now != told:
                told = now
                self._screen.line(_IDLE[now], title=now)
        self._screen.line(
            "the deployment is gone; the endpoint keeps its address, empty and free of charge", title="end"
        )
        self._stack.control("POST", "/_local/clock", {"rate": 1})

    def claims(self, run: RunView, answer: dict[str, Any]) -> Claims:
        """Checks what the demo is to show."""
        self._screen.title("Is it true?")
        claims = Claims(screen=self._screen)
        right = self._upload.judge(answer["answer"], answer["expected"])
        claims.that(f"the answer {self._upload.wanted}", right, answer["answer"])
        losses = [as_number(value) for _, value in self._app.run(run.run.id).metrics["eval_loss"]]
        fell, factor = ("is at most half", 0.5) if self._upload.strict else ("fell", 1.0)
        claims.that(f"the eval loss {fell}", losses[-1] < losses[0] * factor, f"{losses[0]:.3f} -> {losses[-1]:.3f}")
        ledger = self._stack.control("GET", "/_local/ledger")
        jobs = {entry["name"] for entry in ledger if entry["method"] == "PUT" and entry.get("kind") == "jobs"}
        claims.that("one job, though each event came twice", len(jobs) == 1, ", ".join(sorted(jobs)))
        left = self._visit("look", _endpoint(run))
        alone = left["endpoint"] and not left["deployments"] and not left["jobs"]
        claims.that("only the empty endpoint is left", alone, json.dumps(left))
        denied = self._stack.control("GET", "/_local/denied")
        refused = len(denied)
        found = ", ".join(sorted(self._outside)) or f"{self._looks} looks at all sockets, {refused} attempts refused"
        claims.that("nothing left this machine", not refused and not self._outside, found)
        return claims

    def summary(self, run: RunView) -> None:
        """What was real, and what was not."""
        rows, losses = run.data.rows, self._app.run(run.run.id).metrics
        steps = losses["loss"][-1][0] if losses.get("loss") else 0
        real = [
            ("function code", "triggers, rules and SDK calls as in Azure, under Microsoft's Python worker library"),
            ("storage", "blobs and queues in Azurite, over HTTPS, by managed identity"),
            (
                "training",
                f"{steps} steps on {rows.get('train', '?')} rows: transformers and torch, a process of its own",
            ),
            ("serving", "Azure ML's own inference server, with the weights that were trained"),
        ]
        simulated = [
            ("Azure ML, Event Grid", "servers of this repository that speak Azure's protocols; no GPU, no charge"),
            ("identity, metrics", "tokens of a local issuer; requests and CPU counted on this machine"),
            ("time", f"{FASTER} times as fast while the endpoint idled"),
        ]
        (simulated if run.run.base_model in TINY else real).append(("base model", base(run.run.base_model)))
        self._screen.table("This ran for real", real)
        self._screen.table("This was simulated", simulated)

    def _send(self, upload: Upload) -> None:
        self._visit("upload", {f"{upload.folder}/{path.name}": str(path) for path in upload.files})
        self._screen.line(", ".join(path.name for path in upload.files), title="uploaded")

    def _follow(self, folder: str, *, until: str, bad: tuple[str, ...]) -> RunView:
        """Shows a run's history as it grows, its training with a bar, until it is in that phase. Returns it."""
        told = 0
        for _ in self._until(f"datasets/{folder} is {until}"):
            listed = next((one for one in self._app.runs().runs if one.folder == folder), None)
            if listed is None:
                continue
            view = self._app.run(listed.id)
            for entry in view.history[told:]:
                what = entry.what.split("; first: ")[0]
                if not what.startswith("on to "):
                    self._screen.line(what, title=entry.phase)
            told, run = len(view.history), view.run
            if run.phase == until:
                return view
            if run.phase in bad or run.parked:
                raise CliError(f"run {run.id} {run.outcome or f'is {run.phase}'}: {run.status}")
            if run.phase == "training":
                self._training(run.id)
        raise AssertionError("the loop above ends by an answer or an error")

    def _training(self, run_id: str) -> None:
        with self._screen.progress("training") as bar:
            for _ in self._until("the training ends", every=1.5):
                run = self._app.run(run_id)
                if run.run.phase != "training":
                    bar(1.0, "")
                    return
                bar(*_progress(run))

    def _until(self, what: str, *, every: float = 0.4) -> Iterator[None]:
        """Ticks `every` so many seconds, looks after the processes meanwhile. Raises CliError after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            yield
            time.sleep(every)
            for told in self._stack.tend():
                self._screen.line(told, style="yellow")
            self._watch()
        raise CliError(f"{what}: not after {PATIENCE:.0f} s")

    def _watch(self) -> None:
        """Notes the processes that were started, and every address outside this machine that one is connected to."""
        self._looks += 1
        for process in psutil.Process().children(recursive=True):
            self.processes.add(process)
            try:
                found = [one.raddr.ip for one in process.net_connections("inet") if one.raddr]
            except psutil.Error:
                continue
            self._outside |= {f"{process.pid} -> {ip}" for ip in found if not ip.startswith(_LOOPBACK)}

    def _visit(self, what: str, request: Any) -> Any:
        """Runs cli/demo/sdk.py. Raises CliError with its last words."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "cli.demo.sdk", what],
            input=json.dumps(request),
            env=child_environment(self._stack.description, self._stack.environment),
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CliError(f"cli.demo.sdk {what}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
        return json.loads(done.stdout)


def _endpoint(run: RunView) -> str:
    if run.deployment is None:
        raise CliError(f"run {run.run.id} has no deployment")
    return run.deployment.endpoint


def _progress(run: RunView) -> tuple[float, str]:
    """How far a training is (epochs of all epochs, or steps of all steps), and its last losses."""
    metrics, parameters = run.metrics, run.plan.parameters if run.plan else {}
    steps, epochs = float(parameters.get("max_steps") or -1), float(parameters.get("num_train_epochs") or 1)
    step, epoch = (metrics.get("loss") or [(0, 0.0)])[-1][0], as_number((metrics.get("epoch") or [(0, 0.0)])[-1][1])
    done = step / steps if steps > 0 else epoch / epochs
    shown = [f"{name} {as_number(metrics[name][-1][1]):.3f}" for name in ("loss", "eval_loss") if metrics.get(name)]
    return min(done, 1.0) if math.isfinite(done) else 0.0, ", ".join(shown)


def _empty(state: Path) -> None:
    """A fresh state folder. Raises CliError when another demo uses it."""
    lock = state / "cloud" / "lock"
    if lock.exists():
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CliError(f"another demo is running in {state}: stop it first, or give --state DIR") from None
    shutil.rmtree(state / "cloud", ignore_errors=True)
    (state / "cloud").mkdir(parents=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal ends the demo; another must not disturb the stopping."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
