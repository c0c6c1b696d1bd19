"""Takes down what is to go, a look and an act at a time: an endpoint, or deployments whose grace is over.

Azure takes the traffic away before it lets a deployment be deleted, so that this is a few messages long. Called by the
queue (`tend`), for a line that the cleanup or the end of a run has marked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from shared.app import App, arm, wake
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.line.access import is_active, save_and_send, send_and_save
from shared.records.line import Empty, Line, TearingDown

log = logging.getLogger("droptune.line.teardown")
AGAIN = timedelta(seconds=5)


def tend(app: App, line_id: str, token: str | None) -> None:
    """Takes the upkeep of a line as far as it goes now: its teardown, or the end of what retires."""
    loaded = app.lines.load(line_id)
    if loaded is None or (token is not None and (loaded.record.wake is None or loaded.record.wake.token != token)):
        return
    try:
        line, etag = send_and_save(app, *loaded)
        if isinstance(line.state, TearingDown):
            _tear_down(app, line, line.state, etag)
        elif line.retiring and not is_active(app, line.rollout):
            _end_grace(app, line, etag)
    except Conflict:
        # If it was our own save, whose answer was lost, the record has a timer for which no message is on its way.
        log.info("line %s changed meanwhile: looked at again", line_id)
        wake(app, loaded.record, after=AGAIN)


def _end_grace(app: App, line: Line, etag: str) -> None:
    """Deletes what retires, once its grace is over; looks again until it is gone."""
    now = app.cloud.blobs.now()
    due = [each.deployment for each in line.retiring if each.until <= now]
    again = app.settings.rollout.poll_interval
    if any(each.deployment in due and not each.going for each in line.retiring):  # from here on no rollback takes it
        retiring = tuple(replace(each, going=each.going or each.deployment in due) for each in line.retiring)
        line = replace(line, retiring=retiring)
        etag = app.lines.save(line, etag)
    try:
        there = remove_deployments(app, line.endpoint, due, used=False) if due else ()
    except Transient as error:
        there, again = due, error.after
    left = tuple(each for each in line.retiring if each.until > now or each.deployment in there)
    if left:
        next_look = now + again if there else min(each.until for each in left)
        arm(app, replace(line, retiring=left), next_look, lambda line: app.lines.save(line, etag))
    else:
        app.lines.save(replace(line, retiring=(), wake=None), etag)


def _tear_down(app: App, line: Line, state: TearingDown, etag: str) -> None:
    """Takes a line's teardown as far as it goes now, and has it tended again until nothing is left."""
    after = app.settings.rollout.poll_interval
    try:
        finished = _step_of_teardown(app, line.endpoint, whole=state.whole)
    except Transient as error:
        finished, after = False, error.after
    except (Permanent, NotFound):
        log.exception("endpoint %s can't be torn down now", line.endpoint)
        finished, after = False, timedelta(minutes=15)
    now = app.cloud.blobs.now()
    if not finished:
        arm(app, line, now + after, lambda line: app.lines.save(line, etag))
        return
    gone = replace(line.without_endpoint(now), wake=None)
    done = gone if state.whole else replace(gone, state=Empty(since=now))
    why = "the endpoint is deleted" if state.whole else "the endpoint stays, empty"
    save_and_send(app, done.to_send(now, "Endpoint.TornDown", why), etag)


def _step_of_teardown(app: App, name: str, *, whole: bool) -> bool:
    """One look and one act. True when nothing is left to do."""
    endpoints = app.cloud.endpoints
    endpoint = endpoints.get(name)
    if endpoint is None:
        return True
    if endpoint.busy:
        return False
    if whole:
        endpoints.delete(name)
        return False
    left = endpoints.deployments(name)
    if any(endpoint.uses(each.name) for each in left):
        endpoints.move_traffic(name, {each.name for each in left})
        return False
    for deployment in left:
        if deployment.state != "Deleting":
            endpoints.remove_deployment(name, deployment.name)
    return not left


def remove_deployments(app: App, endpoint: str, names: Collection[str], *, used: bool) -> Collection[str]:
    """Takes deployments of an endpoint away, by one step: first their traffic, then they. Says which are there yet.

    Without `used` those that have traffic stay, and are not told: somebody gave it to them by hand. What others have of
    it they keep: where all that does not stay goes, theirs grows.
    """
    going = [each for each in app.cloud.endpoints.deployments(endpoint) if each.name in names]
    found = app.cloud.endpoints.get(endpoint) if going else None
    if found is None:
        return ()
    if not used:
        for each in going:
            if found.uses(each.name):
                log.warning("deployment %s/%s stays: somebody gave it traffic", endpoint, each.name)
        going = [each for each in going if not found.uses(each.name)]
    if any(found.uses(each.name) for each in going):
        app.cloud.endpoints.move_traffic(endpoint, {each.name for each in going})
    else:
        for deployment in going:
            if deployment.state not in ("Deleting", "Creating"):
                app.cloud.endpoints.remove_deployment(endpoint, deployment.name)
    return [each.name for each in going]
