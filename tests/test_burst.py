"""The burst's checks: one that goes as it should passes, and what each of them is there for is told with its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from benchmarks import burst
from shared import naming
from shared.app import App
from shared.lifecycle.phase import WORK, Phase
from shared.records.base import Order
from shared.records.layout import STATE
from shared.records.line import Line, Serving, Standing
from shared.records.run import Attempt, Deployed, Ending, Entry, File, Run, Source
from tests.kit.records import changed

AT = datetime(2026, 11, 22, tzinfo=UTC)
NAME = "burst-0/train-{}.jsonl"


class Burst:
    """What two uploads to a folder leave behind: the older went live, then the newer took its place."""

    def __init__(self, app: App) -> None:
        self.line, self.endpoint = f"burst-{uuid4().hex[:6]}", f"burst-{uuid4().hex[:6]}"
        self.runs = [self._live(number) for number in range(2)]
        self.names = {NAME.format(number) for number in range(2)}
        older, newer = self.runs
        self.history = [*self._made(older), self._traffic(older), *self._made(newer), self._traffic(newer)]
        self.history.append(self._entry("deployments", f"{self.endpoint}/{older.deployed.name}", "Deleted"))
        self.app = app

    def found(self) -> list[str]:
        """All that the checks find."""
        newest = max(self.runs, key=lambda run: run.order)
        serving = Serving(
            run=newest.id,
            deployment=newest.deployed.name,
            model="m:1",
            fingerprint="f",
            since=AT,
            order=Order(uploaded=AT),
        )
        loaded = self.app.lines.load(self.line)
        if not loaded:
            line = Line(id=self.line, folder="burst-0", base_model="Phi-4", endpoint=self.endpoint)
            self.app.lines.create(replace(line, serving=serving, state=Standing()))
        try:
            return [
                *burst.check_runs(self.runs, self.names),
                *burst.check_made(self.runs, self.history),
                *burst.check_lines(self.app, self.runs, self.history),
            ]
        finally:
            self.app.cloud.blobs.delete(STATE, f"standing/{self.line}")

    def change(self, which: int, **changes: Any) -> None:
        """Another run in the place of that one."""
        self.runs[which] = changed(self.runs[which], **changes)

    def _live(self, number: int) -> Run:
        run_id = f"r{uuid4().hex[:15]}"
        phases = [*WORK, *[Phase.CHECKING] * (len(burst.ONCE) - len(WORK))]
        told = [Entry(at=AT, phase=phase, what=what) for phase, what in zip(phases, burst.ONCE, strict=True)]
        return Run(
            id=run_id,
            line=self.line,
            order=Order(uploaded=AT + timedelta(minutes=number)),
            source=Source(folder="burst-0", base_model="Phi-4", train=(a_file(number),)),
            since=AT,
            phase=Phase.LIVE,
            attempt=Attempt(deployed=Deployed(endpoint=self.endpoint, name=naming.deployment_name(run_id, 1))),
            ending=Ending(phase=Phase.LIVE, why="answers"),
            history=(*told, Entry(at=AT, phase=Phase.LIVE, what="answers")),
        )

    def _made(self, run: Run) -> list[dict[str, Any]]:
        return [
            self._entry("jobs", naming.job_name(run.id, 1), "NotStarted"),
            self._entry("models", f"m:{naming.model_version(run.id, 1)}", "Created"),
            self._entry("deployments", f"{self.endpoint}/{run.deployed.name}", "Creating"),
        ]

    def _traffic(self, run: Run) -> dict[str, Any]:
        return {"kind": "traffic", "name": self.endpoint, "traffic": {run.deployed.name: 100}}

    @staticmethod
    def _entry(kind: str, name: str, state: str) -> dict[str, Any]:
        return {"kind": kind, "name": name, "state": state}


def a_file(number: int) -> File:
    return File(name=NAME.format(number), etag="0x1", size=1)


def lost(made: Burst) -> str:
    made.names.add("burst-9/train-9.jsonl")
    return "burst-9/train-9.jsonl: 0 runs"


def doubled(made: Burst) -> str:
    made.change(0, train=(a_file(1),))
    return f"{NAME.format(1)}: 2 runs"


def failed(made: Burst) -> str:
    made.change(0, phase=Phase.FAILED)
    return "it should have gone live, or been superseded"


def tried_again(made: Burst) -> str:
    made.change(0, number=2)
    return "it should have gone live, or been superseded"


def went_back(made: Burst) -> str:
    first, second, *others = made.runs[0].history
    made.change(0, history=(second, first, *others))
    return "its history goes"


def done_twice(made: Burst) -> str:
    *others, last = made.runs[0].history
    made.change(0, history=(*others, others[-1], last))
    return "its history tells of"


def two_jobs(made: Burst) -> str:
    made.history.append(made.history[0])
    return "2 jobs were made for it"


def nobodys_model(made: Burst) -> str:
    made.history.append({"kind": "models", "name": "m:rnobody-1", "state": "Created"})
    return "models rnobody-1 is nobody's"


def older_serves(made: Burst) -> str:
    made.found()
    made.change(0, order=Order(uploaded=AT + timedelta(hours=1)))
    return "the newest of"


def old_one_stands(made: Burst) -> str:
    made.history.pop()
    return "stand, "


def traffic_of_the_old(made: Burst) -> str:
    made.history.append(made.history[3])
    return "get the traffic"


def test_a_burst_that_went_well_passes(app: App) -> None:
    assert Burst(app).found() == []


@pytest.mark.parametrize(
    "wrong",
    [
        lost,
        doubled,
        failed,
        tried_again,
        went_back,
        done_twice,
        two_jobs,
        nobodys_model,
        older_serves,
        old_one_stands,
        traffic_of_the_old,
    ],
)
def test_what_went_wrong_is_told(app: App, wrong: Callable[[Burst], str]) -> None:
    made = Burst(app)
    told = wrong(made)
    assert any(told in line for line in made.found())


def test_what_trained_at_once_is_counted_by_when_it_ended() -> None:
    states = [("a", "NotStarted"), ("b", "NotStarted"), ("a", "Completed"), ("c", "NotStarted"), ("b", "Running")]
    history = [{"kind": "jobs", "name": name, "state": state} for name, state in states]
    assert burst.most_at_once(history) == 2
    assert burst.most_at_once([entry for entry in history if entry["state"] != "Completed"]) == 3
