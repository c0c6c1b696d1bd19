"""A dataset folder in a world, uploaded anew again and again: each time its live version is replaced.

The crash matrix breaks these runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from shared.app import App
from shared.errors import Transient
from shared.lifecycle.phase import Phase
from shared.records.line import Line
from shared.records.run import Run
from shared.sweep import MARGIN
from tests.kit.rows import chats
from tests.kit.waiting import eventually
from tests.kit.worlds import truth
from tests.kit.worlds.breaks import Break, broken
from tests.kit.worlds.wire import Call
from tests.kit.worlds.world import HANDLERS, World

PATIENCE = timedelta(hours=4)
TIMERS = ("sweep", "cleanup")
"""Stages of calls that come in their own time."""


def pretend(world: World, first: Mapping[str, Any] | None = None, *, job: float = 120, deployment: float = 15) -> None:
    """Jobs and deployments take so many seconds of local time, and only pretend. `first`: rules that come before."""
    world.control("DELETE", "/_local/pretend")
    if first:
        world.control("POST", "/_local/pretend", first)
    world.control("POST", "/_local/pretend", {"jobs": {"seconds": job, "outcome": "Completed"}})
    answers = {"seconds": deployment, "outcome": "Succeeded", "answer": "Answer 1."}
    world.control("POST", "/_local/pretend", {"deployments": answers})


@dataclass(kw_only=True)
class Scene:
    """See the module. One folder is one line."""

    world: World
    folder: str = field(default_factory=lambda: f"scene-{uuid4().hex[:8]}")
    uploads: int = 0

    def __post_init__(self) -> None:
        """What is held out is always the same, so that each run asks for as much."""
        for part in ("test", "validation"):
            self.world.upload(f"{self.folder}/{part}.jsonl", chats(2, salt=part))

    def line(self) -> Line | None:
        """The folder's line, if it was made."""
        newest = self.world.newest() if self.uploads else None
        return self.world.line(newest.line) if newest else None

    def upload(self, breaks: Sequence[Break] = ()) -> tuple[Run, list[Call]]:
        """Uploads anew, and goes on until all has come to rest. Fails when it does not."""
        world, wire = self.world, self.world.hosts[0].wire
        before = len(world.known)
        with broken(wire, world.control, breaks):
            world.upload(f"{self.folder}/train.jsonl", chats(salt=f"{self.folder} {self.uploads}"))
            self.uploads += 1

            swept = False

            def ended() -> Run | None:
                nonlocal swept
                run = world.newest() if len(world.known) > before else None
                if run and run.phase is Phase.TRAINING and not swept:
                    swept = True
                    world.clock.jump(MARGIN + timedelta(seconds=10))  # earlier the sweep reads no record
                    world.sweep()
                return run if run and run.phase.ended else None

            run = world.until(ended, patience=PATIENCE)
            world.until(lambda: not world.line(run.line).retiring and world.at_rest(), patience=PATIENCE)
            late = world.clock.now() + PATIENCE
            while any(not each.met and each.call.startswith(TIMERS) for each in breaks) and world.clock.now() < late:
                world.wait(PATIENCE)
            calls = wire.calls
        return world.run(run.id), calls

    def first(self) -> Run:
        """The version that is to be replaced first."""
        run, _ = self.upload()
        assert run.phase is Phase.LIVE, f"{run.phase}: {run.why}"
        return run

    def case(self, breaks: Sequence[Break], clean: truth.Clean) -> list[str]:
        """Replaces the live version while these break. What is wrong afterwards."""
        before = self.line()
        self.world.control("DELETE", "/_local/ledger")
        self.world.control("DELETE", "/_local/history")
        self.world.errors.clear()
        try:
            run, _ = self.upload(breaks)
        except AssertionError as error:
            return [str(error)]
        return truth.replaced(self.world, run, before, self.world.control("GET", "/_local/ledger"), clean)


def deleted(app: App, endpoint: str) -> bool:
    """Whether it could be: not while an update goes on there."""
    try:
        app.cloud.endpoints.delete(endpoint)
    except Transient:
        return False
    return True


def emptied(world: World) -> None:
    """Forgets what an earlier world left in the queues, among the active, and on endpoints, which takes up quota."""
    app = world.app
    for line_id in list(app.lines.standing()):
        if found := app.lines.load(line_id):
            line, etag = found
            eventually(partial(deleted, app, line.endpoint))
            gone = replace(line.without_endpoint(world.clock.now()), rollout="", outbox=())
            app.lines.save(gone, etag)
    for queue in HANDLERS:
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()
    for run_id in list(app.runs.active()):
        if loaded := app.runs.load(run_id):
            app.runs.save(replace(loaded.record, phase=Phase.CANCELLED, claim=None, wake=None), loaded.etag)
        app.runs.retire(run_id)
    app.cloud.blobs.delete("state", "slots.json")
    app.cloud.blobs.delete("state", "seats.json")
