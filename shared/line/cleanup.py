"""Endpoints that nobody uses, and deployments that nothing owns: gathers what is seen, and marks what is to go.

Called by the timer. serving/idle.py has the rule of idleness; teardown.py takes down what is marked. Touches what is
ours (records/owner.py) and names what is not. A line's record changes before its endpoint does, under If-Match, so
that a rollout that begins meanwhile wins or loses whole. Its events wait in the record, like a run's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from shared.app import App, wake
from shared.cloud.endpoints import BUSY, Deployment, Endpoint
from shared.errors import Conflict, Permanent, Transient
from shared.line import cap
from shared.line.access import is_active, save_and_send, send_and_save
from shared.line.kept import KEEP_TAG, hours_end, why_kept
from shared.line.metering import running, tell_running
from shared.line.prices import Prices, refresh
from shared.line.teardown import lock_on, told
from shared.line.waits import Need, tell, unjudged
from shared.money.ledger import Running
from shared.money.price import running_costs
from shared.naming import made_for, tag
from shared.records import observations
from shared.records.base import FRESH
from shared.records.line import TEARDOWN, Line, NotMade, Orphan, Retiring, Standing, TearingDown
from shared.records.observations import Observation
from shared.records.owner import is_on_line, not_ours
from shared.records.store import Unreadable
from shared.serving.idle import Delete, Keep, Notice, Pending, Policy, Usage, Verdict, verdict
from shared.settings import Cleanup

log = logging.getLogger("droptune.line.cleanup")

LATE = timedelta(minutes=1)
DAY = timedelta(days=1)
_WORDS: Mapping[type[Verdict], observations.Verdict] = {
    Keep: "keep",
    Notice: "notice",
    Pending: "pending",
    Delete: "go",
}


def policy_of(settings: Cleanup) -> Policy:
    """The cleanup's rules as the settings give them."""
    return Policy(
        window=settings.idle_window,
        grace=settings.idle_grace,
        minimum_age=settings.minimum_age,
        shell=timedelta(days=settings.shell_days),
        whole_endpoint=settings.target == "endpoint",
        lag=settings.metrics_lag,
        trickle=settings.trickle,
        reports=settings.mode == "report",
    )


def cleanup(app: App) -> None:
    """Judges every line whose endpoint may stand. One that can't be judged now is left for the next tick."""
    needs, seen, runs = list[Need](), list[Observation](), list[Running]()
    unseen = set[str]()
    before = observations.read(app.cloud.blobs)
    refresh(app)
    prices = Prices(app)
    for line_id in app.lines.standing():
        try:
            found, standing = _judge(app, line_id, before.get(line_id), prices)
            if found:
                seen.append(found)
            if standing is None:
                unseen.add(line_id)
            runs += standing or ()
            continue
        except Unreadable as error:  # told by the sweep
            why = str(error)
        except (Transient, Permanent) as error:
            why = str(error)
            needs.append(unjudged(line_id, why, after=DAY))
        except Conflict:
            why = "somebody else changed it meanwhile"
        except Exception as error:
            log.exception("line %s can't be judged; the others are", line_id)
            why = f"{type(error).__name__}, see the log"
            needs.append(unjudged(line_id, why))
        unseen.add(line_id)
        log.warning("line %s is left alone this time: %s", line_id, why)
        why = f"it could not be judged, and is left alone until the next look: {why}"
        seen.append(_observed(line_id, before.get(line_id), app.cloud.blobs.now(), why))
    now = app.cloud.blobs.now()
    tell(app, {"cleanup": needs}, now)
    tell_running(app, runs, unseen, now)
    observations.write(app.cloud.blobs, seen)
    if sizes := {each.size for each in runs if each.size} - {app.settings.serving.size}:
        refresh(app, sizes)


def _observed(line_id: str, before: Observation | None, now: datetime, why: str) -> Observation:
    """What is told of a line that could not be judged: its record may be what can't be read."""
    known = before or Observation(line=line_id, at=now, verdict="unjudged", why="")
    return Observation(line=line_id, folder=known.folder, endpoint=known.endpoint, at=now, verdict="unjudged", why=why)


def _judge(
    app: App, line_id: str, before: Observation | None, prices: Prices
) -> tuple[Observation | None, list[Running] | None]:
    """Judges a line, and does what follows of that. What was seen of it, and what runs; None: not known."""
    loaded = app.lines.load(line_id)
    if loaded is None:
        return None, []
    line, etag = send_and_save(app, *loaded)
    now = app.cloud.blobs.now()
    found = Observation(line=line.id, folder=line.folder, endpoint=line.endpoint, at=now, verdict="keep", why="")
    overdue = line.wake is None or line.wake.due + LATE < now
    if line.is_going or (line.retiring and overdue):
        if overdue:
            wake(app, line)
        if line.is_going:
            return replace(found, verdict="going", why="it is being torn down"), None
        return before, None  # a moment ago
    if line.removed:
        app.lines.retire(line.id)  # whoever removed it died before that; while it has something to tell it stays open
        return None, []
    rolling_out = is_active(app, line.rollout)
    # Its first run is on its way: what else stands there is of a record that was lost.
    first = isinstance(line.state, NotMade) and (rolling_out or is_active(app, _newest(line)))
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        if not (first or rolling_out):  # else the rollout finds out
            _gone_by_hand(app, line, etag, now)
        return replace(found, why="Azure shows no endpoint of that name"), None
    if why := not_ours(line, endpoint.name, endpoint.tags):
        _save_seen(app, line, _with_others(line, [why], now), etag)
        return replace(found, why=f"{why}: nothing is done to it"), None
    there = app.cloud.endpoints.deployments(line.endpoint)
    ours = {each.name: each for each in there if is_on_line(line, each.name, each.tags)}
    others = [each.name for each in there if each.name not in ours]
    standing = running(prices, line, ours.values())
    seen = line
    if not endpoint.busy:
        if not (first or rolling_out):
            seen = _with_changes_to_send(line, _seen(app, line, endpoint, now), now)
        seen = _with_orphans(app, seen, endpoint, ours, now, rolling_out=rolling_out)
    seen = _with_others(seen, [f"{told([each])}: it stays, and the endpoint with it" for each in others], now)
    kept = why_kept(seen, endpoint, ours, others, now, rolling_out=rolling_out)
    serves = ours.get(line.serving.deployment) if line.serving else None
    seen = _with_costs(app, seen, endpoint, serves, kept, now, prices)
    seen, etag = _save_seen(app, line, seen, etag)
    if first or seen.missing:
        why = (
            "its first run is on its way"
            if first
            else "Azure does not show what should be there: it is looked at again"
        )
        return replace(found, why=why, traffic=endpoint.traffic), standing
    usage = _usage(app, seen, endpoint, now, kept=kept, rolling_out=rolling_out)
    judged = verdict(usage, policy_of(app.settings.cleanup), now)
    found = replace(
        found,
        verdict=_WORDS[type(judged)],
        why=judged.why,
        until=None if isinstance(judged, Delete) else judged.until,
        requests=usage.requests,
        last=usage.last,
        traffic=endpoint.traffic,
    )
    stays = _carry_out(
        app, seen, etag, endpoint, judged, others, now, told_before=before is not None and before.verdict == "go"
    )
    return (replace(found, why=f"{found.why}; {stays}") if stays else found), standing


def _save_seen(app: App, line: Line, seen: Line, etag: str) -> tuple[Line, str]:
    """Saves what is new about the line, and sends what people are to hear of it."""
    if seen == line:
        return line, etag
    seen, etag = save_and_send(app, seen, etag)
    if seen.retiring != line.retiring:
        wake(app, seen)
    return seen, etag


def _with_others(line: Line, others: Sequence[str], now: datetime) -> Line:
    """The line with what of somebody else's is in its place; people hear of each once."""
    new = [each for each in others if each not in line.others]
    found = replace(line, others=tuple(others))
    return found.to_send(now, "Endpoint.OthersFound", "; ".join(new)) if new else found


def _with_costs(
    app: App, line: Line, endpoint: Endpoint, serves: Deployment | None, kept: str, now: datetime, prices: Prices
) -> Line:
    """The line after people heard, once a day, what it costs that somebody keeps it."""
    if not (kept and (line.serving or endpoint.traffic)):
        return replace(line, cost_told=None)
    if line.cost_told and now - line.cost_told < DAY:
        return line
    size = (serves.instance_type if serves else "") or app.settings.serving.size
    count = (serves.instances if serves else 0) or line.instances or app.settings.serving.instances
    costs = running_costs(instances=count, price=prices.of(size), unknown=prices.unknown(size))
    why = f"it costs {costs}, and is kept whether or not it is used, since {kept}"
    return replace(line, cost_told=now).to_send(now, "Endpoint.Kept", why)


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


def _with_orphans(
    app: App, line: Line, endpoint: Endpoint, ours: Mapping[str, Deployment], now: datetime, *, rolling_out: bool
) -> Line:
    """The line with the deployments that no run owns: they retire; of those that can't, people hear once.

    Believed once they were seen for FRESH: what a run is about to own, or Azure about to forget, is none by then. What
    Azure works on does not retire yet: a rollout waits for what retires.
    """
    known, until = {each.deployment: each for each in line.orphans}, now + app.settings.rollout.grace
    orphans, retiring, why = [], [], []
    for each in _orphans(app, line, ours):
        name = each.name
        orphan = known.get(name, Orphan(deployment=name, since=now))
        stays = "it has traffic" if endpoint.uses(name) else f"it is {each.state}" if each.state in BUSY else ""
        if tag(each.tags, KEEP_TAG) is not None:
            stays = f"it has the tag {KEEP_TAG}"
        if rolling_out:
            stays = "a rollout is under way"
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


def _orphans(app: App, line: Line, ours: Mapping[str, Deployment]) -> Iterator[Deployment]:
    """Those of our deployments that neither serve nor retire, and are of no run that works."""
    owned = {each.deployment for each in line.retiring} | ({line.serving.deployment} if line.serving else set())
    for name, each in ours.items():
        made = made_for(name, each.tags)
        if made and name not in owned and each.state != "Deleting" and not is_active(app, made.run):
            yield each


def _newest(line: Line) -> str:
    return line.newest.run if line.newest else ""


def _usage(app: App, line: Line, endpoint: Endpoint, now: datetime, *, kept: str, rolling_out: bool) -> Usage:
    usage = Usage(
        line=line.id,
        since=line.serving.since if line.serving else None,
        emptied=line.emptied,
        noticed=line.noticed,
        kept=kept,
        hours=None if kept else hours_end(line, endpoint, now),
        rolling_out=rolling_out,
        refused=TEARDOWN in line.refused,
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
    return replace(usage, requests=requests, busiest=requests or 0.0, control=min(halves))


def _carry_out(
    app: App,
    line: Line,
    etag: str,
    endpoint: Endpoint,
    judged: Verdict,
    others: Sequence[str],
    now: datetime,
    *,
    told_before: bool,
) -> str:
    """Does what the verdict asks for. Why it is not done, where what is due stays; "" otherwise."""
    log.info("endpoint %s: %s", line.endpoint, judged)
    match judged:
        case Keep(why, _, wanted):
            if line.noticed or (wanted and TEARDOWN in line.refused):
                kept = (_noticed(line, None) if line.noticed else line).allow([TEARDOWN])
                save_and_send(app, kept.to_send(now, "Endpoint.NoticeWithdrawn", why), etag)
            elif (reminded := line.remind(now)) != line:  # in doubt it is not tried again
                save_and_send(app, reminded, etag)
        case Notice(why):
            why = f"{why}; {told(others)}, stays" if others else why
            save_and_send(app, _noticed(line, now).to_send(now, "Endpoint.IdleNotice", why), etag)
        case Pending():
            pass  # people know
        case Delete(why, whole):
            if app.settings.cleanup.mode != "report":
                return _take_down(app, line, etag, endpoint, others, now, whole=whole)
            stays = "CLEANUP_MODE=report tears nothing down"
            stays += f": droptune stop {line.id} does" if line.serving else ""
            if not told_before:
                save_and_send(app, line.to_send(now, "Endpoint.WouldGo", f"{why}; {stays}"), etag)
            return stays
    return ""


def _take_down(
    app: App, line: Line, etag: str, endpoint: Endpoint, others: Sequence[str], now: datetime, *, whole: bool
) -> str:
    """Marks what is due to be torn down. Why not, where it stays for now; "" otherwise."""
    if line.emptied and others:
        return f"it stays, with {told(others)}"
    if (refusal := line.refused.get(TEARDOWN)) and refusal.rests(now):
        return f"it is tried again once a day: {refusal.why}"
    if lock := lock_on(app, endpoint, whole=whole and not others):
        save_and_send(app, line.refuse({TEARDOWN: str(lock)}, now), etag)
        return str(lock)
    # What was refused takes one once it gets that far.
    if TEARDOWN not in line.refused and (used_up := cap.take(app, line, now)):
        return used_up
    going = replace(line, state=TearingDown(whole=whole, emptied=line.emptied), rollout="")
    app.lines.save(going, etag)
    wake(app, going)
    return ""


def _noticed(line: Line, at: datetime | None) -> Line:
    """The line after people heard that it is idle, or that it is not any more."""
    if not isinstance(line.state, Standing):
        raise TypeError(f"line {line.id} serves nothing that could be idle")
    return replace(line, state=msgspec.structs.replace(line.state, noticed=at))


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
