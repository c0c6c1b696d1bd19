"""What a look makes of a job or a deployment that Azure had no machines for: it is tried again, within limits.

Pure, but for the steps of a job that has failed: money is spent once more only where none was. The limits and the words
are those of lifecycle/again.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from shared.app import App
from shared.cloud.endpoints import Deployment
from shared.cloud.jobs import JobView
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.lifecycle.again import after, no_machines
from shared.lifecycle.phase import Phase
from shared.lifecycle.seen import DeploymentSeen, JobSeen
from shared.naming import made_for
from shared.records.run import Run


def deployment(run: Run, found: Deployment | None, now: datetime) -> DeploymentSeen | None:
    """What is next for a deployment that Azure had no machines for; None for any other."""
    scarce = run.attempt.scarce
    if found is not None and not _is_own(run, found):
        return None
    failed = found is not None and found.state == "Failed"
    why = found.why if found else ""
    if scarce is None or not scarce.standing:
        return _new(run, why, now) if failed and no_machines(why) else None
    if found is None:
        wait = scarce.due_in(now)
        if wait > 0:
            return DeploymentSeen(state=None, again_in=wait, waits=scarce.waits)
        return DeploymentSeen(state=None, again="deploy")
    if failed and scarce.over:
        return DeploymentSeen(state="Failed", why=scarce.ended)
    if failed:
        return DeploymentSeen(state="Failed", why=why, again="remove")
    if found.state == "Deleting":
        return DeploymentSeen(state=found.state)
    return DeploymentSeen(state=found.state, again="deploy")  # it was asked for, and a crash came before the record


def _is_own(run: Run, found: Deployment) -> bool:
    made = made_for(found.name, found.tags)
    return made is not None and made.line == run.line and made.installation == run.installation


def _new(run: Run, why: str, now: datetime) -> DeploymentSeen:
    known = after(run.attempt.scarce, now, why)
    return DeploymentSeen(state="Failed", why=known.ended if known.over else why, again="" if known.over else "note")


def begun(run: Run) -> datetime:
    """Since when its phase's time counts; each deployment has its own, where Azure had no machines for one before."""
    scarce = run.attempt.scarce if run.phase is Phase.DEPLOYING else None
    return max(run.begun, scarce.at) if scarce else run.begun


def awaited(run: Run, now: datetime) -> str:
    """What the run waits for before it submits another job, in words; "" if for nothing."""
    scarce = run.attempt.scarce
    return scarce.waits if scarce and scarce.due_in(now) > 0 else ""


def job(app: App, run: Run, found: JobView, seen: JobSeen) -> JobSeen:
    """The same look, with whether another job may be submitted in the place of one that Azure had no machines for.

    Not once its fine-tune step has run, which is paid for. Nor where that can't be read.
    """
    if found.status != "Failed" or not no_machines(found.why):
        return seen
    if _has_trained(app, run, found.name):
        return seen
    known = after(run.attempt.scarce, app.cloud.blobs.now(), found.why)
    return replace(seen, why=known.ended) if known.over else replace(seen, again=True)


def _has_trained(app: App, run: Run, job: str) -> bool:
    if run.attempt.course and (run.attempt.course.trains or run.attempt.course.trained):
        return True
    try:
        step = app.cloud.jobs.fine_tune(job)
    except (Conflict, NotFound, Permanent, Transient):
        return True
    return step is not None and step.began is not None
