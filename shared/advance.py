"""The loop that takes a run forward: load, look, decide, claim, act, save.

Called by `prepare_dataset` and `advance_run` for every message in their queues. Nothing here knows what a phase means:
`looks.OBSERVE` shows it, `lifecycle.next_step` decides, `effects.ACTIONS` does it. Every save is under If-Match, so of
two who work on a run at once one stops at its next save; a crash leaves a claim that runs out, and names that are
derived make doing it again harmless.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from shared.app import App
from shared.effects import ACTIONS, release
from shared.errors import Conflict, Permanent, Transient
from shared.lifecycle import Do, Go, Phase, Poll, Step, Stop, Wait, next_step
from shared.looks import OBSERVE
from shared.records import Claim, Run, Wake
from shared.timers import queue_of, wake

log = logging.getLogger("droptune.advance")

STEPS_AT_MOST = 12
CLAIM = timedelta(minutes=3)
LONG_CLAIM = timedelta(minutes=60)
LONG_WORK = "prepare"
WAIT_AT_MOST = timedelta(minutes=5)


def advance(app: App, run_id: str, token: str | None) -> None:
    """Takes the run as far as it goes now. Raises only what is a bug, for the queue to retry and then to poison."""
    loaded = app.runs.load(run_id)
    if loaded is None:
        log.warning("run %s does not exist: nothing to advance", run_id)
        return
    run, etag = loaded
    if run.phase.ended:
        app.runs.retire(run.id)
        return
    if token is not None and (run.wake is None or run.wake.token != token):
        log.info("run %s: a stale timer, dropped", run_id)
        return
    now = app.cloud.blobs.now()
    if run.claim and run.claim.until > now:
        wake(app, run, after=run.claim.until - now + timedelta(seconds=1), token=token)
        return
    try:
        _advance(app, run, etag, came_by_timer=token is not None)
    except Conflict:
        log.info("run %s: somebody else was faster", run_id)
        wake(app, run, after=timedelta(seconds=5))
    except Transient as error:
        log.info("run %s: %s; again in %s", run_id, error, error.after)
        wake(app, run, after=error.after, token=token)


def _advance(app: App, run: Run, etag: str, *, came_by_timer: bool) -> None:
    queue = queue_of(run.phase)
    for _ in range(STEPS_AT_MOST):
        step = _decide(app, run)
        now = app.cloud.blobs.now()
        log.info("run %s is %s: %s", run.id, run.phase, step)
        match step:
            case Wait(seconds, why):
                after = None if seconds is None else timedelta(seconds=seconds)
                _sleep(app, run, etag, after, why, came_by_timer=came_by_timer)
                return
            case Poll(why):
                backed_off = max(app.settings.poll_interval, (now - run.since) / 4)
                _sleep(app, run, etag, backed_off, why, came_by_timer=came_by_timer)
                return
            case Stop(phase, why):
                _end(app, replace(run, claim=None, wake=None, reason=why), etag, phase, why, now)
                return
            case Go(phase):
                run = run.told(now, f"on to {phase}", phase=phase, claim=None)
                etag = app.runs.save(run, etag)
                app.announce(run)
            case Do(action, then):
                outcome = _act(app, run, etag, action, then, now, came_by_timer=came_by_timer)
                if outcome is None:
                    return
                run, etag = outcome
        if queue_of(run.phase) != queue:
            wake(app, run)
            return
    wake(app, run)


def _decide(app: App, run: Run) -> Step:
    try:
        return next_step(run.phase, OBSERVE[run.phase](app, run))
    except Transient as error:
        return Wait(error.after.total_seconds(), str(error))
    except Permanent as error:
        return Stop(Phase.FAILED, str(error))


def _act(
    app: App, run: Run, etag: str, action: str, then: Phase, now: datetime, *, came_by_timer: bool
) -> tuple[Run, str] | None:
    """Claims, acts, saves. None when the run can't go on now."""
    patience = LONG_CLAIM if action == LONG_WORK else CLAIM
    run = replace(run, claim=Claim(action=action, until=now + patience), waiting="")
    etag = app.runs.save(run, etag)
    try:
        changed = ACTIONS[action](app, run)
    except Transient as error:
        _sleep(app, run, etag, error.after, f"{action}: {error}", came_by_timer=came_by_timer)
        return None
    except Permanent as error:
        why = f"{action}: {error}"
        _end(app, replace(run, claim=None, wake=None, reason=why), etag, Phase.FAILED, why, app.cloud.blobs.now())
        return None
    now = app.cloud.blobs.now()
    changed = replace(changed, claim=None)
    if then.ended:
        _end(app, replace(changed, wake=None), etag, then, changed.reason or action, now)
        return None
    changed = changed.told(now, action, phase=then)
    etag = app.runs.save(changed, etag)
    if then != run.phase:
        app.announce(changed)
    return changed, etag


def _sleep(app: App, run: Run, etag: str, after: timedelta | None, why: str, *, came_by_timer: bool) -> None:
    """Saves what the run waits for; arms its timer unless one is live already, or none is wanted (`after` is None)."""
    now = app.cloud.blobs.now()
    asleep = replace(run, waiting=why, claim=None)
    if after is None:
        asleep = replace(asleep, wake=None)
    elif came_by_timer or run.wake is None or run.wake.due <= now:
        after = min(after, WAIT_AT_MOST)
        asleep = replace(asleep, wake=Wake(token=uuid4().hex, due=now + after))
    if asleep == run:
        return
    app.runs.save(asleep, etag)
    if after is not None and asleep.wake and asleep.wake != run.wake:
        wake(app, asleep, after=after, token=asleep.wake.token)


def _end(app: App, run: Run, etag: str, phase: Phase, why: str, now: datetime) -> None:
    """The run's last save. Its line is let go first, so that a crash in between leaves a run that ends again."""
    release(app, run)
    run = run.told(now, why, phase=phase)
    app.runs.save(run, etag)
    app.runs.retire(run.id)
    app.announce(run)
    log.info("run %s ended as %s: %s", run.id, phase, why)
