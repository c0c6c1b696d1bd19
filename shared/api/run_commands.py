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
from datetime import datetime

from shared.api.asked import kept
from shared.api.named import run_named
from shared.api.seen import after_live_now
from shared.app import App, wake
from shared.errors import Conflict, Permanent
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.line.trained import can_be_deployed, trained
from shared.records.line import newer_that_serves, newer_to_train, serves_same
from shared.records.run import Attempt, Deployed, Ending, Run
from shared.records.store import compare_and_swap, readable

log = logging.getLogger("droptune.api.run_commands")


# Runs ----------------------------------------------------------------------------------------------------------------


def retry(app: App, run_id: str, *, by: str = "") -> str:
    """Takes a parked run up again, or makes another attempt of one that ended without going live.

    A model that the run has registered is not trained again: the attempt begins with its deployment.
    """

    def attempt() -> str:
        run, etag = run_named(app, run_id)
        if run.phase.ended:
            return another_attempt(app, run, etag, kept(by))
        if not run.parked:
            wake(app, run)
            doing = f"waits for {run.waiting.why}" if run.waiting else "goes on by itself"
            return f"run {run.id} is {run.phase} and {doing}: it was looked at again, nothing else"
        now = app.cloud.blobs.now()
        noted = run.noted(now, f"taken up again by {kept(by)}; it was parked: {run.parked.why}")
        _save(app, replace(noted.in_attempt(resumed=now), parked=None, crashes=0), etag, run)
        return f"run {run.id} is not parked any more, and goes on where it was: {run.phase}"

    return compare_and_swap(attempt, f"run {run_id}")


def cancel(app: App, run_id: str, *, by: str = "") -> str:
    """Ends a run that has not ended. What it holds, its job or deployment, is let go by the loop."""

    def attempt() -> str:
        run, etag = run_named(app, run_id)
        if run.phase.ended:
            raise Permanent(f"run {run.id} has ended as {run.phase} already: there is nothing to cancel")
        if run.ending:
            wake(app, run)
            return f"run {run.id} is ending already, as {run.ending.phase}: {run.ending.why}"
        line = readable(app.lines, run.line)  # one that can't be read must not keep a run going that costs money
        if line and line.record.serving and line.record.serving.run == run.id:
            raise Permanent(f"run {run.id} serves already: droptune rollback {run.line} serves what served before")
        reason = f"cancelled by {kept(by)}"
        noted = run.noted(app.cloud.blobs.now(), reason)
        # A claim stays as it is: whoever works on the run now finds the end when that is done.
        _save(app, replace(noted, ending=Ending(phase=Phase.CANCELLED, why=reason), parked=None), etag, run)
        held = {Phase.TRAINING: "its job is cancelled", Phase.DEPLOYING: "its deployment is deleted"}
        held[Phase.CHECKING] = held[Phase.DEPLOYING]
        return f"run {run.id} ends as cancelled" + (f"; {held[run.phase]}" if run.phase in held else "")

    return compare_and_swap(attempt, f"run {run_id}")


def approve(app: App, run_id: str, *, by: str = "") -> str:
    """Lets a run have traffic that has passed the gate, where its finetune.yaml asks for that (`approve: manual`).

    That may have been days ago: it has to pass the smoke test once more.
    """

    def attempt() -> str:
        run, etag = run_named(app, run_id)
        if run.phase.ended or run.ending:
            raise Permanent(f"run {run.id} {_ended(run)}: there is nothing to approve")
        if not run.needs_approval:
            raise Permanent(f"run {run.id} needs no approval: it serves once it has passed its checks")
        deployed = run.attempt.deployed
        if deployed and deployed.approval.by:
            wake(app, run)
            return f"run {run.id} was approved by {deployed.approval.by} already"
        if run.phase is not Phase.CHECKING or not deployed or not _passed(run, deployed):
            waits = f", and waits for {run.waiting.why}" if run.waiting else ""
            raise Permanent(f"run {run.id} is {run.phase}{waits}: it can be approved once it has passed its checks")
        now = app.cloud.blobs.now()
        if run.claim and run.claim.until > now:  # who works on it joins a cancellation to what he saves, and no more
            raise Conflict(f"run {run.id} is being worked on")
        noted = run.noted(now, f"approved by {kept(by)}")
        approved = replace(deployed, smoke=None, approval=replace(deployed.approval, by=kept(by)))
        _save(app, replace(noted.in_attempt(deployed=approved, resumed=now), waiting=None), etag, run)
        return f"run {run.id} is approved: if it still answers, it gets the traffic of endpoint {deployed.endpoint}"

    return compare_and_swap(attempt, f"run {run_id}")


def another_attempt(app: App, run: Run, etag: str, by: str) -> str:
    match run.phase:
        case Phase.LIVE:
            raise Permanent(after_live_now(app, run))
        case Phase.UNCHANGED:
            run = _with_twin(app, run)
        case Phase.REJECTED:
            raise Permanent(f"run {run.id} was rejected for its data, and they are the same: upload corrected data")
    _make_way(app, run)
    now, number = app.cloud.blobs.now(), run.attempt.number + 1
    model = run.attempt.model
    if model and can_be_deployed(app, model, run.attempt.job):
        fresh = next_attempt(run, now, trained=True)
        next_ = f"model {model} is deployed again"
    elif run.restores:
        raise Permanent(f"model {model} is gone: somebody deleted it; upload the dataset again")
    else:
        folder = run.source.folder
        if run.id not in datasets_of(read_folder(app, folder)):
            raise Permanent(f"datasets/{folder} is not as run {run.id} took it any more: upload the dataset again")
        fresh = next_attempt(run, now, trained=False)
        next_ = "it begins anew with its data"
    why = f"attempt {number}, asked for by {by}; attempt {run.attempt.number} ended as {run.phase}: {run.why}"
    app.runs.reopen(fresh.noted(now, why), etag)
    wake(app, fresh)
    return f"run {run.id} is taken up again, as attempt {number}: {next_}"


def next_attempt(run: Run, now: datetime, *, trained: bool) -> Run:
    """The run at the beginning of another attempt; with `trained` it begins with the deployment of its model."""
    number = run.attempt.number + 1
    attempt = Attempt(number=number)
    if trained:
        attempt = replace(run.attempt, number=number, data_of=run.prepared, deployed=None, resumed=None)
        attempt = replace(attempt, scarce=None, registered_again=0)
    return Run(
        id=run.id,
        line=run.line,
        installation=run.installation,
        order=run.order,
        source=run.source,
        restores=run.restores,
        phase=Phase.REGISTERED if trained else Phase.RECEIVED,
        since=now,
        attempt=attempt,
        outbox=run.outbox,
        history=run.history,
    )


def _with_twin(app: App, run: Run) -> Run:
    """A run that ended as already trained, with the model that was made of its data, to deploy that.

    Without one where the model is gone: it is trained again then. The rows to ask with are those of the twin, which
    are the same; the run has a copy of its own. Raises Permanent where the line serves it.
    """
    line = app.lines.load(run.line)
    if line and serves_same(line.record, run):
        raise Permanent(f"run {run.id} is {run.phase}, {run.why}: there is nothing to train, nor to deploy")
    twin = trained(app, run)
    if twin is None:
        return run
    loaded = readable(app.runs, twin.run)
    if loaded is None:
        return run.in_attempt(model=twin.model)
    made = loaded.record.attempt
    return run.in_attempt(model=twin.model, job=made.job, data_of=loaded.record.prepared, plan=made.plan)


def _passed(run: Run, deployed: Deployed) -> bool:
    """Whether it has passed the gate, which what was there before does not come to."""
    return run.restores is not None or (deployed.scores is not None and deployed.scores.passed)


def _make_way(app: App, run: Run) -> None:
    """Raises Permanent when a newer run of the line stands in the way; one that ended without success does not."""
    loaded = app.lines.load(run.line)
    if loaded is None:
        return
    line, etag = loaded
    if newer := newer_that_serves(line, run):
        raise Permanent(f"run {newer} is newer and went live: droptune rollback {line.id}, or upload the dataset again")
    newer = newer_to_train(line, run)
    if newer is None:
        return
    loaded_newer = app.runs.load(newer)
    if loaded_newer and not loaded_newer.record.phase.ended:
        phase = loaded_newer.record.phase
        raise Permanent(f"run {newer} is newer and is {phase}: cancel it first, or upload the dataset again")
    newest, waits = (each if each and each.run != newer else None for each in (line.newest, line.waits))
    app.lines.save(replace(line, newest=newest, waits=waits), etag)


# Records -------------------------------------------------------------------------------------------------------------


def _save(app: App, run: Run, etag: str, before: Run) -> None:
    app.runs.save(run, etag, before=before)
    wake(app, run)


def _ended(run: Run) -> str:
    return f"is ending as {run.ending.phase}" if run.ending and run.is_ending else f"has ended as {run.phase}"


ON_RUNS: dict[str, Callable[..., str]] = {"retry": retry, "cancel": cancel, "approve": approve}
