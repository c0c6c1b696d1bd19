"""The older run of its line that a newer one meets when it is ready to train: what it sees of it, and whether it waits.

Asked by the look of a run in PREPARED, and once more by the action that would end a job.
"""

from __future__ import annotations

from shared.app import App
from shared.lifecycle.giving_way import Older, behind
from shared.lifecycle.phase import ROLLOUT, Phase
from shared.records.line import Line, serves_same
from shared.records.run import Run
from shared.records.store import readable
from shared.run import course, slots


def met(app: App, run: Run, line: Line) -> Older | None:
    """The line's newest run, if it is older than this one and works. None as well where its record can't be read."""
    newest = line.newest
    loaded = readable(app.runs, newest.run) if newest and newest.order < run.order else None
    if loaded is None or loaded.record.phase.ended:
        return None
    other = loaded.record
    lost = other.ending is not None and other.ending.phase is not Phase.LIVE
    trains = other.phase is Phase.TRAINING and other.ending is None
    return Older(
        run=other.id,
        same=not lost and _makes_the_same(other, run),
        trains=trains,
        ran=course.trained(app, other).total_seconds() if trains else 0,
        rolls_out=other.phase in ROLLOUT and not lost,
        parked=other.parked is not None,
    )


def waits_for(app: App, run: Run, line: Line) -> str:
    """What the run waits for before it trains, in words; "" where it may go on."""
    older = met(app, run, line)
    gets_slot = older is None or slots.would_get(app, run.id, older.run)
    return behind(older, line.pace, gets_slot=gets_slot, back=serves_same(line, run))


def _makes_the_same(other: Run, run: Run) -> bool:
    """Whether both are of the same content and finetune.yaml. Nobody knows it of data that a job has yet to read."""
    same = bool(run.attempt.fingerprint) and other.attempt.fingerprint == run.attempt.fingerprint
    return same and other.source.promotion == run.source.promotion
