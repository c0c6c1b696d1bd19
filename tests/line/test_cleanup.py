"""The cleanup over the local cloud: what stays, what goes, how much at once, and what people did by hand.

The deployments only pretend; the whole way tears down a real one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.app import App
from shared.errors import Transient
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import Rollout
from shared.line.cleanup import KEEP_TAG, cleanup
from shared.line.teardown import tend
from shared.records.base import FRESH
from shared.records.layout import DELETIONS, STATE
from shared.records.line import Heading, Line, Serving
from shared.records.run import Run
from shared.run.actions import ACTIONS
from shared.run.observe import OBSERVE
from shared.serving.gate import Promotion
from tests.kit.azureml import MODEL
from tests.kit.records import events_of, line_of
from tests.kit.settings import changed, with_settings
from tests.kit.waiting import eventually
from tests.kit.worlds.wire import HostDied

DAY = timedelta(days=1)
MakeLine = Callable[..., Line]


@pytest.fixture
def make_line(app: App, cloud: Stack) -> Iterator[MakeLine]:
    """Makes an endpoint, with the deployment and its traffic if one serves, and its line with these fields."""
    app.cloud.blobs.delete(STATE, DELETIONS)
    cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^clean-"}})
    made: list[Line] = []

    def make(*, kept: bool = False, **fields: object) -> Line:
        name = f"clean-{uuid4().hex[:8]}"
        app.cloud.endpoints.create(name, tags={"droptune.line": name} | ({KEEP_TAG: "yes"} if kept else {}))
        settled(app, name)
        line = replace(Line(id=name, folder=name, base_model="Phi-4", endpoint=name), **fields)  # type: ignore[arg-type]
        if line.serving:
            deploy(app, line, line.serving.deployment, {"droptune.run": line.serving.run})
            app.cloud.endpoints.set_traffic(name, {line.serving.deployment: 100})
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
        app.lines.save(replace(loaded.record, rollout="", removed=app.cloud.blobs.now()), loaded.etag)


def settled(app: App, endpoint: str) -> None:
    eventually(lambda: (found := app.cloud.endpoints.get(endpoint)) and found.state == "Succeeded")


def deploy(app: App, line: Line, name: str, tags: dict[str, str]) -> None:
    app.cloud.endpoints.deploy(line.endpoint, name, MODEL, "Standard_DS3_v2", 1, tags)

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


def told(cloud: Stack, line: Line) -> list[str]:
    """What the lifecycle topic was told of the line's endpoint."""
    return [event["type"].rpartition(".")[2] for event in events_of(cloud, line)]


def later(app: App, cloud: Stack, length: timedelta) -> None:
    until = app.cloud.blobs.now() + length
    cloud.control("POST", "/_local/clock", {"advance": length.total_seconds()})
    eventually(lambda: app.cloud.blobs.now() >= until)  # the app reckons on from the service's last answer for a second


def serving(app: App, days: int) -> Serving:
    at = app.cloud.blobs.now() - days * DAY
    return Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=at, uploaded=at)


def torn_down(app: App, line: Line) -> Line:
    tended(app, line, lambda: not line_of(app, line).tearing_down)
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


def test_a_notice_is_told_once(app: App, cloud: Stack, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9))
    short = with_settings(app, IDLE_WINDOW=timedelta(minutes=10))

    def tick() -> Line:
        later(app, cloud, timedelta(minutes=3))
        cleanup(short)
        return line_of(app, line)

    eventually(lambda: tick().noticed)  # once there are metrics of the whole window, of which the local clock jumps
    for _ in range(3):
        assert tick().serving == line.serving
    assert [(each["type"], each["data"]["reason"]) for each in events_of(cloud, line)] == [
        ("Droptune.Endpoint.IdleNotice", "no request in 10 min")
    ]


def test_a_notice_is_taken_back_when_the_line_is_kept(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    line = make_line(serving=serving(app, 9), noticed=now - DAY, kept=True)
    cleanup(app)
    assert line_of(app, line).noticed is None


def test_an_endpoint_that_was_empty_for_too_long_goes(app: App, make_line: MakeLine) -> None:
    line = make_line(emptied=app.cloud.blobs.now() - 40 * DAY)
    cleanup(app)
    assert line_of(app, line).tearing_down
    assert torn_down(app, line).removed
    eventually(lambda: app.cloud.endpoints.get(line.endpoint) is None)


def test_report_mode_deletes_nothing(app: App, make_line: MakeLine) -> None:
    line = make_line(emptied=app.cloud.blobs.now() - 40 * DAY)
    cleanup(with_settings(app, CLEANUP_MODE="report"))
    assert line_of(app, line) == line
    assert app.cloud.endpoints.get(line.endpoint)


def test_no_more_go_in_a_window_than_the_cap_allows(app: App, make_line: MakeLine) -> None:
    lines = [make_line(emptied=app.cloud.blobs.now() - 40 * DAY) for _ in range(3)]
    capped = with_settings(app, CLEANUP_MAX_DELETIONS=2)
    cleanup(capped)
    cleanup(capped)
    going = [line for line in lines if line_of(app, line).tearing_down]
    assert len(going) <= 2
    app.cloud.blobs.delete(STATE, DELETIONS)
    cleanup(capped)
    assert len([line for line in lines if line_of(app, line).tearing_down]) > len(going)
    for line in lines:
        if line_of(app, line).tearing_down:
            torn_down(app, line)


def test_a_teardown_takes_the_deployments_and_leaves_the_address(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9), tearing_down=True)
    done = torn_down(app, line)
    assert done.serving is None
    assert done.emptied
    assert not done.removed
    assert app.cloud.endpoints.get(line.endpoint)


def test_an_endpoint_that_somebody_deleted_is_noticed_and_not_made_again(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    once, long_ago = make_line(serving=serving(app, 9)), make_line(serving=serving(app, 9), missing=now - DAY)
    for line in (once, long_ago):
        app.cloud.endpoints.delete(line.endpoint)
    eventually(lambda: not any(app.cloud.endpoints.get(line.endpoint) for line in (once, long_ago)))
    cleanup(app)
    assert line_of(app, once).missing, "one 404 of Azure's is not believed"
    assert not line_of(app, once).removed
    assert line_of(app, long_ago).removed
    assert app.cloud.endpoints.get(long_ago.endpoint) is None
    assert long_ago.id not in app.lines.standing(), "a removed endpoint costs no look any more"


def test_a_deployment_that_somebody_deleted_is_told_once_and_not_made_again(
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
    assert told(cloud, line) == ["TornDown"]
    assert app.cloud.endpoints.deployments(line.endpoint) == []
    assert app.cloud.endpoints.get(line.endpoint), "the address stays, as after a teardown of our own"


def test_a_deployment_that_is_seen_again_was_not_deleted(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9), missing=app.cloud.blobs.now() - DAY)
    cleanup(app)
    after = line_of(app, line)
    assert after.serving
    assert after.missing is None


def test_traffic_that_somebody_took_away_is_told_once_a_change_and_not_given_back(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    line = make_line(serving=serving(app, 9))
    cleanup(app)
    assert told(cloud, line) == []
    for traffic, expected in (({}, ["TrafficTaken"]), ({"r1-1": 100}, ["TrafficTaken", "TrafficReturned"])):
        app.cloud.endpoints.set_traffic(line.endpoint, traffic)
        settled(app, line.endpoint)
        for _ in range(2):
            cleanup(app)
        assert told(cloud, line) == expected
        found = app.cloud.endpoints.get(line.endpoint)
        assert found
        assert found.traffic == traffic
        assert line_of(app, line).serving == line.serving


def test_what_has_just_begun_to_serve_is_not_taken_for_sidelined(app: App, cloud: Stack, make_line: MakeLine) -> None:
    """Azure may show the endpoint as it was before."""
    line = make_line(serving=serving(app, 0))
    app.cloud.endpoints.set_traffic(line.endpoint, {})
    settled(app, line.endpoint)
    cleanup(app)
    assert told(cloud, line) == []


def test_nothing_is_said_of_traffic_that_a_rollout_moves(app: App, cloud: Stack, make_line: MakeLine) -> None:
    run = a_run(app, Phase.CHECKING)
    line = make_line(serving=serving(app, 9), rollout=run.id)
    deploy(app, line, "r2-1", {"droptune.run": run.id})
    app.cloud.endpoints.set_traffic(line.endpoint, {"r2-1": 100})
    settled(app, line.endpoint)
    cleanup(app)
    assert told(cloud, line) == []
    assert line_of(app, line) == line
    ended(app, run)


def test_an_empty_endpoint_on_which_somebody_serves_a_model_of_their_own_stays(app: App, make_line: MakeLine) -> None:
    line = make_line(emptied=app.cloud.blobs.now() - 40 * DAY)
    deploy(app, line, "theirs", {})
    cleanup(app)
    assert not line_of(app, line).tearing_down
    assert app.cloud.endpoints.deployment(line.endpoint, "theirs")


def test_a_model_that_somebody_serves_beside_need_not_make_room(app: App, make_line: MakeLine) -> None:
    """A rollout without spare instances takes away what serves, and nothing that is not Droptune's."""
    line = make_line(serving=serving(app, 1))
    deploy(app, line, "theirs", {})
    run = a_run(app, Phase.REGISTERED, line=line.id, model="m:2", promotion=Promotion(strategy="replace"))
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, Rollout)
    assert seen.in_place == ("r1-1",)

    def made() -> bool:
        with suppress(Transient):  # the endpoint is being updated
            ACTIONS["make_room"](app, run)
        return app.cloud.endpoints.deployment(line.endpoint, "r1-1") is None

    eventually(made)
    assert app.cloud.endpoints.deployment(line.endpoint, "theirs")
    seen = OBSERVE[Phase.REGISTERED](app, run)
    assert isinstance(seen, Rollout)
    assert seen.in_place == ()
    ended(app, run)


def test_an_endpoint_to_which_no_run_came_to_deploy_is_an_empty_one(app: App, make_line: MakeLine) -> None:
    run = a_run(app, Phase.TRAINING)
    line = make_line(heading=Heading(run=run.id, uploaded=run.uploaded))
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
    assert told(cloud, line) == [], "nobody took anything away"


def test_a_deployment_that_nothing_owns_goes_once_it_is_believed_and_told(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    app = with_settings(app, ROLLOUT_GRACE=timedelta(minutes=1))
    over, working = a_run(app, Phase.FAILED), a_run(app, Phase.REGISTERED)
    line = make_line(serving=serving(app, 1))
    deploy(app, line, "over-1", {"droptune.run": over.id})
    deploy(app, line, "lost-1", {"droptune.run": f"r{uuid4().hex[:15]}"})
    deploy(app, line, "works-1", {"droptune.run": working.id})
    deploy(app, line, "theirs", {})
    for _ in range(2):
        cleanup(app)
    assert line_of(app, line).leaving == (), (
        "one look is not believed, nor are two at once: its run may be about to own it"
    )
    assert told(cloud, line) == []
    later(app, cloud, FRESH)
    for _ in range(2):
        cleanup(app)
    assert {each.deployment for each in line_of(app, line).leaving} == {"over-1", "lost-1"}
    assert told(cloud, line) == ["StrayFound"]
    tend(app, line.id, None)
    assert standing(app, line) == {"r1-1", "over-1", "lost-1", "works-1", "theirs"}, "it has a grace, like others"
    later(app, cloud, app.settings.rollout.grace)
    tended(app, line, lambda: not line_of(app, line).leaving)
    assert standing(app, line) == {"r1-1", "works-1", "theirs"}
    assert line_of(app, line).serving == line.serving
    ended(app, working)


@pytest.mark.parametrize("why", ["it has traffic", "it is Updating", "CLEANUP_MODE=report"])
def test_one_that_stays_all_the_same_is_told_once(app: App, cloud: Stack, make_line: MakeLine, why: str) -> None:
    line = make_line(serving=serving(app, 1))
    if why == "it is Updating":
        cloud.control("DELETE", "/_local/pretend")
        cloud.control("POST", "/_local/pretend", {"deployments": {"match": "^clean-", "outcome": "Stuck"}})
        app.cloud.endpoints.deploy(line.endpoint, "stray-1", MODEL, "Standard_DS3_v2", 1, {"droptune.run": "r0"})
        settled(app, line.endpoint)
    else:
        deploy(app, line, "stray-1", {"droptune.run": "r0"})
    if why == "CLEANUP_MODE=report":
        app = with_settings(app, CLEANUP_MODE="report")
    elif why == "it has traffic":
        app.cloud.endpoints.set_traffic(line.endpoint, {"r1-1": 50, "stray-1": 50})
        settled(app, line.endpoint)
    cleanup(app)
    later(app, cloud, FRESH)
    for _ in range(2):
        cleanup(app)
    assert [event["data"]["reason"] for event in events_of(cloud, line)] == [
        f"no run owns deployment stray-1, which costs, but stays: {why}"
    ]
    assert line_of(app, line).leaving == ()


def test_what_a_dying_host_had_to_tell_is_told_by_the_next_tick(app: App, cloud: Stack, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    kept = make_line(serving=serving(app, 9), noticed=now - DAY, kept=True)
    gone = make_line(emptied=now - 40 * DAY, tearing_down=True, remove_endpoint=True)
    with dying(app, "before"), pytest.raises(HostDied):
        cleanup(app)
    assert line_of(app, kept).noticed is None
    with dying(app, "before"), pytest.raises(HostDied):
        tended(app, gone, lambda: False)
    assert line_of(app, gone).removed
    assert told(cloud, kept) == told(cloud, gone) == []
    for _ in range(2):
        cleanup(app)
    assert told(cloud, kept) == ["NoticeWithdrawn"]
    assert told(cloud, gone) == ["TornDown"]
    assert gone.id not in app.lines.standing()


def test_what_is_told_again_after_a_crash_is_the_same_event(app: App, cloud: Stack, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    line = make_line(serving=serving(app, 9), noticed=now - DAY, kept=True)
    with dying(app, "after"), pytest.raises(HostDied):
        cleanup(app)
    later(app, cloud, timedelta(minutes=1))
    cleanup(app)
    first, second = events_of(cloud, line)
    assert first == second


def test_what_a_topic_that_was_down_did_not_take_is_told_later_and_not_for_ever(
    app: App, cloud: Stack, make_line: MakeLine
) -> None:
    gone = make_line(emptied=app.cloud.blobs.now() - 40 * DAY, tearing_down=True, remove_endpoint=True)
    never = make_line(emptied=app.cloud.blobs.now() - 40 * DAY, tearing_down=True, remove_endpoint=True)
    down = App.of(changed(app.settings, EVENTS_TOPIC_ENDPOINT="https://127.0.0.1:9/api/events"))
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
    make_line(emptied=app.cloud.blobs.now())
    cleanup(app)
    with requests_of(app) as before:
        cleanup(app)
    at = app.cloud.blobs.now()
    for number in range(50):
        gone = Line(id=f"l{uuid4().hex[:15]}", folder="f", base_model="m", endpoint=f"gone-{number}", removed=at)
        app.lines.create(gone)
    with requests_of(app) as after:
        cleanup(app)
    assert after.requests == before.requests
    assert after.bytes < before.bytes + 2000


def a_run(app: App, phase: Phase, **changes: Any) -> Run:
    now = app.cloud.blobs.now()
    run = Run(id=f"r{uuid4().hex[:15]}", folder="f", line="l", base_model="m", uploaded=now, since=now, phase=phase)
    run = replace(run, **changes)
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
