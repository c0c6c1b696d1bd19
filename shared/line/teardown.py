"""Takes down what is to go, a look and an act at a time: an endpoint, or deployments whose grace is over.

Azure takes the traffic away before it lets a deployment be deleted, so that this is a few messages long. Called by the
queue (`tend`), for a line that the cleanup or the end of a run has marked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from shared.app import App, arm, wake
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.line.access import is_active, ours, save_and_send, send_and_save
from shared.records.line import Empty, Line, TearingDown
from shared.records.owner import is_endpoint_of, is_on_line, not_ours

log = logging.getLogger("droptune.line.teardown")
AGAIN = timedelta(seconds=5)
LATER = timedelta(minutes=15)
GONE = "the endpoint is deleted"
WHOLE = 100
"""Percent of an endpoint's traffic."""


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
        there = remove_deployments(app, line, due, used=False) if due else ()
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
        stands = _step_of_teardown(app, line, whole=state.whole)
    except Transient as error:
        stands, after = "", error.after
    except (Permanent, NotFound):
        log.exception("endpoint %s can't be torn down now", line.endpoint)
        stands, after = "", LATER
    now = app.cloud.blobs.now()
    if not stands:
        arm(app, line, now + after, lambda line: app.lines.save(line, etag))
        return
    gone = replace(line.without_endpoint(now), wake=None)
    done = gone if stands == GONE else replace(gone, others=line.others, state=Empty(since=now))
    save_and_send(app, done.to_send(now, "Endpoint.TornDown", stands), etag)


def _step_of_teardown(app: App, line: Line, *, whole: bool) -> str:
    """One look and one act. Once nothing of ours is left to do: what is there now, in words; "" before.

    Raises Transient where it can't go on without touching what is somebody else's.
    """
    endpoints, name = app.cloud.endpoints, line.endpoint
    endpoint = endpoints.get(name)
    if endpoint is None:
        return GONE
    if why := not_ours(line, endpoint.name, endpoint.tags):
        raise _held(f"{why}: give it these, and the teardown goes on")
    if endpoint.busy:
        return ""
    left = endpoints.deployments(name)
    foreign = [each.name for each in left if not is_on_line(line, each.name, each.tags)]
    if used := [each for each in foreign if endpoint.traffic.get(each)]:
        raise _held(f"{told(used)} has traffic: give it none, and the teardown goes on")
    if whole and not foreign:
        endpoints.delete(name)
        return ""
    if endpoint.traffic:
        endpoints.set_traffic(name, {})
        return ""
    going = [each for each in left if each.name not in foreign]
    for deployment in going:
        if deployment.state != "Deleting":
            endpoints.remove_deployment(name, deployment.name)
    if going:
        return ""
    return f"the endpoint stays, with {told(foreign)}" if foreign else "the endpoint stays, empty"


def _held(why: str) -> Transient:
    log.warning("a teardown waits: %s", why)
    return Transient(why, after=LATER)


def told(foreign: Sequence[str]) -> str:
    """Deployments that are somebody else's, for people."""
    one = len(foreign) == 1
    return f"deployment{'' if one else 's'} {', '.join(foreign)}, which {'is' if one else 'are'} somebody else's"


def remove_deployments(app: App, line: Line, names: Collection[str], *, used: bool) -> Collection[str]:
    """Takes deployments of the line's endpoint away, by one step: first their traffic, then they.

    Says which are there yet. What is not ours stays, and is not told; nor is, without `used`, what has traffic:
    somebody gave it to them by hand.
    """
    endpoint = line.endpoint
    going = [each for name, each in ours(app, line).items() if name in names]
    found = app.cloud.endpoints.get(endpoint) if going else None
    if found is None or not is_endpoint_of(line, found.name, found.tags):
        return ()
    if not used:
        for each in going:
            if found.traffic.get(each.name):
                log.warning("deployment %s/%s stays: somebody gave it traffic", endpoint, each.name)
        going = [each for each in going if not found.traffic.get(each.name)]
    left = {name: percent for name, percent in found.traffic.items() if name not in {each.name for each in going}}
    if left != found.traffic:
        # The service takes all of the traffic or none: what stays without the rest gets nothing, as long as it is so.
        app.cloud.endpoints.set_traffic(endpoint, left if sum(left.values()) == WHOLE else {})
    else:
        for deployment in going:
            if deployment.state not in ("Deleting", "Creating"):
                app.cloud.endpoints.remove_deployment(endpoint, deployment.name)
    return [each.name for each in going]
