"""The cleanup over the local cloud: what stays, what goes, how much at once, and what people did by hand.

The deployments only pretend; the whole way tears down a real one.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import requests

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import line_commands, views
from shared.app import App
from shared.errors import Permanent, Transient
from shared.lifecycle.action import Action
from shared.lifecycle.moment import minute
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import RolloutSeen
from shared.line.cleanup import cleanup, policy_of
from shared.line.kept import KEEP_TAG
from shared.line.teardown import tend
from shared.money.ledger import Cause, Interval
from shared.records import layout, observations
from shared.records.base import FRESH, Order, Wake
from shared.records.bill import Month
from shared.records.layout import DELETIONS, STATE
from shared.records.line import Empty, Keep, Line, Newest, NotMade, Removed, Retiring, Serving, Standing, TearingDown
from shared.records.observations import Observation
from shared.records.run import Run, Source
from shared.run.actions import ACTIONS
from shared.run.observe import OBSERVE
from shared.serving.gate import Promotion
from tests.kit.azureml import MODEL
from tests.kit.clouds import later
from tests.kit.ours import HERE, made_for, of_line
from tests.kit.records import NOW, changed, events_of, line_of
from tests.kit.settings import changed as settings_changed
from tests.kit.settings import with_settings
from tests.kit.waiting import eventually
from tests.kit.worlds.wire import HostDied

DAY = timedelta(days=1)
THEIRS = "deployment theirs, which is somebody else's"
MakeLine = Callable[..., Line]


@pytest.fixture
def make_line(app: App, cloud: Stack) -> Iterator[MakeLine]:
    """Makes an endpoint, with the deployment and its traffic if one serves, and its line with these fields."""
    app.cloud.blobs.delete(STATE, DELETIONS)
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^clean-"}})
    made: list[Line] = []

    def make(*, kept: bool = False, **fields: object) -> Line:
        name = f"clean-{uuid4().hex[:8]}"
        line = Line(id=name, folder=name, base_model="Phi-4", endpoint=name, installation=HERE)
        app.cloud.endpoints.create(name, tags=of_line(line) | ({KEEP_TAG: "yes"} if kept else {}))
        settled(app, name)
        line = replace(line, **fields)  # type: ignore[arg-type]
        if serves := line.serving:
            line = replace(line, state=Standing()) if isinstance(line.state, NotMade) else line
            deploy(app, line, serves.deployment)
            app.cloud.endpoints.set_traffic(name, {serves.deployment: 100})
            settled(app, name)
        app.lines.create(line)
        made.append(line)
        return line

    yield make
    cloud.control("DELETE", "/_local/pretend")
    for line in made:  # other tests judge all lines that stand
        app.cloud.endpoints.delete(line.endpoint)
        loaded = app.lines.load(line.id)
        assert loaded
        app.lines.save(replace(loaded.record, rollout="", state=Removed(since=app.cloud.blobs.now())), loaded.etag)


def settled(app: App, endpoint: str) -> None:
    eventually(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")


def deploy(app: App, line: Line, name: str, tags: dict[str, str] | None = None) -> None:
    """A deployment of the line's, or with `tags` one that somebody else made."""
    given = made_for(line, name) if tags is None else tags
    app.cloud.endpoints.deploy(line.endpoint, name, MODEL, "Standard_DS3_v2", 1, given)

    def made() -> bool:
        found = app.cloud.endpoints.deployment(line.endpoint, name)
        return found is not None and found.state == "Succeeded"

    eventually(made)
    settled(app, line.endpoint)


def undeploy(app: App, line: Line, name: str) -> None:
    """As a person does it in the portal: first the traffic, then the deployment."""
    app.cloud.endpoints.set_traffic(line.endpoint, {})
    settled(app, line.endpoint)
    app.cloud.endpoints.remove_deployment(line.endpoint, name)
    eventually(lambda: app.cloud.endpoints.deployment(line.endpoint, name) is None)


def sent(cloud: Stack, line: Line) -> list[str]:
    """What the lifecycle topic was sent of the line's endpoint."""
    return [event["type"].rpartition(".")[2] for event in events_of(cloud, line)]


def serving(app: App, days: int) -> Serving:
    at = app.cloud.blobs.now() - days * DAY
    return Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=at, order=Order(uploaded=at))


def torn_down(app: App, line: Line) -> Line:
    tended(app, line, lambda: not line_of(app, line).is_going)
    return line_of(app, line)


def tended(app: App, line: Line, done: Callable[[], bool]) -> None:
    def step() -> bool:
        tend(app, line.id, None)
        return done()

    eventually(step)


def test_without_a_sign_of_life_from_the_metrics_nothing_is_idle(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9))
    cleanup(app)
    assert line_of(app, line).noticed is None


def test_a_notice_is_sent_once(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9))
    short = with_settings(app, IDLE_WINDOW=timedelta(minutes=10))

    def tick() -> Line:
        later(app, cloud, timedelta(minutes=3))
        cleanup(short)
        return line_of(app, line)

    eventually(lambda: tick().noticed)  # once there are metrics of the whole window, of which the local clock jumps
    for _ in range(3):
        assert tick().serving == line.serving
    (notice,) = events_of(cloud, line)
    assert notice["type"] == "Droptune.Endpoint.IdleNotice"
    noticed = line_of(app, line).noticed
    assert noticed
    policy = policy_of(short.settings.cleanup)
    goes = f"it goes at {minute(noticed + policy.grace + policy.lag)} unless somebody calls it"
    assert notice["data"]["reason"] == f"no request in 10 min: {goes}; droptune keep {line.id} keeps it"


def test_a_notice_is_taken_back_when_the_line_is_kept(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    line = make_line(serving=serving(app, 9), state=Standing(noticed=now - DAY), kept=True)
    cleanup(app)
    assert line_of(app, line).noticed is None


def test_a_notice_is_taken_back_when_somebody_keeps_the_line_and_comes_again_once_that_is_over(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 9), state=Standing(noticed=app.cloud.blobs.now() - DAY))
    line_commands.keep(app, line.id, by="ada", until="30m", why="a demo")
    cleanup(app)
    assert line_of(app, line).noticed is None
    (withdrawn,) = [each for each in events_of(cloud, line) if each["type"].endswith("NoticeWithdrawn")]
    assert "ada keeps it until" in withdrawn["data"]["reason"]
    assert f"(a demo): droptune keep {line.id} --end ends that" in withdrawn["data"]["reason"]
    short = with_settings(app, IDLE_WINDOW=timedelta(minutes=10))

    def noticed_again() -> bool:
        later(app, cloud, timedelta(minutes=3))
        cleanup(short)
        return line_of(app, line).noticed is not None

    eventually(noticed_again)
    keep = line_of(app, line).keep
    assert keep
    assert keep.until
    assert keep.until <= app.cloud.blobs.now()


def test_what_is_stopped_on_purpose_is_torn_down_though_only_reports_are_asked_for(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 0))
    reports = with_settings(app, CLEANUP_MODE="report")
    told = line_commands.stop(reports, line.id, by="ada", why="the pilot is over")
    assert f"droptune revive {line.id}" in told
    assert "already" in line_commands.stop(reports, line.id, by="eve")
    assert torn_down(reports, line).emptied
    assert app.cloud.endpoints.get(line.endpoint), "its address stays"
    assert app.cloud.endpoints.deployments(line.endpoint) == []
    (gone,) = [each for each in events_of(cloud, line) if each["type"].endswith("TornDown")]
    assert gone["data"]["reason"].startswith("stopped by ada: the pilot is over; the endpoint stays")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"pinned_by": "eve"}, "droptune unpin"),
        ({"keep": Keep(until=None, who="eve", why="")}, "--end ends that"),
        ({"kept": True}, "droptune.keep"),
    ],
)
def test_what_somebody_keeps_is_not_stopped(app: App, make_line: MakeLine, fields: dict[str, Any], why: str) -> None:
    line = make_line(serving=serving(app, 0), **fields)
    with pytest.raises(Permanent, match=why):
        line_commands.stop(app, line.id, by="ada")
    assert line_of(app, line) == line


def test_an_endpoint_that_was_empty_for_too_long_goes(app: App, make_line: MakeLine) -> None:
    line = make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY))
    cleanup(app)
    assert line_of(app, line).is_going
    assert torn_down(app, line).removed
    eventually(lambda: app.cloud.endpoints.get(line.endpoint) is None)


def test_an_endpoint_goes_although_the_run_it_was_changed_for_last_left_its_name(app: App, make_line: MakeLine) -> None:
    line = make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY), rollout="rgone")
    cleanup(app)
    assert torn_down(app, line).removed


def test_a_timer_that_does_not_count_any_more_tears_nothing_down(app: App, make_line: MakeLine) -> None:
    timer = Wake(token="new", due=app.cloud.blobs.now() + DAY)
    line = make_line(serving=serving(app, 9), state=TearingDown(whole=False), wake=timer)
    tend(app, line.id, "old")
    assert line_of(app, line) == line
    found = app.cloud.endpoints.get(line.endpoint)
    assert found
    assert found.traffic == {"r1-1": 100}


def test_report_mode_deletes_nothing_and_tells_once_what_would_go(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY))
    for _ in range(3):
        cleanup(with_settings(app, CLEANUP_MODE="report"))
    assert line_of(app, line) == line
    assert app.cloud.endpoints.get(line.endpoint)
    assert sent(cloud, line) == ["WouldGo"]
    assert "CLEANUP_MODE=report tears nothing down" in judged(app, line).why


def judged(app: App, line: Line) -> Observation:
    return observations.read(app.cloud.blobs)[line.id]


def test_what_was_made_of_a_line_is_shown_without_asking_azure(app: App, make_line: MakeLine) -> None:
    lines = [make_line(serving=serving(app, days)) for days in (0, 9)]
    cleanup(app)
    with requests_of(app) as counted:
        status, body = views.cleanup(app, "")
    assert status == 200
    assert counted.requests == 1, "one blob"
    shown = {each["line"]: each for each in json.loads(body)["lines"]}
    young, silent = (shown[line.id] for line in lines)
    assert (young["verdict"], young["folder"], young["endpoint"]) == ("keep", lines[0].folder, lines[0].endpoint)
    assert "is judged from" in young["why"]
    assert young["until"]
    assert "silence proves nothing" in silent["why"]
    (one,) = json.loads(views.cleanup(app, lines[0].folder)[1])["lines"]
    assert one == young
    assert json.loads(views.line(app, lines[0].id)[1])["verdict"] == young
    assert views.cleanup(app, "none")[0] == 404


def test_no_more_go_in_a_window_than_the_cap_allows(app: App, make_line: MakeLine) -> None:
    lines = [make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY)) for _ in range(3)]
    capped = with_settings(app, CLEANUP_MAX_DELETIONS=2)
    cleanup(capped)
    cleanup(capped)
    assert len(going(app, lines)) == 2
    (stays,) = [line for line in lines if line not in going(app, lines)]
    taken = json.loads(app.cloud.blobs.read(STATE, DELETIONS)[0])
    free = datetime.fromisoformat(min(taken.values())) + capped.settings.cleanup.deletion_window
    told = f"2 of 2 teardowns (CLEANUP_MAX_DELETIONS) are used, the next at {minute(free)}"
    assert judged(app, stays).verdict == "go"
    assert told in judged(app, stays).why
    for line in going(app, lines):
        torn_down(app, line)


@pytest.mark.thorough
def test_when_the_window_is_over_others_may_go(app: App, cloud: Stack, make_line: MakeLine) -> None:
    lines = [make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY)) for _ in range(2)]
    capped = with_settings(app, CLEANUP_MAX_DELETIONS=1, CLEANUP_DELETION_WINDOW=timedelta(minutes=30))
    cleanup(capped)
    later(app, cloud, timedelta(minutes=29))
    cleanup(capped)
    assert len(going(app, lines)) == 1, "the window is not over yet"
    later(app, cloud, timedelta(minutes=1))
    cleanup(capped)
    assert len(going(app, lines)) == 2
    for line in lines:
        torn_down(app, line)


def test_of_two_ticks_at_once_one_takes_the_last_deletion(
    app: App, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY))
    app.cloud.blobs.write(STATE, DELETIONS, b"{}")
    read, other = app.cloud.blobs.read, json.dumps({"another line": app.cloud.blobs.now().isoformat()}).encode()

    def read_by_both(container: str, name: str, if_match: str | None = None) -> tuple[bytes, str]:
        found = read(container, name, if_match)
        if name == DELETIONS:  # the other tick is a little faster
            app.cloud.blobs.write(STATE, DELETIONS, other)
        return found

    monkeypatch.setattr(app.cloud.blobs, "read", read_by_both)
    cleanup(with_settings(app, CLEANUP_MAX_DELETIONS=1))
    monkeypatch.undo()
    assert not line_of(app, line).is_going
    assert read(STATE, DELETIONS)[0] == other


@pytest.mark.thorough
def test_a_line_that_can_not_be_judged_holds_no_other_up(app: App, cloud: Stack, make_line: MakeLine) -> None:
    """Whatever is wrong with it: here Azure answers with nonsense."""
    lines = [make_line(serving=serving(app, 9), state=Standing(noticed=NOW), kept=True) for _ in range(2)]
    first, second = sorted(lines, key=lambda line: line.id)
    nonsense = {"method": "GET", "path": f"/onlineEndpoints/{first.endpoint}$", "status": 200, "body": {"tags": 3}}
    cloud.control("POST", "/_local/faults", nonsense | {"count": None})
    try:
        cleanup(app)
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert (line_of(app, first).noticed, line_of(app, second).noticed) == (NOW, None)


@pytest.mark.thorough
def test_a_deployment_of_a_run_whose_record_can_not_be_read_is_no_orphan(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    broken = f"r{uuid4().hex[:15]}"
    app.cloud.blobs.write(STATE, layout.record(layout.RUNS, broken), b"{")
    line = make_line(serving=serving(app, 1))
    deploy(app, line, f"{broken}-1")
    cleanup(app)
    later(app, cloud, FRESH)
    cleanup(app)
    found = line_of(app, line)
    assert (found.retiring, found.orphans) == ((), ())


@pytest.mark.thorough
def test_what_retires_and_was_given_traffic_by_hand_stays(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    old = Retiring(deployment="old-1", model="m:0", until=now - DAY)
    line = make_line(serving=serving(app, 1), retiring=(old,))
    deploy(app, line, "old-1")
    app.cloud.endpoints.set_traffic(line.endpoint, {"r1-1": 50, "old-1": 50})
    settled(app, line.endpoint)
    for _ in range(3):
        tend(app, line.id, None)
        settled(app, line.endpoint)
    assert standing(app, line) == {"r1-1", "old-1"}
    found = app.cloud.endpoints.get(line.endpoint)
    assert found
    assert found.traffic == {"r1-1": 50, "old-1": 50}


@pytest.mark.parametrize(("target", "whole"), [("deployments", False), ("endpoint", True)])
def test_the_endpoint_itself_goes_only_where_that_is_the_target(app: App, target: str, whole: bool) -> None:
    assert policy_of(with_settings(app, CLEANUP_TARGET=target).settings.cleanup).whole_endpoint is whole


def going(app: App, lines: list[Line]) -> list[Line]:
    return [line for line in lines if line_of(app, line).is_going]


def test_a_teardown_takes_the_deployments_and_leaves_the_address(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9), state=TearingDown(whole=False))
    done = torn_down(app, line)
    assert done.serving is None
    assert done.emptied
    assert not done.removed
    assert app.cloud.endpoints.get(line.endpoint)


def test_an_endpoint_that_somebody_deleted_is_noticed_and_not_made_again(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    once = make_line(serving=serving(app, 9))
    long_ago = make_line(serving=serving(app, 9), state=Standing(missing=now - DAY))
    for line in (once, long_ago):
        app.cloud.endpoints.delete(line.endpoint)
    eventually(lambda: not any(app.cloud.endpoints.get(line.endpoint) for line in (once, long_ago)))
    cleanup(app)
    assert line_of(app, once).missing, "one 404 of Azure's is not believed"
    assert not line_of(app, once).removed
    assert line_of(app, long_ago).removed
    assert app.cloud.endpoints.get(long_ago.endpoint) is None
    assert long_ago.id not in app.lines.standing(), "a removed endpoint costs no look any more"


def test_a_deployment_that_somebody_deleted_is_reported_once_and_not_made_again(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 9))
    undeploy(app, line, "r1-1")
    cleanup(app)
    assert line_of(app, line).missing, "one 404 of Azure's is not believed"
    assert line_of(app, line).serving
    later(app, cloud, FRESH)
    for _ in range(2):
        cleanup(app)
    after = line_of(app, line)
    assert (after.serving, after.missing, bool(after.emptied)) == (None, None, True)
    assert sent(cloud, line) == ["TornDown"]
    assert app.cloud.endpoints.deployments(line.endpoint) == []
    assert app.cloud.endpoints.get(line.endpoint), "the address stays, as after a teardown of our own"


def test_a_deployment_that_is_seen_again_was_not_deleted(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9), state=Standing(missing=app.cloud.blobs.now() - DAY))
    cleanup(app)
    after = line_of(app, line)
    assert after.serving
    assert after.missing is None


def test_traffic_that_somebody_took_away_is_reported_once_a_change_and_not_given_back(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 9))
    cleanup(app)
    assert sent(cloud, line) == []
    for traffic, expected in (({}, ["TrafficTaken"]), ({"r1-1": 100}, ["TrafficTaken", "TrafficReturned"])):
        app.cloud.endpoints.set_traffic(line.endpoint, traffic)
        settled(app, line.endpoint)
        for _ in range(2):
            cleanup(app)
        assert sent(cloud, line) == expected
        found = app.cloud.endpoints.get(line.endpoint)
        assert found
        assert found.traffic == traffic
        assert line_of(app, line).serving == line.serving


def test_what_has_just_begun_to_serve_may_be_shown_without_traffic(app: App, cloud: Stack, make_line: MakeLine) -> None:
    """Azure may show the endpoint as it was before."""
    line = make_line(serving=serving(app, 0))
    app.cloud.endpoints.set_traffic(line.endpoint, {})
    settled(app, line.endpoint)
    cleanup(app)
    assert sent(cloud, line) == []


def test_nothing_is_said_of_traffic_that_a_rollout_moves(app: App, cloud: Stack, make_line: MakeLine) -> None:
    run = a_run(app, Phase.CHECKING)
    line = make_line(serving=serving(app, 9), rollout=run.id)
    deploy(app, line, f"{run.id}-1")
    app.cloud.endpoints.set_traffic(line.endpoint, {f"{run.id}-1": 100})
    settled(app, line.endpoint)
    cleanup(app)
    assert sent(cloud, line) == []
    assert line_of(app, line) == line
    ended(app, run)


def test_an_empty_endpoint_on_which_somebody_serves_a_model_of_their_own_stays(app: App, make_line: MakeLine) -> None:
    line = make_line(state=Empty(since=app.cloud.blobs.now() - 40 * DAY))
    deploy(app, line, "theirs", {})
    cleanup(app)
    assert not line_of(app, line).is_going
    assert app.cloud.endpoints.deployment(line.endpoint, "theirs")


def test_a_model_that_somebody_serves_beside_need_not_make_room(app: App, make_line: MakeLine) -> None:
    """A rollout without spare instances takes away what serves, and nothing that is not Droptune's."""
    line = make_line(serving=serving(app, 1))
    deploy(app, line, "theirs", {})
    run = a_run(app, Phase.REGISTERED, line=line.id, model="m:2", promotion=Promotion(strategy="replace"))
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert seen.in_place == ("r1-1",)

    def made() -> bool:
        with suppress(Transient):  # the endpoint is being updated
            ACTIONS[Action.MAKE_ROOM](app, run)
        return app.cloud.endpoints.deployment(line.endpoint, "r1-1") is None

    eventually(made)
    assert app.cloud.endpoints.deployment(line.endpoint, "theirs")
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, RolloutSeen)
    assert seen.in_place == ()
    ended(app, run)


def test_an_endpoint_to_which_no_run_came_to_deploy_is_an_empty_one(app: App, make_line: MakeLine) -> None:
    run = a_run(app, Phase.TRAINING)
    line = make_line(newest=Newest(run=run.id, order=run.order))
    cleanup(app)
    assert line_of(app, line) == line, "its run is on its way"
    ended(app, run)
    cleanup(app)
    assert line_of(app, line).emptied


def test_a_line_that_has_no_endpoint_and_gets_none_costs_nothing_any_more(app: App, cloud: Stack) -> None:
    line = Line(id=f"l{uuid4().hex[:15]}", folder="none", base_model="Phi-4", endpoint=f"none-{uuid4().hex[:8]}")
    app.lines.create(line)
    cleanup(app)
    assert line.id in app.lines.standing(), "one 404 of Azure's is not believed"
    later(app, cloud, FRESH)
    cleanup(app)
    assert line.id not in app.lines.standing()
    assert sent(cloud, line) == [], "nobody took anything away"


def test_a_deployment_that_nothing_owns_goes_once_it_is_believed_and_reported(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    app = with_settings(app, ROLLOUT_GRACE=timedelta(minutes=1))
    over, working = a_run(app, Phase.FAILED), a_run(app, Phase.REGISTERED)
    line = make_line(serving=serving(app, 1), others=(f"{THEIRS}: it stays, and the endpoint with it",))
    ended_1, works_1 = f"{over.id}-1", f"{working.id}-1"
    deploy(app, line, ended_1)
    deploy(app, line, "lost-1")
    deploy(app, line, works_1)
    deploy(app, line, "theirs", {})
    for _ in range(2):
        cleanup(app)
    assert line_of(app, line).retiring == (), (
        "one look is not believed, nor are two at once: its run may be about to own it"
    )
    assert sent(cloud, line) == []
    later(app, cloud, FRESH)
    for _ in range(2):
        cleanup(app)
    assert {each.deployment for each in line_of(app, line).retiring} == {ended_1, "lost-1"}
    assert sent(cloud, line) == ["OrphanFound"]
    tend(app, line.id, None)
    assert standing(app, line) == {"r1-1", ended_1, "lost-1", works_1, "theirs"}, "it has a grace, like others"
    later(app, cloud, app.settings.rollout.grace)
    tended(app, line, lambda: not line_of(app, line).retiring)
    assert standing(app, line) == {"r1-1", works_1, "theirs"}
    assert line_of(app, line).serving == line.serving
    ended(app, working)


@pytest.mark.parametrize("why", ["it has traffic", "it is Updating", "CLEANUP_MODE=report"])
def test_one_that_stays_all_the_same_is_reported_once(app: App, cloud: Stack, make_line: MakeLine, why: str) -> None:
    line = make_line(serving=serving(app, 1))
    if why == "it is Updating":
        cloud.control("DELETE", "/_local/pretend")
        cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^clean-", "outcome": "Stuck"}})
        tags = made_for(line, "orphan-1")
        app.cloud.endpoints.deploy(line.endpoint, "orphan-1", MODEL, "Standard_DS3_v2", 1, tags)
        settled(app, line.endpoint)
    else:
        deploy(app, line, "orphan-1")
    if why == "CLEANUP_MODE=report":
        app = with_settings(app, CLEANUP_MODE="report")
    elif why == "it has traffic":
        app.cloud.endpoints.set_traffic(line.endpoint, {"r1-1": 50, "orphan-1": 50})
        settled(app, line.endpoint)
    cleanup(app)
    later(app, cloud, FRESH)
    for _ in range(2):
        cleanup(app)
    assert [event["data"]["reason"] for event in events_of(cloud, line)] == [
        f"no run owns deployment orphan-1, which costs, but stays: {why}"
    ]
    assert line_of(app, line).retiring == ()


def test_what_a_dying_host_had_to_send_is_sent_by_the_next_tick(app: App, cloud: Stack, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    kept = make_line(serving=serving(app, 9), state=Standing(noticed=now - DAY), kept=True, cost_told=now)
    gone = make_line(state=TearingDown(whole=True, emptied=now - 40 * DAY))
    with dying(app, "before"), pytest.raises(HostDied):
        cleanup(app)
    assert line_of(app, kept).noticed is None
    with dying(app, "before"), pytest.raises(HostDied):
        tended(app, gone, lambda: False)
    assert line_of(app, gone).removed
    assert sent(cloud, kept) == sent(cloud, gone) == []
    for _ in range(2):
        cleanup(app)
    assert sent(cloud, kept) == ["NoticeWithdrawn"]
    assert sent(cloud, gone) == ["TornDown"]
    assert gone.id not in app.lines.standing()


def test_what_is_sent_again_after_a_crash_is_the_same_event(app: App, cloud: Stack, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    line = make_line(serving=serving(app, 9), state=Standing(noticed=now - DAY), kept=True, cost_told=now)
    with dying(app, "after"), pytest.raises(HostDied):
        cleanup(app)
    later(app, cloud, timedelta(minutes=1))
    cleanup(app)
    first, second = events_of(cloud, line)
    assert first == second


def test_what_a_topic_that_was_down_did_not_take_is_sent_later_and_not_for_ever(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    gone = make_line(state=TearingDown(whole=True, emptied=app.cloud.blobs.now() - 40 * DAY))
    never = make_line(state=TearingDown(whole=True, emptied=app.cloud.blobs.now() - 40 * DAY))
    down = App.of(settings_changed(app.settings, EVENTS_TOPIC_ENDPOINT="https://127.0.0.1:9/api/events"))
    torn_down(down, gone)
    torn_down(down, never)
    cleanup(down)
    assert {gone.id, never.id} <= set(app.lines.standing())
    tend(app, gone.id, None)
    assert [event["type"] for event in events_of(cloud, gone)] == ["Droptune.Endpoint.TornDown"]
    later(app, cloud, DAY)
    tend(down, never.id, None)
    down.cloud.close()
    assert not {gone.id, never.id} & set(app.lines.standing())


@pytest.mark.thorough
def test_lines_whose_endpoints_are_gone_cost_nothing(app: App, make_line: MakeLine) -> None:
    make_line(state=Empty(since=app.cloud.blobs.now()))
    cleanup(app)
    with requests_of(app) as before:
        cleanup(app)
    at = app.cloud.blobs.now()
    for number in range(50):
        gone = Line(id=f"l{uuid4().hex[:15]}", folder="f", base_model="m", endpoint=f"gone-{number}")
        app.lines.create(replace(gone, state=Removed(since=at)))
    with requests_of(app) as after:
        cleanup(app)
    assert after.requests == before.requests
    assert after.bytes < before.bytes + 2000


def a_run(app: App, phase: Phase, **changes: Any) -> Run:
    now = app.cloud.blobs.now()
    order, source = Order(uploaded=now), Source(folder="f", base_model="m")
    run = Run(id=f"r{uuid4().hex[:15]}", line="l", order=order, source=source, since=now, phase=phase)
    run = changed(run, **changes)
    app.runs.create(run)
    return run


def ended(app: App, run: Run) -> None:
    loaded = app.runs.load(run.id)
    assert loaded
    app.runs.save(replace(loaded.record, phase=Phase.FAILED), loaded.etag)
    app.runs.retire(run.id)


@contextmanager
def dying(app: App, moment: str) -> Iterator[None]:
    """The host dies when it sends a lifecycle event, before or after that is received.

    Caught below the SDKs: azure-eventgrid takes no transport for a topic like ours.
    """
    send = requests.Session.send

    def sending(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        topic = str(request.url).startswith(app.settings.events.topic_endpoint)
        if topic and moment == "before":
            raise HostDied
        answer = send(session, request, **options)
        if topic:
            raise HostDied
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", sending)
        yield


def standing(app: App, line: Line) -> set[str]:
    return {each.name for each in app.cloud.endpoints.deployments(line.endpoint)}


def intervals(app: App, line: Line) -> list[Interval]:
    """What the bill knows of the line."""
    month = app.cloud.blobs.now().strftime("%Y-%m")
    found = msgspec.json.decode(app.cloud.blobs.read(STATE, layout.bill(month))[0], type=Month)
    return [each for each in found.intervals if each.line == line.id]


def test_what_runs_is_billed_from_when_it_was_made_to_when_it_was_torn_down(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 0))
    deployment = app.cloud.endpoints.deployment(line.endpoint, "r1-1")
    assert deployment
    for _ in range(2):
        cleanup(app)
    (runs,) = intervals(app, line)
    assert (runs.start, runs.end, runs.name) == (deployment.made, None, "r1-1")
    assert (runs.instances, runs.size, runs.seen) == (1, "Standard_DS3_v2", False)
    line_commands.stop(app, line.id, by="ada")
    torn_down(app, line)
    cleanup(app)
    (ended,) = intervals(app, line)
    assert ended.end
    assert (ended.start, ended.cause, ended.why, ended.seen) == (runs.start, Cause.STOPPED, "stopped by ada", False)


def test_what_somebody_deletes_by_hand_ends_on_the_bill_when_it_is_seen(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 0))
    cleanup(app)
    undeploy(app, line, "r1-1")
    cleanup(app)
    (ended,) = intervals(app, line)
    assert (ended.cause, ended.end_seen) == (Cause.GONE, True)


def test_a_bill_that_can_not_be_written_holds_no_teardown_up(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 0))
    line_commands.stop(app, line.id, by="ada")
    month = app.cloud.blobs.now().strftime("%Y-%m")
    newer = json.dumps({"version": 99}).encode()
    before = app.cloud.blobs.read(STATE, layout.bill(month))[0]
    app.cloud.blobs.write(STATE, layout.bill(month), newer)
    assert torn_down(app, line).emptied
    assert app.cloud.blobs.read(STATE, layout.bill(month))[0] == newer, "what a newer app wrote stays"
    app.cloud.blobs.write(STATE, layout.bill(month), before)
    cleanup(app)
    assert not [each for each in intervals(app, line) if each.end is None]


def test_what_a_rollout_replaces_is_on_the_bill_as_replaced_and_not_as_taken_away(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 0))
    deploy(app, line, "r0-1")
    later(app, cloud, timedelta(minutes=1))  # the service's time is good to a second, Azure's is better
    due = app.cloud.blobs.now() - timedelta(minutes=1)
    loaded = app.lines.load(line.id)
    assert loaded
    app.lines.save(replace(loaded.record, retiring=(Retiring(deployment="r0-1", model="m:0", until=due),)), loaded.etag)
    tended(app, line, lambda: not line_of(app, line).retiring)
    cleanup(app)
    ended = {each.name: each for each in intervals(app, line)}
    assert (ended["r0-1"].cause, ended["r0-1"].seen) == (Cause.REPLACED, False)
    assert ended["r1-1"].end is None


def test_metrics_that_can_not_be_asked_for_at_all_keep_every_line(
    app: App, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong there: the others' notices and the bill are not held up."""
    line = make_line(serving=serving(app, 9), state=Standing(noticed=app.cloud.blobs.now() - 3 * DAY))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app.cloud.metrics, "request_series", broken)
    cleanup(app)
    assert "its metrics can't be read" in judged(app, line).why
    assert not line_of(app, line).is_going
    assert intervals(app, line)
