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
from shared.lines import remove_deployments
from shared.records import CONTAINER, FRESH, Line, Wake
from shared.settings import Settings
from shared.tags import RUN
from shared.timers import wake_line

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
    """Judges every line whose endpoint may stand. One that can't be judged now is left for the next tick."""
    for line_id in app.lines.standing():
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
    overdue = line.wake is None or line.wake.due + LATE < now
    if line.tearing_down or (line.leaving and overdue):
        if overdue:
            wake_line(app, line)
        return
    if line.removed:
        app.lines.retire(line.id)  # whoever removed it died before that
        return
    rolling_out = _is_active(app, line.rollout)
    if line.serving is None and line.emptied is None and (rolling_out or _is_active(app, _heading(line))):
        return  # its first run is on its way
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        if not rolling_out:  # else the rollout finds out
            _gone_by_hand(app, line, etag, now)
        return
    seen = line if rolling_out or endpoint.busy else _seen(app, line, endpoint, now)
    if seen != line:
        etag = app.lines.save(seen, etag)
        _tell_changes(app, line, seen)
    if seen.missing:
        return
    usage = _usage(app, seen, endpoint, now, rolling_out=rolling_out)
    _carry_out(app, seen, etag, verdict(usage, policy_of(app.settings), now), now)


def _seen(app: App, line: Line, endpoint: Endpoint, now: datetime) -> Line:
    """The line after what its endpoint shows of people's doing: traffic taken from what serves, or that deleted.

    Nothing is made or given back. What has traffic is there; only what has none is looked at itself.
    """
    serving = line.serving
    if serving is None:  # a run may have made the endpoint and never come to deploy
        return replace(line, missing=None, emptied=line.emptied or now)
    sidelined = line.sidelined if line.sidelined and line.sidelined > serving.since else None
    if endpoint.traffic.get(serving.deployment):
        return replace(line, missing=None, sidelined=None)
    if now - serving.since < FRESH:  # the endpoint may be shown as it was before
        return replace(line, sidelined=sidelined)
    if app.cloud.endpoints.deployment(line.endpoint, serving.deployment):
        return replace(line, missing=None, sidelined=sidelined or now)
    if line.missing is None or now - line.missing < FRESH:
        return replace(line, missing=line.missing or now)
    return replace(line, missing=None, sidelined=None, serving=None, noticed=None, emptied=now)


def _tell_changes(app: App, before: Line, after: Line) -> None:
    serving = before.serving
    if serving is None:
        return
    if after.serving is None:
        _tell(app, "TornDown", after, f"somebody deleted {serving.deployment}; it is not made again by itself")
    elif after.sidelined and after.sidelined != before.sidelined:
        _tell(app, "TrafficTaken", after, f"somebody gave deployment {serving.deployment} 0 % of it; it still costs")
    elif before.sidelined and not after.sidelined and before.sidelined > serving.since:
        _tell(app, "TrafficReturned", after, f"deployment {serving.deployment} has traffic again")


def _heading(line: Line) -> str:
    return line.heading.run if line.heading else ""


def _usage(app: App, line: Line, endpoint: Endpoint, now: datetime, *, rolling_out: bool) -> Usage:
    usage = Usage(
        since=line.serving.since if line.serving else None,
        emptied=line.emptied,
        noticed=line.noticed,
        kept_until=line.kept_until,
        kept_by_tag=KEEP_TAG in endpoint.tags,
        rolling_out=rolling_out,
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


def _is_active(app: App, run_id: str) -> bool:
    loaded = app.runs.load(run_id) if run_id else None
    return loaded is not None and not loaded[0].phase.ended


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
            elif line.emptied and (others := _others(app, line)):
                log.warning("endpoint %s stays: %s on it is not Droptune's", line.endpoint, ", ".join(others))
            elif _within_cap(app, line, now):
                going = replace(line, tearing_down=True, remove_endpoint=endpoint, rollout="")
                app.lines.save(going, etag)
                wake_line(app, going)


def _others(app: App, line: Line) -> list[str]:
    """Deployments that somebody else made on the line's endpoint."""
    found = app.cloud.endpoints.deployments(line.endpoint)
    return [each.name for each in found if RUN not in each.tags]


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


def tend(app: App, line_id: str, token: str | None) -> None:
    """Takes the upkeep of a line as far as it goes now: its teardown, or the end of what served before."""
    loaded = app.lines.load(line_id)
    if loaded is None or (token is not None and (loaded[0].wake is None or loaded[0].wake.token != token)):
        return
    line, etag = loaded
    if line.tearing_down:
        tear_down(app, line_id, token)
    elif line.leaving and not _is_active(app, line.rollout):
        _end_grace(app, line, etag)


def _end_grace(app: App, line: Line, etag: str) -> None:
    """Deletes what served before, once its grace is over; looks again until it is gone."""
    now = app.cloud.blobs.now()
    due = [each.deployment for each in line.leaving if each.until <= now]
    again = app.settings.poll_interval
    if any(each.deployment in due and not each.going for each in line.leaving):  # from here on no rollback takes it
        leaving = tuple(replace(each, going=each.going or each.deployment in due) for each in line.leaving)
        line = replace(line, leaving=leaving)
        etag = app.lines.save(line, etag)
    try:
        there = remove_deployments(app, line.endpoint, due, used=False) if due else ()
    except Transient as error:
        there, again = due, error.after
    left = tuple(each for each in line.leaving if each.until > now or each.deployment in there)
    timer = None
    if left:
        timer = Wake(token=uuid4().hex, due=now + again if there else min(each.until for each in left))
    app.lines.save(replace(line, leaving=left, wake=timer), etag)
    if timer:
        wake_line(app, line, after=timer.due - now, token=timer.token)


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
    done = replace(
        line, tearing_down=False, wake=None, serving=None, leaving=(), noticed=None, emptied=line.emptied or now
    )
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
    stood = line.serving or line.emptied
    emptied = line.emptied or (now if stood else None)
    nothing = replace(line, rollout="", serving=None, noticed=None, missing=None, sidelined=None)
    app.lines.save(replace(nothing, emptied=emptied, removed=now), etag)
    if stood:  # else no run has come so far
        _tell(app, "TornDown", line, "somebody deleted the endpoint; it is not made again by itself")


def _tell(app: App, what: str, line: Line, why: str) -> None:
    log.info("endpoint %s: %s (%s)", line.endpoint, what, why)
    now = app.cloud.blobs.now()
    data = {"line": line.id, "dataset": line.folder, "endpoint": line.endpoint, "reason": why}
    app.cloud.topic.publish(
        f"Droptune.Endpoint.{what}", f"lines/{line.id}", data, id=f"{line.id}-{what}-{now:%Y%m%dT%H%M%S}", time=now
    )
