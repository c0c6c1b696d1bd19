"""Actions up to the model: resolve, make computes, take a slot, submit the job, register what it made."""

from __future__ import annotations

import logging
from dataclasses import replace

from shared import naming
from shared.app import App, wake
from shared.dataset.split import PARTS, Part
from shared.line.access import line_of, save_line
from shared.records import layout
from shared.records.layout import DATASETS, PREPARED, in_datastore
from shared.records.line import Heading
from shared.records.run import File, Pinned, Run
from shared.records.store import readable
from shared.records.tags import tags_of
from shared.run import slots
from shared.run.actions.data import facts_of
from shared.run.slots import free_slot
from shared.training.compute import Site, gpus_per_node, several_identities
from shared.training.job import Data, Machines, Purpose, Recipe, job_request
from shared.training.parameters import resolve
from shared.training.step import Step, code, step

log = logging.getLogger("droptune.run.actions.train")


def pin(app: App, run: Run) -> Run:
    """Resolves model, component, parameters and GPUs, and refuses what can't run: all before anything is spent."""
    settings, now = app.settings.training, app.cloud.blobs.now()
    model = app.cloud.registry.model(run.base_model)
    model.check_retirement(now)
    clusters = [app.cloud.computes.get(name) for name in (settings.cpu_compute, settings.gpu_compute)]
    size = clusters[1].size if clusters[1] else settings.gpu_size
    model.check_size(size, "finetune")
    model.check_size(app.settings.serving.size, "inference")
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
    several = (several_identities(cluster, Site.of(app.settings)) for cluster in clusters if cluster)
    notes = (*model.notes(now), *notes, *filter(None, several))
    for note in notes:
        log.warning("run %s: %s", run.id, note)
    return replace(run, pinned=pinned, notes=notes)


def make_computes(app: App, run: Run) -> Run:
    settings = app.settings.training
    for name, size in ((settings.cpu_compute, settings.cpu_size), (settings.gpu_compute, settings.gpu_size)):
        if app.cloud.computes.get(name) is None:
            most = app.cloud.quota.most_nodes(size)
            nodes = settings.cluster_nodes if most is None else min(settings.cluster_nodes, most)
            # One job has to fit, or its wait for quota would never end: the service says so then.
            nodes = max(nodes, settings.nodes)
            app.cloud.computes.create(name, size, nodes, settings.identity)
    return run


def lead(app: App, run: Run) -> Run:
    """Makes the run the newest one of its line that trains; the one before it is woken to see that.

    One of the same moment stays: two training sets of a folder are equally new, and neither supersedes the other.
    """
    line, etag = line_of(app, run)
    before = line.heading
    if before and before.order >= run.order:
        return run  # the next look finds that out
    save_line(app, replace(line, heading=Heading(run=run.id, uploaded=run.uploaded, ordinal=run.ordinal)), etag)
    if before and before.run != run.id and (other := readable(app.runs, before.run)) and not other.record.phase.ended:
        wake(app, other.record)
    return run


def admit(app: App, run: Run) -> Run:
    slots.take(app, run.id)
    return run


def queue_up(app: App, run: Run) -> Run:
    slots.wait_for_quota(app, run)
    return run


def train(app: App, run: Run) -> Run:
    """Submits the job. Its files are an immutable copy of the dataset, read through the datastore `prepared`."""
    settings, pinned = app.settings.training, _pinned(run)
    request = job_request(
        Purpose(run=run.id, attempt=run.attempt, dataset=run.folder, base_model=run.base_model),
        Recipe(
            model_id=pinned.model_id,
            component=settings.component,
            component_version=pinned.component_version,
            component_id=pinned.component_id,
            parameters=pinned.parameters,
        ),
        Machines(
            gpu_compute=settings.gpu_compute,
            gpu_size=settings.gpu_size,
            cpu_compute=settings.cpu_compute,
            cpu_size=settings.cpu_size,
            nodes=settings.nodes,
            gpus=pinned.gpus,
        ),
        Data(**_addresses(run)),
        tags=tags_of(run),
        step=_first_step(app, run) if run.in_job else None,
    )
    app.cloud.jobs.submit(request)
    return replace(run, job=request.name)


def _addresses(run: Run) -> dict[str, str]:
    """Where the job reads the parts of the run's data, and where its first step writes them."""
    return {part: in_datastore(PREPARED, layout.part_of(run.prepared, part)) for part in PARTS}


def _first_step(app: App, run: Run) -> Step:
    """The step that prepares the data; its code and its plan are put where it reads them."""
    from shared.dataset.job_step import Given, Plan

    blobs = app.cloud.blobs
    name, data = code()
    if blobs.head(PREPARED, layout.code(name)) is None:
        blobs.write(PREPARED, layout.code(name), data)
    parts: dict[Part, File | None] = {"train": run.train, "validation": run.validation, "test": run.test}
    plan = Plan(
        files={
            part: Given(name=file.name.removeprefix(f"{run.folder}/"), size=file.size)
            for part, file in parts.items()
            if file
        },
        hub=replace(run.hub, revision=run.hub_commit or run.hub.revision) if run.hub else None,
        endpoint=app.settings.data.hub_endpoint,
        policy=run.policy,
        facts=facts_of(app, run),
        told=app.settings.data.max_rows_shown,
    )
    blobs.write(PREPARED, layout.plan(run.prepared), plan.encoded())
    return step(
        code=in_datastore(PREPARED, layout.code(name)),
        plan=in_datastore(PREPARED, layout.plan(run.prepared)),
        source=in_datastore(DATASETS, run.folder),
        outputs={
            **_addresses(run),
            "report": in_datastore(PREPARED, layout.report(run.prepared)),
            "page": in_datastore(PREPARED, layout.report_page(run.prepared)),
        },
        compute=app.settings.training.cpu_compute,
    )


def _pinned(run: Run) -> Pinned:
    if run.pinned is None:
        raise ValueError(f"run {run.id} is past its plan but pinned nothing")
    return run.pinned


def cancel_job(app: App, run: Run) -> Run:
    app.cloud.jobs.cancel(run.job)
    return run


def register(app: App, run: Run) -> Run:
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
