"""What the cleanup sees of a line's endpoint: what stands there, whose it is, what people did by hand, what keeps it.

What is new of it is saved, and told. cleanup.py asks for the metrics of all lines that were looked at, and judges them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.app import App, wake
from shared.cloud.endpoints import BUSY, Deployment, Endpoint
from shared.line.access import is_active, save_and_send, send_and_save
from shared.line.kept import hours_end, kept_by_tag, why_kept
from shared.line.metering import running
from shared.line.prices import Prices
from shared.line.teardown import told
from shared.money.ledger import Running
from shared.money.price import running_costs
from shared.naming import made_for
from shared.records.base import FRESH
from shared.records.line import TEARDOWN, Line, NotMade, Orphan, Retiring, Standing
from shared.records.observations import Observation
from shared.records.owner import is_on_line, not_ours
from shared.serving.idle import Usage

log = logging.getLogger("droptune.line.looks")

LATE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was seen of a line's endpoint. `running`: what stands there and costs; None: not known.

    `observed`: as it is told; None where there is nothing to tell. `to_judge`: what is to be judged; None: nothing is.
    """

    running: Sequence[Running] | None = None
    observed: Observation | None = None
    to_judge: ToJudge | None = None


@dataclass(frozen=True, kw_only=True)
class ToJudge:
    """A line to be judged, as it was saved under `etag`. `usage` lacks what the metrics say of it.

    `others`: deployments on its endpoint that are somebody else's.
    """

    line: Line
    etag: str
    endpoint: Endpoint
    others: Sequence[str]
    usage: Usage


def look(app: App, line_id: str, before: Observation | None, prices: Prices) -> Looked:
    """Looks at a line's endpoint. `before`: what the tick before saw of it."""
    loaded = app.lines.load(line_id)
    if loaded is None:
        return Looked(running=())
    line, etag = send_and_save(app, *loaded)
    now = app.cloud.blobs.now()
    seen = Observation(line=line.id, folder=line.folder, endpoint=line.endpoint, at=now, verdict="keep", why="")
    overdue = line.wake is None or line.wake.due + LATE < now
    if line.is_going or (line.retiring and overdue):
        if overdue:
            wake(app, line)
        going = replace(seen, verdict="going", why="it is being torn down")
        return Looked(observed=going if line.is_going else before)
    if line.removed:
        app.lines.retire(line.id)  # whoever removed it died before that; while it has something to tell it stays open
        return Looked(running=())
    rolling_out = is_active(app, line.rollout)
    # Its first run is on its way: what else stands there is of a record that was lost.
    first = isinstance(line.state, NotMade) and (rolling_out or is_active(app, _newest(line)))
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:
        if not (first or rolling_out):  # else the rollout finds out
            _gone_by_hand(app, line, etag, now)
        return Looked(observed=replace(seen, why="Azure shows no endpoint of that name"))
    if why := not_ours(line, endpoint.name, endpoint.tags):
        _save_seen(app, line, _with_others(line, [why], now), etag)
        return Looked(observed=replace(seen, why=f"{why}: nothing is done to it"))
    return _on_endpoint(app, line, etag, endpoint, prices, seen, first=first, rolling_out=rolling_out)


def _on_endpoint(
    app: App,
    line: Line,
    etag: str,
    endpoint: Endpoint,
    prices: Prices,
    seen: Observation,
    *,
    first: bool,
    rolling_out: bool,
) -> Looked:
    """What stands on the line's own endpoint. `first`: its first run is under way; `seen`: what is told so far."""
    now = seen.at
    there = app.cloud.endpoints.deployments(line.endpoint)
    ours = {each.name: each for each in there if is_on_line(line, each.name, each.tags)}
    others = [each.name for each in there if each.name not in ours]
    after = line
    if not endpoint.busy:
        if not (first or rolling_out):
            after = _with_changes_to_send(line, _seen(app, line, endpoint, now), now)
        after = _with_orphans(app, after, endpoint, ours, now, rolling_out=rolling_out)
    after = _with_others(after, [f"{told([each])}: it stays, and the endpoint with it" for each in others], now)
    kept = why_kept(after, endpoint, ours, others, now, rolling_out=rolling_out)
    serves = ours.get(line.serving.deployment) if line.serving else None
    after = _with_costs(app, after, endpoint, serves, kept, now, prices)
    after, etag = _save_seen(app, line, after, etag)
    costs = running(prices, line, [each for each in ours.values() if each.state != "Deleting"])
    seen = replace(seen, traffic=endpoint.traffic)
    if first:
        return Looked(running=costs, observed=replace(seen, why="its first run is on its way"))
    if after.missing:
        return Looked(running=costs, observed=replace(seen, why="Azure does not show what should be there (yet)"))
    usage = Usage(
        line=after.id,
        since=after.serving.since if after.serving else None,
        emptied=after.emptied,
        noticed=after.noticed,
        kept=kept,
        hours=None if kept else hours_end(after, endpoint, now),
        rolling_out=rolling_out,
        refused=TEARDOWN in after.refused,
    )
    to_judge = ToJudge(line=after, etag=etag, endpoint=endpoint, others=others, usage=usage)
    return Looked(running=costs, observed=seen, to_judge=to_judge)


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
        if kept := kept_by_tag("it", each.tags, now):
            stays = kept
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
