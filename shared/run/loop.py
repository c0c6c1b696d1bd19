"""The loop that takes a run forward: load, look, decide, claim, act, save.

Called by `prepare_dataset` and `advance_run` for every message in their queues. What a phase means is decided
elsewhere: `observe.OBSERVE` shows it, `next_step` in lifecycle/rules.py decides, `actions.ACTIONS` does it. Every save
is under If-Match, so of two who work on a run at once one stops at its next save; a crash leaves a claim that runs out,
and names that are derived make doing it again harmless (all of that in `turn`). An end is decided once, saved, and then
carried out until nothing is left.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from shared.app import App, arm, queue_of, wake
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient
from shared.lifecycle.phase import PAID, Hold, Phase, refused
from shared.lifecycle.rules import Do, Go, Poll, Step, Stop, Wait, next_step
from shared.line import seats
from shared.line.access import serves
from shared.records.base import CLOCKS, Wake
from shared.records.run import Ending, Run, Waiting
from shared.records.store import readable
from shared.run.actions import ACTIONS
from shared.run.actions.rollout import Postponed
from shared.run.ending import release
from shared.run.observe import OBSERVE
from shared.run.slots import not_started
from shared.run.turn import Turn
from shared.run.waits import given_up

log = logging.getLogger("droptune.run.loop")

STEPS_AT_MOST = 20
POLL_AT_MOST = timedelta(minutes=5)
CRASHES_AT_MOST = 5


def advance(app: App, run_id: str, token: str | None) -> None:
    """Takes the run as far as it goes now. Raises Transient when storage fails, else only what is a bug."""
    loaded = app.runs.load(run_id)
    if loaded is None:
        log.warning("run %s does not exist: nothing to advance", run_id)
        return
    run, etag = loaded
    if run.phase.ended:
        turn = Turn(app, run, etag)
        turn.close()
        _retire(app, turn.run)
        return
    if token is not None and (run.wake is None or run.wake.token != token):
        log.info("run %s: a stale timer, dropped", run_id)
        return
    now = app.cloud.blobs.now()
    if run.claim and run.claim.until > now:
        wake(app, run, after=run.claim.until - now + timedelta(seconds=1), token=token)
        return
    taken = run.taken_up(now)
    timer = taken.wake
    if timer and token is not None:
        # Its time has come, whatever the clocks say. The token stays: should this end in a crash or a bug, the same
        # message comes again, is not taken for a stale one, and is counted. What is due only now might be taken for a
        # timer that is yet to come, and none be armed.
        timer = replace(timer, due=min(timer.due, now - CLOCKS))
    try:
        turn = Turn(app, run, etag)
        turn.run = replace(turn.run, wake=timer, attempt=taken.attempt, parked=None)
        _advance(app, turn)
    except Conflict:
        log.info("run %s: somebody else was faster", run_id)
        _look_again(app, run_id, timedelta(seconds=5))
    except Transient as error:
        log.info("run %s: %s; again in %s", run_id, error, error.after)
        _look_again(app, run_id, error.after)


def _advance(app: App, turn: Turn) -> None:
    queue, done = queue_of(turn.run.phase), None
    for _ in range(STEPS_AT_MOST):
        run = turn.run
        if run.ending:
            _finish(app, turn)
            return
        step = _decide(app, run)
        if step == done:
            step = Poll(f"what it has just done to show: it {done.action.done}")
        log.info("run %s is %s: %s", run.id, run.phase, step)
        match step:
            case Wait(seconds, why, hold, wakes, refused):
                if other := readable(app.runs, wakes) if wakes else None:
                    wake(app, other.record)
                after = None if seconds is None else timedelta(seconds=seconds)
                _sleep(app, turn, after, why, hold, refused=refused)
                return
            case Poll(why):
                _sleep(app, turn, _backed_off(app, run), why)
                return
            case Stop(phase, why):
                turn.save(replace(run, ending=Ending(phase=phase, why=why), claim=None))
            case Go(phase):
                turn.save(run.noted(app.cloud.blobs.now(), f"on to {phase}", phase=phase, claim=None))
            case Do():
                if not _act(app, turn, step):
                    return
                done = step
        if queue_of(turn.run.phase) != queue and not turn.run.ending:
            break
    turn.close()
    wake(app, turn.run)


def _decide(app: App, run: Run) -> Step:
    try:
        return next_step(run.phase, OBSERVE[run.phase](app, run))
    except Transient as error:
        return Wait(error.after.total_seconds(), str(error), refused=isinstance(error, Refused))
    except (Permanent, NotFound) as error:
        return Poll(str(error)) if run.phase in PAID else Stop(refused(run.phase), str(error))


def _act(app: App, turn: Turn, step: Do) -> bool:
    """Claims, acts, saves. Whether the run can go on now."""
    run = turn.run
    crashes = run.crashes + 1 if run.claim else 0
    if crashes > CRASHES_AT_MOST:
        why = f"{step.action.doing} was begun {crashes} times and never came to an end: see the log"
        log.error("run %s is parked: %s", run.id, why)
        ending = given_up(app, run, why)
        turn.save(replace(run, ending=ending, claim=None) if ending else run.park(app.cloud.blobs.now(), why))
        turn.close()
        return ending is not None
    turn.run = replace(run, crashes=crashes)
    try:
        with turn.claimed(step.action):
            changed = ACTIONS[step.action](app, turn.run)
    except Transient as error:
        if isinstance(error, Postponed):
            turn.run = error.keep(turn.run)
        if error.scarce:
            return _without_machines(app, turn, step, error)
        _sleep(app, turn, error.after, f"{step.action.doing}: {error}", refused=isinstance(error, Refused))
        return False
    except (Permanent, NotFound) as error:
        turn.save(
            replace(turn.run, ending=Ending(phase=refused(run.phase), why=f"{step.action.doing}: {error}"), claim=None)
        )
        return True
    except Conflict:
        raise
    except Exception:
        # A bug: the claim goes, so that the same message comes again, is counted, and ends in the poison queue.
        with suppress(Conflict, Transient, Permanent):
            turn.save(replace(turn.run, claim=None))
        raise
    if turn.run.ending:  # a person has cancelled it meanwhile
        changed = replace(changed, ending=turn.run.ending, history=turn.run.history)
    changed = replace(changed, claim=None, crashes=0, refused=None)
    turn.save(changed.noted(app.cloud.blobs.now(), step.action.done, phase=step.then))
    return True


def _without_machines(app: App, turn: Turn, step: Do, error: Transient) -> bool:
    """Counts that Azure has refused the step for want of machines. Whether the run can go on now: to its end.

    What is DEPLOYING has had a deployment that failed and was removed: it is made again, not missed. What was to train
    has no slot meanwhile: others may have machines of another size.
    """
    again = turn.run.phase is Phase.DEPLOYING
    run = turn.run.without_machines(app.cloud.blobs.now(), str(error), standing=again)
    scarce = run.attempt.scarce
    if scarce and scarce.over:
        ending = Ending(phase=refused(run.phase), why=f"{step.action.doing}: {scarce.ended}")
        turn.save(replace(run, ending=ending, claim=None))
        return True
    if run.phase is Phase.PREPARED:
        not_started(app, run)
    turn.run = run
    _sleep(app, turn, error.after, f"{step.action.doing}: {scarce.waits if scarce else error}", hold="quota")
    return False


def _finish(app: App, turn: Turn) -> None:
    """Carries an end out: what the run should not keep goes, then it has ended. Looks again until nothing is left."""
    run, ending = turn.run, turn.run.ending
    if ending is None:
        raise ValueError(f"run {run.id} is not ending")
    if ending.phase is Phase.CANCELLED and serves(app, run):
        ending = Ending(phase=Phase.LIVE, why="it served already when it was to be cancelled")
        turn.save(replace(run, ending=ending))
        run = turn.run
    try:
        left = release(app, run)
        if not left and run.phase is not Phase.RECEIVED:
            seats.leave(app, run)
    except Transient as error:
        _sleep(app, turn, error.after, f"ending it: {error}", refused=isinstance(error, Refused))
        return
    except (Permanent, NotFound) as error:
        log.exception("run %s can't end, and holds on to what it has", run.id)
        _sleep(app, turn, POLL_AT_MOST, f"ending it: {error}")
        return
    if left:
        _sleep(app, turn, _backed_off(app, run), left)
        return
    turn.save(run.noted(app.cloud.blobs.now(), ending.why, phase=ending.phase, claim=None, wake=None))
    turn.close()
    _retire(app, turn.run)
    log.info("run %s ended as %s: %s", run.id, ending.phase, ending.why)


def _retire(app: App, run: Run) -> None:
    """The run is not looked at any more, unless the topic has still to be told of it: the sweep wakes it then."""
    if not run.outbox:
        app.runs.retire(run.id)


def _sleep(app: App, turn: Turn, after: timedelta | None, why: str, hold: Hold = "", *, refused: bool = False) -> None:
    """Saves what the run waits for; arms its timer unless one is live already, or none is wanted (`after` is None).

    `refused`: only a person ends it, who is told. It ends here if it has waited for too long: it has just tried again.
    """
    now = app.cloud.blobs.now()
    if ending := given_up(app, turn.run, why, hold):
        turn.save(replace(turn.run, ending=ending, claim=None, crashes=0))
        turn.close()
        wake(app, turn.run)
        return
    run = turn.run.refuse(now, why) if refused else turn.run
    timer = _live(run, now)
    waiting = replace(run, waiting=Waiting(why=why, hold=hold), claim=None, wake=timer, crashes=0)
    if after is None:
        turn.save(replace(waiting, wake=None))
    elif timer is None or timer.due > now + after + CLOCKS:
        arm(app, waiting, now + after, turn.save)
    else:
        turn.save(waiting)
    turn.close()


def _look_again(app: App, run_id: str, after: timedelta) -> None:
    """Arms the run's timer after somebody else, or storage, came in between."""
    loaded = app.runs.load(run_id)
    if loaded is None or loaded.record.phase.ended:
        return
    run, etag = loaded
    now = app.cloud.blobs.now()
    if run.claim and run.claim.until > now:  # the winner is at work: its record must not change under its hands
        wake(app, run, after=run.claim.until - now + timedelta(seconds=1))
        return
    if _live(run, now):
        return
    with suppress(Conflict):  # whoever was faster again arms it
        arm(app, run, now + after, lambda armed: app.runs.save(armed, etag, before=run))


def _live(run: Run, now: datetime) -> Wake | None:
    return run.wake if run.wake and run.wake.due > now else None


def _backed_off(app: App, run: Run) -> timedelta:
    waited = app.cloud.blobs.now() - run.since
    return min(max(app.settings.rollout.poll_interval, waited / 4), POLL_AT_MOST)
