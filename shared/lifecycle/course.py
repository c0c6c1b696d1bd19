"""How a job spends its time: it queues until its fine-tune step runs, and trains from then on. Functions of plain data.

A pipeline job is Running as soon as its first step is, which costs nothing: the fine-tune step may still wait for a GPU
node for hours, and waits again when a node is taken away. So each has a limit of its own, MAX_QUEUE_HOURS and
MAX_TRAINING_HOURS, against which all of such time of a job counts. run/course.py looks, and a run's record keeps its
job's `Course`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.lifecycle.moment import Moment, minute
from shared.lifecycle.phase import ENDED

QUEUEING = ("NotStarted", "Starting", "Provisioning", "Preparing", "Queued")
"""Statuses of a job, or of a step, that does not run yet."""
_RUNNING = ("Running", "Finalizing")
_CLOCKS = timedelta(seconds=5)
"""More than the clocks of a service's machines differ by."""


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """A job's fine-tune step, as Azure ML shows it. `status`: "" as long as the steps before it are not done.

    `began`: when it ran; None where it has not, or nobody says so.
    """

    status: str
    began: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a job may train, and how long it may queue."""

    training: timedelta
    queueing: timedelta


@dataclass(frozen=True, kw_only=True)
class Course:
    """A job that `trains`, or else queues, since `since`; `trained`, `queued`: seconds that it did so before that.

    `alone`: none of its steps can be seen, so that it counts as training while it runs itself. `given_up`: why its end
    was asked for, "" as long as it was not.
    """

    trains: bool = False
    since: Moment
    trained: float = 0
    queued: float = 0
    alone: bool = False
    given_up: str = ""

    def trained_by(self, now: datetime) -> timedelta:
        """How long it has trained in all."""
        return timedelta(seconds=self.trained) + (self._lasts(now) if self.trains else timedelta(0))

    def queued_by(self, now: datetime) -> timedelta:
        """How long it has queued in all."""
        return timedelta(seconds=self.queued) + (timedelta(0) if self.trains else self._lasts(now))

    def until(self, limits: Limits) -> datetime:
        """When it is over, if nothing changes."""
        if self.trains:
            return self.since + limits.training - timedelta(seconds=self.trained)
        return self.since + limits.queueing - timedelta(seconds=self.queued)

    def turned(self, at: datetime, *, trains: bool) -> Course:
        """From `at` on it does the other."""
        trained, queued = self.trained_by(at).total_seconds(), self.queued_by(at).total_seconds()
        return replace(self, trains=trains, since=at, trained=trained, queued=queued)

    def _lasts(self, now: datetime) -> timedelta:
        return max(now - self.since, timedelta(0))


def submitted(at: datetime) -> Course:
    """The course of a job of which nothing is known but that it was submitted then."""
    return Course(since=at)


def after(known: Course, status: str, step: FineTune | None, *, now: datetime, begun: datetime) -> Course:
    """The job's course after a look at it, and at its fine-tune step; `step`: None where no step can be seen.

    `known`: its course by the record, or else as it was submitted at `begun`. What neither runs nor queues as far as
    anybody can say (NotResponding, a status that nobody knows) goes on as it did.
    """
    if status in (*ENDED, "CancelRequested"):
        return known
    if status in QUEUEING:
        return _queueing(known, None, now)
    if step is None:
        first = known == submitted(begun) and status in _RUNNING
        return replace(known.turned(now, trains=True), alone=True) if first else known
    if known.alone:
        known = replace(submitted(begun), given_up=known.given_up)
    if status == "Paused" or step.status in ("", "Paused", *QUEUEING):
        return _queueing(known, step.began, now)
    if known.trains or (step.began is None and step.status not in (*_RUNNING, *ENDED)):
        return known
    began = step.began or now
    if began <= known.since + _CLOCKS and known != submitted(begun):  # of before it queued again
        began = now
    return known.turned(min(max(began, known.since), now), trains=True)


def _queueing(known: Course, began: datetime | None, now: datetime) -> Course:
    """The same, of a job that queues now; `began`: when it ran since it was last seen to queue, if it did."""
    if not known.trains and began and known.since + _CLOCKS < began < now:
        known = known.turned(began, trains=True)
    return replace(known.turned(now, trains=False), alone=False) if known.trains else known


def overdue(course: Course, now: datetime, limits: Limits) -> str:
    """Why the job is to be given up, "" where it is not. One that trains by now is not for having queued."""
    if course.trained_by(now) > limits.training:
        counts = "; none of its steps could be seen, so that time in which they queued counts" if course.alone else ""
        return f"the job took longer than MAX_TRAINING_HOURS ({_hours(limits.training)}){counts}"
    if not course.trains and course.queued_by(now) > limits.queueing:
        return f"the job's fine-tune step did not run within MAX_QUEUE_HOURS ({_hours(limits.queueing)})"
    return ""


def told(course: Course, status: str, step: FineTune | None, cluster: str, limits: Limits) -> str:
    """What a job that has not ended is waited for, since when and until when at most, in words."""
    does, limit = ("trains", "MAX_TRAINING_HOURS") if course.trains else ("queues", "MAX_QUEUE_HOURS")
    lasts = f"it {does} since {minute(course.since)}, and may until {minute(course.until(limits))} ({limit})"
    alone = "; none of its steps can be seen, so that time in which they queue counts too" if course.alone else ""
    return f"{_wanted(course, status, step, cluster)}: {lasts}{alone}"


def _wanted(course: Course, status: str, step: FineTune | None, cluster: str) -> str:
    shown = step.status if step else ""
    if "Paused" in (status, shown):
        return "somebody to resume the job, which is Paused in Azure ML"
    if "NotResponding" in (status, shown):
        return "the job to respond again, which is NotResponding in Azure ML"
    if status not in (*QUEUEING, *_RUNNING):
        return f"the job to end, which is {status or 'of no status'} in Azure ML"
    if course.trains:
        return "the job to end"
    if status in QUEUEING:
        return f"the job to run, which is {status} in Azure ML"
    if shown:
        return f"a node of cluster {cluster} for the fine-tune step, which is {shown} in Azure ML"
    return "the fine-tune step to run, after those before it"


def _hours(limit: timedelta) -> str:
    return f"{limit / timedelta(hours=1):.0f} hours"
