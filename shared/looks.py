"""What one cheap look at Azure shows of a run, a function for each phase: `OBSERVE[phase](app, run)`.

Only reads. What it returns is plain data for `lifecycle.next_step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from shared.app import App
from shared.folders import DATASETS, PREPARED, REPORT, datasets_of, read_folder
from shared.lifecycle import Check, Deployment, Job, Phase, Plan, Rollout, Seen, Upload
from shared.lines import held_by
from shared.records import Line, Run
from shared.training.compute import unusable

READY = "Succeeded"


def _upload(app: App, run: Run) -> Upload:
    if run.in_job:
        return Upload(in_job=True)
    if run.faults is not None:
        line = _line(app, run)
        twin = line.serving if line and not line.tearing_down else None
        same = twin.run if twin and twin.fingerprint == run.fingerprint and run.ordinal == 0 else None
        return Upload(faults=run.faults, reason=run.reason, same_as=same)
    folder = read_folder(app, run.folder)
    if not folder.files:
        return Upload(gone="the dataset was deleted before it was read")
    if run.id not in datasets_of(folder):
        return Upload(gone="the folder has changed since: its newer state has a run of its own")
    settled = folder.newest + app.settings.settle - app.cloud.blobs.now()
    return Upload(settles_in=settled.total_seconds())


def _plan(app: App, run: Run) -> Plan:
    if run.in_job and (changed := _changed(app, run, None)):
        return Plan(changed=changed)
    if run.pinned is None:
        return Plan(pinned=False)
    model = app.cloud.registry.model(run.base_model, run.pinned.model_version)
    missing, pending = [], []
    for name, allowed in (
        (app.settings.cpu_compute, None),
        (app.settings.gpu_compute, model.allowed_sizes("finetune")),
    ):
        compute = app.cloud.computes.get(name)
        if compute is None:
            missing.append(name)
        elif why := unusable(compute, allowed):
            return Plan(unusable=why)
        elif compute.provisioning_state != READY:
            pending.append(name)
    return Plan(missing=tuple(missing), pending=tuple(pending))


def _job(app: App, run: Run) -> Job:
    job = app.cloud.jobs.get(run.job)
    if job is None:
        return Job(status=None, fresh=run.is_fresh(app.cloud.blobs.now()))
    limit = timedelta(hours=app.settings.max_training_hours)
    seen = Job(status=job.status, why=job.why, overdue=app.cloud.blobs.now() - run.since > limit)
    return _with_data(app, run, seen) if run.in_job and job.status in ("Completed", "Failed") else seen


def _with_data(app: App, run: Run, seen: Job) -> Job:
    """The same, with what became of the data that the job has prepared itself."""
    report = app.cloud.blobs.head(PREPARED, f"{run.prepared}/{REPORT}")
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
    if line.latest and line.latest.order > run.order:
        return Rollout(newer=line.latest.run)
    if line.tearing_down:
        return Rollout(busy="the teardown of the endpoint")
    if other := held_by(app, line, run):
        return Rollout(busy=f"the rollout of run {other}")
    endpoint = app.cloud.endpoints.get(line.endpoint)
    return Rollout(endpoint=endpoint.state if endpoint else None)


def _deployment(app: App, run: Run) -> Deployment:
    deployment = app.cloud.endpoints.deployment(run.endpoint, run.deployment)
    if deployment is None:
        return Deployment(state=None, fresh=run.is_fresh(app.cloud.blobs.now()))
    return Deployment(state=deployment.state, why=deployment.why)


def _check(app: App, run: Run) -> Check:
    line = _line(app, run)
    if line and line.serving and line.serving.run == run.id:
        return Check(serves=True, why=f"{run.model} answers at endpoint {run.endpoint}")
    if line and line.latest and line.latest.order > run.order:
        return Check(newer=line.latest.run)
    if run.passed is not True:
        return Check(passed=run.passed, why=f"the smoke test failed: {run.checks.get('why')}")
    endpoint = app.cloud.endpoints.get(run.endpoint)
    if endpoint is None:
        return Check(passed=False, why="the endpoint is gone: somebody deleted it")
    return Check(passed=True, busy=endpoint.busy, traffic=endpoint.traffic.get(run.deployment, 0))


def _line(app: App, run: Run) -> Line | None:
    loaded = app.lines.load(run.line)
    return loaded[0] if loaded else None


OBSERVE: dict[Phase, Callable[[App, Run], Seen]] = {
    Phase.RECEIVED: _upload,
    Phase.PREPARED: _plan,
    Phase.TRAINING: _job,
    Phase.REGISTERED: _rollout,
    Phase.DEPLOYING: _deployment,
    Phase.CHECKING: _check,
}
