"""Endpoints that nobody uses: a tick looks at all lines, asks for their metrics at once, and judges them.

Called by the timer. looks.py gathers what is seen of a line; serving/idle.py has the rule of idleness; teardown.py
takes down what is marked. Touches what is ours (records/owner.py) and names what is not. A line's record changes before
its endpoint does, under If-Match, so that a rollout that begins meanwhile wins or loses whole. Its events wait in the
record, like a run's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from shared.app import App, wake
from shared.cloud.endpoints import Endpoint
from shared.errors import Conflict, Permanent, Transient
from shared.line import cap
from shared.line.access import save_and_send
from shared.line.looks import DAY, ToJudge, look
from shared.line.metering import tell_running
from shared.line.prices import Prices, refresh
from shared.line.teardown import lock_on, told
from shared.line.waits import Need, tell, unjudged
from shared.money.ledger import Running
from shared.records import observations
from shared.records.line import TEARDOWN, Line, Standing, TearingDown
from shared.records.observations import Observation
from shared.records.store import Unreadable
from shared.serving.idle import Delete, Keep, Notice, Pending, Policy, Verdict, verdict
from shared.settings import Cleanup

log = logging.getLogger("droptune.line.cleanup")

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
    tick = _Tick(app)
    for line_id in app.lines.standing():
        tick.tried(line_id, partial(tick.look, line_id))
    now = app.cloud.blobs.now()
    for each in tick.measured(now):
        tick.tried(each.line.id, partial(tick.conclude, each, now))
    tick.tell()


class _Tick:
    """One look at all lines, and what it has come to so far."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._began = app.cloud.blobs.now()
        refresh(app)
        self._prices = Prices(app)
        self._policy = policy_of(app.settings.cleanup)
        self._before = observations.read(app.cloud.blobs)
        self._needs: list[Need] = []
        self._seen: dict[str, Observation] = {}
        self._running: list[Running] = []
        self._unseen: set[str] = set()
        self._to_judge: list[ToJudge] = []

    def tried(self, line_id: str, step: Callable[[], None]) -> None:
        """Takes a step with a line; one that fails leaves it for the next tick, and holds no other up."""
        try:
            step()
            return
        except Unreadable as error:  # told by the sweep
            why = str(error)
        except (Transient, Permanent) as error:
            why = str(error)
            self._needs.append(unjudged(line_id, why, after=DAY))
        except Conflict:
            why = "somebody else changed it meanwhile"
        except Exception as error:
            log.exception("line %s can't be judged; the others are", line_id)
            why = f"{type(error).__name__}, see the log"
            self._needs.append(unjudged(line_id, why))
        log.warning("line %s is left alone this time: %s", line_id, why)
        self._unseen.add(line_id)
        why = f"it could not be judged, and is left alone until the next look: {why}"
        before = self._before.get(line_id)
        self._seen[line_id] = Observation(
            line=line_id,
            folder=before.folder if before else "",
            endpoint=before.endpoint if before else "",
            at=self._app.cloud.blobs.now(),
            verdict="unjudged",
            why=why,
        )

    def look(self, line_id: str) -> None:
        """Looks at a line's endpoint."""
        found = look(self._app, line_id, self._before.get(line_id), self._prices)
        if found.observed:
            self._seen[line_id] = found.observed
        if found.running is None:
            self._unseen.add(line_id)
        self._running += found.running or ()
        if found.to_judge:
            self._to_judge.append(found.to_judge)

    def measured(self, now: datetime) -> list[ToJudge]:
        """Those that were looked at and are to be judged, with their metrics up to `now`, where they are old enough.

        All are asked for over one span, in one query each. Where the metrics can't be read, nobody is judged by them.
        """
        try:
            return _measured(self._app, self._to_judge, self._policy, now)
        except Exception:
            log.exception("the metrics can't be read: what they would tell of is kept")
            return self._to_judge

    def conclude(self, each: ToJudge, now: datetime) -> None:
        """Judges a line that was looked at, and does what follows of that."""
        line, before = each.line, self._before.get(each.line.id)
        judged = verdict(each.usage, self._policy, now)
        told_before = before is not None and before.verdict == "go"
        stays = _carry_out(self._app, each, judged, now, told_before=told_before)
        self._seen[line.id] = replace(
            self._seen[line.id],
            verdict=_WORDS[type(judged)],
            why=f"{judged.why}; {stays}" if stays else judged.why,
            until=None if isinstance(judged, Delete) else judged.until,
            requests=each.usage.requests,
            last=each.usage.last,
        )

    def tell(self) -> None:
        """Tells and keeps what the tick has come to."""
        app, now = self._app, self._app.cloud.blobs.now()
        tell(app, {"cleanup": self._needs}, now)
        tell_running(app, self._running, self._unseen, self._began)
        observations.write(app.cloud.blobs, list(self._seen.values()))
        if sizes := {each.size for each in self._running if each.size} - {app.settings.serving.size}:
            refresh(app, sizes)


def _measured(app: App, found: Sequence[ToJudge], policy: Policy, now: datetime) -> list[ToJudge]:
    """The same with their metrics.

    Requests are asked for since the oldest notice. Where that is longer ago than a notice lasts, as in report mode, a
    request before would have ended it then: a long span would have grains that tell no hours.
    """
    start, oldest = now - policy.window, now - policy.window - policy.grace - policy.lag - DAY
    since: dict[str, datetime] = {}
    deployment: dict[str, str] = {}
    for each in found:
        serving, noticed, id_ = each.line.serving, each.line.noticed, each.endpoint.id
        if serving and serving.since <= start:
            since[id_] = max(oldest, min(start, noticed)) if noticed else start
            deployment[id_] = f"{id_}/deployments/{serving.deployment}"
    if not since:
        return list(found)
    requests = app.cloud.metrics.request_series(list(since), min(since.values()), now)
    cpu = app.cloud.metrics.cpu_series(list(deployment.values()), start, now)

    def with_metrics(each: ToJudge) -> ToJudge:
        id_ = each.endpoint.id
        if id_ not in since:
            return each
        of_requests, of_cpu = requests[id_], cpu[deployment[id_]]
        own = of_requests.since(since[id_]) if of_requests else None
        usage = replace(
            each.usage,
            requests=own.sum if own else None,
            busiest=own.busiest_hour if own else 0.0,
            last=own.last if own else None,
            control=of_cpu.control(start) if of_cpu else None,
        )
        return replace(each, usage=usage)

    return [with_metrics(each) for each in found]


def _carry_out(app: App, each: ToJudge, judged: Verdict, now: datetime, *, told_before: bool) -> str:
    """Does what the verdict asks for. Why it is not done, where what is due stays; "" otherwise."""
    line, etag, endpoint, others = each.line, each.etag, each.endpoint, each.others
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
