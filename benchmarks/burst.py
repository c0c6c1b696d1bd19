"""A burst of uploads: two hosts, each event delivered three times in any order, jobs that pretend to take TRAINING.

`python -m benchmarks.burst [--uploads 100 1000]`. Each size has a local cloud of its own, and each upload a dataset
folder. Checks that every upload has one run, which has ended as its history tells; that job, model and deployment of
each were made once, and nothing else; that each folder serves its newest, and nothing else stands; that no more trained
at once than MAX_ACTIVE_JOBS; that queues, poison queues, dead letters and slots are empty. Prints runs a second,
external calls and CPU seconds of the app a run. Exit code 1 when a check fails, told with its run, or when a run costs
more than GROWTH times as much at the largest size as at the first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.counting import requests_of
from localcloud import guard
from localcloud.environment import app_environment, child_environment, foreign
from localcloud.stack import REPO, Stack
from localcloud.storage import QUEUES
from shared import naming
from shared.app import App
from shared.lifecycle.action import Action
from shared.lifecycle.phase import WORK, Phase
from shared.records.layout import DATASETS, DEAD_LETTERS, SLOTS, STATE
from shared.records.run import Run
from shared.settings import Settings

ACTIVE = 16
TRAINING = 8
"""Seconds: so long that there would be more than ACTIVE jobs at once, if they were let."""
FAMILY_QUOTA = 10_000_000
GROWTH = 1.5
SHUFFLED = 20
"""Events that are held until so many are there, and go out in another order."""
PATIENCE = 4.0
"""Seconds a run, after which the burst counts as stuck."""
DRAINED = 300
"""Seconds for what comes after the last run's end: old deployments go, wakes that met a claim come back."""
SETTINGS = {
    "SETTLE_TIME": "PT0S",
    "POLL_INTERVAL": "PT1S",
    "ROLLOUT_GRACE": "PT5S",
    "MAX_ACTIVE_JOBS": str(ACTIVE),
    "MAX_LIVE_ENDPOINTS": "100000",
    "MAX_JOBS_PER_DAY": "1000000",
    "SWEEP_SCHEDULE": "0 */2 * * * *",
    "AzureFunctionsJobHost__logging__logLevel__default": "Warning",
}
ENDED_JOB = ("Completed", "Failed", "Canceled")
ONCE = tuple(
    action.done
    for action in (
        Action.PREPARE_DATA,
        Action.RESOLVE_PLAN,
        Action.SUBMIT_JOB,
        Action.REGISTER_MODEL,
        Action.DEPLOY_MODEL,
        Action.SMOKE_TEST,
        Action.COMPARE_ANSWERS,
        Action.GIVE_TRAFFIC,
        Action.START_SERVING,
    )
)
"""What the history of a run that went live tells, in this order, each once."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One burst. `cpu`: seconds of the two hosts; `around`: of all that stands in for Azure."""

    uploads: int
    seconds: float
    calls: int
    cpu: float
    around: float
    phases: Mapping[str, int]
    at_once: int

    def per_run(self) -> dict[str, float]:
        """What a run costs."""
        return {
            "runs a second": self.uploads / self.seconds,
            "calls a run": self.calls / self.uploads,
            "CPU s a run": self.cpu / self.uploads,
            "CPU s a run of the local cloud": self.around / self.uploads,
        }


class Ledger:
    """The app's requests, counted as the local cloud got them; what the hosts ask for themselves is left out."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.calls = 0
        control("POST", "/_local/ledger", {"storage": True})
        control("DELETE", "/_local/ledger")

    def take(self) -> None:
        """Count what came since the last time. A request between the two calls is lost, one or two each time."""
        entries = self._control("GET", "/_local/ledger")
        self._control("DELETE", "/_local/ledger")
        for entry in entries:
            own = entry["service"] == "queue" and entry["method"] != "POST"
            self.calls += not own and "azure-webjobs-hosts" not in entry["path"]


class Control:
    """The local cloud's control routes, over one connection."""

    def __init__(self, stack: Stack) -> None:
        self._url, self._session = stack.urls["management"], requests.Session()
        self._session.verify, self._session.trust_env = str(stack.description.ca), False

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._session.request(method, self._url + path, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def second_host(stack: Stack) -> Iterator[None]:
    """Another Functions host over the same app; only its port is another."""
    description = stack.description
    clock = f"{description.management_url}/_local/clock"
    command = [sys.executable, "-m", "localcloud.host", "--app", str(REPO), "--port", "0", "--clock", clock]
    key = {"LOCAL_FUNCTION_KEY": description.function_key}
    environment = child_environment(description, app_environment(description) | key | SETTINGS)
    process = guard.spawn(command, env=environment, cwd=REPO, log=stack.state / "logs" / "host2.log")
    try:
        yield
    finally:
        guard.stop(process)


def burst(uploads: int) -> Result:
    """One burst in a local cloud of its own. Raises Wrong when something is lost, doubled or over a limit."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), settings=SETTINGS) as stack:
        control = Control(stack)
        control("POST", "/_local/pretend", {"jobs": {"seconds": TRAINING, "outcome": "Completed"}})
        answers = {"seconds": 1, "outcome": "Succeeded", "answer": "It is 1."}
        control("POST", "/_local/pretend", {"deployments": answers})
        families = ("standardNCADSA100v4Family", "standardEDSv5Family")
        control("POST", "/_local/quota", dict.fromkeys(families, FAMILY_QUOTA))
        for topic in ("storage", "azureml"):
            control("POST", "/_local/eventgrid", {"topic": topic, "deliver": 3})
            for seed in range(uploads // SHUFFLED):
                disturbed = {"shuffle": SHUFFLED, "seconds": 5, "seed": seed}
                control("POST", "/_local/eventgrid", {"topic": topic} | disturbed)
        with pointed(stack), second_host(stack):
            app = App.of(Settings.read(stack.environment))
            for name, size in (
                (app.settings.training.gpu_compute, app.settings.training.gpu_size),
                ("cpu-cluster", app.settings.training.cpu_size),
            ):
                app.cloud.computes.create(name, size, ACTIVE, app.settings.training.identity)
            ledger, before, began = Ledger(control), cpu(), time.monotonic()
            with requests_of(app) as own:
                names = upload(app, uploads)
                runs = settled(app, uploads, ledger)
            ledger.take()
            seconds, after, calls = time.monotonic() - began, cpu(), ledger.calls - own.requests
            left = drained(app)
            history = control("GET", "/_local/history")
            at_once = most_at_once(history)
            wrong = [*left, *check_runs(runs, names), *check_made(runs, history), *check_lines(app, runs, history)]
            if at_once > ACTIVE:
                wrong.append(f"{at_once} jobs trained at once, MAX_ACTIVE_JOBS is {ACTIVE}")
            app.cloud.close()
    if wrong:
        raise Wrong("\n".join(wrong))
    return Result(
        uploads=uploads,
        seconds=seconds,
        calls=calls,
        cpu=after["hosts"] - before["hosts"],
        around=after["around"] - before["around"],
        phases=Counter(run.phase.value for run in runs),
        at_once=at_once,
    )


class Wrong(Exception):
    """What a check has found, a line each."""


@contextmanager
def pointed(stack: Stack) -> Iterator[None]:
    """This process's environment, pointed at the stack."""
    kept = dict(os.environ)
    for name in foreign():
        del os.environ[name]
    os.environ.update(stack.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def upload(app: App, uploads: int) -> set[str]:
    """So many datasets, in any order, each in a folder of its own and of other rows. Their names."""
    each = list(range(uploads))
    random.Random(uploads).shuffle(each)
    names = set[str]()
    for number in each:
        rows = "".join(
            json.dumps(
                {"messages": [{"role": "user", "content": f"{number}/{n}?"}, {"role": "assistant", "content": "1"}]}
            )
            + "\n"
            for n in range(20)
        )
        name = f"burst-{number}/train.jsonl"
        app.cloud.blobs.write(DATASETS, name, rows.encode())
        names.add(name)
    return names


def settled(app: App, uploads: int, ledger: Ledger) -> list[Run]:
    """The runs, once as many as were uploaded have ended and nobody is active. Raises Wrong with who still is."""
    late = time.monotonic() + uploads * PATIENCE + 120
    while True:
        time.sleep(3)
        ledger.take()
        active = list(app.runs.active())
        print(f"\r{uploads} uploads, {len(active)} active, {ledger.calls} calls ", end="", file=sys.stderr, flush=True)
        if not active and len(found := app.runs.summaries(2 * uploads)[0]) >= uploads:
            print(file=sys.stderr)
            return [loaded.record for mark in found if (loaded := app.runs.load(mark.id))]
        if time.monotonic() > late:
            stuck = [loaded.record for key in active if (loaded := app.runs.load(key))]
            raise Wrong("\n".join([f"not settled, {len(active)} runs are active:", *map(told, stuck)]))


def drained(app: App) -> list[str]:
    """Waits until all queues are empty. What is left where nothing may be: messages, dead letters, places."""
    late = time.monotonic() + DRAINED
    service = app.cloud.clients.queue_service
    while True:
        waiting = {
            name: number
            for name in QUEUES
            if (number := service.get_queue_client(name).get_queue_properties().approximate_message_count)
        }
        if not waiting or time.monotonic() > late:
            break
        time.sleep(3)
    left = [f"queue {name} has {number} messages left" for name, number in waiting.items()]
    for container, prefix in ((DEAD_LETTERS, ""), (STATE, "poison/")):
        left += [f"{container}/{blob.name} was not handled" for blob in app.cloud.blobs.list(container, prefix)]
    slots = json.loads(app.cloud.blobs.read(STATE, SLOTS)[0])
    left += [
        f"run {run} is still {kind} in the slots" for kind in ("holding", "waiting") for run in slots.get(kind, ())
    ]
    return left


def check_runs(runs: list[Run], names: set[str]) -> Iterator[str]:
    """One run an upload, each ended, and its history that of a run without a mishap."""
    found = Counter(name for run in runs if (name := uploaded(run)))
    yield from (f"{name}: {found[name]} runs" for name in sorted(names | found.keys()) if found[name] != 1)
    yield from (f"{name}: nobody uploaded it" for name in sorted(found.keys() - names))
    for run in runs:
        done, phases = [entry.what for entry in run.history], [entry.phase for entry in run.history]
        work = [WORK.index(phase) for phase in phases[:-1] if phase in WORK]
        once = [what for what in done if what in ONCE]
        if run.phase not in (Phase.LIVE, Phase.SUPERSEDED) or run.is_ending or run.parked or run.attempt.number != 1:
            yield f"{told(run)}: it should have gone live, or been superseded"
        elif phases[-1] is not run.phase or len(work) != len(phases) - 1 or work != sorted(work):
            yield f"{told(run)}: its history goes {' '.join(phases)}"
        elif once != list(ONCE)[: len(ONCE) if run.phase is Phase.LIVE else len(once)]:
            yield f"{told(run)}: its history tells of {' '.join(done)}"


def check_made(runs: list[Run], history: list[dict[str, Any]]) -> Iterator[str]:
    """What Azure ML was asked to make: what each run's history tells, once, and nothing else."""
    first = {"jobs": "NotStarted", "models": "Created", "deployments": "Creating"}
    made = {kind: Counter[str]() for kind in first}
    for entry in history:
        if entry.get("state") == first.get(entry["kind"], ""):
            made[entry["kind"]][entry["name"].rpartition("/")[2].rpartition(":")[2]] += 1
    for run in runs:
        done = {entry.what for entry in run.history}
        for kind, action, name in (
            ("jobs", Action.SUBMIT_JOB, naming.job_name(run.id, run.attempt.number)),
            ("models", Action.REGISTER_MODEL, naming.model_version(run.id, run.attempt.number)),
            ("deployments", Action.DEPLOY_MODEL, naming.deployment_name(run.id, run.attempt.number)),
        ):
            times = made[kind].pop(name, 0)
            if times != (action.done in done):
                yield f"{told(run)}: {times} {kind} were made for it"
    yield from (f"{kind} {name} is nobody's" for kind, left in made.items() for name in left)


def check_lines(app: App, runs: list[Run], history: list[dict[str, Any]]) -> Iterator[str]:
    """Each folder's endpoint serves the newest run that went live, with all of the traffic, and nothing else stands."""
    traffic = {each["name"]: each["traffic"] for each in history if each["kind"] == "traffic"}
    states = {each["name"]: each["state"] for each in history if each["kind"] == "deployments"}
    standing = {name for name, state in states.items() if state != "Deleted"}
    for key in sorted({run.line for run in runs}):
        loaded, own = app.lines.load(key), [run for run in runs if run.line == key]
        newest = max(run.order for run in own)
        serving = next(
            (run for run in own if loaded and loaded.record.serving and loaded.record.serving.run == run.id), None
        )
        if loaded is None or serving is None or serving.phase is not Phase.LIVE or serving.order != newest:
            yield f"line {key}: it serves {serving and told(serving)}, the newest of {', '.join(map(told, own))}"
            continue
        line = loaded.record
        there = {name for name in standing if name.startswith(f"{line.endpoint}/")}
        name = serving.deployed.name
        if there != {f"{line.endpoint}/{name}"} or traffic.get(line.endpoint) != {name: 100}:
            yield f"line {key}: {there} stand, {traffic.get(line.endpoint)} get the traffic; {told(serving)} should"
        if line.rollout or line.retiring:
            yield f"line {key}: rollout {line.rollout!r}, retiring {line.retiring}"


def most_at_once(history: list[dict[str, Any]]) -> int:
    """How many jobs were there at once that had not ended."""
    training, at_once = set[str](), 0
    for entry in history:
        if entry["kind"] == "jobs":
            (training.discard if entry["state"] in ENDED_JOB else training.add)(entry["name"])
            at_once = max(at_once, len(training))
    return at_once


def told(run: Run) -> str:
    """A run, as a failed check names it."""
    said = run.parked or run.waiting
    why = said.why if said else run.why
    return f"run {run.id} of {uploaded(run)}, {run.phase}{f' ({why})' if why else ''}"


def uploaded(run: Run) -> str:
    """The name of the dataset that the run was made for."""
    return run.source.train[0].name if run.source.train else ""


def cpu() -> dict[str, float]:
    """CPU seconds so far of the hosts, and of all else that this process has started."""
    spent = {"hosts": 0.0, "around": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            times, host = process.cpu_times(), "localcloud.host" in process.cmdline()
        except psutil.NoSuchProcess:
            continue
        spent["hosts" if host else "around"] += times.user + times.system
    return spent


def main() -> int:
    """Print a table; 1 when a run's cost grows more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, nargs="+", default=[100, 1000])
    sizes = parser.parse_args().uploads
    try:
        results = [burst(size) for size in sizes]
    except Wrong as wrong:
        print(f"\n{wrong}", file=sys.stderr)
        return 1
    rows = [result.per_run() for result in results]
    print("| | " + " | ".join(f"{result.uploads} uploads" for result in results) + " |")
    for name in rows[0]:
        print(f"| {name} | " + " | ".join(f"{row[name]:.2f}" for row in rows) + " |")
    print("| trained at once | " + " | ".join(f"{result.at_once} of {ACTIVE}" for result in results) + " |")
    print("| ended as | " + " | ".join(str(dict(result.phases)) for result in results) + " |")
    grown = {name: rows[-1][name] / rows[0][name] for name in ("calls a run", "CPU s a run")}
    print("growth: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in grown.items()))
    return int(any(ratio > GROWTH for ratio in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
