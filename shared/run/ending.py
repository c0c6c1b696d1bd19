"""What every end of a run does: what it holds and should not keep is let go.

Called by the loop again and again until nothing is left; each call looks first, so that a crash in between does no
harm.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from shared import naming
from shared.app import App, arm, wake
from shared.cloud.endpoints import Deployment
from shared.errors import NotFound, Permanent, Refused, Transient
from shared.intake.arrivals import look_into
from shared.lifecycle.phase import ENDED, Phase
from shared.line import metering
from shared.line.access import save_line, tell_line
from shared.line.teardown import Undeletable, stuck, words
from shared.money.ledger import Cause
from shared.records import layout
from shared.records.layout import STATE
from shared.records.line import TRIED_AGAIN, Line, Newest, Retiring
from shared.records.owner import is_endpoint_of, is_of_run, is_on_line
from shared.records.run import Run
from shared.records.store import readable
from shared.run import older
from shared.run.restore import again
from shared.run.slots import free_slot

log = logging.getLogger("droptune.run.ending")


def release(app: App, run: Run) -> str:
    """What every end does: job, deployment and line are let go. Says what is still to be waited for, "" when nothing.

    Goes by the names that the run's job and deployment have, whether or not the record knows that they were made.
    """
    if run.phase in (Phase.PREPARED, Phase.TRAINING):
        job = app.cloud.jobs.get(naming.job_name(run.id, run.attempt.number))
        if job and not is_of_run(run, job.name, job.tags):
            log.warning("job %s is left alone: its tags say that it is somebody else's", job.name)
            job = None
        if job and job.status not in ENDED:
            app.cloud.jobs.cancel(job.name)
            return "the job, which is being cancelled"
        if job is None and run.phase is Phase.TRAINING and run.is_fresh(app.cloud.blobs.now()):
            return "the job to be seen"  # or to be missed for good: it was submitted just now, and costs money
        free_slot(app, run)
    _followed(app, run)
    loaded = app.lines.load(run.line)
    if loaded and (freed := _without(loaded.record, run)) != loaded.record:
        save_line(app, freed, loaded.etag)
        if freed.waits:
            _wake_if(app, freed.waits, Phase.PREPARED)
        loaded = app.lines.load(run.line)
    if loaded is None:
        return ""
    line, etag = loaded
    if run.ending and run.ending.phase is Phase.UNCHANGED:
        _take_for_newest(app, run, line, etag)
        return ""
    if line.rollout != run.id:
        return ""
    if line.serving and line.serving.run == run.id:
        _let_go(app, line, run, etag)
        return ""
    now = app.cloud.blobs.now()
    try:
        if left := _remove_own(app, run, line):
            return left
    except Undeletable as error:
        line = _kept(line, error, now)
    back = _brought_back(app, line, run)
    # What is brought back has the line at once: nothing that waits, for a pin perhaps, comes between.
    free = replace(line, rollout=back.id if back else "")
    # What serves on is not to be deleted any more.
    free = free.allow([line.serving.deployment]) if line.serving else free.without_serving(now)
    if free.refused:
        arm(app, free, now + TRIED_AGAIN, lambda line: tell_line(app, line, etag))
    else:
        save_line(app, free, etag)
    if back:
        wake(app, back)
    else:
        _wake_next(app, line, run)
    return ""


def _followed(app: App, run: Run) -> None:
    """Sees to it that the folder as it stands now has its run, where this one was of an earlier state.

    Not each change raises an event: an append does not.
    """
    early = run.phase in (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING)
    if early and run.ending and run.ending.phase is Phase.SUPERSEDED:
        look_into(app, run.source.folder)


def _without(line: Line, run: Run) -> Line:
    """The line in which the run is neither the newest nor the one that waits, so that an older one may be tried again.

    One that goes live stays the newest.
    """
    if line.waits and line.waits.run == run.id:
        line = replace(line, waits=None)
    if run.ending is None or run.ending.phase is Phase.LIVE or not (line.newest and line.newest.run == run.id):
        return line
    return replace(line, newest=None)


def _kept(line: Line, error: Undeletable, now: datetime) -> Line:
    """The line with what the run leaves there, since Azure does not let it be deleted: it retires, and is tried again.

    The run itself ends, and its line is free for the next one.
    """
    known = {each.deployment for each in line.retiring}
    left = tuple(Retiring(deployment=name, model="", until=now) for name in error.why if name not in known)
    return stuck(replace(line, retiring=(*line.retiring, *left)), error.why, now)


def _brought_back(app: App, line: Line, run: Run) -> Run | None:
    """The run that serves again what went away for this one, which failed; None where there is nothing like that.

    One that failed to do so before, after an earlier attempt of this run, makes another attempt.
    """
    latest = line.latest
    if line.serving or latest is None or run.source.promotion.strategy != "replace":
        return None
    if line.displaced != latest or latest.model == run.attempt.model:
        return None  # it was torn down before, for other reasons; or it is the one that could not be brought back
    back = again(app, line, latest, latest, f"brought back, since run {run.id} did not go live")
    back = back.in_attempt(kept=run.attempt.kept)  # as what went away was; nothing serves any more that says it
    known = app.runs.load(back.id)
    if known and known.record.phase.ended:
        before, etag = known
        number = before.attempt.number + 1
        back = replace(back.in_attempt(number=number), history=(*before.history, *back.history))
        app.runs.reopen(back, etag)
    else:
        app.runs.create(back)  # False: this is done again, after a crash
    return back


def _let_go(app: App, line: Line, run: Run, etag: str) -> None:
    """The line is free for others; its timer ends the grace of what served before."""
    free = replace(line, rollout="")
    if line.retiring:
        arm(app, free, min(each.until for each in line.retiring), lambda line: save_line(app, line, etag))
    else:
        save_line(app, free, etag)
    _wake_next(app, line, run)


def _wake_next(app: App, line: Line, run: Run) -> None:
    """Wakes those who wait for the end of this one's rollout, if there are any; others, or a crash: their timers."""
    if line.newest and line.newest.run != run.id:
        _wake_if(app, line.newest, Phase.REGISTERED)
    if line.waits:
        _wake_if(app, line.waits, Phase.PREPARED)


def _wake_if(app: App, newest: Newest, phase: Phase) -> None:
    """Wakes the run if it is in that phase."""
    if (loaded := readable(app.runs, newest.run)) and loaded.record.phase is phase:
        wake(app, loaded.record)


def _take_for_newest(app: App, run: Run, line: Line, etag: str) -> None:
    """The line serves what this run would have made: a run between the two must not take its place, and is woken."""
    if line.serving and line.serving.fingerprint == run.attempt.fingerprint and line.serving.order < run.order:
        serving = replace(line.serving, order=run.order)
        ends = older.met(app, run, line)
        pace = line.pace.after_giving_way() if ends and ends.trains else line.pace
        save_line(app, replace(line, serving=serving, latest=serving, pace=pace), etag)
        if ends and line.newest:
            _wake_if(app, line.newest, Phase.TRAINING)


def _remove_own(app: App, run: Run, line: Line) -> str:
    """Takes the run's deployment out of the traffic, which goes back to what served, keeps its log, and deletes it."""
    endpoints, name = app.cloud.endpoints, _own(run)
    deployment, endpoint = endpoints.deployment(line.endpoint, name), endpoints.get(line.endpoint)
    if deployment is None:
        unseen = run.phase is Phase.DEPLOYING and run.is_fresh(app.cloud.blobs.now())
        if unseen and app.cloud.blobs.head(STATE, layout.log_of(name)) is None:  # else it was seen, and is deleted
            return "the deployment to be seen"  # as for a job
        return ""
    if endpoint is None or not is_endpoint_of(line, endpoint.name, endpoint.tags):
        return ""
    if not is_on_line(line, name, deployment.tags):
        return ""
    if endpoint.uses(name):
        before = endpoints.deployment(line.endpoint, line.serving.deployment) if line.serving else None
        if before and before.state in ("Creating", "Updating"):  # no traffic for anybody would be an outage
            return f"deployment {before.name}, which served before and is {before.state}"
        _give_back(app, line.endpoint, name, before)
        return "the deployment, which is being taken out of the traffic"
    if deployment.state == "Creating":
        return "the deployment, which can't be deleted before it is made"
    if deployment.state != "Deleting":
        _keep_log(app, line.endpoint, name)
        try:
            cancelled = run.ending is not None and run.ending.phase is Phase.CANCELLED
            why = run.ending.why if run.ending else ""
            metering.remove(app, line, deployment, Cause.STOPPED if cancelled else Cause.FAILED, why)
        except (Refused, Permanent) as error:
            why = words(error, endpoint=line.endpoint, deployment=name)
            raise Undeletable({name: why}, [name]) from error
    return "the deployment, which is being deleted"


def _own(run: Run) -> str:
    """The run's deployment, whether or not its record knows that it was made."""
    if run.attempt.deployed:
        return run.attempt.deployed.name
    return naming.deployment_name(run.id, run.attempt.number)


def _give_back(app: App, endpoint: str, name: str, before: Deployment | None) -> None:
    """The traffic of `name` to what served before; where that is gone, or Azure takes it for broken, to who else has.

    Nobody gets any where there is none.
    """
    if before and before.state != "Deleting":
        try:
            app.cloud.endpoints.move_traffic(endpoint, [name], before.name)
        except Permanent:
            log.exception("deployment %s/%s served before, and gets no traffic any more", endpoint, before.name)
        else:
            return
    app.cloud.endpoints.move_traffic(endpoint, [name])


def _keep_log(app: App, endpoint: str, deployment: str) -> None:
    try:
        text = app.cloud.endpoints.logs(endpoint, deployment)
    except (NotFound, Permanent, Transient) as error:
        text = f"The log could not be read: {error}\n"
    app.cloud.blobs.write(STATE, layout.log_of(deployment), text.encode())
