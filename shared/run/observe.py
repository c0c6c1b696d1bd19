"""What one cheap look at Azure shows of a run, a function for each phase: `OBSERVE[phase](app, run)`.

Only reads, but for a record of slots that is lost. What it returns is plain data for `next_step` in lifecycle/rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from shared import naming
from shared.app import App
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import Phase
from shared.lifecycle.rules import unseen
from shared.lifecycle.seen import Check, Deployment, Job, Plan, Rollout, Seen, Upload
from shared.lifecycle.slots import Shortage
from shared.line.access import held_by, ours
from shared.line.trained import model_is_there, trained
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED
from shared.records.line import Line, adoptable, newer_that_serves, serves_same
from shared.records.run import Run
from shared.records.store import readable
from shared.run import slots
from shared.training.compute import Site, absent, unusable

READY = "Succeeded"
DAY = timedelta(days=1)
ROLLOUT = (Phase.REGISTERED, Phase.DEPLOYING, Phase.CHECKING)


def _upload(app: App, run: Run) -> Upload:
    if run.in_job:
        return Upload(in_job=True)
    if run.faults is not None:
        return Upload(faults=run.faults, reason=run.reason, trained=_trained(app, run))
    folder = read_folder(app, run.folder)
    if not folder.files:
        return Upload(gone="the dataset was deleted before it was read")
    if run.id not in datasets_of(folder):
        return Upload(gone="the folder has changed since: its newer state has a run of its own")
    settled = folder.newest + app.settings.data.settle - app.cloud.blobs.now()
    return Upload(settles_in=settled.total_seconds())


def _trained(app: App, run: Run) -> str | None:
    """What was made of the same data and settings before, if it is still there; a retry deploys it, or trains anew."""
    twin = trained(app, run) if run.attempt == 1 and run.ordinal == 0 else None
    if twin is None:
        return None
    made, line = f"run {twin.run} made {twin.model} of the same data and settings", _line(app, run)
    if line and serves_same(line, run):
        return f"{made}, and it serves"
    if not model_is_there(app, twin.model):
        return None
    empty = line and (line.serving is None or line.tearing_down)
    if line and empty and line.latest and line.latest.model == twin.model:
        return f"{made}: droptune revive {line.id} serves it again"
    return f"{made}: droptune retry {run.id} deploys it"


def _plan(app: App, run: Run) -> Plan:
    if run.in_job and (changed := _changed(app, run, None)):
        return Plan(changed=changed)
    line = _line(app, run)
    newer = _newer(line, run)
    if newer or run.pinned is None:
        return Plan(newer=newer, pinned=run.pinned is not None)
    model = app.cloud.registry.model(run.base_model, run.pinned.model_version)
    missing, pending, gpus = [], [], None
    settings, site = app.settings.training, Site.of(app.settings)
    for name, size, allowed in (
        (settings.cpu_compute, settings.cpu_size, None),
        (settings.gpu_compute, settings.gpu_size, model.allowed_sizes("finetune")),
    ):
        compute = app.cloud.computes.get(name)
        if name == settings.gpu_compute:
            gpus = compute
        if compute is None and not settings.create_clusters:
            return Plan(unusable=absent(name, size, settings.cluster_nodes, site))
        if compute is None:
            missing.append(name)
        elif why := unusable(compute, allowed, site):
            return Plan(unusable=why)
        elif compute.provisioning_state != READY:
            pending.append(name)
    place, shortage, quota = slots.look(app, run.id), Shortage(), ""
    if not (place.held or place.why):
        shortage = slots.shortage(app, run)
        quota = app.cloud.quota.for_training(settings.gpu_size, settings.nodes, gpus)
    return Plan(
        missing=tuple(missing),
        pending=tuple(pending),
        heads=line is not None and line.heading is not None and line.heading.order >= run.order,
        quota=quota,
        queued=shortage.queued,
        before=shortage.before,
        slot=place.held,
        queue=place.why,
        room_in=place.room_in,
        wasteful=not (place.held or place.today) and line is not None and _trains(app, line),
    )


def _newer(line: Line | None, run: Run) -> str | None:
    """The run of the same line that is newer and ready to train, or further."""
    heading = line.heading if line else None
    return heading.run if heading and heading.order > run.order else None


def _trains(app: App, line: Line) -> bool:
    """Whether the newest run of the line has a job by now."""
    loaded = readable(app.runs, line.heading.run) if line.heading else None
    return loaded is not None and loaded.record.phase is Phase.TRAINING


def _went_further(app: App, run_id: str) -> bool:
    """Whether a run has its model, and is on its way to the traffic: what is older need not be deployed any more."""
    loaded = readable(app.runs, run_id)
    return loaded is not None and not loaded.record.ending and loaded.record.phase in ROLLOUT


def _job(app: App, run: Run) -> Job:
    job = app.cloud.jobs.get(run.job)
    if job is None:
        return Job(status=None, fresh=_just_begun(app, run) or _first_look(run, "the job"))
    limit = timedelta(hours=app.settings.training.max_hours)
    overdue = app.cloud.blobs.now() - run.since > limit
    seen = Job(status=job.status, why=job.why, overdue=overdue, newer=_newer(_line(app, run), run))
    return _with_data(app, run, seen) if run.in_job and job.status in ("Completed", "Failed") else seen


def _with_data(app: App, run: Run, seen: Job) -> Job:
    """The same, with what became of the data that the job has prepared itself."""
    report = app.cloud.blobs.head(PREPARED, layout.report(run.prepared))
    changed = _changed(app, run, report.last_modified if report else None)
    if report is None:
        return replace(seen, report="missing", changed=changed)
    return replace(seen, report="new" if run.faults is None else "taken", reason=run.reason, changed=changed)


def _changed(app: App, run: Run, read: datetime | None) -> str | None:
    """Which file was written over before it was read, if one was. `read`: when the last of them was, None if never."""
    for file in run.files:
        blob = app.cloud.blobs.head(DATASETS, file.name)
        if blob is None:
            changed, how = read is None, "deleted"
        else:
            changed, how = blob.etag != file.etag and (read is None or blob.last_modified <= read), "changed"
        if changed:
            return f"{file.name} was {how} before the job had read it: its newer state has a run of its own"
    return None


def _rollout(app: App, run: Run) -> Rollout:
    line = _line(app, run)
    if line is None:
        return Rollout(endpoint=None)
    if newer := newer_that_serves(line, run):
        return Rollout(newer=newer)
    if (newer := _newer(line, run)) and not run.origin and _went_further(app, newer):
        return Rollout(newer=newer)
    if line.tearing_down:
        return Rollout(busy="the teardown of the endpoint")
    if line.pinned and line.serving and not run.origin and line.rollout != run.id:
        return Rollout(pinned=line.pinned)  # what has begun would only be in everybody's way; nothing can't be kept
    if other := held_by(app, line, run):
        return Rollout(busy=other)
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:  # where something serves, to make it anew would take its traffic away
        early = _first_look(run, "the endpoint") or (run.wake is not None and run.wake.due > app.cloud.blobs.now())
        return Rollout(endpoint=None, fresh=line.serving is not None and early)
    if endpoint.state != READY:
        return Rollout(endpoint=endpoint.state)
    if adoptable(line, run):
        return Rollout()
    there = ours(app, line.endpoint)
    own = naming.deployment_name(run.id, run.attempt)
    seen = Rollout(
        leaving=bool(line.leaving), in_place=tuple(there - {own}) if run.promotion.strategy == "replace" else ()
    )
    if own in there:
        return seen
    if not model_is_there(app, run.model):
        what = f"model {run.model}"
        return replace(seen, gone=what, fresh=_just_begun(app, run) or _first_look(run, what))
    quota = app.cloud.quota.for_serving(app.settings.serving.size, app.settings.serving.instances)
    shortage = slots.shortage(app, run)
    # Who has the line has made room already, or brings back what served: the instances are those of its own line.
    before = "" if line.rollout == run.id else shortage.before
    return replace(seen, quota=quota, queued=shortage.queued, before=before)


def _deployment(app: App, run: Run) -> Deployment:
    now = app.cloud.blobs.now()
    deployment = app.cloud.endpoints.deployment(run.endpoint, run.deployment)
    if deployment is None:
        return Deployment(state=None, fresh=_just_begun(app, run) or _first_look(run, "the deployment"))
    overdue = now - run.begun > timedelta(hours=app.settings.rollout.max_deploying_hours)
    return Deployment(state=deployment.state, why=deployment.why, overdue=overdue)


def _check(app: App, run: Run) -> Check:
    line = _line(app, run)
    if line and line.serving and line.serving.run == run.id:
        return Check(serves=True, why=f"{run.model} answers at endpoint {run.endpoint}")
    if line and (newer := newer_that_serves(line, run)):
        return Check(newer=newer)
    endpoint = app.cloud.endpoints.get(run.endpoint)
    gone = ""
    if endpoint is None:
        gone = f"endpoint {run.endpoint}"
    elif app.cloud.endpoints.deployment(run.endpoint, run.deployment) is None:
        gone = f"deployment {run.deployment}"
    if endpoint is None or gone:
        return Check(gone=gone, fresh=_first_look(run, gone))
    now = app.cloud.blobs.now()
    # What waits for nothing yet was not even tried.
    overdue = run.waiting if now - run.begun > timedelta(hours=app.settings.rollout.max_checking_hours) else ""
    if run.passed is not True:
        return Check(passed=run.passed, why=f"the smoke test failed: {run.checks.get('why')}", overdue=overdue)
    gate = True if run.origin else run.scores.passed if run.scores else None
    ask = not run.asked or now - run.asked[-1] >= DAY
    return Check(
        passed=True,
        gate=gate,
        why=f"the gate: {run.scores.why}" if run.scores else "",
        approval=run.promotion.approve == "manual" and not (run.approved or run.origin),
        ask=ask,
        unanswered=ask and len(run.asked) >= app.settings.rollout.max_approval_days,
        overdue=overdue,
        busy=endpoint.busy,
        traffic=endpoint.traffic.get(run.deployment, 0),
    )


def _just_begun(app: App, run: Run) -> bool:
    """Whether Azure may not show yet what was asked for."""
    return run.is_fresh(app.cloud.blobs.now())


def _first_look(run: Run, what: str) -> bool:
    """Whether something is missed for the first time: one 404 of Azure's must not end a run."""
    return run.waiting != unseen(what)


def _line(app: App, run: Run) -> Line | None:
    loaded = app.lines.load(run.line)
    return loaded.record if loaded else None


OBSERVE: dict[Phase, Callable[[App, Run], Seen]] = {
    Phase.RECEIVED: _upload,
    Phase.PREPARED: _plan,
    Phase.TRAINING: _job,
    Phase.REGISTERED: _rollout,
    Phase.DEPLOYING: _deployment,
    Phase.CHECKING: _check,
}
