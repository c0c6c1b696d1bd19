"""The cap on live endpoints, over days in which more is uploaded than anybody calls.

What stands is what the cloud's own history says, at every moment of it, never a record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.lifecycle.phase import Phase
from shared.records.run import Run
from tests.kit.rows import chats
from tests.kit.worlds.stage import RIGHT, Stage, waits_for
from tests.kit.worlds.world import World

DAY = timedelta(days=1)
TIMERS = timedelta(hours=6)
"""How often the sweep and the cleanup come here: more rarely than in Azure, which makes every wait longer."""
log = logging.getLogger("tests.rollouts.seats")
FOLDERS = 20
"""New ones a day."""


def work(world: World) -> None:
    """Hosts do what there is to do now."""
    while world.turn() or world.look():
        pass


def passes(world: World, time: timedelta) -> None:
    """Hosts work through so much time."""
    until = world.clock.now() + time
    due = world.clock.now() + TIMERS
    while (now := world.clock.now()) < until:
        work(world)
        if now >= due:
            world.cleanup()
            world.sweep()
            due += TIMERS
        else:
            world.wait(min(until, due) - now)
    work(world)


def stood(world: World) -> Iterator[tuple[str, int]]:
    """When deployments were made or went, and how many stood from then on."""
    standing = set[str]()
    for each in world.control("GET", "/_local/history"):
        if each["kind"] == "deployments":
            (standing.discard if each["state"] == "Deleted" else standing.add)(each["name"])
            yield each["at"], len(standing)


def most(world: World) -> int:
    return max((count for _, count in stood(world)), default=0)


def upload(world: World, folder: str) -> None:
    world.upload(f"{folder}/train.jsonl", chats(salt=folder, answer=RIGHT))


def day_of(run: Run) -> str:
    return run.source.folder.partition("-")[0]


def told_of(world: World) -> dict[str, str]:
    """The reason that the topic was told, by run."""
    sent = [each.get("event", each) for each in world.control("GET", "/_local/eventgrid")["events"]]
    kind = "Droptune.Run.SeatNeeded"
    return {event["data"]["run"]: event["data"]["reason"] for event in sent if event.get("type") == kind}


def days_of_uploads(stage: Stage, *, days: int, cap: int, folders: int, mode: str) -> dict[str, int]:
    """So many days in which nobody calls, each with so many new folders. Asserts the cap at every moment of them."""
    world, started = stage.world, uuid4().hex[:6]
    world.sweeps = False
    world.change(MAX_LIVE_ENDPOINTS=cap, CLEANUP_MODE=mode, MAX_ACTIVE_JOBS=2, MAX_JOBS_PER_DAY=20)
    world.control("DELETE", "/_local/history")
    first = len(world.known)
    for day in range(days):
        for number in range(folders):
            upload(world, f"d{day:02}-{number:02}-{started}")
        work(world)
        passes(world, DAY)
        assert most(world) <= cap, "what stands is the cloud's own word"
        log.info("%s, day %d: %d at most", mode, day, most(world))
    own = [world.run(run_id) for run_id in world.known[first:]]
    waiting = [run for run in own if not run.phase.ended]
    told = told_of(world)
    for run in waiting:
        assert (run.phase, run.hold) == (Phase.PREPARED, "seat"), f"{run.phase}: {run.waiting}"
        assert f"of MAX_LIVE_ENDPOINTS={cap} lines serve or are on their way" in waits_for(run)
        assert ("CLEANUP_MODE=report" in waits_for(run)) == (mode == "report")
        assert "MAX_LIVE_ENDPOINTS" in told[run.id]
    live = [run for run in own if run.phase is Phase.LIVE]
    assert len(own) == days * folders
    assert len(live) + len(waiting) == len(own), [(run.phase, run.why) for run in own if run not in (*live, *waiting)]
    jobs = [each for each in world.control("GET", "/_local/history") if each["kind"] == "jobs"]
    ran = {each["name"] for each in jobs}
    assert ran == {run.attempt.job for run in live}, "who waits has had nothing paid for"
    if waiting:
        assert max(map(day_of, live)) <= min(map(day_of, waiting)), "who came first goes first"
    return {"runs": len(own), "live": len(live), "waiting": len(waiting), "most at once": most(world)}


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["report", "delete"])
def test_forty_days_of_twenty_folders_that_nobody_calls(stage: Stage, mode: str) -> None:
    counts = days_of_uploads(stage, days=40, cap=5, folders=FOLDERS, mode=mode)
    log.warning("%s: %s", mode, counts)
    if mode == "report":
        assert counts == {"runs": 800, "live": 5, "waiting": 795, "most at once": 5}
    else:
        assert counts["live"] > 60, "what nobody calls goes, and others follow"
        assert counts["most at once"] == 5


@pytest.mark.thorough
def test_a_few_days_of_uploads_that_nobody_calls(stage: Stage) -> None:
    counts = days_of_uploads(stage, days=4, cap=2, folders=3, mode="delete")
    log.warning("%s", counts)
    assert counts["live"] > 2
