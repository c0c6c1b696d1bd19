"""Every phase of a run and of a line, with everything that may keep it from going on: an end, or a person who knows.

Each case drives the app to a place, has the cause come, and lets time pass: within its limit the run ends with a
reason, or people hear of it at once and again each day, in an event, in `status` and in health's count. Once the cause
is gone it goes on, by itself or by the command that the sentence names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest

from shared.api import line_commands, run_commands, views
from shared.api.recover import recover
from shared.app import wake
from shared.lifecycle.phase import WORK, Phase
from shared.line.waits import counted
from shared.records import layout
from shared.records.layout import STATE
from shared.records.line import Standing, TearingDown
from shared.records.run import Run
from shared.records.store import readable
from tests.kit.azureml.rules import ruled
from tests.kit.waiting import eventually
from tests.kit.worlds.people import BY_HAND, HOUR, deployed, given, held
from tests.kit.worlds.scene import deleted
from tests.kit.worlds.stage import MANUAL, Stage
from tests.kit.worlds.wire import Call
from tests.kit.worlds.world import SWEEP_EVERY

DAY = timedelta(days=1)
ENDING = [f"{phase}, ending" for phase in WORK]
LINES = ["live, with what retires", "line with a notice", "line in its teardown"]
PLACES = [*WORK, *ENDING, *LINES]
CAUSES = ["a bug", "a refusal", "a lock", "a policy", "an unreadable record", "a lost record", "hosts down for a day"]
CASES = list(product(PLACES, CAUSES))
SAMPLE = {(Phase.REGISTERED, "a bug")}
TOLD = re.compile(r"Run\.(Parked|Refused|Waiting|ApprovalNeeded)|Record\.|Endpoint\.(DeleteRefused|Waiting)")
"""Events that a person hears who has to do something."""
outcomes: dict[tuple[str, str], str] = {}


@dataclass(kw_only=True)
class Case:
    """A run, or the line that it made, somewhere on its way."""

    stage: Stage
    place: str
    run: Run
    lost: bool = False

    @property
    def of_line(self) -> bool:
        return self.place in LINES

    @property
    def record(self) -> str:
        """The blob of the record that it is all about."""
        return layout.record("lines", self.stage.line_id) if self.of_line else layout.record("runs", self.run.id)

    def over(self) -> bool:
        """Whether nothing is left to wait for."""
        if not self.of_line:
            found = readable(self.stage.app.runs, self.run.id)
            return found is not None and found.record.phase.ended
        found_line = readable(self.stage.app.lines, self.stage.line_id)
        if found_line is None:
            return False
        line = found_line.record
        done = {LINES[0]: not line.retiring, LINES[1]: line.noticed is None, LINES[2]: bool(line.emptied)}
        # What is made again of what Azure shows does not know that it was to go.
        return not line.is_going and (done[self.place] or (self.lost and not line.retiring))

    def told(self) -> list[str]:
        """What people heard of it since the cause came."""
        sent = self.stage.world.control("GET", "/_local/eventgrid")["events"]
        events = [each.get("event", each) for each in sent if each["topic"] == "lifecycle"]
        names = (self.run.id, self.stage.line_id, self.stage.endpoint)
        about = [each for each in events if any(name in json.dumps(each) for name in names)]
        return [f"{each['type']}: {each['data']['reason']}" for each in about if TOLD.search(each["type"])]

    def needs(self) -> list[str]:
        """What status shows of it as somebody's to do."""
        shown = json.loads(views.status(self.stage.app)[1])["needs"]
        names = (self.run.id, self.stage.line_id, self.stage.endpoint, self.stage.folder)
        return [each["what"] for each in shown if any(name in json.dumps(each) for name in names)]

    def passes(self, time: timedelta, done: Callable[[], object]) -> bool:
        """Hosts work, and timers fire, for so long at most. Whether it is done."""
        world = self.stage.world
        until = world.clock.now() + time
        while True:
            while world.turn() or world.look():
                pass
            if done():
                return True
            if (left := until - world.clock.now()) <= timedelta(0):
                return False
            world.wait(min(left, SWEEP_EVERY))


# Where it is ---------------------------------------------------------------------------------------------------------


def arrived(stage: Stage, place: str) -> Case:
    """The case at its place, with nothing in its way yet."""
    world = stage.world
    if place in LINES:
        return _on_line(stage, place)
    phase = Phase(place.removesuffix(", ending"))
    stage.pretend(job=HOUR.total_seconds() if phase is Phase.TRAINING else 60)
    silent = {"method": "POST", "path": "/inference/|/score", "status": 503, "count": None}
    world.control("POST", "/_local/faults", silent)
    run = stage.upload()
    while stage.run(run).phase is not phase:
        assert not stage.run(run).phase.ended, stage.run(run).why
        if not (world.turn() or world.look()):
            world.wait(SWEEP_EVERY)
    world.control("DELETE", "/_local/faults")
    if place in ENDING:
        run_commands.cancel(stage.app, run.id, by="ada")
    return Case(stage=stage, place=place, run=run)


def _on_line(stage: Stage, place: str) -> Case:
    run = stage.live()
    if place == LINES[0]:
        run = stage.until(stage.version(), lambda run: run.phase.ended)
        assert run.phase is Phase.LIVE, run.why
        assert stage.line.retiring
        return Case(stage=stage, place=place, run=run)
    loaded = stage.app.lines.load(stage.line_id)
    assert loaded
    line, etag = loaded
    state = Standing(noticed=stage.now()) if place == LINES[1] else TearingDown(whole=False)
    stage.app.lines.save(replace(line, state=state), etag)
    wake(stage.app, line)
    return Case(stage=stage, place=place, run=run)


# What comes ----------------------------------------------------------------------------------------------------------


def malformed(case: Case) -> dict[str, Any]:
    """An answer of Azure's that nobody thought of: what reads it raises what no rule covers."""
    stage, run = case.stage, case.run
    endpoint = rf"/onlineEndpoints/{stage.endpoint}$"
    workspace = stage.app.cloud.clients.ml._operation_scope
    ids = f"/subscriptions/{workspace.subscription_id}/resourceGroups/{workspace.resource_group_name}"
    odd_job = {"id": f"{ids}/jobs/x", "name": "x", "properties": {"jobType": "Pipeline", "status": "Running"}}
    odd_endpoint: dict[str, Any] = {"id": f"{ids}/onlineEndpoints/x", "name": stage.endpoint, "location": "here"}
    odd_endpoint["properties"] = {"authMode": "Key", "provisioningState": "Succeeded", "traffic": {"a": "x"}}
    odd_deployment: dict[str, Any] = {"id": f"{ids}/onlineEndpoints/x/deployments/y", "name": "y", "location": "here"}
    timeout = {"requestSettings": {"requestTimeout": "soon"}}
    odd_deployment["properties"] = {"endpointComputeType": "Managed", "provisioningState": "Succeeded"} | timeout
    phase = "" if case.of_line else case.place.removesuffix(", ending")
    match phase:
        case Phase.PREPARED | Phase.TRAINING:
            return {
                "path": rf"/jobs/{run.id}-1$|/usages|/quotas",
                "body": odd_job | {"systemData": {"createdAt": "now"}},
            }
        case Phase.DEPLOYING:
            return {"path": r"/deployments/[^/]+$", "body": odd_deployment}
    return {"path": endpoint, "body": odd_endpoint}


@contextmanager
def bug(case: Case) -> Iterator[None]:
    world = case.stage.world
    fault = {"method": "GET", "status": 200, "count": None} | malformed(case)
    world.control("POST", "/_local/faults", fault)

    def odd(call: Call) -> None:
        """Storage's answers are read by the SDK alone; this one trips over what it is given."""
        if "/datasets/" in call.path and call.method == "GET":
            raise ValueError("an answer that nobody thought of")

    if case.place in (Phase.RECEIVED, Phase.PREPARED):
        world.hosts[0].wire.before = odd if case.place == Phase.RECEIVED else None
    try:
        yield
    finally:
        world.hosts[0].wire.before = None
        world.control("DELETE", "/_local/faults")


@contextmanager
def rule(case: Case, kind: str, **fields: Any) -> Iterator[None]:
    with ruled(case.stage.world.control, kind, **fields):
        yield


@contextmanager
def record(case: Case, *, lost: bool) -> Iterator[None]:
    blobs = case.stage.app.cloud.blobs
    before, _ = blobs.read(STATE, case.record)
    if lost:
        blobs.delete(STATE, case.record)
    else:
        blobs.write(STATE, case.record, json.dumps(json.loads(before) | {"id": 7}).encode())
    yield
    if not lost:
        blobs.write(STATE, case.record, before)


@contextmanager
def down(case: Case) -> Iterator[None]:
    case.stage.world.clock.jump(DAY)
    yield


def cause_of(case: Case, cause: str) -> Any:
    match cause:
        case "a bug":
            return bug(case)
        case "a refusal":
            return rule(case, "denyAssignment")
        case "a lock":
            return rule(case, "lock", level="ReadOnly")
        case "a policy":
            return rule(case, "policy", types=".*")
        case "an unreadable record" | "a lost record":
            return record(case, lost=cause == "a lost record")
    return down(case)


# What becomes of it --------------------------------------------------------------------------------------------------


def limit(case: Case) -> timedelta:
    """How long nobody need hear of it: its phase's own limit, and an hour for the sweep's review."""
    limits = {Phase.CHECKING.value: 7 * HOUR, Phase.DEPLOYING.value: 4 * HOUR}
    return limits.get(case.place.removesuffix(", ending"), DAY + 2 * HOUR)


def settled(case: Case, cause: str) -> str:
    """ "ended", or "a person": told of, and gone on once the cause was gone. Fails where it is silent or stands."""
    with cause_of(case, cause):
        assert case.passes(limit(case), lambda: case.over() or case.told()), f"silent: {case.stage.world.told()}"
        if case.over():
            return "ended"
        reviewed = 2 * SWEEP_EVERY + (HOUR if case.place in LINES else timedelta(0))  # lines are reviewed once an hour
        assert case.passes(reviewed, lambda: case.over() or counted(case.stage.app)), "health does not count it"
        if case.over():
            return "ended"
        assert case.needs(), f"status does not show it: {case.told()}"
        known = len(case.told())
        case.stage.world.clock.jump(DAY)
        assert case.passes(2 * HOUR, lambda: case.over() or len(case.told()) > known), f"not told again: {case.told()}"
        if case.over():
            return "ended"
    if not case.passes(3 * HOUR, case.over):
        assert cause == "a lost record", f"does not go on by itself: {case.stage.world.told()}"
        recover(case.stage.app)
        assert case.passes(DAY + 3 * HOUR, case.over), f"does not go on: {case.stage.world.told()}"
    return "a person"


@pytest.mark.parametrize(
    ("place", "cause"),
    [pytest.param(*each, marks=() if each in SAMPLE else pytest.mark.thorough) for each in CASES],
)
def test_every_wait_has_an_end_or_a_person(
    stage: Stage, request: pytest.FixtureRequest, place: str, cause: str
) -> None:
    case = arrived(stage, place)
    case.lost = cause == "a lost record"
    stage.world.control("DELETE", "/_local/eventgrid")
    try:
        outcome = settled(case, cause)
    finally:
        stage.world.errors.clear()  # bugs are what some of them are about
        eventually(lambda: deleted(stage.app, stage.endpoint))
    if not case.of_line:
        assert stage.run(case.run).why, "an end has a reason"
    outcomes[place, cause] = outcome
    if len(outcomes) == len(CASES):
        found = Counter(outcomes.values())
        line = f"{len(CASES)} cases: {found['ended']} ended, {found['a person']} waited for a person"
        request.config.pluginmanager.getplugin("terminalreporter").write_line(f"\n{line}")


def test_no_case_is_left_out() -> None:
    assert len(CASES) == len(set(CASES)) == (2 * len(WORK) + 3) * 7 == 105
    assert set(SAMPLE) <= set(CASES)


# What the table does not say -----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_bug_in_the_checks_is_given_up_at_their_limit_and_no_sooner(stage: Stage) -> None:
    case = arrived(stage, Phase.CHECKING)
    with bug(case):
        # What lets go of the deployment meets the same bug: it ends once that is gone.
        assert not case.passes(5 * HOUR, lambda: stage.run(case.run).ending)
        assert case.passes(3 * HOUR, lambda: stage.run(case.run).ending), stage.run(case.run)
        assert "MAX_CHECKING_HOURS" in stage.run(case.run).why
    stage.world.errors.clear()
    assert case.passes(3 * HOUR, case.over)
    assert stage.run(case.run).phase is Phase.ROLLED_BACK
    assert stage.standing() == {}


@pytest.mark.thorough
def test_a_model_that_is_not_deployed_is_given_up_after_days_and_a_retry_does_not_train_again(stage: Stage) -> None:
    stage.world.change(MAX_REGISTERED_DAYS=1)
    stage.live()
    line_commands.pin(stage.app, stage.line_id, by="ada")
    run = stage.version()
    case = Case(stage=stage, place=Phase.REGISTERED, run=run)
    assert not case.passes(23 * HOUR, case.over)
    assert any("Run.Waiting" in each and "droptune unpin" in each for each in case.told())
    assert case.passes(3 * HOUR, case.over)
    ended = stage.run(run)
    assert ended.phase is Phase.FAILED
    assert "MAX_REGISTERED_DAYS" in ended.why
    assert "ada has pinned" in ended.why
    line_commands.unpin(stage.app, stage.line_id, by="ada")
    run_commands.retry(stage.app, run.id, by="ada")
    assert stage.until(run).phase is Phase.LIVE
    assert stage.made("jobs") == []
    stage.at_rest()


@pytest.mark.thorough
@pytest.mark.parametrize("days", [1, 30])
def test_what_a_person_did_meanwhile_is_seen_before_a_limit_that_passed_while_hosts_were_down(
    stage: Stage, days: int
) -> None:
    """Somebody's traffic was in its way; it has none any more when hosts come back."""
    old = stage.live()
    deployed(stage, BY_HAND)
    run = stage.until(stage.version(promotion=MANUAL), lambda run: run.hold == "approval")
    given(stage, {old.deployed.name: 70, BY_HAND: 30})
    run_commands.approve(stage.app, run.id, by="ada")
    stage.until(run, held)
    given(stage, {old.deployed.name: 100})
    stage.world.clock.jump(days * DAY)
    live = stage.until(run)
    assert live.phase is Phase.LIVE, live.why


def _told_more(case: Case, than: int) -> bool:
    return len(case.told()) > than


@pytest.mark.thorough
def test_a_state_that_is_lost_whole_is_told_at_once_and_daily_counted_and_shown(stage: Stage) -> None:
    live = stage.live()
    case = Case(stage=stage, place=LINES[1], run=live)
    for blob in list(stage.app.cloud.blobs.list(STATE)):
        stage.app.cloud.blobs.delete(STATE, blob.name)
    assert case.passes(2 * SWEEP_EVERY, case.told)
    assert counted(stage.app)
    assert any("droptune recover" in each for each in case.needs())
    for days in range(1, 4):
        stage.world.clock.jump(DAY)
        assert case.passes(2 * HOUR, partial(_told_more, case, days))
    recover(stage.app)
    stage.world.clock.jump(HOUR)
    assert case.passes(2 * HOUR, lambda: not case.needs())
