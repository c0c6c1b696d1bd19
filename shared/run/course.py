"""How a run's job spends its time, as one look at it and at its fine-tune step shows: see lifecycle/course.py.

Steps are asked for only while the job itself says that it runs: one or two requests more.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from shared.app import App
from shared.cloud.jobs import JobView
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient
from shared.lifecycle.course import QUEUEING, Course, FineTune, Limits, after, overdue, submitted, told
from shared.lifecycle.phase import ENDED
from shared.lifecycle.seen import JobSeen
from shared.records.base import FRESH
from shared.records.run import Run

log = logging.getLogger("droptune.run.course")


def limits_of(app: App) -> Limits:
    """What the settings give a job."""
    settings = app.settings.training
    return Limits(training=timedelta(hours=settings.max_hours), queueing=timedelta(hours=settings.max_queue_hours))


def seen_of(app: App, run: Run, job: JobView) -> JobSeen:
    """What a look at the run's job shows of it; `newer` and what is about its data are for others to say."""
    now, limits, known = app.cloud.blobs.now(), limits_of(app), _known(run)
    given_up = known.given_up
    if job.status in (*ENDED, "CancelRequested"):
        return JobSeen(status=job.status, why=job.why, overdue=overdue(known, now, limits), given_up=given_up)
    try:
        course, step = _looked(app, job, known, run.since, now)
        late = overdue(course, now, limits)
    except Transient as error:  # it may train by now, and is not to be ended on a doubt
        log.warning("the steps of job %s can't be seen now: %s", job.name, error)
        course, step = known, None
        late = overdue(known, now, limits) if known.trains else _at_last(run.since, now, limits)
    return JobSeen(
        status=job.status,
        why=job.why,
        turns="" if course == known else "trains" if course.trains else "queues",
        overdue=late,
        given_up=given_up,
        doing=told(course, job.status, step, app.settings.training.gpu_compute, limits),
    )


def noted(app: App, run: Run) -> Run:
    """The run whose record says what its job does since when. Raises Transient."""
    job = app.cloud.jobs.get(run.attempt.job)
    if job is None:
        return run
    course, _ = _looked(app, job, _known(run), run.since, app.cloud.blobs.now())
    return run if course == _known(run) else run.in_attempt(course=course)


def given_up(run: Run, why: str) -> Run:
    """The run whose record says that the end of its job was asked for, and why."""
    return run.in_attempt(course=replace(_known(run), given_up=why))


def trained(app: App, run: Run) -> timedelta:
    """How long the run's job has trained by now: what only queues has not. Raises Transient."""
    now = app.cloud.blobs.now()
    course, most = run.attempt.course, limits_of(app).training
    if course is None or not course.trains:
        job = app.cloud.jobs.get(run.attempt.job)
        if job is None:
            return now - run.since
        if job.status in ENDED:
            return _took(app, run, now)
        course, _ = _looked(app, job, _known(run), run.since, now)
    return min(course.trained_by(now), most)  # hosts that stood still have not trained


def without_record(app: App, job: JobView, now: datetime) -> str:
    """Why a job whose run's record is lost is to be given up; "" where it may go on as it might with its run.

    Raises Transient.
    """
    limits, begun = limits_of(app), job.created
    if begun is None or now - begun <= min(limits.training, limits.queueing):
        return ""
    if why := _at_last(begun, now, limits):
        return why
    course, step = _looked(app, job, submitted(begun), begun, now)
    if step is None:
        course = Course(trains=True, since=begun, alone=True)
    return overdue(course, now, limits)


def _took(app: App, run: Run, now: datetime) -> timedelta:
    """How long a job that has ended trained, by its step where that can be seen."""
    try:
        step = _step(app, run.attempt.job, fresh=False)
    except Transient as error:
        log.warning("run %s: how long its job trained can't be seen: %s", run.id, error)
        step = None
    took = (step.ended or now) - step.began if step and step.began else now - run.since
    return min(max(took, timedelta(0)), limits_of(app).training)


def _known(run: Run) -> Course:
    return run.attempt.course or submitted(run.since)


def _looked(app: App, job: JobView, known: Course, begun: datetime, now: datetime) -> tuple[Course, FineTune | None]:
    if job.status in (*QUEUEING, *ENDED, "CancelRequested"):
        return after(known, job.status, None, now=now, begun=begun), None
    step = _step(app, job.name, fresh=now - begun < FRESH)
    return after(known, job.status, step, now=now, begun=begun), step


def _step(app: App, job: str, *, fresh: bool) -> FineTune | None:
    """The job's fine-tune step; None where none can be seen, for want of rights too. Raises Transient: later.

    One that is `fresh` may show none yet.
    """
    try:
        found = app.cloud.jobs.fine_tune(job)
    except NotFound:
        found = None
    except (Permanent, Conflict, Transient) as error:
        if isinstance(error, Transient) and not (error.shut_out or isinstance(error, Refused)):
            raise
        log.warning("the steps of job %s can't be seen: %s", job, error)
        return None
    return FineTune(status="") if found is None and fresh else found


def _at_last(begun: datetime, now: datetime, limits: Limits) -> str:
    """Why a job is given up whatever can be seen of it: nothing may keep it for ever."""
    if now - begun <= limits.training + limits.queueing:
        return ""
    return "the job took longer than MAX_QUEUE_HOURS and MAX_TRAINING_HOURS together"
