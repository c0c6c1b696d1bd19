"""Endpoints that nobody uses: gathers what is seen of each, asks `idle.verdict`, and carries it out.

Called by the timer (`cleanup`) and by the queue (`tear_down`: Azure takes the traffic away before it lets a deployment
be deleted, so that a teardown is a few looks long). Touches lines that Droptune made, never other endpoints. A line's
record changes before its endpoint does, under If-Match, so that a rollout that begins meanwhile wins or loses whole.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from shared.app import App
from shared.cloud.endpoints import Endpoint
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.idle import Delete, Keep, Notice, Pending, Policy, Usage, Verdict, verdict
from shared.records import CONTAINER, FRESH, Line, Wake
from shared.settings import Settings
from shared.timers import STEPS_QUEUE

log = logging.getLogger("droptune.cleanup")

DELETIONS = "deletions.json"
KEEP_TAG = "droptune.keep"
LATE = timedelta(minutes=1)


def policy_of(settings: Settings) -> Policy:
    """The cleanup's rules as the settings give them."""
    return Policy(
        window=settings.idle_window,
        grace=settings.idle_grace,
        minimum_age=settings.minimum_age,
        shell=timedelta(days=settings.shell_days),
        whole_endpoint=settings.cleanup_target == "endpoint",
    )


def cleanup(app: App) -> None:
    """Judges every line once. One that can't be judged now is left for the next tick, and stops no other."""
    for line_id in app.lines.ids():
        try:
            _judge(app, line_id)
        except (Transient, Permanent) as error:
            log.warning("line %s is left alone this time: %s", line_id, error)
        except Conflict:
            log.info("line %s changed meanwhile: left for the next tick", line_id)
        except Exception:
            log.exception("line %s can't be judged; the others are", line_id)


def _judge(app: App, line_id: str) -> None:
    loaded = app.lines.load(line_id)
    if loaded is None:
        return
    line, etag = loaded
    now = app.cloud.blobs.now()
    if line.tearing_down:
        if line.wake is None or line.wake.due + LATE < now:
            wake_line(app, line)
        return
    if line.removed or not (line.serving or line.emptied):
        return
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        _gone_by_hand(app, line, etag, now)
        return
    if line.missing:
        line = replace(line, missing=None)
        etag = app.lines.save(line, etag)
    judged = verdict(_usage(app, line, endpoint, now), policy_of(app.settings), now)
    _carry_out(app, line, etag, judged, now)


def _usage(app: App, line: Line, endpoint: Endpoint, now: datetime) -> Usage:
    usage = Usage(
        since=line.serving.since if line.serving else None,
        emptied=line.emptied,
        noticed=line.noticed,
        kept_until=line.kept_until,
        kept_by_tag=KEEP_TAG in endpoint.tags,
        rolling_out=_rolls_out(app, line),
    )
    if line.serving is None or now - line.serving.since < app.settings.idle_window:
        return usage
    middle = now - app.settings.idle_window / 2
    start = now - app.settings.idle_window
    asked_from = min(start, line.noticed) if line.noticed else start
    deployment = f"{endpoint.id}/deployments/{line.serving.deployment}"
    requests = app.cloud.metrics.requests([endpoint.id], asked_from, now)[endpoint.id]
    halves = [
        app.cloud.metrics.cpu_points([deployment], *half)[deployment] for half in ((start, middle), (middle, now))
    ]
    return replace(usage, requests=requests, control=min(halves))


def _rolls_out(app: App, line: Line) -> bool:
    holder = app.runs.load(line.rollout) if line.rollout else None
    return holder is not None and not holder[0].phase.ended


def _carry_out(app: App, line: Line, etag: str, judged: Verdict, now: datetime) -> None:
    log.info("endpoint %s: %s", line.endpoint, judged)
    match judged:
        case Keep(why):
            if line.noticed:
                app.lines.save(replace(line, noticed=None), etag)
                _tell(app, "NoticeWithdrawn", line, why)
        case Notice(why):
            app.lines.save(replace(line, noticed=now), etag)
            _tell(app, "IdleNotice", line, why)
        case Pending():
            pass
        case Delete(why, endpoint):
            if app.settings.cleanup_mode == "report":
                log.warning("endpoint %s would be torn down: %s (CLEANUP_MODE=report)", line.endpoint, why)
            elif _within_cap(app, line, now):
                going = replace(line, tearing_down=True, remove_endpoint=endpoint, rollout="")
                app.lines.save(going, etag)
                wake_line(app, going)


def _within_cap(app: App, line: Line, now: datetime) -> bool:
    """Takes one of the deletions that the window allows. Raises Conflict when another tick takes one right now."""
    try:
        data, etag = app.cloud.blobs.read(CONTAINER, DELETIONS)
    except NotFound:
        data, etag = b"{}", None
    taken = msgspec.json.decode(data, type=dict[str, datetime])
    taken = {key: at for key, at in taken.items() if now - at < app.settings.deletion_window}
    if line.id not in taken and len(taken) >= app.settings.max_deletions:
        log.warning(
            "endpoint %s stays for now: CLEANUP_MAX_DELETIONS=%d are used up", line.endpoint, app.settings.max_deletions
        )
        return False
    taken[line.id] = now
    body = msgspec.json.encode(taken)
    app.cloud.blobs.write(CONTAINER, DELETIONS, body, if_match=etag, if_none_match=etag is None)
    return True


def wake_line(app: App, line: Line, *, after: timedelta = timedelta(0), token: str | None = None) -> None:
    """Has the teardown looked at after `after`. Without a token it is nobody's timer, and never dropped."""
    app.cloud.queues.send(STEPS_QUEUE, {"line": line.id, "token": token}, after=after)


def tear_down(app: App, line_id: str, token: str | None) -> None:
    """Takes a line's teardown as far as it goes now, and has itself called again until nothing is left."""
    loaded = app.lines.load(line_id)
    if loaded is None or not loaded[0].tearing_down:
        return
    line, etag = loaded
    if token is not None and (line.wake is None or line.wake.token != token):
        return
    after = app.settings.poll_interval
    try:
        finished = _tear_down(app, line)
    except Transient as error:
        finished, after = False, error.after
    except (Permanent, NotFound):
        log.exception("endpoint %s can't be torn down now", line.endpoint)
        finished, after = False, timedelta(minutes=15)
    now = app.cloud.blobs.now()
    if not finished:
        timer = Wake(token=uuid4().hex, due=now + after)
        app.lines.save(replace(line, wake=timer), etag)
        wake_line(app, line, after=after, token=timer.token)
        return
    done = replace(line, tearing_down=False, wake=None, serving=None, noticed=None, emptied=line.emptied or now)
    if line.remove_endpoint:
        done = replace(done, removed=now)
    app.lines.save(done, etag)
    _tell(app, "TornDown", line, "the endpoint is deleted" if line.remove_endpoint else "the endpoint stays, empty")


def _tear_down(app: App, line: Line) -> bool:
    """One look and one act. True when nothing is left to do."""
    endpoints = app.cloud.endpoints
    endpoint = endpoints.get(line.endpoint)
    if endpoint is None:
        return True
    if endpoint.busy:
        return False
    if line.remove_endpoint:
        endpoints.delete(line.endpoint)
        return False
    if any(endpoint.traffic.values()):
        endpoints.set_traffic(line.endpoint, {})
        return False
    left = endpoints.deployments(line.endpoint)
    for deployment in left:
        if deployment.state != "Deleting":
            endpoints.remove_deployment(line.endpoint, deployment.name)
    return not left


def _gone_by_hand(app: App, line: Line, etag: str, now: datetime) -> None:
    """Believed only when a later tick does not see the endpoint either: one 404 of Azure's must not end the watch."""
    if line.missing is None or now - line.missing < FRESH:
        if line.missing is None:
            app.lines.save(replace(line, missing=now), etag)
        return
    app.lines.save(replace(line, serving=None, noticed=None, emptied=line.emptied or now, removed=now), etag)
    _tell(app, "TornDown", line, "somebody deleted the endpoint; it is not made again by itself")


def _tell(app: App, what: str, line: Line, why: str) -> None:
    log.info("endpoint %s: %s (%s)", line.endpoint, what, why)
    app.cloud.topic.publish(
        f"Droptune.Endpoint.{what}",
        f"lines/{line.id}",
        {"line": line.id, "endpoint": line.endpoint, "why": why},
        app.cloud.blobs.now(),
    )
