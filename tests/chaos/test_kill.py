"""A sample of the crash matrix with the real host, which is killed (SIGKILL) while one of its calls is under way.

`before`: the call waits at the local cloud's door and is never carried out; `after`: it was, and its answer is lost.
Where a run makes which calls is recorded; the truth is that of truth.py.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.lifecycle.phase import Phase
from shared.records.layout import DATASETS
from shared.records.run import Run
from tests.kit import clouds
from tests.kit.clouds import point
from tests.kit.rows import chats
from tests.kit.runs import recent
from tests.kit.waiting import eventually
from tests.kit.worlds import truth
from tests.kit.worlds.scene import pretend
from tests.kit.worlds.wire import place
from tests.kit.worlds.world import World

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

KILLED = 8
FASTER = 60
"""Local time against real time."""
SETTINGS = {
    **clouds.SETTINGS,
    "SETTLE_TIME": "PT0S",
    "POLL_INTERVAL": "PT10S",
    "ROLLOUT_GRACE": "PT1M",
    "MAX_JOBS_PER_DAY": "1000",
    "SWEEP_SCHEDULE": "0 * * * * *",
    "CLEANUP_SCHEDULE": "30 * * * * *",
    "UPLOADS_SWEEP": "PT2M",
}


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A local cloud with a host of its own, whose clock goes faster."""
    made = Stack(tmp_path / "state", settings=SETTINGS)
    made.start()
    try:
        point(monkeypatch, made)
        made.control("POST", "/_local/clock", {"rate": FASTER})
        yield made
    finally:
        made.stop()


def test_the_real_host_is_killed_at_its_calls(real: Stack, record_property: Callable[[str, object], None]) -> None:
    world = World(real, sweeps=False)
    world.events = False
    pretend(world)
    folder = f"kill-{uuid4().hex[:8]}"
    for part in ("test", "validation"):
        world.upload(f"{folder}/{part}.jsonl", chats(2, salt=part))
    replaced(world, folder, 0)
    world.control("POST", "/_local/ledger", {"storage": True})
    world.control("DELETE", "/_local/ledger")
    clean = replaced(world, folder, 1)
    expected = truth.Clean(run=clean, events=truth.events(world, clean))

    rng = random.Random(9)
    calls = changes(world)
    for number, (service, method, where) in enumerate(rng.sample(sorted(calls), KILLED)):
        before = world.line(clean.line)
        world.control("DELETE", "/_local/ledger")
        world.control("DELETE", "/_local/history")
        moment = ("before", "after")[number % 2]
        nth = rng.randrange((calls[service, method, where] + 1) // 2)  # polls are not as many each time
        harm = {"delay": 60} if moment == "before" else {"reset": True}
        fault = {"service": service, "method": method, "path": where, "skip": nth, "moment": moment}
        world.control("POST", "/_local/faults", fault | harm)

        def killed() -> None:
            eventually(lambda: world.control("GET", "/_local/faults")[0]["taken"], 60, every=0.005)
            real.kill_host()
            world.control("DELETE", "/_local/faults")
            real.start_host()

        run = replaced(world, folder, 2 + number, killed)
        wrong = truth.replaced(world, run, before, world.control("GET", "/_local/ledger"), expected)
        assert not wrong, f"killed {moment} {method} {where} #{nth}: {wrong}"
        record_property("killed", number + 1)
    world.close()


def replaced(world: World, folder: str, version: int, meanwhile: Callable[[], None] = lambda: None) -> Run:
    """Uploads anew; the run that made of it what serves, once nothing is left of the one before."""
    known = {run.id for run in recent(world.app, 100)}
    world.app.cloud.blobs.write(DATASETS, f"{folder}/train.jsonl", chats(salt=f"{folder} {version}"))
    meanwhile()

    def at_rest() -> Run | None:
        run = next((run for run in recent(world.app, 1) if run.id not in known), None)
        if run is None or not run.phase.ended or any(world.app.runs.active()):
            return None
        line = world.line(run.line)
        return None if line.rollout or line.retiring else run

    run = eventually(at_rest, 90, every=0.25)
    assert run.phase is Phase.LIVE, f"{run.phase}: {run.why}"
    return run


def changes(world: World) -> Counter[tuple[str, str, str]]:
    """The calls of the app that change something: service, method, a pattern of the path; and how often it made each.

    Of those to storage, the ones that are about a run and its line.
    """
    found = Counter[tuple[str, str, str]]()
    for entry in world.control("GET", "/_local/ledger"):
        general = place(entry["path"])
        known = entry["service"] == "management" or re.search("RUN|LINE|slots|run-steps/messages$", general)
        if entry["method"] in ("PUT", "PATCH", "POST") and known and entry["status"] < 300:
            tail = general.removeprefix("/droptune/").partition("/workspaces/local/")[2] or general
            found[entry["service"], entry["method"], re.sub("[A-Z]{3,}", "[^/]+", re.escape(tail)) + "$"] += 1
    return found
