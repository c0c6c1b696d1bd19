"""Endpoints that nobody uses, and deployments that nothing owns: gathers what is seen, decides, and carries it out.

Called by the timer (`cleanup`) and by the queue (`tend`: Azure takes the traffic away before it lets a deployment be
deleted, so that a teardown is a few looks long). Touches lines that Droptune made, never other endpoints. A line's
record changes before its endpoint does, under If-Match, so that a rollout that begins meanwhile wins or loses whole.
What is to be told of it waits in the record, like a run's events.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from shared.app import App
from shared.cloud.endpoints import BUSY, Endpoint
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.idle import Delete, Keep, Notice, Pending, Policy, Usage, Verdict, verdict
from shared.lines import remove_deployments, without_endpoint
from shared.records.run import CONTAINER, FRESH, Leaving, Line, Stray, Wake
from shared.settings import Settings
from shared.tags import RUN
from shared.timers import wake_line
from shared.turn import tell

log = logging.getLogger("droptune.cleanup")

DELETIONS = "deletions.json"
KEEP_TAG = "droptune.keep"
LATE = timedelta(minutes=1)
AGAIN = timedelta(seconds=5)


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
    line, etag = _tell(app, *loaded)
    now = app.cloud.blobs.now()
    overdue = line.wake is None or line.wake.due + LATE < now
    if line.tearing_down or (line.leaving and overdue):
        if overdue:
            wake_line(app, line)
        return
    if line.removed:
        app.lines.retire(line.id)  # whoever removed it died before that; while it has something to tell it stays open
        return
    rolling_out = _is_active(app, line.rollout)
    if line.serving is None and line.emptied is None and (rolling_out or _is_active(app, _heading(line))):
        return  # its first run is on its way
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        if not rolling_out:  # else the rollout finds out
            _gone_by_hand(app, line, etag, now)
        return
    seen = line
    if not rolling_out and not endpoint.busy:
        seen = _with_strays(app, _with_changes_told(line, _seen(app, line, endpoint, now), now), endpoint, now)
    if seen != line:
        seen, etag = _save(app, seen, etag)
        if seen.leaving != line.leaving:
            wake_line(app, seen)
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


def _with_changes_told(before: Line, after: Line, now: datetime) -> Line:
    serving = before.serving
    if serving is None:
        return after
    name = serving.deployment
    if after.serving is None:
        return after.to_tell(now, "Endpoint.TornDown", f"somebody deleted {name}; it is not made again by itself")
    if after.sidelined and after.sidelined != before.sidelined:
        return after.to_tell(now, "Endpoint.TrafficTaken", f"somebody gave deployment {name} 0 % of it; it still costs")
    if before.sidelined and not after.sidelined and before.sidelined > serving.since:
        return after.to_tell(now, "Endpoint.TrafficReturned", f"deployment {name} has traffic again")
    return after


def _with_strays(app: App, line: Line, endpoint: Endpoint, now: datetime) -> Line:
    """The line with the deployments that nothing owns: they are to leave, and those that can't are told once.

    Believed once they were seen for FRESH: what a run is about to own, or Azure about to forget, is none by then. What
    Azure works on does not leave yet: a rollout waits for what leaves.
    """
    known, until = {each.deployment: each for each in line.strays}, now + app.settings.rollout_grace
    strays, leaving, why = [], [], []
    for name, state in _strays(app, line):
        stray = known.get(name, Stray(deployment=name, since=now))
        stays = "it has traffic" if endpoint.traffic.get(name) else f"it is {state}" if state in BUSY else ""
        if app.settings.cleanup_mode == "report":
            stays = "CLEANUP_MODE=report"
        if now - stray.since < FRESH:
            strays.append(stray)
        elif not stays:
            leaving.append(Leaving(deployment=name, model="", until=until))
            why.append(f"no run owns deployment {name}: it is deleted after {until:%Y-%m-%d %H:%M} UTC")
        else:
            strays.append(replace(stray, told=True))
            if not stray.told:
                why.append(f"no run owns deployment {name}, which costs, but stays: {stays}")
    found = replace(line, strays=tuple(strays), leaving=(*line.leaving, *leaving))
    return found.to_tell(now, "Endpoint.StrayFound", "; ".join(why)) if why else found


def _strays(app: App, line: Line) -> Iterator[tuple[str, str]]:
    """Names and states of Droptune's deployments that neither serve nor leave, and are of no run that works."""
    owned = {each.deployment for each in line.leaving} | ({line.serving.deployment} if line.serving else set())
    for each in app.cloud.endpoints.deployments(line.endpoint):
        run = each.tags.get(RUN)
        if run is not None and each.name not in owned and each.state != "Deleting" and not _is_active(app, run):
            yield each.name, each.state


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
    """Whether the run works; one whose record somebody broke by hand may, for all that is known."""
    try:
        loaded = app.runs.load(run_id) if run_id else None
    except msgspec.MsgspecError:
        log.exception("run %s can't be read, and is taken for one that works", run_id)
        return True
    return loaded is not None and not loaded[0].phase.ended


def _carry_out(app: App, line: Line, etag: str, judged: Verdict, now: datetime) -> None:
    log.info("endpoint %s: %s", line.endpoint, judged)
    match judged:
        case Keep(why):
            if line.noticed:
                _save(app, replace(line, noticed=None).to_tell(now, "Endpoint.NoticeWithdrawn", why), etag)
        case Notice(why):
            _save(app, replace(line, noticed=now).to_tell(now, "Endpoint.IdleNotice", why), etag)
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
    """Takes the upkeep of a line as far as it goes now: its teardown, or the end of what leaves."""
    loaded = app.lines.load(line_id)
    if loaded is None or (token is not None and (loaded[0].wake is None or loaded[0].wake.token != token)):
        return
    try:
        line, etag = _tell(app, *loaded)
        if line.tearing_down:
            _tear_down(app, line, etag)
        elif line.leaving and not _is_active(app, line.rollout):
            _end_grace(app, line, etag)
    except Conflict:
        # If it was our own save, whose answer was lost, the record has a timer for which no message is on its way.
        log.info("line %s changed meanwhile: looked at again", line_id)
        wake_line(app, loaded[0], after=AGAIN)


def _end_grace(app: App, line: Line, etag: str) -> None:
    """Deletes what leaves, once its grace is over; looks again until it is gone."""
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


def _tear_down(app: App, line: Line, etag: str) -> None:
    """Takes a line's teardown as far as it goes now, and has it tended again until nothing is left."""
    after = app.settings.poll_interval
    try:
        finished = _step_of_teardown(app, line)
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
        line,
        tearing_down=False,
        wake=None,
        serving=None,
        leaving=(),
        strays=(),
        noticed=None,
        emptied=line.emptied or now,
        removed=now if line.remove_endpoint else line.removed,
    )
    why = "the endpoint is deleted" if line.remove_endpoint else "the endpoint stays, empty"
    _save(app, done.to_tell(now, "Endpoint.TornDown", why), etag)


def _step_of_teardown(app: App, line: Line) -> bool:
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
    nothing = replace(without_endpoint(line, now), rollout="", removed=now)
    if line.serving or line.emptied:  # else no run has come so far
        why = "somebody deleted the endpoint; it is not made again by itself"
        nothing = nothing.to_tell(now, "Endpoint.TornDown", why)
    _save(app, nothing, etag)


def _save(app: App, line: Line, etag: str) -> tuple[Line, str]:
    """Saves the line, then tells what it has to tell. Raises Conflict."""
    return _tell(app, line, app.lines.save(line, etag))


def _tell(app: App, line: Line, etag: str) -> tuple[Line, str]:
    """Sends the line's events, and saves that they were sent; those that a crash left are the next one's who comes."""
    if not line.untold:
        return line, etag
    told = tell(app, line)
    for notice in line.untold:
        if notice not in told.untold:
            log.info("endpoint %s: %s (%s)", line.endpoint, notice.type, notice.why)
    return told, etag if told == line else app.lines.save(told, etag)
