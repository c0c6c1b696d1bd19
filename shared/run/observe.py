"""What one cheap look at Azure shows of a run, a function for each phase: `OBSERVE[phase](app, run)`.

Only reads, but for a record of slots that is lost. What it returns is plain data for `next_step` in lifecycle/rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from shared import naming
from shared.app import App
from shared.cloud.blobs import BlobInfo
from shared.cloud.endpoints import BUSY, Endpoint
from shared.dataset.spec.choices import FILE_NAME
from shared.intake import readiness
from shared.intake.folder import datasets_of, read_folder, rejected_run, told_by
from shared.lifecycle.phase import ROLLOUT, Phase
from shared.lifecycle.rules import unseen
from shared.lifecycle.seen import CheckSeen, DeploymentSeen, JobSeen, PlanSeen, RolloutSeen, Seen, UploadSeen
from shared.lifecycle.slots import Shortage
from shared.line import seats
from shared.line.access import held_by, ours
from shared.line.trained import known_data, model_is_there, trained
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED, dataset_file
from shared.records.line import Line, adoptable, newer_that_serves, newer_to_train, serves_same
from shared.records.owner import not_on_line, not_ours
from shared.records.run import File, Plan, Run
from shared.records.store import readable
from shared.run import course, machines, older, slots
from shared.run.hands import in_the_way, instances_of, kept_by_hand, replaced, share_of, split
from shared.serving.smoke import Answered
from shared.serving.traffic import others, told
from shared.training.compute import Site, absent, unusable

READY = "Succeeded"
DAY = timedelta(days=1)


def _upload(app: App, run: Run) -> UploadSeen:
    if run.attempt.in_job:
        return UploadSeen(in_job=True)
    if data := run.attempt.data:
        return UploadSeen(checked=True, rejected=data.rejected, trained=_trained(app, run))
    folder = read_folder(app, run.source.folder)
    if not folder.files:
        return UploadSeen(gone="the dataset was deleted before it was read")
    readiness.wait_for_growth(app, run, folder)
    last = folder.last.name
    settles_in = (folder.newest + app.settings.data.settle - app.cloud.blobs.now()).total_seconds()
    if _tells_of_several(app, run, told_by(folder)):
        return UploadSeen(settles_in=settles_in, last=last, checked=True, rejected=folder.problem)
    if run.id == rejected_run(folder) and folder.unread:  # its finetune.yaml was archived
        readiness.wait_for_archive(app, run, [(dataset_file(folder.name, FILE_NAME), folder.files[FILE_NAME])])
        return UploadSeen(settles_in=settles_in, last=last, checked=True, rejected=folder.problem)
    dataset = datasets_of(folder).get(run.id)
    if dataset is None:
        return UploadSeen(gone=readiness.what_changed(run, folder))
    if settles_in <= 0:
        files = ((dataset_file(folder.name, file.name), file) for file in dataset.files)
        readiness.wait_for_archive(app, run, files)
    return UploadSeen(settles_in=settles_in, last=last)


def _tells_of_several(app: App, run: Run, told_by: tuple[str, ...]) -> bool:
    """Whether it is up to the run to say that nobody has said which of several files is meant; one at least does."""
    if not told_by or len(run.source.train) < 2:
        return False
    return run.id in told_by or not any(readable(app.runs, other) for other in told_by)


def _trained(app: App, run: Run) -> str | None:
    """What was made of the same data and settings before, if it is still there; a retry deploys it, or trains anew."""
    twin = trained(app, run) if run.attempt.number == 1 and run.order.ordinal == 0 else None
    if twin is None:
        return None
    made, line = f"run {twin.run} made {twin.model} of the same data and settings", _line(app, run)
    if line and serves_same(line, run):
        # Other content that trains has been paid for: by the same rule as any newer run, this one waits for it.
        return None if older.waits_for(app, run, line) else f"{made}, and it serves"
    if not model_is_there(app, twin.model):
        return None
    empty = line and (line.serving is None or line.is_going)
    if line and empty and line.latest and line.latest.model == twin.model:
        return f"{made}: droptune revive {line.id} serves it again"
    return f"{made}: droptune retry {run.id} deploys it"


def _plan(app: App, run: Run) -> PlanSeen:
    if run.attempt.in_job and (changed := _changed(app, run, None) or _other_by_now(app, run)):
        return PlanSeen(changed=changed)
    if run.attempt.in_job:
        readiness.wait_for_archive(app, run, readiness.archived_of(app, run.source.files))
    line = _line(app, run)
    if newer := newer_to_train(line, run) or (line and newer_that_serves(line, run)):
        return PlanSeen(newer=newer)
    if run.attempt.plan is None or (run.attempt.in_job and not run.attempt.data and known_data(app, run)):
        return PlanSeen(planned=False)  # where the older run's job has read the same bytes meanwhile, too
    newest = line is not None and line.newest is not None and line.newest.order >= run.order
    if not newest and (made := _trained(app, run)):
        return PlanSeen(trained=made)
    if line and (behind := older.waits_for(app, run, line)):
        noted = line.waits is not None and line.waits.order >= run.order
        return PlanSeen(behind=behind, noted=noted and not slots.has_place(app, run.id))
    seat = seats.look(app, run)
    if seat.why and seat.newer:
        return PlanSeen(newer=seat.newer)
    if seat.why:  # who does not stand among those who wait asks for a slot, and gets a place there
        return PlanSeen(no_seat=seat.why if seat.queued else "", slot=False)
    seen = _machines(app, run, run.attempt.plan)
    return replace(seen, newest=newest, slot=seen.slot and seat.granted)


def _machines(app: App, run: Run, plan: Plan) -> PlanSeen:
    """Whether there is what the job runs on: clusters, quota and a slot."""
    if awaited := machines.awaited(run, app.cloud.blobs.now()):
        return PlanSeen(quota=awaited, queued=True)
    model = app.cloud.registry.model(run.source.base_model, plan.model_version)
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
            return PlanSeen(unusable=absent(name, size, settings.cluster_nodes, site))
        if compute is None:
            missing.append(name)
        elif why := unusable(compute, allowed, site):
            return PlanSeen(unusable=why)
        elif compute.provisioning_state != READY:
            pending.append(name)
    place, shortage, quota = slots.look(app, run.id), Shortage(), ""
    if not (place.granted or place.why):
        shortage = slots.shortage(app, run)
        quota = app.cloud.quota.for_training(settings.gpu_size, settings.nodes, gpus)
    return PlanSeen(
        missing=tuple(missing),
        pending=tuple(pending),
        quota=quota,
        queued=shortage.queued,
        ahead=shortage.ahead,
        slot=place.granted,
        queue=place.why,
        room_in=place.room_in,
    )


def _newer(line: Line | None, run: Run) -> str | None:
    """The run of the same line that is newer and trains, or went further."""
    newest = line.newest if line else None
    return newest.run if newest and newest.order > run.order else None


def _went_further(app: App, run_id: str) -> bool:
    """Whether a run has its model, and is on its way to the traffic: what is older need not be deployed any more."""
    loaded = readable(app.runs, run_id)
    return loaded is not None and not loaded.record.ending and loaded.record.phase in ROLLOUT


def _job(app: App, run: Run) -> JobSeen:
    job = app.cloud.jobs.get(run.attempt.job)
    if job is None:
        return JobSeen(status=None, fresh=_just_begun(app, run) or _first_look(run, "the job"))
    line = _line(app, run)
    newer = _newer(line, run) or (newer_that_serves(line, run) if line else None)
    seen = replace(course.seen_of(app, run, job), newer=newer)
    seen = machines.job(app, run, job, seen)
    if job.status == "Failed" and run.attempt.in_job:
        seen = replace(seen, why=readiness.with_archived(app, run, seen.why or ""))
    return _with_data(app, run, seen) if run.attempt.in_job and job.status in ("Completed", "Failed") else seen


def _with_data(app: App, run: Run, seen: JobSeen) -> JobSeen:
    """The same, with what became of the data that the job has prepared itself."""
    report = app.cloud.blobs.head(PREPARED, layout.report(run.prepared))
    changed = _changed(app, run, report.last_modified if report else None)
    if report is None:
        return replace(seen, report="missing", changed=changed)
    data = run.attempt.data
    if data is None:
        return replace(seen, report="new", changed=changed)
    return replace(seen, rejected=data.rejected, changed=changed)


def _changed(app: App, run: Run, read: datetime | None) -> str | None:
    """Which file was written over before it was read, if one was. `read`: when the last of them was, None if never."""
    for file in run.source.files:
        blob = app.cloud.blobs.head(DATASETS, file.name)
        if blob is None:
            changed, how = read is None, "deleted"
        else:
            changed, how = not _same_bytes(file, blob) and (read is None or blob.last_modified <= read), "changed"
        if changed:
            newer = readiness.newer_state(read_folder(app, run.source.folder), but=run.id)
            return f"{file.name} was {how} before the job had read it: {newer}"
    return None


def _other_by_now(app: App, run: Run) -> str | None:
    """Why its folder is not meant to be trained on like that any more, or nobody knows, before a job is paid for it.

    What is archived by now was followed when it could be read. Who starts a run anew means what that one says.
    """
    folder = read_folder(app, run.source.folder)
    if folder.archived:
        return None
    if folder.problem:
        return f"the folder has changed before the job had read its data: {readiness.newer_state(folder, but=run.id)}"
    spec, now = run.source.spec, folder.files.get(FILE_NAME)
    first = run.attempt.number == 1 and run.order.ordinal == 0
    return readiness.what_changed(run, folder) if first and (spec and spec.etag) != (now and now.etag) else None


def _same_bytes(file: File, blob: BlobInfo) -> bool:
    """Whether the blob is what the run took; metadata that somebody has set on it since change nothing of that."""
    return blob.etag == file.etag or (bool(file.md5) and (blob.md5, blob.size) == (file.md5, file.size))


def _rollout(app: App, run: Run) -> RolloutSeen:
    line = _line(app, run)
    if line is None:
        return RolloutSeen(endpoint=None)
    if newer := newer_that_serves(line, run):
        return RolloutSeen(newer=newer)
    if further := _further(app, run):
        return RolloutSeen(newer=further)
    if line.is_going:
        return RolloutSeen(busy="the teardown of the endpoint")
    if line.pinned_by and line.serving and not run.restores and line.rollout != run.id:
        # What has begun would only be in everybody's way; and where nothing serves, nothing is kept.
        return RolloutSeen(pinned_by=line.pinned_by)
    if other := held_by(app, line, run):
        return RolloutSeen(busy=other)
    if not (seats.serves_on(line, run) or (place := seats.look(app, run)).granted):
        return RolloutSeen(seat=False, no_seat=place.why if place.queued else "")
    endpoint = app.cloud.endpoints.get(line.endpoint)
    if endpoint is None:  # where something serves, to make it anew would take its traffic away
        early = _first_look(run, "the endpoint") or (run.wake is not None and run.wake.due > app.cloud.blobs.now())
        return RolloutSeen(endpoint=None, fresh=line.serving is not None and early)
    if foreign := not_ours(line, endpoint.name, endpoint.tags):
        return RolloutSeen(endpoint=endpoint.state, hands=foreign)
    if hands := in_the_way(app, run, line, endpoint):
        return RolloutSeen(endpoint=endpoint.state, hands=hands)
    if endpoint.state != READY:
        return RolloutSeen(endpoint=endpoint.state)
    if adoptable(line, run):
        return RolloutSeen()
    return _room(app, run, line, endpoint)


def _room(app: App, run: Run, line: Line, endpoint: Endpoint) -> RolloutSeen:
    """Whether there is room for a deployment of the run's own, on an endpoint that takes one."""
    there = ours(app, line).keys()
    own = naming.deployment_name(run.id, run.attempt.number)
    now = app.cloud.blobs.now()
    # What can't be deleted is in nobody's way, once it has its traffic again.
    stuck = {name for name in there if line.is_stuck(name, now) and (line.serving or name not in line.taken)}
    seen = RolloutSeen(
        retiring=bool({each.deployment for each in line.retiring} - stuck),
        in_place=tuple(there - {own} - stuck) if run.source.promotion.strategy == "replace" else (),
    )
    if own in there:
        return seen
    app.cloud.endpoints.check_access(endpoint)  # what can't be asked is not worth paying for
    if not model_is_there(app, run.attempt.model):
        what = f"model {run.attempt.model}"
        return replace(seen, gone=what, fresh=_just_begun(app, run) or _first_look(run, what))
    instances = instances_of(app, run)
    quota = app.cloud.quota.for_serving(instances.size, instances.count)
    if quota and stuck:
        quota += f"; {', '.join(sorted(stuck))} can't be deleted: {line.refused[min(stuck)].why}"
    shortage = slots.shortage(app, run)
    # Who has the line has made room already, or brings back what served: the instances are those of its own line.
    ahead = "" if line.rollout == run.id else shortage.ahead
    resized = kept_by_hand(app, run, line) != run.attempt.kept
    return replace(seen, resized=resized, quota=quota, queued=shortage.queued, ahead=ahead)


def _deployment(app: App, run: Run) -> DeploymentSeen:
    now = app.cloud.blobs.now()
    deployment = app.cloud.endpoints.deployment(run.deployed.endpoint, run.deployed.name)
    overdue = now - machines.begun(run) > timedelta(hours=app.settings.rollout.max_deploying_hours)
    if seen := machines.deployment(run, deployment, now):
        return replace(seen, newer=_further(app, run)) if deployment is None else replace(seen, overdue=overdue)
    if deployment is None:
        return DeploymentSeen(state=None, fresh=_just_begun(app, run) or _first_look(run, "the deployment"))
    return DeploymentSeen(state=deployment.state, why=deployment.why, overdue=overdue)


def _further(app: App, run: Run) -> str | None:
    """A newer run of the line that has a model, and would have the endpoint if this one gave up."""
    newer = _newer(_line(app, run), run)
    return newer if newer and not run.restores and _went_further(app, newer) else None


def _check(app: App, run: Run) -> CheckSeen:
    line, deployed = _line(app, run), run.deployed
    if line and line.serving and line.serving.run == run.id:
        return CheckSeen(serves=True, why=f"{run.attempt.model} got {_what_it_got(app, run)}")
    if line and (newer := newer_that_serves(line, run)):
        return CheckSeen(newer=newer)
    endpoint = app.cloud.endpoints.get(deployed.endpoint)
    gone = ""
    if endpoint is None:
        gone = f"endpoint {deployed.endpoint}"
    deployment = app.cloud.endpoints.deployment(deployed.endpoint, deployed.name) if endpoint else None
    if endpoint and deployment is None:
        gone = f"deployment {deployed.name}"
    if endpoint is None or deployment is None:
        return CheckSeen(gone=gone, fresh=_first_look(run, gone))
    now = app.cloud.blobs.now()
    foreign = not_on_line(line, deployed.name, deployment.tags) if line else ""
    smoke, scores, approval = deployed.smoke, deployed.scores, deployed.approval
    if not isinstance(smoke, Answered):
        return CheckSeen()
    if not smoke.passed:
        return CheckSeen(passed=False, why=f"the smoke test failed: {smoke.why}")
    ask = not approval.asked or now - approval.asked[-1] >= DAY
    return CheckSeen(
        passed=True,
        gate=True if run.restores else scores.passed if scores else None,
        why=f"the gate: {scores.why}" if scores else "",
        approval=run.needs_approval and not approval.by,
        ask=ask,
        unanswered=ask and len(approval.asked) >= app.settings.rollout.max_approval_days,
        busy=endpoint.busy or deployment.state in BUSY,
        hands=foreign or (_hands(app, run, line, endpoint) if line else ""),
        traffic=0 if foreign else share_of(run, line, endpoint, deployed.name),
    )


def _hands(app: App, run: Run, line: Line, endpoint: Endpoint) -> str:
    """What a person did to the endpoint, or to who has its traffic, and what ends the wait for that."""
    foreign = not_ours(line, endpoint.name, endpoint.tags)
    return foreign or split(run, line, endpoint, run.deployed.name) or replaced(app, line, endpoint)


def _what_it_got(app: App, run: Run) -> str:
    """The traffic that the run was given, in words; only one that a person asked for leaves others theirs."""
    endpoint = app.cloud.endpoints.get(run.deployed.endpoint) if run.restores else None
    stay = others(endpoint.traffic, run.deployed.name) if endpoint else {}
    rest = f" but what somebody gave to others: {told(stay)}" if stay else ""
    return f"all of the traffic of endpoint {run.deployed.endpoint}{rest}"


def _just_begun(app: App, run: Run) -> bool:
    """Whether Azure may not show yet what was asked for."""
    return run.is_fresh(app.cloud.blobs.now())


def _first_look(run: Run, what: str) -> bool:
    """Whether something is missed for the first time: one 404 of Azure's must not end a run."""
    return run.waiting is None or run.waiting.why != unseen(what)


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
