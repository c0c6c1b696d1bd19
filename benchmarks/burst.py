"""A burst of uploads: two hosts, each event delivered three times in any order, jobs that pretend to take a second.

`python -m benchmarks.burst [--uploads 100 1000]`. Each size has a local cloud of its own, and a dataset
folder for every two uploads, so that newer ones overtake older ones. Asserts that every upload has exactly one run that
has ended, and made one job, model and deployment at most; that no more trained at once than MAX_ACTIVE_JOBS; that
nothing is left in the queues. Prints runs a second, external calls of the app and CPU seconds a run. Exit code 1 when
a run costs more than GROWTH times as much at the largest size as at the smallest.
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

from localcloud import guard
from localcloud.environment import app_environment, child_environment, foreign
from localcloud.stack import REPO, Stack
from shared.app import App
from shared.folders import DATASETS
from shared.lifecycle import Phase
from shared.records import Run
from shared.settings import Settings

ACTIVE = 20
FAMILY_QUOTA = 10_000_000
UPLOADS_A_FOLDER = 2
GROWTH = 1.5
SHUFFLED = 20
"""Events that are held until so many are there, and go out in another order."""
PATIENCE = 6.0
"""Seconds a run, after which the burst counts as stuck."""
SETTINGS = {
    "SETTLE_TIME": "PT0S",
    "POLL_INTERVAL": "PT1S",
    "ROLLOUT_GRACE": "PT5S",
    "MAX_ACTIVE_JOBS": str(ACTIVE),
    "MAX_JOBS_PER_DAY": "1000000",
    "SWEEP_SCHEDULE": "0 * * * * *",
    "AzureFunctionsJobHost__logging__logLevel__default": "Warning",
}
ENDED_JOB = ("Completed", "Failed", "Canceled", "CancelRequested", "Finalizing")


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
    """The app's requests, counted as the local cloud got them; what the hosts themselves ask is left out."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.calls = 0
        self.made: Counter[tuple[str, str]] = Counter()
        control("POST", "/_local/ledger", {"storage": True})
        control("DELETE", "/_local/ledger")

    def take(self) -> None:
        """Count what came since the last time. A request between the two calls is lost, one or two each time."""
        entries = self._control("GET", "/_local/ledger")
        self._control("DELETE", "/_local/ledger")
        for entry in entries:
            own = entry["service"] == "queue" and entry["method"] != "POST"
            if not own and "azure-webjobs-hosts" not in entry["path"]:
                self.calls += 1
            put = entry["method"] == "PUT" and entry["status"] < 300 and "action" not in entry
            if put and entry.get("kind") in ("jobs", "models", "deployments"):
                self.made[entry["kind"], entry["name"]] += 1


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
    """One burst in a local cloud of its own. Raises AssertionError when something is lost, doubled or over a limit."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), settings=SETTINGS) as stack:
        control = Control(stack)
        control("POST", "/_local/pretend", {"jobs": {"seconds": 1, "outcome": "Completed"}})
        answers = {"seconds": 1, "outcome": "Succeeded", "answer": "It is 1."}
        control("POST", "/_local/pretend", {"deployments": answers})
        families = ("standardNCADSA100v4Family", "standardDv2Family")
        control("POST", "/_local/quota", dict.fromkeys(families, FAMILY_QUOTA))
        for topic in ("storage", "azureml"):
            control("POST", "/_local/eventgrid", {"topic": topic, "deliver": 3})
            for seed in range(uploads // SHUFFLED):
                disturbed = {"shuffle": SHUFFLED, "seconds": 5, "seed": seed}
                control("POST", "/_local/eventgrid", {"topic": topic} | disturbed)
        with pointed(stack), second_host(stack):
            app = App.of(Settings.read(stack.environment))
            for name, size in (
                (app.settings.gpu_compute, app.settings.gpu_size),
                ("cpu-cluster", app.settings.cpu_size),
            ):
                app.cloud.computes.create(name, size, ACTIVE, app.settings.training_identity)
            ledger = Ledger(control)
            before, began = cpu(), time.monotonic()
            upload(app, uploads)
            runs = settled(app, uploads, ledger)
            seconds, after = time.monotonic() - began, cpu()
            ledger.take()
            at_once = check(runs, ledger, control("GET", "/_local/history"), uploads)
            app.cloud.close()
    return Result(
        uploads=uploads,
        seconds=seconds,
        calls=ledger.calls,
        cpu=after["hosts"] - before["hosts"],
        around=after["around"] - before["around"],
        phases=Counter(run.phase.value for run in runs),
        at_once=at_once,
    )


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


def upload(app: App, uploads: int) -> None:
    """The datasets, in any order: so many folders, some versions each, every one of other rows."""
    rng = random.Random(uploads)
    each = [(n % max(1, uploads // UPLOADS_A_FOLDER), n) for n in range(uploads)]
    rng.shuffle(each)
    for folder, version in each:
        rows = "".join(
            json.dumps(
                {"messages": [{"role": "user", "content": f"{version}/{n}?"}, {"role": "assistant", "content": "1"}]}
            )
            + "\n"
            for n in range(20)
        )
        app.cloud.blobs.write(DATASETS, f"burst-{folder}/train-{version}.jsonl", rows.encode())


def settled(app: App, uploads: int, ledger: Ledger) -> list[Run]:
    """The runs, once as many as were uploaded have ended and nobody is active."""
    late = time.monotonic() + uploads * PATIENCE + 120
    while True:
        time.sleep(3)
        ledger.take()
        active = sum(1 for _ in app.runs.active())
        print(f"\r{uploads} uploads, {active} active, {ledger.calls} calls ", end="", file=sys.stderr, flush=True)
        if active == 0 and len(found := app.runs.recent(2 * uploads)) >= uploads:
            print(file=sys.stderr)
            return found
        assert time.monotonic() < late, f"{active} runs are still active"


def check(runs: list[Run], ledger: Ledger, history: list[dict[str, Any]], uploads: int) -> int:
    """Nothing lost, nothing doubled, limits held. How many trained at once."""
    assert len(runs) == uploads, f"{uploads} uploads, {len(runs)} runs"
    assert len({run.train.name for run in runs if run.train}) == uploads
    assert all(run.phase in (Phase.LIVE, Phase.SUPERSEDED) for run in runs), Counter(run.phase for run in runs)
    doubled = {made: times for made, times in ledger.made.items() if times > 1}
    assert not doubled, f"made twice: {doubled}"
    for run in runs:
        if run.phase is Phase.LIVE:
            assert [entry.what for entry in run.history].count("train") == 1
    training, at_once = set[str](), 0
    for entry in history:
        if entry["kind"] == "jobs":
            (training.discard if entry["state"] in ENDED_JOB else training.add)(entry["name"])
            at_once = max(at_once, len(training))
    assert at_once <= ACTIVE, f"{at_once} trained at once"
    return at_once


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
    results = [burst(size) for size in sizes]
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
