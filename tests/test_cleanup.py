"""The cleanup over the local cloud: what stays, what goes, how much at once. The whole way tears down a real one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.app import App
from shared.cleanup import DELETIONS, cleanup, tear_down
from shared.records import CONTAINER, Line, Serving
from tests.conftest import eventually

DAY = timedelta(days=1)
MakeLine = Callable[..., Line]


@pytest.fixture
def make_line(app: App) -> MakeLine:
    """Makes an endpoint without deployments, and its line with these fields."""
    app.cloud.blobs.delete(CONTAINER, DELETIONS)

    def make(**fields: object) -> Line:
        name = f"clean-{uuid4().hex[:8]}"
        app.cloud.endpoints.create(name, tags={"droptune.line": name})
        eventually(lambda: (found := app.cloud.endpoints.get(name)) and found.state == "Succeeded")
        line = replace(Line(id=name, folder=name, base_model="Phi-4", endpoint=name), **fields)  # type: ignore[arg-type]
        app.lines.create(line)
        return line

    return make


def serving(app: App, days: int) -> Serving:
    at = app.cloud.blobs.now() - days * DAY
    return Serving(run="r1", deployment="r1-1", model="m:1", fingerprint="f", since=at, uploaded=at)


def now_of(app: App, line: Line) -> Line:
    loaded = app.lines.load(line.id)
    assert loaded
    return loaded[0]


def torn_down(app: App, line: Line) -> Line:
    def step() -> Line | None:
        tear_down(app, line.id, None)
        found = now_of(app, line)
        return None if found.tearing_down else found

    return eventually(step)


def test_without_a_sign_of_life_from_the_metrics_nothing_is_idle(app: App, make_line: MakeLine) -> None:
    line = make_line(serving=serving(app, 9))
    cleanup(app)
    assert now_of(app, line).noticed is None


def test_a_notice_is_taken_back_when_the_line_is_kept(app: App, make_line: MakeLine) -> None:
    now = app.cloud.blobs.now()
    line = make_line(serving=serving(app, 9), noticed=now - DAY, kept_until=now + DAY)
    cleanup(app)
    assert now_of(app, line).noticed is None


def test_an_endpoint_that_was_empty_for_too_long_goes(app: App, make_line: MakeLine) -> None:
    line = make_line(emptied=app.cloud.blobs.now() - 40 * DAY)
    cleanup(app)
    assert now_of(app, line).tearing_down
    assert torn_down(app, line).removed
    eventually(lambda: app.cloud.endpoints.get(line.endpoint) is None)


def test_report_mode_deletes_nothing(app: App, make_line: MakeLine) -> None:
    line = make_line(emptied=app.cloud.blobs.now() - 40 * DAY)
    cleanup(replace(app, settings=replace(app.settings, cleanup_mode="report")))
    assert now_of(app, line) == line
    assert app.cloud.endpoints.get(line.endpoint)


def test_no_more_go_in_a_window_than_the_cap_allows(app: App, make_line: MakeLine) -> None:
    lines = [make_line(emptied=app.cloud.blobs.now() - 40 * DAY) for _ in range(3)]
    capped = replace(app, settings=replace(app.settings, max_deletions=2))
    cleanup(capped)
    cleanup(capped)
    going = [line for line in lines if now_of(app, line).tearing_down]
    assert len(going) <= 2
    app.cloud.blobs.delete(CONTAINER, DELETIONS)
    cleanup(capped)
    assert len([line for line in lines if now_of(app, line).tearing_down]) > len(going)
    for line in lines:
        if now_of(app, line).tearing_down:
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
    assert now_of(app, once).missing, "one 404 of Azure's is not believed"
    assert not now_of(app, once).removed
    assert now_of(app, long_ago).removed
    assert app.cloud.endpoints.get(long_ago.endpoint) is None
