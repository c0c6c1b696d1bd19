"""What Droptune does to Azure for a run, a function for each action: `ACTIONS[action](app, run)` gives the record.

Every action may be done again after a crash: names are derived from run and attempt, and what exists already is
adopted. Raises Transient (later) or Permanent (the run ends); anything else is a bug.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from shared import naming, slots
from shared.app import App
from shared.compare import compare, held_out
from shared.dataset.rules import Facts
from shared.dataset.split import Part
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.folders import DATASETS, PAGE, PREPARED, REPORT, datasets_of, read_folder, taken
from shared.lines import (
    adoptable,
    held_by,
    line_of,
    note_trained,
    ours,
    own,
    remove_deployments,
    reopen_line,
    save_line,
    without_endpoint,
)
from shared.records.run import File, Heading, Leaving, Line, Pinned, Run, Serving, readable
from shared.serving.payload import answer_of, conversation_of, expected_of, opening_of, scoring_payload
from shared.serving.smoke import SILENCE, Silence, Verdict, judge, unanswered
from shared.tags import tags_of, tags_of_line
from shared.timers import free_slot, wake
from shared.training.compute import gpus_per_node
from shared.training.job import job_request
from shared.training.parameters import resolve
from shared.training.step import Step, code, step

if TYPE_CHECKING:
    from shared.dataset.files import Source
    from shared.dataset.report import Report
    from shared.dataset.tables import Table

log = logging.getLogger("droptune.effects")

MIB = 1024 * 1024
CODE = "code"
"""Folder in the container `prepared` of the code that steps of jobs run."""


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a run's record keeps of a report."""

    rejected: str
    by_rule: dict[str, int]
    splits: dict[str, int]
    digest: str


class Unanswered(Transient):
    """The new deployment does not answer now: to be tried again, and `silence` to be kept in the record."""

    def __init__(self, error: Transient | NotFound, silence: Silence) -> None:
        super().__init__(str(error), *([error.after] if isinstance(error, Transient) else []))
        self.silence = silence


class _Rejected(Exception):
    """Takes back what was written of a dataset that may not be trained on."""


def _prepare(app: App, run: Run) -> Run:
    """Checks the dataset and copies it, split, to where the job reads it. The report comes last: it says all is there.

    What is above INLINE_LIMIT_MB is left to the job's first step, untouched.
    Takes the validation and test files that the folder has now. If-Match on every read: a file that changes meanwhile
    is somebody's new upload, and the next look finds that out.
    """
    from shared.dataset.markdown import page
    from shared.dataset.prepare import prepare
    from shared.dataset.split import PARTS

    dataset = datasets_of(read_folder(app, run.folder)).get(run.id)
    if dataset is None:
        raise Transient("the folder has just changed", after=timedelta(seconds=1))
    run = replace(run, **taken(run.folder, dataset))
    run, files = _inputs(app, run)
    if sum(file.size for file in files.values()) > app.settings.inline_limit_mb * MIB:
        return replace(run, in_job=True)
    blobs = app.cloud.blobs
    try:
        with ExitStack() as stack:
            sinks = {
                part: stack.enter_context(blobs.writer(PREPARED, f"{run.prepared}/{part}.jsonl")) for part in PARTS
            }
            report = prepare(
                files=files, sinks=sinks, policy=run.policy, facts=_facts(app, run), told=app.settings.max_rows_shown
            )
            if report.rejected:
                raise _Rejected  # noqa: TRY301 - it has to leave through the writers, so that none of them commits
    except (Conflict, NotFound):
        raise Transient("a file of the dataset was changed while it was read", after=timedelta(seconds=1)) from None
    except _Rejected:
        log.info("run %s: %s", run.id, report.summary)
    blobs.write(PREPARED, f"{run.prepared}/{PAGE}", page(report).encode())
    blobs.write(PREPARED, f"{run.prepared}/{REPORT}", msgspec.json.encode(report.as_dict()))
    return _reported(run, report)


def _inputs(app: App, run: Run) -> tuple[Run, dict[Part, Source | Table]]:
    """What the run reads, by part; and the run, which remembers the commit that its hub's revision is at."""
    if run.hub:
        from shared.dataset.hub import tables

        commit, found = tables(replace(run.hub, revision=run.hub_commit or run.hub.revision))
        return replace(run, hub_commit=commit), dict(found)
    parts: dict[Part, File | None] = {"train": run.train, "validation": run.validation, "test": run.test}
    source = app.cloud.blobs.source
    return run, {part: source(DATASETS, file.name, file.etag, file.size) for part, file in parts.items() if file}


def _facts(app: App, run: Run) -> Facts:
    """What the rules ask of the base model; nothing is known of one that `pin` will refuse."""
    try:
        model = app.cloud.registry.model(run.base_model, run.pinned.model_version if run.pinned else None)
    except Permanent:
        return Facts()
    return Facts(context=model.context, tools=model.takes_tools)


def _reported(run: Run, report: Report | _Told) -> Run:
    """The run with what its record keeps of a report."""
    return replace(
        run,
        faults=sum(report.by_rule.values()) if report.rejected else 0,
        rows=dict(report.splits),
        fingerprint=_fingerprint(run, report.digest),
        reason=report.rejected,
    )


def _fingerprint(run: Run, digest: str) -> str:
    """Equal for runs that train the same model on the same rows in the same way."""
    content = [digest, run.base_model, sorted(run.parameters.items())]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:32]


def _pin(app: App, run: Run) -> Run:
    """Resolves model, component, parameters and GPUs, and refuses what can't run: all before anything is spent."""
    settings, now = app.settings, app.cloud.blobs.now()
    model = app.cloud.registry.model(run.base_model)
    model.check_retirement(now)
    existing = app.cloud.computes.get(settings.gpu_compute)
    size = existing.size if existing else settings.gpu_size
    model.check_size(size, "finetune")
    model.check_size(settings.serving_size, "inference")
    component = app.cloud.registry.component(settings.component)
    parameters, notes = resolve(model.defaults(), run.parameters, component.inputs)
    gpus = gpus_per_node(size, app.cloud.computes.sizes())
    pinned = Pinned(
        model_id=model.id,
        model_version=model.version,
        component_id=component.id,
        component_version=component.version,
        parameters=parameters,
        gpus=gpus,
    )
    notes = (*model.notes(now), *notes)
    for note in notes:
        log.warning("run %s: %s", run.id, note)
    return replace(run, pinned=pinned, notes=notes)


def _make_computes(app: App, run: Run) -> Run:
    for name, size in (
        (app.settings.cpu_compute, app.settings.cpu_size),
        (app.settings.gpu_compute, app.settings.gpu_size),
    ):
        if app.cloud.computes.get(name) is None:
            app.cloud.computes.create(name, size, app.settings.nodes, app.settings.training_identity)
    return run


def _lead(app: App, run: Run) -> Run:
    """Makes the run the newest one of its line that trains; the one before it is woken to see that.

    One of the same moment stays: two training sets of a folder are equally new, and neither supersedes the other.
    """
    line, etag = line_of(app, run)
    before = line.heading
    if before and before.order >= run.order:
        return run  # the next look finds that out
    save_line(app, replace(line, heading=Heading(run=run.id, uploaded=run.uploaded, ordinal=run.ordinal)), etag)
    if before and before.run != run.id and (other := readable(app.runs, before.run)) and not other[0].phase.ended:
        wake(app, other[0])
    return run


def _admit(app: App, run: Run) -> Run:
    slots.take(app, run.id)
    return run


def _queue_up(app: App, run: Run) -> Run:
    slots.wait_for_quota(app, run)
    return run


def _train(app: App, run: Run) -> Run:
    """Submits the job. Its files are an immutable copy of the dataset, read through the datastore `prepared`."""
    settings, pinned = app.settings, _pinned(run)
    folder = f"azureml://datastores/{PREPARED}/paths/{run.prepared}"
    request = job_request(
        run=run.id,
        attempt=run.attempt,
        line=run.line,
        dataset=run.folder,
        base_model=run.base_model,
        model_id=pinned.model_id,
        component=settings.component,
        component_version=pinned.component_version,
        component_id=pinned.component_id,
        parameters=pinned.parameters,
        gpus=pinned.gpus,
        nodes=settings.nodes,
        gpu_compute=settings.gpu_compute,
        gpu_size=settings.gpu_size,
        cpu_compute=settings.cpu_compute,
        cpu_size=settings.cpu_size,
        train=f"{folder}/train.jsonl",
        validation=f"{folder}/validation.jsonl",
        test=f"{folder}/test.jsonl",
        step=_first_step(app, run) if run.in_job else None,
        tags=tags_of(run),
    )
    app.cloud.jobs.submit(request)
    return replace(run, job=request.name)


def _first_step(app: App, run: Run) -> Step:
    """The step that prepares the data; its code and its plan are put where it reads them."""
    from shared.dataset.step import Given, Plan

    blobs, datastore = app.cloud.blobs, "azureml://datastores"
    name, data = code()
    if blobs.head(PREPARED, f"{CODE}/{name}") is None:
        blobs.write(PREPARED, f"{CODE}/{name}", data)
    parts: dict[Part, File | None] = {"train": run.train, "validation": run.validation, "test": run.test}
    plan = Plan(
        files={
            part: Given(name=file.name.removeprefix(f"{run.folder}/"), size=file.size)
            for part, file in parts.items()
            if file
        },
        hub=replace(run.hub, revision=run.hub_commit or run.hub.revision) if run.hub else None,
        endpoint=app.settings.hub_endpoint,
        policy=run.policy,
        facts=_facts(app, run),
        told=app.settings.max_rows_shown,
    )
    blobs.write(PREPARED, f"{run.prepared}/plan.json", plan.encoded())
    return step(
        code=f"{datastore}/{PREPARED}/paths/{CODE}/{name}",
        plan=f"{datastore}/{PREPARED}/paths/{run.prepared}/plan.json",
        source=f"{datastore}/{DATASETS}/paths/{run.folder}",
        prepared=f"{datastore}/{PREPARED}/paths/{run.prepared}",
        compute=app.settings.cpu_compute,
    )


def _take_report(app: App, run: Run) -> Run:
    """Takes into the record what the job's first step says of the data that it prepared."""
    return _reported(
        run, msgspec.json.decode(app.cloud.blobs.read(PREPARED, f"{run.prepared}/{REPORT}")[0], type=_Told)
    )


def _pinned(run: Run) -> Pinned:
    if run.pinned is None:
        raise ValueError(f"run {run.id} is past its plan but pinned nothing")
    return run.pinned


def _cancel_job(app: App, run: Run) -> Run:
    app.cloud.jobs.cancel(run.job)
    return run


def _register(app: App, run: Run) -> Run:
    version = naming.model_version(run.id, run.attempt)
    model = app.cloud.models.register(
        naming.model_name(run.base_model, run.folder),
        version,
        run.job,
        f"{run.base_model} fine-tuned on {run.folder} by Droptune",
        tags=tags_of(run) | {"droptune.job": run.job},
        properties={"droptune.base_model": _pinned(run).model_id, "droptune.train": run.data},
    )
    free_slot(app, run)
    return replace(run, model=f"{model.name}:{model.version}")


def _make_endpoint(app: App, run: Run) -> Run:
    line, etag = line_of(app, run)
    now = app.cloud.blobs.now()
    if line.serving:
        if app.cloud.endpoints.get(line.endpoint):
            return run  # it was only not to be seen
        why = f"somebody deleted the endpoint; run {run.id} makes it anew, for its own version"
        save_line(app, without_endpoint(line, now).to_tell(now, "Endpoint.TornDown", why), etag)
    elif line.removed:  # it stands again from here on, whatever becomes of the run
        reopen_line(app, replace(line, removed=None, emptied=now), etag)  # not long ago, or it would be removed again
    app.cloud.endpoints.create(line.endpoint, f"{run.base_model} fine-tuned on {run.folder}", tags_of_line(line))
    return replace(run, endpoint=line.endpoint)


def _take_line(app: App, run: Run) -> tuple[Line, str]:
    """Takes the line's place: from then on nobody else deploys to its endpoint or tears it down."""
    line, etag = line_of(app, run)
    if line.tearing_down or held_by(app, line, run):
        raise Transient("the line's endpoint is being changed by somebody else")
    if line.rollout != run.id:
        save_line(app, replace(line, rollout=run.id), etag)
        line, etag = line_of(app, run)
    return line, etag


def _clear(app: App, run: Run) -> Run:
    """Ends the grace of what served before: its instances may be needed, and its place is."""
    line, etag = _take_line(app, run)
    left = remove_deployments(app, line.endpoint, [each.deployment for each in line.leaving], used=False)
    save_line(app, replace(line, leaving=tuple(each for each in line.leaving if each.deployment in left)), etag)
    return run


def _make_room(app: App, run: Run) -> Run:
    """For a rollout without spare instances: what serves goes first, and the line says that nothing serves."""
    line, etag = _take_line(app, run)
    if line.serving:
        save_line(app, replace(line, serving=None, displaced=line.serving, emptied=app.cloud.blobs.now()), etag)
    others = ours(app, line.endpoint) - {naming.deployment_name(run.id, run.attempt)}
    remove_deployments(app, line.endpoint, others, used=True)
    return run


def _deploy(app: App, run: Run) -> Run:
    """Asks for the run's own deployment; where its very model still stands from before, that one is taken."""
    line, _ = _take_line(app, run)
    if there := adoptable(line, run):  # it is among what leaves until it serves: a crash must not lose sight of it
        return replace(run, endpoint=line.endpoint, deployment=there.deployment)
    name, _, version = run.model.rpartition(":")
    model = app.cloud.models.get(name, version)
    if model is None and run.is_fresh(app.cloud.blobs.now()):
        raise Transient(f"model {run.model} is not to be seen yet")
    if model is None:
        raise Permanent(f"model {run.model} is gone: somebody deleted it; upload the dataset again")
    deployment = naming.deployment_name(run.id, run.attempt)
    app.cloud.endpoints.deploy(
        line.endpoint,
        deployment,
        model.id,
        app.settings.serving_size,
        app.settings.serving_instances,
        tags_of(run),
    )
    return replace(run, endpoint=line.endpoint, deployment=deployment)


def _check(app: App, run: Run) -> Run:
    """Asks the new deployment one held-out question, as a caller would. One that stays silent for long has failed."""
    question, expected = _question(app, run)
    answer = ""
    try:
        response = app.cloud.endpoints.score(run.endpoint, scoring_payload(question, greedy=True), run.deployment)
        answer = answer_of(response)
        verdict = judge(question, answer)
    except (Transient, NotFound) as error:
        now = app.cloud.blobs.now()
        silence = unanswered(run.silence, now)
        if not silence.failed(now):
            raise Unanswered(error, silence) from error
        verdict = Verdict(passed=False, why=f"no answer in {SILENCE}: {error}")
    except (Permanent, ValueError) as error:
        verdict = Verdict(passed=False, why=str(error))
    checks = {"question": question, "expected": expected, "answer": answer, "why": verdict.why}
    return replace(run, checks=checks, passed=verdict.passed, silence=None)


def _question(app: App, run: Run) -> tuple[list[dict[str, str]], str]:
    """A held-out question and its answer, the same ones whenever they are asked for. Raises Permanent without rows."""
    opening = None
    for _, row in held_out(app, run):
        try:
            return conversation_of(row), expected_of(row)
        except ValueError:  # tool turns
            opening = opening or opening_of(row)
    if opening is None:
        raise Permanent("the test data have no rows to ask with: upload some, or leave it to the split")
    return opening, ""


def _ask(app: App, run: Run) -> Run:
    """Tells people that the run waits for an approval, what that costs, and what becomes of it without one."""
    settings, now = app.settings, app.cloud.blobs.now()
    first, days = (*run.asked, now)[0], settings.max_approval_days - len(run.asked)
    a_day = settings.instance_price * settings.serving_instances * 24
    costs = f"costs {a_day:.2f} a day" if a_day else "costs its instances"
    why = (
        f"it passed its checks, and waits for an approval since {first:%Y-%m-%d %H:%M} UTC: droptune approve {run.id} "
        f"lets it serve, droptune cancel {run.id} takes it back. Its deployment {costs}; without an answer it is "
        f"rolled back in {days} {'day' if days == 1 else 'days'}"
    )
    log.warning("run %s: %s", run.id, why)
    return run.ask(now, why)


def _give_traffic(app: App, run: Run) -> Run:
    own(app, run)
    app.cloud.endpoints.set_traffic(run.endpoint, {run.deployment: 100})
    return run


def _serve(app: App, run: Run) -> Run:
    """Writes into the line what serves now; what served before stays for the grace time, without traffic."""
    line, etag = own(app, run)
    now, old = app.cloud.blobs.now(), line.serving
    note_trained(app, run)
    leaving = tuple(each for each in line.leaving if each.deployment != run.deployment)
    if old and old.deployment != run.deployment:
        until = now + app.settings.rollout_grace
        leaving = (*leaving, Leaving(deployment=old.deployment, model=old.model, until=until))
    was = old or line.latest
    serving = Serving(
        run=run.id,
        deployment=run.deployment,
        model=run.model,
        fingerprint=run.fingerprint,
        since=now,
        uploaded=run.uploaded,
        ordinal=run.ordinal,
    )
    changed = replace(
        line,
        serving=serving,
        latest=serving,
        before=was if was and was.model != run.model else line.before,
        displaced=None,
        leaving=leaving,
        noticed=None,
        emptied=None,
        removed=None,
        instances=app.settings.serving_instances,
    )
    save_line(app, changed, etag)
    return run


ACTIONS: dict[str, Callable[[App, Run], Run]] = {
    "prepare": _prepare,
    "pin": _pin,
    "make_computes": _make_computes,
    "lead": _lead,
    "admit": _admit,
    "queue_up": _queue_up,
    "train": _train,
    "cancel_job": _cancel_job,
    "take_report": _take_report,
    "register": _register,
    "make_endpoint": _make_endpoint,
    "clear": _clear,
    "make_room": _make_room,
    "deploy": _deploy,
    "check": _check,
    "compare": compare,
    "ask": _ask,
    "give_traffic": _give_traffic,
    "serve": _serve,
}
