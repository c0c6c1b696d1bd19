"""A recorded run: all that Droptune asks of Azure, as the local cloud's ledger has it, with jobs that only pretend.

The world takes messages and deletes them as the Functions host does, so that the host's own calls are in it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from localcloud.stack import Stack
from shared.api import run_commands, views
from shared.lifecycle.phase import Phase
from shared.records.layout import DEAD_LETTERS
from shared.records.run import Run
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import BASE_MODEL, QUOTA, Stage
from tests.kit.worlds.world import World

type Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """`calls` as the ledger has them; `events` are those that were sent to the lifecycle topic."""

    calls: list[Json]
    events: list[Json]


def recorded(stack: Stack) -> Recording:
    """What is asked for while `_played` goes on."""
    world = World(stack, BASE_MODEL=BASE_MODEL, CREATE_CLUSTERS=True, CLEANUP_MODE="delete")
    try:
        world.control("POST", "/_local/quota", QUOTA)
        world.control("POST", "/_local/ledger", {"storage": True})
        _played(Stage(world=world, job="", folder="recorded"))
        assert not world.errors, world.told()
        events = world.control("GET", "/_local/eventgrid")["events"]
        return Recording(
            calls=world.control("GET", "/_local/ledger"),
            events=[each["event"] for each in events if each["topic"] == "lifecycle"],
        )
    finally:
        world.close()


def _ends(stage: Stage, salt: str, phase: Phase, **rule: Any) -> Run:
    stage.pretend(**rule)
    run = stage.until(stage.upload(salt))
    assert run.phase is phase, f"{salt}: {run.phase}: {run.why}"
    return run


def _played(stage: Stage) -> None:
    world = stage.world
    # Clusters are made, a version goes live, and can be looked at.
    first = _ends(stage, "first", Phase.LIVE)
    for status, _ in (views.run(stage.app, first.id), views.models(stage.app, "")):
        assert status == 200
    # What ends otherwise: the reasons of Azure are asked for.
    why = _ends(stage, "no job", Phase.FAILED, jobs={"outcome": "Failed", "why": "no luck"}).why
    assert "no luck" in why, why
    why = _ends(stage, "no deployment", Phase.ROLLED_BACK, outcome="Failed", why="no image").why
    assert "no image" in why, why
    stage.pretend(job=3600)
    trains = stage.until(stage.upload("cancelled"), lambda run: run.phase is Phase.TRAINING)
    run_commands.cancel(stage.app, trains.id)
    assert stage.until(trains).phase is Phase.CANCELLED
    # The job's first step prepares what is big: our own component and environment. It takes the first one's place.
    world.change(INLINE_LIMIT_MB=0)
    assert _ends(stage, "big", Phase.LIVE).attempt.in_job
    world.change(INLINE_LIMIT_MB=2048)
    stage.app.cloud.blobs.write(DEAD_LETTERS, "letter.json", b"[]")
    _switched_to_tokens(stage)
    # Nobody calls it: its owner is told, and then the endpoint goes.
    stage.at_rest()
    world.change(CLEANUP_TARGET="endpoint", IDLE_GRACE=timedelta(0), METRICS_LAG=timedelta(0))
    world.clock.jump(timedelta(days=2))

    def judged() -> bool:
        world.cleanup()
        return stage.line.is_going

    eventually(judged)  # the metrics follow the clock within a moment
    stage.quiet()
    assert stage.app.cloud.endpoints.get(stage.endpoint) is None


def _switched_to_tokens(stage: Stage) -> None:
    """Somebody gives the endpoint another auth mode, and the app looks whether it may ask it."""
    endpoints = stage.app.cloud.clients.ml.online_endpoints
    found = endpoints.get(stage.endpoint)
    found.auth_mode = "aml_token"
    endpoints.begin_create_or_update(found)
    eventually(lambda: (seen := stage.app.cloud.endpoints.get(stage.endpoint)) and not seen.busy)
    settled = stage.app.cloud.endpoints.get(stage.endpoint)
    assert settled
    stage.app.cloud.endpoints.check_access(settled)
