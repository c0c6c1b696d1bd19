"""What a person asks of a run: retry, cancel and approve it.

Each is a function `(app, id, *, by)` that changes records under If-Match, wakes whom that concerns, and says in a
sentence what happens next; the loop does the work. Raises NotFound when there is no such run or line, Permanent when it
can't be done, with what to do instead, and Conflict when the record changed again and again meanwhile. Called by the
HTTP functions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from shared.api.asked import kept, may_be_id
from shared.app import App, wake
from shared.errors import Conflict, NotFound, Permanent
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.line.trained import model_is_there, trained
from shared.records.line import newer_that_serves, serves_same
from shared.records.run import Run
from shared.records.store import compare_and_swap, readable

log = logging.getLogger("droptune.api.run_commands")


# Runs ----------------------------------------------------------------------------------------------------------------


def retry(app: App, run_id: str, *, by: str = "") -> str:
    """Takes a parked run up again, or makes another attempt of one that ended without going live.

    A model that the run has registered is not trained again: the attempt begins with its deployment.
    """

    def attempt() -> str:
        run, etag = _run(app, run_id)
        if run.phase.ended:
            return another_attempt(app, run, etag, kept(by))
        if not run.parked:
            wake(app, run)
            doing = f"waits for {run.waiting}" if run.waiting else "goes on by itself"
            return f"run {run.id} is {run.phase} and {doing}: it was looked at again, nothing else"
        now = app.cloud.blobs.now()
        told = run.told(now, f"taken up again by {kept(by)}; it was parked: {run.parked}")
        _save(app, replace(told, parked="", parked_at=None, crashes=0, resumed=now), etag)
        return f"run {run.id} is not parked any more, and goes on where it was: {run.phase}"

    return compare_and_swap(attempt, f"run {run_id}")


def cancel(app: App, run_id: str, *, by: str = "") -> str:
    """Ends a run that has not ended. What it holds, its job or deployment, is let go by the loop."""

    def attempt() -> str:
        run, etag = _run(app, run_id)
        if run.phase.ended:
            raise Permanent(f"run {run.id} has ended as {run.phase} already: there is nothing to cancel")
        if run.ending:
            wake(app, run)
            return f"run {run.id} is ending already, as {run.ending}: {run.reason}"
        line = app.lines.load(run.line)
        if line and line.record.serving and line.record.serving.run == run.id:
            raise Permanent(f"run {run.id} serves already: droptune rollback {run.line} serves what served before")
        reason = f"cancelled by {kept(by)}"
        told = run.told(app.cloud.blobs.now(), reason)
        # A claim stays as it is: whoever works on the run now finds the end when that is done.
        _save(app, replace(told, ending=Phase.CANCELLED, reason=reason, parked="", parked_at=None), etag)
        held = {Phase.TRAINING: "its job is cancelled", Phase.DEPLOYING: "its deployment is deleted"}
        held[Phase.CHECKING] = held[Phase.DEPLOYING]
        return f"run {run.id} ends as cancelled" + (f"; {held[run.phase]}" if run.phase in held else "")

    return compare_and_swap(attempt, f"run {run_id}")


def approve(app: App, run_id: str, *, by: str = "") -> str:
    """Lets a run have traffic that has passed the gate, where its finetune.yaml asks for that (`approve: manual`).

    That may have been days ago: it has to pass the smoke test once more.
    """

    def attempt() -> str:
        run, etag = _run(app, run_id)
        if run.phase.ended or run.ending:
            raise Permanent(f"run {run.id} {_ended(run)}: there is nothing to approve")
        if run.promotion.approve != "manual":
            raise Permanent(f"run {run.id} needs no approval: it serves once it has passed its checks")
        if run.approved:
            wake(app, run)
            return f"run {run.id} was approved by {run.approved} already"
        if run.phase is not Phase.CHECKING or not run.scores or not run.scores.passed:
            waits = f", and waits for {run.waiting}" if run.waiting else ""
            raise Permanent(f"run {run.id} is {run.phase}{waits}: it can be approved once it has passed its checks")
        now = app.cloud.blobs.now()
        if run.claim and run.claim.until > now:  # who works on it joins a cancellation to what he saves, and no more
            raise Conflict(f"run {run.id} is being worked on")
        told = run.told(now, f"approved by {kept(by)}")
        _save(app, replace(told, approved=kept(by), resumed=now, passed=None, waiting="", held=""), etag)
        return f"run {run.id} is approved: if it still answers, it gets the traffic of endpoint {run.endpoint}"

    return compare_and_swap(attempt, f"run {run_id}")


def another_attempt(app: App, run: Run, etag: str, by: str) -> str:
    match run.phase:
        case Phase.LIVE:
            raise Permanent(f"run {run.id} went live: droptune revive {run.line}, or rollback, serves it again")
        case Phase.UNCHANGED:
            run = _with_twin(app, run)
        case Phase.REJECTED:
            raise Permanent(f"run {run.id} was rejected for its data, and they are the same: upload corrected data")
    _make_way(app, run)
    now, number = app.cloud.blobs.now(), run.attempt + 1
    fresh = replace(
        run,
        attempt=number,
        since=now,
        ending=None,
        reason="",
        waiting="",
        held="",
        parked="",
        parked_at=None,
        crashes=0,
        claim=None,
        wake=None,
        endpoint="",
        deployment="",
        checks={},
        passed=None,
        silence=None,
        scores=None,
        approved="",
        asked=(),
        resumed=None,
    )
    if run.model and model_is_there(app, run.model):
        fresh = replace(fresh, phase=Phase.REGISTERED, data_of=run.prepared)
        next_ = f"model {run.model} is deployed again"
    elif run.origin:
        raise Permanent(f"model {run.model} is gone: somebody deleted it; upload the dataset again")
    else:
        if run.id not in datasets_of(read_folder(app, run.folder)):
            raise Permanent(f"datasets/{run.folder} is not as run {run.id} took it any more: upload the dataset again")
        fresh = replace(
            fresh,
            phase=Phase.RECEIVED,
            data_of="",
            faults=None,
            in_job=False,
            notes=(),
            rows={},
            fingerprint="",
            pinned=None,
            job="",
            model="",
        )
        next_ = "it begins anew with its data"
    why = f"attempt {number}, asked for by {by}; attempt {run.attempt} ended as {run.phase}: {run.reason}"
    app.runs.reopen(fresh.told(now, why), etag)
    wake(app, fresh)
    return f"run {run.id} is taken up again, as attempt {number}: {next_}"


def _with_twin(app: App, run: Run) -> Run:
    """A run that ended as already trained, with the model that was made of its data, to deploy that.

    Without one where the model is gone: it is trained again then. The rows to ask with are those of the twin, which
    are the same; the run has a copy of its own. Raises Permanent where the line serves it.
    """
    line = app.lines.load(run.line)
    if line and serves_same(line.record, run):
        raise Permanent(f"run {run.id} is {run.phase}, {run.reason}: there is nothing to train, nor to deploy")
    twin = trained(app, run)
    if twin is None:
        return run
    loaded = readable(app.runs, twin.run)
    if loaded is None:
        return replace(run, model=twin.model)
    return replace(
        run, model=twin.model, job=loaded.record.job, data_of=loaded.record.prepared, pinned=loaded.record.pinned
    )


def _make_way(app: App, run: Run) -> None:
    """Raises Permanent when a newer run of the line stands in the way; one that ended without success does not."""
    loaded = app.lines.load(run.line)
    if loaded is None:
        return
    line, etag = loaded
    if newer := newer_that_serves(line, run):
        raise Permanent(f"run {newer} is newer and went live: droptune rollback {line.id}, or upload the dataset again")
    if line.heading is None or line.heading.order <= run.order:
        return
    heading = app.runs.load(line.heading.run)
    if heading and not heading.record.phase.ended:
        newer, phase = heading.record.id, heading.record.phase
        raise Permanent(f"run {newer} is newer and is {phase}: cancel it first, or upload the dataset again")
    app.lines.save(replace(line, heading=None), etag)


# Lines ---------------------------------------------------------------------------------------------------------------


# Records -------------------------------------------------------------------------------------------------------------


def _run(app: App, run_id: str) -> tuple[Run, str]:
    loaded = app.runs.load(run_id) if may_be_id(run_id) else None
    if loaded is None:
        raise NotFound(f"there is no run {run_id}: droptune runs lists them")
    return loaded


def _save(app: App, run: Run, etag: str) -> None:
    app.runs.save(run, etag)
    wake(app, run)


def _ended(run: Run) -> str:
    return f"is ending as {run.ending}" if run.ending else f"has ended as {run.phase}"


ON_RUNS: dict[str, Callable[..., str]] = {"retry": retry, "cancel": cancel, "approve": approve}
