"""The older run of its line that a newer one meets when it is ready to train: what it sees of it, and whether it waits.

Asked by the look of a run in PREPARED, and once more by the action that would end a job.
"""

from __future__ import annotations

from shared import naming
from shared.app import App
from shared.lifecycle.giving_way import Older, behind
from shared.lifecycle.phase import ENDED, ROLLOUT, Phase
from shared.line.trained import content_of
from shared.records.line import Line, serves_same
from shared.records.run import Run
from shared.records.store import Unreadable
from shared.run import course, slots


def met(app: App, run: Run, line: Line) -> Older | None:
    """The line's newest run, if it is older than this one and works. Raises Transient.

    One that is parked works as long as its job runs, or a model of it is there: both are paid for. One whose record
    can't be read does until somebody has seen to that, and one whose record is lost while a job of it runs.
    """
    newest = line.newest
    if newest is None or newest.order >= run.order:
        return None
    try:
        loaded = app.runs.load(newest.run)
    except Unreadable as error:
        # What is over has no marker: nothing is at stake, and nobody is told of it.
        return Older(run=newest.run, unknown=str(error)) if app.runs.is_marked(newest.run) else None
    if loaded is None:
        job = _job_of_lost(app, newest.run)
        why = f"its record is lost, and job {job} runs: droptune recover makes the record again"
        return Older(run=newest.run, unknown=why) if job else None
    if loaded.record.phase.ended:
        return None
    other = loaded.record
    lost = other.ending is not None and other.ending.phase is not Phase.LIVE
    trains = other.phase is Phase.TRAINING and other.ending is None
    rolls_out = other.phase in ROLLOUT and not lost
    made = rolls_out
    if other.parked and not other.ending and other.phase in (Phase.PREPARED, Phase.TRAINING):
        other, status = _with_job(app, other)
        trains, made = bool(status) and status not in ENDED, status == "Completed"
    return Older(
        run=other.id,
        same=not lost and _makes_the_same(other, run) and (trains or made or not other.parked),
        trains=trains,
        ran=course.trained(app, other).total_seconds() if trains else 0,
        rolls_out=rolls_out,
        parked=other.parked is not None,
    )


def _with_job(app: App, run: Run) -> tuple[Run, str]:
    """The run that knows its job, which its record need not do, and that job's status; "" where there is none.

    One 404 of Azure's is not believed.
    """
    name = naming.job_name(run.id, run.attempt.number)
    job = app.cloud.jobs.get(name) or app.cloud.jobs.get(name)
    return (run.in_attempt(job=name), job.status) if job else (run, "")


def _job_of_lost(app: App, run_id: str) -> str:
    """The job that runs for a run whose record is lost, "" where none does: the one of its last attempt."""
    number, last = 1, None
    while job := app.cloud.jobs.get(naming.job_name(run_id, number)):
        number, last = number + 1, job
    return last.name if last and last.status not in ENDED else ""


def waits_for(app: App, run: Run, line: Line) -> str:
    """What the run waits for before it trains, in words; "" where it may go on."""
    older = met(app, run, line)
    gets_slot = older is None or slots.would_get(app, run.id, older.run)
    return behind(older, line.pace, gets_slot=gets_slot, back=serves_same(line, run))


def _makes_the_same(other: Run, run: Run) -> bool:
    """Whether both are of the same content and finetune.yaml.

    Of data that a job has yet to read, the MD5s of their files say it.
    """
    same = bool(run.attempt.fingerprint) and other.attempt.fingerprint == run.attempt.fingerprint
    same = same or (bool(content := content_of(run.source)) and content_of(other.source) == content)
    return same and other.source.promotion == run.source.promotion
