"""Endpoints that nobody uses, and deployments that nothing owns: gathers what is seen, and marks what is to go.

Called by the timer. serving/idle.py has the rule of idleness; teardown.py takes down what is marked. Touches lines that
Droptune made, never other endpoints. A line's record changes before its endpoint does, under If-Match, so that a
rollout that begins meanwhile wins or loses whole. Its events wait in the record, like a run's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from shared.app import App, wake
from shared.cloud.endpoints import BUSY, Endpoint
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.line.access import is_active, save_and_send, send_and_save
from shared.records.base import FRESH
from shared.records.layout import DELETIONS, STATE
from shared.records.line import Line, NotMade, Orphan, Retiring, Standing, TearingDown
from shared.records.tags import RUN
from shared.serving.idle import Delete, Keep, Notice, Pending, Policy, Usage, Verdict, verdict
from shared.settings import Cleanup

log = logging.getLogger("droptune.line.cleanup")

KEEP_TAG = "droptune.keep"
LATE = timedelta(minutes=1)


def policy_of(settings: Cleanup) -> Policy:
    """The cleanup's rules as the settings give them."""
    return Policy(
        window=settings.idle_window,
        grace=settings.idle_grace,
        minimum_age=settings.minimum_age,
        shell=timedelta(days=settings.shell_days),
        whole_endpoint=settings.target == "endpoint",
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
    line, etag = send_and_save(app, *loaded)
    now = app.cloud.blobs.now()
    overdue = line.wake is None or line.wake.due + LATE < now
    if line.is_going or (line.retiring and overdue):
        if overdue:
            wake(app, line)
        return
    if line.removed:
        app.lines.retire(line.id)  # whoever removed it died before that; while it has something to tell it stays open
        return
    rolling_out = is_active(app, line.rollout)
    if isinstance(line.state, NotMade) and (rolling_out or is_active(app, _newest(line))):
        return  # its first run is on its way
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        if not rolling_out:  # else the rollout finds out
            _gone_by_hand(app, line, etag, now)
        return
    seen = line
    if not rolling_out and not endpoint.busy:
        seen = _with_orphans(app, _with_changes_to_send(line, _seen(app, line, endpoint, now), now), endpoint, now)
    if seen != line:
        seen, etag = save_and_send(app, seen, etag)
        if seen.retiring != line.retiring:
            wake(app, seen)
    if seen.missing:
        return
    usage = _usage(app, seen, endpoint, now, rolling_out=rolling_out)
    _carry_out(app, seen, etag, verdict(usage, policy_of(app.settings.cleanup), now), now)


def _seen(app: App, line: Line, endpoint: Endpoint, now: datetime) -> Line:
    """The line after what its endpoint shows of people's doing: traffic taken from what serves, or that deleted.

    Nothing is made or given back. What has traffic is there; only what has none is looked at itself.
    """
    serving, state = line.serving, line.state if isinstance(line.state, Standing) else Standing()
    if serving is None:  # a run may have made the endpoint and never come to deploy
        return line.without_serving(now)
    if endpoint.traffic.get(serving.deployment):
        return replace(line, state=Standing(noticed=state.noticed))
    if now - serving.since < FRESH:  # the endpoint may be shown as it was before
        return line
    if app.cloud.endpoints.deployment(line.endpoint, serving.deployment):
        return replace(line, state=Standing(noticed=state.noticed, no_traffic=state.no_traffic or now))
    if state.missing is None or now - state.missing < FRESH:
        return line.with_missing(state.missing or now)
    return line.without_serving(now)


def _with_changes_to_send(before: Line, after: Line, now: datetime) -> Line:
    serving, was = before.serving, before.state
    if serving is None or not isinstance(was, Standing):
        return after
    name, now_is = serving.deployment, after.state
    if not isinstance(now_is, Standing):
        return after.to_send(now, "Endpoint.TornDown", f"somebody deleted {name}; Droptune does not make it again")
    if now_is.no_traffic and not was.no_traffic:
        return after.to_send(now, "Endpoint.TrafficTaken", f"somebody gave deployment {name} 0 % of it; it still costs")
    if was.no_traffic and not now_is.no_traffic:
        return after.to_send(now, "Endpoint.TrafficReturned", f"deployment {name} has traffic again")
    return after


def _with_orphans(app: App, line: Line, endpoint: Endpoint, now: datetime) -> Line:
    """The line with the deployments that no run owns: they retire; of those that can't, people hear once.

    Believed once they were seen for FRESH: what a run is about to own, or Azure about to forget, is none by then. What
    Azure works on does not retire yet: a rollout waits for what retires.
    """
    known, until = {each.deployment: each for each in line.orphans}, now + app.settings.rollout.grace
    orphans, retiring, why = [], [], []
    for name, state in _orphans(app, line):
        orphan = known.get(name, Orphan(deployment=name, since=now))
        stays = "it has traffic" if endpoint.uses(name) else f"it is {state}" if state in BUSY else ""
        if app.settings.cleanup.mode == "report":
            stays = "CLEANUP_MODE=report"
        if now - orphan.since < FRESH:
            orphans.append(orphan)
        elif not stays:
            retiring.append(Retiring(deployment=name, model="", until=until))
            why.append(f"no run owns deployment {name}: it is deleted after {until:%Y-%m-%d %H:%M} UTC")
        else:
            orphans.append(replace(orphan, reported=True))
            if not orphan.reported:
                why.append(f"no run owns deployment {name}, which costs, but stays: {stays}")
    found = replace(line, orphans=tuple(orphans), retiring=(*line.retiring, *retiring))
    return found.to_send(now, "Endpoint.OrphanFound", "; ".join(why)) if why else found


def _orphans(app: App, line: Line) -> Iterator[tuple[str, str]]:
    """Names and states of Droptune's deployments that neither serve nor retire, and are of no run that works."""
    owned = {each.deployment for each in line.retiring} | ({line.serving.deployment} if line.serving else set())
    for each in app.cloud.endpoints.deployments(line.endpoint):
        run = each.tags.get(RUN)
        if run is not None and each.name not in owned and each.state != "Deleting" and not is_active(app, run):
            yield each.name, each.state


def _newest(line: Line) -> str:
    return line.newest.run if line.newest else ""


def _usage(app: App, line: Line, endpoint: Endpoint, now: datetime, *, rolling_out: bool) -> Usage:
    usage = Usage(
        since=line.serving.since if line.serving else None,
        emptied=line.emptied,
        noticed=line.noticed,
        kept_by_tag=KEEP_TAG in endpoint.tags,
        rolling_out=rolling_out,
    )
    if line.serving is None or now - line.serving.since < app.settings.cleanup.idle_window:
        return usage
    middle = now - app.settings.cleanup.idle_window / 2
    start = now - app.settings.cleanup.idle_window
    asked_from = min(start, line.noticed) if line.noticed else start
    deployment = f"{endpoint.id}/deployments/{line.serving.deployment}"
    requests = app.cloud.metrics.requests([endpoint.id], asked_from, now)[endpoint.id]
    halves = [
        app.cloud.metrics.cpu_points([deployment], *half)[deployment] for half in ((start, middle), (middle, now))
    ]
    return replace(usage, requests=requests, control=min(halves))


def _carry_out(app: App, line: Line, etag: str, judged: Verdict, now: datetime) -> None:
    log.info("endpoint %s: %s", line.endpoint, judged)
    match judged:
        case Keep(why):
            if line.noticed:
                save_and_send(app, _noticed(line, None).to_send(now, "Endpoint.NoticeWithdrawn", why), etag)
        case Notice(why):
            save_and_send(app, _noticed(line, now).to_send(now, "Endpoint.IdleNotice", why), etag)
        case Pending():
            pass
        case Delete(why, endpoint):
            if app.settings.cleanup.mode == "report":
                log.warning("endpoint %s would be torn down: %s (CLEANUP_MODE=report)", line.endpoint, why)
            elif line.emptied and (others := _others(app, line)):
                log.warning("endpoint %s stays: %s on it is not Droptune's", line.endpoint, ", ".join(others))
            elif _within_cap(app, line, now):
                going = replace(line, state=TearingDown(whole=endpoint, emptied=line.emptied), rollout="")
                app.lines.save(going, etag)
                wake(app, going)


def _noticed(line: Line, at: datetime | None) -> Line:
    """The line after people heard that it is idle, or that it is not any more."""
    if not isinstance(line.state, Standing):
        raise TypeError(f"line {line.id} serves nothing that could be idle")
    return replace(line, state=msgspec.structs.replace(line.state, noticed=at))


def _others(app: App, line: Line) -> list[str]:
    """Deployments that somebody else made on the line's endpoint."""
    found = app.cloud.endpoints.deployments(line.endpoint)
    return [each.name for each in found if RUN not in each.tags]


def _within_cap(app: App, line: Line, now: datetime) -> bool:
    """Takes one of the deletions that the window allows. Raises Conflict when another tick takes one right now."""
    try:
        data, etag = app.cloud.blobs.read(STATE, DELETIONS)
    except NotFound:
        data, etag = b"{}", None
    taken = msgspec.json.decode(data, type=dict[str, datetime])
    settings = app.settings.cleanup
    taken = {key: at for key, at in taken.items() if now - at < settings.deletion_window}
    if line.id not in taken and len(taken) >= settings.max_deletions:
        log.warning(
            "endpoint %s stays for now: CLEANUP_MAX_DELETIONS=%d are used up", line.endpoint, settings.max_deletions
        )
        return False
    taken[line.id] = now
    body = msgspec.json.encode(taken)
    app.cloud.blobs.write(STATE, DELETIONS, body, if_match=etag, if_none_match=etag is None)
    return True


def _gone_by_hand(app: App, line: Line, etag: str, now: datetime) -> None:
    """Believed only when a later tick does not see the endpoint either: one 404 of Azure's must not end the watch."""
    if line.missing is None or now - line.missing < FRESH:
        if line.missing is None:
            app.lines.save(line.with_missing(now), etag)
        return
    nothing = replace(line.without_endpoint(now), rollout="")
    if line.serving or line.emptied:  # else no run has come so far
        why = "somebody deleted the endpoint; Droptune does not make it again"
        nothing = nothing.to_send(now, "Endpoint.TornDown", why)
    save_and_send(app, nothing, etag)
