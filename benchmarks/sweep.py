"""What the safety net and the page of runs cost when 10,000 runs have ended: the same as when none has.

`.venv/bin/python -m benchmarks.sweep [--ended N] [--active N] [--rounds N] [--json]`. Two local clouds side by side
with as many active runs, one of them with the records, index entries and datasets of N more that have ended. A process
for each does the same thing in turn, so that both meet the same machine; CPU time and requests are that process's,
requests counted at the transport of the SDKs. Medians. Exit code 1 when a tick takes more requests, or LIMIT times the
CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from localcloud.environment import child_environment
from localcloud.stack import Stack

REPO = Path(__file__).parents[1]
LIMIT = 1.25
FILLERS = 8
"""Threads that fill the storage."""
TASKS = {
    "tick": "a tick of the sweep",
    "page": "the page of runs",
    "listing": "a tick that lists all datasets (once in UPLOADS_SWEEP)",
}
ROW = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'


@dataclass(kw_only=True)
class Worker:
    """A process that works against a cloud of its own."""

    process: subprocess.Popen[str]

    def do(self, task: str, number: int = 0) -> dict[str, float]:
        """Has it done, and answers with what it took. Raises RuntimeError when the process ended."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"task": task, "number": number}), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended with code {self.process.wait()}")
        found: dict[str, float] = json.loads(answer)
        return found


def start(stack: Stack) -> Worker:
    """A worker for the cloud, which is started."""
    stack.start(host=False)
    command = [sys.executable, "-m", "benchmarks.sweep", "--worker", str(stack.description.ports["azurite_blob"])]
    environment = child_environment(stack.description, stack.environment)
    return Worker(
        process=subprocess.Popen(
            command, cwd=REPO, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )


def work(azurite: int) -> None:
    """The worker: a task a line of stdin, what it took a line of stdout. `azurite`: the port of its blob service."""
    from benchmarks.counting import requests_of
    from shared.api import views
    from shared.app import App
    from shared.settings import Settings
    from shared.sweep import sweep

    app = App.of(Settings.read(os.environ | {"UPLOADS_SWEEP": "P1D"}))
    listing = replace(app, settings=Settings.read(os.environ | {"UPLOADS_SWEEP": "PT0S"}))
    tasks: dict[str, Callable[[int], object]] = {
        "activate": lambda number: activate(app, number),
        "finish": lambda number: finish(app, number, azurite),
        "tick": lambda _: sweep(app),
        "page": lambda _: views.runs(app, {}),
        "listing": lambda _: sweep(listing),
    }
    for line in sys.stdin:
        asked = json.loads(line)
        with requests_of(app) as sent:
            cpu, begun = time.process_time(), time.perf_counter()
            tasks[asked["task"]](asked["number"])
            took = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - begun}
        print(json.dumps(took | {"requests": sent.requests}), flush=True)
    app.cloud.close()


def activate(app: Any, number: int) -> None:
    """Makes runs that train, which are looked at and woken at every tick. By its first sweep the app is installed."""
    from shared.sweep import sweep

    sweep(app)
    for each in range(number):
        app.runs.create(_run(app, f"ractive{each:09d}", ended=False))


def finish(app: Any, number: int, azurite: int) -> None:
    """Puts the records, index entries and datasets of runs that have ended into storage.

    As plain HTTP, and past the proxy that raises an event for each dataset: it's many.
    """
    import msgspec
    import urllib3

    from localcloud.environment import ACCOUNT
    from shared.records.mark import mark_of

    token = app.cloud.clients.credential.get_token("https://storage.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2024-11-04", "x-ms-blob-type": "BlockBlob"}
    run = _run(app, "rended", ended=True)
    record = msgspec.json.encode(run).replace(b'"rended"', b'"%s"')
    tls = os.environ["SSL_CERT_FILE"]
    with urllib3.HTTPSConnectionPool("localhost", azurite, maxsize=FILLERS, ca_certs=tls, timeout=60) as storage:

        def put(each: int) -> None:
            key = f"rended{each:010d}"
            mark = {f"x-ms-meta-{name}": value for name, value in mark_of(replace(run, id=key)).metadata().items()}
            for name, data, metadata in (
                (f"state/runs/{key}.json", record % key.encode(), {}),
                (f"state/ended/{each:016d}-{key}", b"", mark),
                (f"datasets/folder-{each}/train.jsonl", ROW, {}),
            ):
                answer = storage.request("PUT", f"/{ACCOUNT}/{name}", body=data, headers=headers | metadata)
                if answer.status != HTTPStatus.CREATED:
                    raise RuntimeError(f"{name} could not be written: {answer.status} {answer.data[:500]!r}")

        with ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(put, range(number)))


def _run(app: Any, key: str, *, ended: bool) -> Any:
    """A run as it is after a training, with a history."""
    from shared.lifecycle.action import Action
    from shared.lifecycle.phase import Phase
    from shared.records.base import Order
    from shared.records.run import Data, File, Run, Source

    now = app.cloud.blobs.now() - timedelta(hours=1)
    run = Run(
        id=key,
        line="line",
        order=Order(uploaded=now),
        source=Source(
            folder="folder",
            base_model="Phi-4",
            train=(File(name="folder/train.jsonl", etag="0x1", size=len(ROW)),),
        ),
        since=now,
        phase=Phase.TRAINING,
    ).in_attempt(data=Data(fingerprint="f" * 16, rows={"train": 80}), job=f"{key}-1")
    for action in (Action.PREPARE_DATA, Action.RESOLVE_PLAN, Action.TAKE_SLOT, Action.BECOME_NEWEST, Action.SUBMIT_JOB):
        run = run.noted(now, action.done)
    if not ended:
        return run
    for action in (Action.REGISTER_MODEL, Action.MAKE_ENDPOINT, Action.DEPLOY_MODEL, Action.SMOKE_TEST):
        run = run.noted(now, action.done)
    return replace(run.noted(now, "ended", phase=Phase.LIVE), outbox=())


def measure(ended: int, active: int, rounds: int) -> dict[str, Any]:
    """Medians of each task, without and with runs that have ended, and how much the latter take of the former."""
    with tempfile.TemporaryDirectory() as folder:
        stacks = [Stack(Path(folder) / name) for name in ("alone", "beside")]
        workers: list[Worker] = []
        try:
            workers.extend(start(stack) for stack in stacks)
            filled = workers[1].do("finish", ended)["seconds"]
            time.sleep(2)  # blobs tell their age in whole seconds, and what was there before the app is left alone
            for worker in workers:
                worker.do("activate", active)
            took: dict[str, list[list[dict[str, float]]]] = {task: [[], []] for task in TASKS}
            for number in range(rounds + 1):
                for task, each in took.items():
                    for worker, found in zip(workers, each, strict=True):
                        one = worker.do(task)
                        if number:  # the first opens connections
                            found.append(one)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.communicate()
            for stack in stacks:
                stack.stop()
    result: dict[str, Any] = {"ended": ended, "active": active, "rounds": rounds, "filled_s": round(filled, 1)}
    for task, each in took.items():
        alone, beside = (
            {kind: statistics.median(one[kind] for one in found) for kind in ("requests", "cpu", "seconds")}
            for found in each
        )
        result[task] = {"alone": alone, "beside": beside, "cpu_ratio": round(beside["cpu"] / alone["cpu"], 3)}
    return result


def main() -> int:
    """Prints a table or JSON. Returns the exit code."""
    parser = argparse.ArgumentParser(description="The cost of a sweep beside many runs that have ended.")
    parser.add_argument("--ended", type=int, default=10_000, help="runs that have ended (default: %(default)s)")
    parser.add_argument("--active", type=int, default=20, help="runs that train (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="ticks of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="a result that a program can read")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return 0
    result = measure(options.ended, options.active, options.rounds)
    tick = result["tick"]
    if options.json:
        print(json.dumps({"benchmark": "sweep", **result}))
    else:
        print(f"{options.active} active runs: alone, and beside {options.ended} that have ended")
        print(f"{'':58}{'requests':>14}{'CPU ms':>16}{'ms':>16}")
        for task, title in TASKS.items():
            alone, beside = result[task]["alone"], result[task]["beside"]
            calls = f"{alone['requests']:.0f} {beside['requests']:.0f}"
            cpu, wall = (f"{alone[kind] * 1000:.1f} {beside[kind] * 1000:.1f}" for kind in ("cpu", "seconds"))
            print(f"{title:58}{calls:>14}{cpu:>16}{wall:>16}")
        print(f"CPU of a tick: {tick['cpu_ratio']} times that of the active runs alone (at most {LIMIT})")
    return int(tick["cpu_ratio"] > LIMIT or tick["beside"]["requests"] > tick["alone"]["requests"])


if __name__ == "__main__":
    sys.exit(main())
