"""Lost records made again, from the tags of jobs, deployments and endpoints, and from what Azure shows.

records/tags.py has what the tags tell.

A record that exists is never written over, so it may be done again. A run whose job runs gets a slot, whatever the
limits say (see run/slots.py); what went live is remembered, so that the same data are not trained again. What has no
record and tells no way to it is named. Where Azure can't show what was meant, nothing is promoted and no money spent: a
deployment that stands without traffic beside one that has it may have been about to serve, or may have served before,
so its run asks for an approval; a model that nothing serves waits for `retry`. What can't be looked at, whatever is
wrong with it, is named, and keeps nothing else from being made again. Called by the HTTP functions, for a person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from shared import naming
from shared.api.schema import Recovered
from shared.app import App, start_timer, wake
from shared.cloud.endpoints import Deployment, Endpoint
from shared.cloud.jobs import JobView
from shared.errors import Conflict
from shared.intake.events import folder_of
from shared.intake.folder import datasets_of, read_folder
from shared.lifecycle.phase import ENDED, Phase
from shared.line import seats
from shared.line.trained import model_is_there, note_trained
from shared.naming import INSTALLATION_TAG, LINE_TAG, RUN_TAG, made_for, tag
from shared.records import tags
from shared.records.base import Wake
from shared.records.layout import DATASETS
from shared.records.line import Empty, Line, Newest, NotMade, Retiring, Serving, Standing, newer_that_serves
from shared.records.owner import is_at_home, is_derived, is_of_run, is_on_line
from shared.records.run import Approval, Data, Deployed, Ending, Plan, Run
from shared.records.store import Unreadable, readable
from shared.run import slots
from shared.run.hands import by_settings
from shared.serving.instances import Instances

log = logging.getLogger("droptune.api.recover")


@dataclass(kw_only=True)
class _Trace:
    """What is left of a run: its last job, its last deployment, and what their tags say of it."""

    run: Run
    job: JobView | None = None
    deployment: Deployment | None = None


@dataclass(kw_only=True)
class _Work:
    """What was found, and what became of it."""

    app: App
    now: datetime
    traces: dict[str, _Trace] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    unseen: set[str] = field(default_factory=set)
    """Lines that can't be looked at now: what their runs have come to can't be told without them."""
    rebuilt: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def apart(self, what: str, look: Callable[[], None], *, line: str = "") -> None:
        """Looks at one of many. Whatever comes of it is told, and ends there; for the `line` nothing is known then."""
        try:
            look()
        except Exception as error:
            self.unseen |= {line} - {""}
            log.exception("%s can't be looked at; the others are", what)
            self.told.append(f"{what} can't be looked at and is left as it is: {error}; mend that, and recover again")

    def done(self, what: str) -> None:
        log.warning("recovered: %s", what)
        self.rebuilt.append(what)


def recover(app: App) -> Recovered:
    """Makes the records of runs and lines again that are lost. Raises Transient or Permanent when Azure can't be asked.

    Asks for all jobs that there ever were, all endpoints and all datasets: this is no part of any day's work.
    """
    work = _Work(app=app, now=app.cloud.blobs.now())
    for job in app.cloud.jobs.list_since(None):
        work.apart(f"job {job.name}", partial(_trace_job, work, job))
    endpoints: list[tuple[Endpoint, list[Deployment]]] = []
    for each in filter(partial(_may_be_ours, work), app.cloud.endpoints.list()):
        look = partial(_trace_endpoint, work, each, endpoints)
        work.apart(f"endpoint {each.name}", look, line=_line_in(each))
    for endpoint, deployments in endpoints:
        look = partial(_recover_line, work, endpoint, deployments)
        work.apart(f"endpoint {endpoint.name}", look, line=_line_in(endpoint))
    for trace in work.traces.values():
        work.apart(f"run {trace.run.id}", partial(_recover_run, work, trace))
    for folder in sorted({folder_of(blob.name) for blob in app.cloud.blobs.list(DATASETS)} - {""}):
        work.apart(f"{DATASETS}/{folder}", partial(_tell_of_dataset, work, folder))
    return Recovered(rebuilt=_kept(work.rebuilt), told=_kept(work.told))


def _kept(told: list[str]) -> list[str]:
    """As JSON can hold it: a tag that somebody else wrote may be no Unicode."""
    return [each.encode(errors="backslashreplace").decode() for each in told]


# What is there -------------------------------------------------------------------------------------------------------


def _may_be_ours(work: _Work, endpoint: Endpoint) -> bool:
    """Whether the endpoint says that it is of this installation."""
    return bool(_line_in(endpoint)) and tag(endpoint.tags, INSTALLATION_TAG) == work.app.settings.storage.installation


def _line_in(endpoint: Endpoint) -> str:
    """The id of the line that its tags name; "" if none."""
    return tag(endpoint.tags, LINE_TAG) or ""


def _made_here(work: _Work, name: str, found: Mapping[str, str]) -> bool:
    """Whether the job or deployment has the name that its tags make, for this installation; a copy has not."""
    made = made_for(name, found)
    return made is not None and made.installation == work.app.settings.storage.installation


def _trace_job(work: _Work, job: JobView) -> None:
    if not _made_here(work, job.name, job.tags):
        return
    run = _run_in(job.tags, job.created or work.now)
    if run is None or not is_of_run(run, job.name, job.tags):
        _untold(work, job.tags, f"job {job.name}")
        return
    known = work.traces.get(run.id)
    if known is None:
        work.traces[run.id] = _Trace(run=run.in_attempt(job=job.name, plan=_plan(job.tags)), job=job)
    elif known.run.attempt.number < run.attempt.number:
        known.run, known.job = run.in_attempt(job=job.name, plan=_plan(job.tags)), job


def _trace_endpoint(work: _Work, endpoint: Endpoint, found: list[tuple[Endpoint, list[Deployment]]]) -> None:
    deployments = work.app.cloud.endpoints.deployments(endpoint.name)
    found.append((endpoint, deployments))
    for each in deployments:
        work.apart(f"deployment {each.name} of endpoint {endpoint.name}", partial(_trace_deployment, work, each))


def _trace_deployment(work: _Work, deployment: Deployment) -> None:
    if not _made_here(work, deployment.name, deployment.tags):
        work.told.append(_left_alone(deployment))
        return
    run = _run_in(deployment.tags, work.now)
    if run is None or not is_of_run(run, deployment.name, deployment.tags):
        _untold(work, deployment.tags, f"deployment {deployment.name} of endpoint {deployment.endpoint}")
        return
    if not is_at_home(work.app.settings, run, deployment.endpoint):
        work.told.append(_left_alone(deployment))
        return
    trace = work.traces.setdefault(run.id, _Trace(run=run))
    if trace.deployment and trace.run.attempt.number >= run.attempt.number:
        return
    if trace.run.attempt.number <= run.attempt.number:
        trace.run = run.in_attempt(job=trace.run.attempt.job, plan=trace.run.attempt.plan)
        trace.deployment = deployment


def _left_alone(deployment: Deployment) -> str:
    return f"deployment {deployment.name} of endpoint {deployment.endpoint} is somebody else's: it is left alone"


def _run_in(found: Mapping[str, str], since: datetime) -> Run | None:
    """The run that tags tell of. None as well where its names can't be any: anybody may have written them."""
    run = tags.run_of(found, since=since)
    if run is None or not _can_be(run.id, run.line, run.source.folder, run.source.base_model):
        return None
    return run


def _can_be(run: str, line: str, folder: str, base_model: str) -> bool:
    given = ((naming.ID, run), (naming.ID, line), (naming.FOLDER, folder), (naming.BASE_MODEL, base_model))
    return not any(naming.refused(kind, name) for kind, name in given)


def _untold(work: _Work, found: Mapping[str, str], what: str) -> None:
    """Of something whose tags don't hold a record: it is only told, and only if its run has none."""
    run = tag(found, RUN_TAG) or ""
    if _is_lost(work, run):
        work.told.append(
            f"{what} is of run {run}, whose record is lost and can't be made of its tags: it is left alone"
        )


def _plan(found: Mapping[str, str]) -> Plan | None:
    """What a job was made of, but for its parameters: the job itself tells those."""
    model, component = found.get("droptune.base_model_id", ""), found.get("droptune.component_id", "")
    if not (model and component):
        return None
    return Plan(
        model_id=model,
        model_version=model.rpartition("/")[2],
        component_id=component,
        component_version=component.rpartition("/")[2],
        parameters={},
        gpus=0,
    )


# Lines ---------------------------------------------------------------------------------------------------------------


def _recover_line(work: _Work, endpoint: Endpoint, deployments: list[Deployment]) -> None:
    app, line_id = work.app, _line_in(endpoint)
    try:
        loaded = app.lines.load(line_id)
    except Unreadable as error:
        work.told.append(f"line {line_id}: {error}")
        work.unseen.add(line_id)
        return
    if loaded:
        work.lines[line_id] = loaded.record
        seats.hold(app, loaded.record)
        if not (loaded.record.removed or app.lines.is_marked(line_id)):
            with suppress(Conflict):
                app.lines.reopen(*loaded)
                work.done(f"line {line_id} is among those that are looked after again")
        return
    line = tags.line_of(endpoint.tags) or _line_by_runs(work, line_id)
    if line is None or line.id != line_id or not is_derived(app.settings, replace(line, endpoint=endpoint.name)):
        work.told.append(
            f"endpoint {endpoint.name} is of line {line_id}, whose record is lost: its tags don't tell more"
        )
        return
    line = _with_deployments(work, replace(line, endpoint=endpoint.name), endpoint, deployments)
    work.lines[line.id] = line
    seats.hold(app, line)
    if not app.lines.create(line):
        return
    start_timer(app, line)
    serves = f"serves {line.serving.model}" if line.serving else "serves nothing"
    work.done(f"line {line.id} ({line.folder}, {line.base_model}): endpoint {line.endpoint} {serves}")
    lost = "whether it was pinned or kept, its office hours, and what it served before"
    work.told.append(f"line {line.id}: {lost}: not known any more; droptune keep {line.id} keeps it meanwhile")


def _line_by_runs(work: _Work, line_id: str) -> Line | None:
    """By the tags of what belongs to it, where those of the endpoint don't tell."""
    for trace in work.traces.values():
        if trace.run.line == line_id:
            source = trace.run.source
            return Line(
                id=line_id,
                folder=source.folder,
                base_model=source.base_model,
                endpoint="",
                installation=trace.run.installation,
            )
    return None


def _with_deployments(work: _Work, line: Line, endpoint: Endpoint, deployments: list[Deployment]) -> Line:
    """The line with what the endpoint shows: what has the traffic serves, the newest without is rolled out."""
    mine = [each for each in deployments if is_on_line(line, each.name, each.tags)]
    ours = [(run, each) for each in mine if (run := _run_of(work, each))]
    if not deployments:
        return replace(line, newest=_newest(work, line), state=Empty(since=work.now))
    ours.sort(key=lambda found: (endpoint.traffic.get(found[1].name, 0), found[0].order), reverse=True)
    serving: Serving | None = None
    if ours and endpoint.traffic.get(ours[0][1].name):
        run, deployment = ours.pop(0)
        serving = Serving(
            run=run.id,
            deployment=deployment.name,
            model=run.attempt.model,
            fingerprint=run.attempt.fingerprint,
            since=work.now,
            order=run.order,
            asked=by_settings(work.app),
        )
    rollout = ""
    if ours and not ours[0][0].phase.ended and (serving is None or ours[0][0].order > serving.order):
        rollout = ours.pop(0)[0].id
    until = work.now + work.app.settings.rollout.grace
    retiring = tuple(Retiring(deployment=each.name, model=run.attempt.model, until=until) for run, each in ours)
    return replace(
        line,
        state=Standing() if serving else NotMade(),
        serving=serving,
        latest=serving,
        newest=_newest(work, line),
        rollout=rollout,
        retiring=retiring,
        wake=Wake.at(until) if retiring else None,
        instances=work.app.settings.serving.instances,
    )


def _newest(work: _Work, line: Line) -> Newest | None:
    """The newest run of the line that trains."""
    training = [
        each.run
        for each in work.traces.values()
        if each.run.line == line.id and each.job and each.job.status not in ENDED
    ]
    newest = max(training, key=lambda run: run.order, default=None)
    return Newest(run=newest.id, order=newest.order) if newest else None


def _run_of(work: _Work, deployment: Deployment) -> Run | None:
    """The run of a deployment: its record, else what the tags say of it."""
    run = _run_in(deployment.tags, work.now)
    loaded = readable(work.app.runs, run.id) if run else None
    return loaded.record if loaded else run


def _is_lost(work: _Work, run: str) -> bool:
    """Whether there is no record of the run; one that can't be read is one."""
    try:
        return work.app.runs.load(run) is None
    except Unreadable:
        return False


# Runs ----------------------------------------------------------------------------------------------------------------


def _recover_run(work: _Work, trace: _Trace) -> None:
    app, run = work.app, trace.run
    try:
        loaded = app.runs.load(run.id)
    except Unreadable as error:
        work.told.append(f"run {run.id}: {error}")
        return
    if loaded:
        if not loaded.record.phase.ended and not app.runs.is_marked(run.id):
            with suppress(Conflict):
                app.runs.reopen(*loaded)
            work.done(f"run {run.id} is among those that work again")
        _recover_rest(work, loaded.record)
        return
    if run.line in work.unseen:
        work.told.append(f"run {run.id} has no record, and its line {run.line} can't be looked at: recover again then")
        return
    recovered = _as_found(work, trace)
    if not app.runs.create(recovered):
        return
    _recover_rest(work, recovered)
    if not recovered.phase.ended:
        wake(app, recovered)
    told = recovered.history[-1].what
    work.done(f"run {run.id} ({run.source.folder}, attempt {run.attempt.number}) is {recovered.phase}: {told}")


def _recover_rest(work: _Work, run: Run) -> None:
    """What is kept of the run outside its record. Also where it has one: this may have died in between."""
    if run.phase is Phase.TRAINING:
        slots.hold(work.app, run.id, run.since)
    if run.phase is Phase.LIVE and run.attempt.model and run.attempt.fingerprint:
        with suppress(Conflict):  # it is remembered, or another one that made the same
            note_trained(work.app, run, first=True)
            work.done(f"run {run.id} made {run.attempt.model}: the same data and settings are not trained again")


def _as_found(work: _Work, trace: _Trace) -> Run:
    """The run in the phase that what is left of it shows."""
    run, line = trace.run, work.lines.get(trace.run.line)
    if trace.deployment:
        run = run.in_attempt(deployed=_deployed(work, trace.deployment))
        return _with_deployment(work, run, line)
    if line and (served := next((each for each in _served(line) if each.run == run.id), None)):
        data = run.attempt.data or Data(fingerprint="")
        run = run.in_attempt(model=served.model, data=replace(data, fingerprint=served.fingerprint))
        return _found(work, run, Phase.LIVE, "it went live")
    model = run.attempt.model or _model(run)
    if model_is_there(work.app, model):
        run = run.in_attempt(model=model)
        return _found(
            work, run, Phase.CANCELLED, f"nothing shows whether {model} was to serve: droptune retry {run.id} does it"
        )
    return _with_job(work, run, trace.job, line)


def _deployed(work: _Work, deployment: Deployment) -> Deployed:
    """The deployment as it is; what was asked for is taken for what the settings say."""
    has = Instances(count=deployment.instances, size=deployment.instance_type) if deployment.instances else None
    asked = by_settings(work.app)
    return Deployed(endpoint=deployment.endpoint, name=deployment.name, instances=has, asked=asked)


def _model(run: Run) -> str:
    """What its model is called, if it came to one."""
    name = naming.model_name(run.source.base_model, run.source.folder)
    return f"{name}:{naming.model_version(run.id, run.attempt.number)}"


def _with_deployment(work: _Work, run: Run, line: Line | None) -> Run:
    if line is None:
        return _found(work, run, Phase.CANCELLED, f"its line is lost: deployment {run.deployed.name} is left alone")
    if run.id in (each.run for each in _served(line)) or run.deployed.name in (
        each.deployment for each in line.retiring
    ):
        return _found(work, run, Phase.LIVE, "it went live")
    if newer := newer_that_serves(line, run):
        work.told.append(
            f"no run owns deployment {run.deployed.name} of endpoint {run.deployed.endpoint} any more: the cleanup "
            "deletes it"
        )
        return _found(work, run, Phase.SUPERSEDED, f"run {newer} is newer and went live")
    phase = Phase.DEPLOYING if line.rollout == run.id else Phase.REGISTERED
    if line.serving is None:
        return _found(work, run, phase, f"deployment {run.deployed.name} is there, and nothing serves")
    work.told.append(f"run {run.id} was about to serve, or has served before: droptune approve {run.id}, or cancel it")
    run = run.in_deployed(approval=Approval(needed=True))
    return _found(work, run, phase, f"deployment {run.deployed.name} is there; it needs an approval to serve")


def _with_job(work: _Work, run: Run, job: JobView | None, line: Line | None) -> Run:
    if job is None:
        return _found(work, run, Phase.FAILED, "neither its job nor its deployment is there")
    if job.status not in ENDED:
        return _found(work, run, Phase.TRAINING, f"its job is {job.status}", since=run.since)
    if job.status != "Completed":
        return _found(work, run, Phase.FAILED, f"its job ended as {job.status}: see it in Azure ML")
    newer = max((each.run for each in work.traces.values() if each.run.line == run.line), key=lambda each: each.order)
    if newer.order > run.order:
        return _found(work, run, Phase.SUPERSEDED, f"run {newer.id} is newer")
    if line and (newer_run := newer_that_serves(line, run)):
        return _found(work, run, Phase.SUPERSEDED, f"run {newer_run} is newer and went live")
    return _found(work, run, Phase.TRAINING, "its job is done", since=run.since)


def _found(work: _Work, run: Run, phase: Phase, why: str, *, since: datetime | None = None) -> Run:
    ending = Ending(phase=phase, why=why) if phase.ended else None
    found = replace(run, phase=phase, since=since or work.now, ending=ending)
    return found.noted(work.now, f"its record was lost, and is made again: {why}")


def _served(line: Line) -> Iterator[Serving]:
    """What the line knows to have gone live."""
    return (each for each in (line.serving, line.latest, line.previous) if each)


def _tell_of_dataset(work: _Work, name: str) -> None:
    """Names datasets that have no run: it was lost before it had a job, or they were there before Droptune."""
    folder = read_folder(work.app, name)
    if folder.problem:
        work.told.append(f"{DATASETS}/{name}: {folder.problem}; nothing of it is trained on until that is mended")
    found = datasets_of(folder)
    for dataset in [*found.values()][:1]:  # a folder is one dataset, of which the run may have one of two ids
        if all(_is_lost(work, run_id) for run_id in found):
            work.told.append(f"{DATASETS}/{dataset.told} has no run: upload it again if it is to be trained on")
