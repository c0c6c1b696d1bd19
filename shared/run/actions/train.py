"""Actions up to the model: resolve, make computes, take a slot, submit the job, register what it made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from shared import naming
from shared.app import App, wake
from shared.cloud.models import RegisteredModel
from shared.dataset.split import PARTS
from shared.errors import Permanent
from shared.line import seats
from shared.line.access import line_of, save_line
from shared.line.trained import known_data
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED, in_datastore
from shared.records.line import Newest, newer_to_train
from shared.records.owner import is_of_run
from shared.records.run import Attempt, Plan, Run
from shared.records.store import readable
from shared.records.tags import tags_of
from shared.run import course, older, slots
from shared.run.actions.data import facts_of
from shared.run.in_spec import told_in_spec
from shared.run.slots import free_slot
from shared.training.compute import Site, gpus_per_node, several_identities, size_of
from shared.training.job import Data, Machines, Purpose, Recipe, job_request
from shared.training.parameters import may_set, mistakes, resolve
from shared.training.step import Step, code, step

log = logging.getLogger("droptune.run.actions.train")
MOST_REGISTERED = 3
"""Times that a run registers its model again."""


def resolve_plan(app: App, run: Run) -> Run:
    """Resolves model, component, parameters and GPUs, and refuses what can't run: all before anything is spent.

    Takes what a job has found in the same bytes before, where this run's own job is to read them.
    """
    settings, now = app.settings.training, app.cloud.blobs.now()
    with _model_in_spec(app, run):
        model = app.cloud.registry.model(run.source.base_model)
    clusters = [app.cloud.computes.get(name) for name in (settings.cpu_compute, settings.gpu_compute)]
    size = size_of(clusters[1], settings.gpu_size)
    with _model_in_spec(app, run):
        model.check(now, training_on=size, serving_on=app.settings.serving.size)
    component = app.cloud.registry.component(settings.component)
    try:
        parameters, notes = resolve(model.defaults(), run.source.parameters, component.inputs)
    except Permanent as error:
        wrong = mistakes(model.defaults(), run.source.parameters, component.inputs)
        placed = (
            (("parameters", key), not may_set(key, component.inputs), f"parameters: {text}") for key, text in wrong
        )
        raise Permanent(told_in_spec(app, run, placed) or str(error)) from error
    gpus = gpus_per_node(size, app.cloud.computes.sizes())
    several = (several_identities(cluster, Site.of(app.settings)) for cluster in clusters if cluster)
    plan = Plan(
        model_id=model.id,
        model_version=model.version,
        component_id=component.id,
        component_version=component.version,
        parameters=parameters,
        gpus=gpus,
        notes=(*model.notes(now), *notes, *filter(None, several)),
    )
    for note in plan.notes:
        log.warning("run %s: %s", run.id, note)
    return run.in_attempt(plan=plan, data=run.attempt.data or (known_data(app, run) if run.attempt.in_job else None))


@contextmanager
def _model_in_spec(app: App, run: Run) -> Iterator[None]:
    """Has the reason why a model can't be used say where in finetune.yaml it is named."""
    try:
        yield
    except Permanent as error:
        raise Permanent(told_in_spec(app, run, [(("model",), False, str(error))]) or str(error)) from error


def make_clusters(app: App, run: Run) -> Run:
    settings = app.settings.training
    for name, size in ((settings.cpu_compute, settings.cpu_size), (settings.gpu_compute, settings.gpu_size)):
        if app.cloud.computes.get(name) is None:
            most = app.cloud.quota.most_nodes(size)
            nodes = settings.cluster_nodes if most is None else min(settings.cluster_nodes, most)
            # One job has to fit, or its wait for quota would never end: the service says so then.
            nodes = max(nodes, settings.nodes)
            app.cloud.computes.create(name, size, nodes, settings.identity)
    return run


def become_newest(app: App, run: Run) -> Run:
    """Makes the run the newest one of its line that trains; the one before it is woken to see that.

    One of the same moment stays: two training sets of a folder are equally new, and neither supersedes the other. A job
    that is ended for it is noted: the next one will not be, until one has come to its end.
    """
    line, etag = line_of(app, run)
    before = line.newest
    if (before and before.order >= run.order) or newer_to_train(line, run) or older.waits_for(app, run, line):
        return run  # the next look finds that out
    met = older.met(app, run, line)
    if met and not met.trains:
        slots.pass_on(app, met.run, run.id)
    pace = line.pace.after_giving_way() if met and met.trains else line.pace
    save_line(app, replace(line, newest=Newest(run=run.id, order=run.order), waits=None, pace=pace), etag)
    if before:
        _wake(app, before)
    return run


def wait_for_older(app: App, run: Run) -> Run:
    """Makes the run the newest of its line that waits for an older one, without a slot; the one before it is woken."""
    free_slot(app, run)
    seats.step_aside(app, run)
    line, etag = line_of(app, run)
    before = line.waits
    if before and before.order >= run.order:
        return run
    save_line(app, replace(line, waits=Newest(run=run.id, order=run.order)), etag)
    if before:
        _wake(app, before)
    return run


def _wake(app: App, newest: Newest) -> None:
    if (other := readable(app.runs, newest.run)) and not other.record.phase.ended:
        wake(app, other.record)


def take_seat(app: App, run: Run) -> Run:
    """Asks for a seat for the run's line. Who gets none waits for it alone, and people are told of that."""
    place = seats.take(app, run)
    return run if place.granted else _without_seat(app, run, place)


def _without_seat(app: App, run: Run, place: seats.Place) -> Run:
    free_slot(app, run)
    log.warning("run %s waits for %s", run.id, place.why)
    return run.tell_of_seat(app.cloud.blobs.now(), f"it waits for {place.why}") if place.why else run


def take_slot(app: App, run: Run) -> Run:
    """Asks for a slot, once the run's line has its seat: nothing is trained that could not be deployed."""
    place = seats.take(app, run)
    if not place.granted:
        return _without_seat(app, run, place)
    slots.take(app, run.id)
    return run


def wait_for_quota(app: App, run: Run) -> Run:
    """Lines the run up for quota; a seat that is free meanwhile is somebody else's."""
    slots.wait_for_quota(app, run)
    seats.step_aside(app, run)
    return run


def submit_job(app: App, run: Run) -> Run:
    """Submits the job. Its files are an immutable copy of the dataset, read through the datastore `prepared`."""
    settings, plan = app.settings.training, _plan(run)
    request = job_request(
        Purpose(run=run.id, attempt=run.attempt.number, dataset=run.source.folder, base_model=run.source.base_model),
        Recipe(
            model_id=plan.model_id,
            component=settings.component,
            component_version=plan.component_version,
            component_id=plan.component_id,
            parameters=plan.parameters,
        ),
        Machines(
            gpu_compute=settings.gpu_compute,
            gpu_size=settings.gpu_size,
            cpu_compute=settings.cpu_compute,
            cpu_size=settings.cpu_size,
            nodes=settings.nodes,
            gpus=plan.gpus,
        ),
        Data(**_addresses(run)),
        tags=tags_of(run),
        step=_first_step(app, run) if run.attempt.in_job else None,
    )
    app.cloud.jobs.submit(request)
    # What is known of such data from another job is not what this one finds: the app, or the model, may be another.
    return run.in_attempt(job=request.name, data=None if run.attempt.in_job else run.attempt.data)


def _addresses(run: Run) -> dict[str, str]:
    """Where the job reads the parts of the run's data, and where its first step writes them."""
    return {part: in_datastore(PREPARED, layout.part_of(run.prepared, part)) for part in PARTS}


def _first_step(app: App, run: Run) -> Step:
    """The step that prepares the data; its code and its task are put where it reads them."""
    from shared.dataset.job_step import Given, Task

    blobs = app.cloud.blobs
    name, data = code()
    prefix = layout.dataset_file(run.source.folder)
    if blobs.head(PREPARED, layout.code(name)) is None:
        blobs.write(PREPARED, layout.code(name), data)
    task = Task(
        files={
            part: tuple(Given(name=file.name.removeprefix(prefix), size=file.size) for file in files)
            for part, files in run.source.parts.items()
        },
        hub=run.source.pinned_hub,
        endpoint=app.settings.data.hub_endpoint,
        policy=run.source.policy,
        facts=facts_of(app, run),
        model=run.source.base_model,
        told=app.settings.data.max_rows_shown,
    )
    blobs.write(PREPARED, layout.task(run.prepared), task.encoded())
    return step(
        code=in_datastore(PREPARED, layout.code(name)),
        task=in_datastore(PREPARED, layout.task(run.prepared)),
        source=in_datastore(DATASETS, run.source.folder),
        outputs={
            **_addresses(run),
            "report": in_datastore(PREPARED, layout.report(run.prepared)),
            "page": in_datastore(PREPARED, layout.report_page(run.prepared)),
        },
        compute=app.settings.training.cpu_compute,
    )


def _plan(run: Run) -> Plan:
    if run.attempt.plan is None:
        raise ValueError(f"run {run.id} is {run.phase}, and has no plan")
    return run.attempt.plan


def train_again(app: App, run: Run) -> Run:
    """Another attempt, of the same data and plan, in the place of one whose job got no machines.

    It takes its turn again: others may have machines of another size, or the time until there are some.
    """
    job = app.cloud.jobs.get(run.attempt.job)
    free_slot(app, run)
    why = job.why if job else "the job is gone"
    failed = run.without_machines(app.cloud.blobs.now(), why).attempt
    attempt = Attempt(
        number=failed.number + 1,
        data_of=run.prepared,
        in_job=failed.in_job,
        data=failed.data,
        plan=failed.plan,
        scarce=failed.scarce,
    )
    return replace(run, attempt=attempt)


def cancel_job(app: App, run: Run) -> Run:
    job = app.cloud.jobs.get(run.attempt.job)
    why = course.seen_of(app, run, job).overdue if job else ""
    if job is None or not why:
        return run  # the next look finds out
    if not is_of_run(run, job.name, job.tags):
        raise Permanent(
            f"{why}; {job.name} is left alone, since its tags say that it is somebody else's: cancel it in Azure ML"
        )
    app.cloud.jobs.cancel(job.name)
    return course.given_up(run, why)


def register_model(app: App, run: Run) -> Run:
    name = naming.model_name(run.source.base_model, run.source.folder)
    version = naming.model_version(run.id, run.attempt.number)
    model = _register(app, run, name, version, run.attempt.job, _plan(run).model_id)
    free_slot(app, run)
    _came_to_its_end(app, run)
    return run.in_attempt(model=f"{model.name}:{model.version}", scarce=None)  # its deployment has a limit of its own


def register_again(app: App, run: Run) -> Run:
    """Registers the model that is gone once more, under its name, of the output of the job that made it.

    Raises Permanent, with what to do, where that is gone too, or the model is taken away again and again.
    """
    name, _, version = run.attempt.model.rpartition(":")
    job = run.attempt.job or version
    gone = f"model {run.attempt.model} is gone: somebody deleted it"
    if run.attempt.registered_again >= MOST_REGISTERED:
        raise Permanent(
            f"{gone}, and it was gone again after each of {MOST_REGISTERED} times that it was registered anew of what "
            f"job {job} put out: see in the workspace's activity log who deletes it, then droptune retry {run.id}"
        )
    made = app.cloud.jobs.get(job)
    if made is None or made.status != "Completed":
        shown = "is gone too" if made is None else f"is {made.status}"
        raise Permanent(f"{gone}, and job {job}, which made it, {shown}: {_anew(run)}")
    owner = replace(run, id=run.restores.run if run.restores else run.id)
    if (of := version.rpartition("-"))[2].isdigit():  # of an earlier attempt, or of the run whose model it brings back
        owner = replace(owner, id=of[0], restores=None).in_attempt(number=int(of[2]))
    try:
        _register(app, owner, name, version, job, run.attempt.plan.model_id if run.attempt.plan else "")
    except Permanent as error:
        raise Permanent(
            f"{gone}, and can't be registered again of what job {job} put out ({error}): {_anew(run)}"
        ) from error
    return run.in_attempt(registered_again=run.attempt.registered_again + 1)


def _register(app: App, owner: Run, name: str, version: str, job: str, base_model: str) -> RegisteredModel:
    """Registers what `job` put out, with where it comes from. `owner`: the run, at the attempt, whose model it is."""
    return app.cloud.models.register(
        name,
        version,
        job,
        f"{owner.source.base_model} fine-tuned on {owner.source.folder} by Droptune",
        tags=tags_of(owner) | {"droptune.job": job},
        properties={"droptune.base_model": base_model, "droptune.train": owner.source.address},
    )


def _anew(run: Run) -> str:
    """What helps where nothing is left of a model."""
    if run.restores:
        return "upload the dataset again, which trains anew"
    return f"droptune retry {run.id} trains anew, or upload the dataset again"


def _came_to_its_end(app: App, run: Run) -> None:
    """Notes how long the line trains, and wakes the run that waits for that; again, it changes next to nothing."""
    took = course.trained(app, run).total_seconds()
    line, etag = line_of(app, run)
    save_line(app, replace(line, pace=line.pace.after_model(took)), etag)
    if line.waits:
        _wake(app, line.waits)
