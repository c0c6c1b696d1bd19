"""Takes down what is to go, a look and an act at a time: an endpoint, or deployments whose grace is over.

Azure takes the traffic away before it lets a deployment be deleted, so that this is a few messages long. Locks are read
before, and what is refused all the same gets its traffic back: then the line stands, its people are told, and the
cleanup tries again without touching the traffic. Called by the queue (`tend`), for a line that the cleanup or the end
of a run has marked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.app import App, arm, wake
from shared.cloud.endpoints import Deployment, Endpoint
from shared.cloud.locks import Lock, lock_that_holds
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient
from shared.line import cap, metering, seats
from shared.line.access import is_active, ours, save_and_send, send_and_save
from shared.money.ledger import Cause
from shared.records.line import TEARDOWN, TRAFFIC, TRIED_AGAIN, Empty, Line, Retiring, Standing, TearingDown
from shared.records.owner import is_endpoint_of, is_on_line, not_ours
from shared.serving.traffic import WHOLE

log = logging.getLogger("droptune.line.teardown")
AGAIN = timedelta(seconds=5)


class Undeletable(Refused):
    """Azure refuses to delete some of the deployments that were to go: `why`, by name; `there`: all that stand yet."""

    def __init__(self, why: Mapping[str, str], there: Collection[str]) -> None:
        super().__init__("; ".join(f"{name}: {each}" for name, each in why.items()))
        self.why, self.there = why, there


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
    again, refused = app.settings.rollout.poll_interval, dict[str, str]()
    if any(each.deployment in due and not each.going for each in line.retiring):  # from here on no rollback takes it
        retiring = tuple(replace(each, going=each.going or each.deployment in due) for each in line.retiring)
        line = replace(line, retiring=retiring)
        etag = app.lines.save(line, etag)
    try:
        there = remove_deployments(app, line, due, used=False) if due else ()
    except Undeletable as error:
        there, refused = error.there, dict(error.why)
    except Transient as error:
        there, again = due, error.after
    left = tuple(each for each in line.retiring if each.until > now or each.deployment in there)
    gone = {each.deployment for each in line.retiring} - {each.deployment for each in left}
    line = stuck(replace(line, retiring=left), refused, now).allow(gone)
    if left:
        # What is refused is tried again, as long as it stands: it has no traffic that could be missed meanwhile.
        waits = [now + again] if set(there) - set(refused) else []
        waits += [now + TRIED_AGAIN] if refused else []
        arm(app, line, min(waits or [each.until for each in left]), lambda line: save_and_send(app, line, etag))
    else:
        save_and_send(app, replace(line, wake=None), etag)
        seats.settle(app, line)


def stuck(line: Line, refused: Mapping[str, str], now: datetime) -> Line:
    """The line after Azure has refused to delete these of what retires: a rollback may take them, they stand anyway."""
    retiring = tuple(replace(each, going=each.going and each.deployment not in refused) for each in line.retiring)
    return replace(line, retiring=retiring).refuse(refused, now)


def _tear_down(app: App, line: Line, state: TearingDown, etag: str) -> None:
    """Takes a line's teardown as far as it goes now, and has it tended again until nothing is left."""
    after, now, left = app.settings.rollout.poll_interval, app.cloud.blobs.now(), dict[str, str]()
    foreign: Sequence[str] = ()
    try:
        endpoint = app.cloud.endpoints.get(line.endpoint)
        there = app.cloud.endpoints.deployments(line.endpoint) if endpoint else []
        foreign = [each.name for each in there if not is_on_line(line, each.name, each.tags)]
        if why := _in_the_way(line, endpoint, foreign) if endpoint else "":
            log.warning("endpoint %s is not torn down: %s", line.endpoint, why)
            _stand_again(app, line, state, etag)
            return
        whole = state.whole and not foreign
        if endpoint and not (endpoint.busy or whole) and endpoint.traffic and endpoint.traffic != line.taken:
            line = replace(line, taken=endpoint.traffic)  # whose it was, should it have to go back
            etag = app.lines.save(line, etag)
        going = [each for each in there if each.name not in foreign]
        finished, left = _step_of_teardown(app, line, endpoint, going, whole=whole) if endpoint else (True, {})
    except Refused as error:
        _postpone(app, line, state, etag, error)
        return
    except Transient as error:
        finished, after = False, error.after
    except Permanent as error:
        log.exception("endpoint %s can't be torn down now", line.endpoint)
        _postpone(app, line, state, etag, error)
        return
    except NotFound:
        finished = False  # somebody was faster: the next look shows what is left
    if not finished:
        arm(app, line, now + after, lambda line: app.lines.save(line, etag))
        return
    gone = replace(line.without_endpoint(now), wake=None)
    why = f"the endpoint stays, with {told(foreign)}" if foreign else "the endpoint stays, empty"
    if whole:
        why = "the endpoint is deleted"
    if state.stopped:
        why = f"{state.stopped}; {why}"
    if not whole:
        retiring = tuple(Retiring(deployment=name, model="", until=now) for name in left)
        refused = {name: each for name, each in line.refused.items() if name in left}
        gone = replace(gone, state=Empty(since=now), retiring=retiring, refused=refused, others=line.others)
    done = gone.to_send(now, "Endpoint.TornDown", why).refuse(left, now)
    if left:
        arm(app, done, now + TRIED_AGAIN, lambda line: save_and_send(app, line, etag))
    else:
        save_and_send(app, done, etag)
    seats.settle(app, done)


def _in_the_way(line: Line, endpoint: Endpoint, foreign: Sequence[str]) -> str:
    """Why nothing can be torn down but at somebody else's cost, since the cleanup looked; "" where it can."""
    used = [each for each in foreign if endpoint.traffic.get(each)]
    return not_ours(line, endpoint.name, endpoint.tags) or (f"{told(used)}, has traffic" if used else "")


def told(foreign: Sequence[str]) -> str:
    """Deployments that are somebody else's, for people."""
    one = len(foreign) == 1
    return f"deployment{'' if one else 's'} {', '.join(foreign)}, which {'is' if one else 'are'} somebody else's"


def _step_of_teardown(
    app: App, line: Line, endpoint: Endpoint, going: Sequence[Deployment], *, whole: bool
) -> tuple[bool, dict[str, str]]:
    """One act. Whether nothing is left to do, and what Azure refuses to delete of that which has no traffic, and why.

    `going`: those of its deployments that are ours. Raises Refused or Permanent for what had traffic: that is to stay
    as it was.
    """
    endpoints, name = app.cloud.endpoints, endpoint.name
    if endpoint.busy:
        return False, {}
    if (whole or endpoint.traffic) and (lock := lock_on(app, endpoint, whole=whole)):
        raise Refused(str(lock))
    if (whole or endpoint.traffic) and TEARDOWN in line.refused:
        if not whole:
            try_deleting(app, endpoint, [each.name for each in going])
        if used_up := cap.take(app, line, app.cloud.blobs.now()):
            raise Refused(f"{used_up}: it goes on by itself then")
    stopped = line.state.stopped if isinstance(line.state, TearingDown) else ""
    cause = Cause.STOPPED if stopped else Cause.IDLE
    if whole:
        endpoints.delete(name)
        metering.tell_ended(app, line, going, cause, stopped)
        return False, {}
    if any(endpoint.uses(each.name) for each in going):
        endpoints.move_traffic(name, {each.name for each in going})
        return False, {}
    refused = dict[str, str]()
    for deployment in sorted(going, key=lambda each: each.name not in line.taken):
        if deployment.state == "Deleting":
            continue
        try:
            metering.remove(app, line, deployment, cause, stopped)
        except (Refused, Permanent) as error:
            if deployment.name in line.taken:
                raise
            refused[deployment.name] = words(error, endpoint=name, deployment=deployment.name)
    return all(each.name in refused for each in going), refused


def _postpone(app: App, line: Line, state: TearingDown, etag: str, refusal: Refused | Permanent) -> None:
    """After a refusal: people are told, what had traffic has it again, and the cleanup tries again.

    In this order: after a crash in between it is known that the traffic need not be taken to find out.
    """
    now, unclear = app.cloud.blobs.now(), isinstance(refusal, Permanent)
    why = words(refusal, endpoint=line.endpoint)
    line, etag = save_and_send(app, line.refuse({TEARDOWN: why}, now, unclear=unclear), etag)
    _stand_again(app, line, state, etag)


def _stand_again(app: App, line: Line, state: TearingDown, etag: str) -> None:
    """What had traffic has it again, and the line stands: the cleanup judges it anew, and says daily what it costs."""
    now = app.cloud.blobs.now()
    try:
        give_back_traffic(app, line)
    except Refused as error:
        told = line.refuse({TRAFFIC: str(error)}, now)
        arm(app, told, now + error.after, lambda line: save_and_send(app, line, etag))
        return
    except Transient as error:
        arm(app, line, now + error.after, lambda line: app.lines.save(line, etag))
        return
    cap.give_back(app, line)
    before = Standing() if line.serving else Empty(since=state.emptied or now)
    app.lines.save(replace(line.allow([TRAFFIC]), state=before, taken={}, wake=None), etag)


def words(error: Refused | Permanent, *, endpoint: str, deployment: str = "") -> str:
    """Why something can't be deleted, and what ends that: the error says both where it is a rule of somebody's."""
    if isinstance(error, Refused):
        return str(error)
    one = f"az ml online-deployment delete --endpoint-name {endpoint} --name {deployment}"
    by_hand = one if deployment else f"az ml online-endpoint delete --name {endpoint}, or the tag droptune.keep on it"
    return f"{error}. It is tried again by itself, once a day or oftener, and ends once somebody has done it: {by_hand}"


def lock_on(app: App, endpoint: Endpoint, *, whole: bool, names: Collection[str] | None = None) -> Lock | None:
    """A lock that would refuse to delete the endpoint or, unless `whole`, of `names` those that have traffic."""
    used = [name for name in endpoint.traffic if names is None or name in names]
    ids = [endpoint.id] if whole else [f"{endpoint.id}/deployments/{name}" for name in used]
    locks = app.cloud.locks.on(endpoint.id) if ids else ()
    return next((lock for each in ids if (lock := lock_that_holds(locks, each))), None)


def try_deleting(app: App, endpoint: Endpoint, names: Collection[str]) -> None:
    """Tries to delete those that have traffic and are to go; they keep it. Raises Refused as long as that is refused.

    Only where it was refused before, for a rule that no list of locks shows. Once the rule is gone, Azure ML itself
    answers that it has traffic; and deletes nothing.
    """
    for name in endpoint.traffic:
        if name in names:
            try:
                app.cloud.endpoints.remove_deployment(endpoint.name, name)
            except Refused:
                raise
            except (Permanent, Transient) as error:
                log.info("deployment %s/%s may be deleted again: %s", endpoint.name, name, error)


def give_back_traffic(app: App, line: Line) -> None:
    """Gives the traffic that was taken away to those that had it, as far as they stand.

    Raises Refused; Transient while Azure works on the endpoint.
    """
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None or not line.taken or (endpoint.traffic and not endpoint.busy):
        return
    if not is_endpoint_of(line, endpoint.name, endpoint.tags):
        return
    there = {each.name for each in app.cloud.endpoints.deployments(line.endpoint) if each.state != "Deleting"}
    shares = {name: percent for name, percent in line.taken.items() if name in there}
    if shares and sum(shares.values()) != WHOLE:
        shares = {max(shares, key=lambda name: shares[name]): WHOLE}
    if shares:
        app.cloud.endpoints.set_traffic(line.endpoint, shares)


def remove_deployments(app: App, line: Line, names: Collection[str], *, used: bool) -> Collection[str]:
    """Takes deployments of the line's endpoint away, by one step: first their traffic, then they.

    Says which are there yet. What is not ours stays, and is not told; nor is, without `used`, what has traffic:
    somebody gave it to them by hand. Raises Undeletable once all was tried.
    """
    endpoint = line.endpoint
    going = [each for name, each in ours(app, line).items() if name in names]
    found = app.cloud.endpoints.get(endpoint) if going else None
    if found is None or not is_endpoint_of(line, found.name, found.tags):
        return ()
    if not used:
        for each in going:
            if found.uses(each.name):
                log.warning("deployment %s/%s stays: somebody gave it traffic", endpoint, each.name)
        going = [each for each in going if not found.uses(each.name)]
    if any(found.uses(each.name) for each in going):
        app.cloud.endpoints.move_traffic(endpoint, {each.name for each in going})
        return [each.name for each in going]
    refused = dict[str, str]()
    for deployment in going:
        if deployment.state not in ("Deleting", "Creating"):
            try:
                metering.remove(app, line, deployment, Cause.REPLACED)
            except (Refused, Permanent) as error:
                refused[deployment.name] = words(error, endpoint=endpoint, deployment=deployment.name)
    if refused:
        raise Undeletable(refused, [each.name for each in going])
    return [each.name for each in going]
