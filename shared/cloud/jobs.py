"""Fine-tune jobs: submitted, looked at, cancelled.

Called by the run that wants to train, by the look at a job that its event asks for, and by the sweep.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared import naming
from shared.cloud.clients import Clients, state
from shared.cloud.failures import asked, translated, unless_foreign
from shared.cloud.registry import Registry
from shared.errors import Conflict, NotFound, Permanent, Transient
from shared.lifecycle.phase import ENDED
from shared.training.step import COMMAND, COMPONENT, ENVIRONMENT, FEEDS, IMAGE, INPUTS, NAME

if TYPE_CHECKING:
    from shared.training.job import JobRequest
    from shared.training.step import Step

log = logging.getLogger("droptune.cloud.jobs")
_ROLE = "AzureML Data Scientist on the workspace"
_ASSETS = frozenset({"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model"})


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job. `status` is Azure ML's; `why` is the reason of a failure as far as the service tells it."""

    name: str
    status: str
    why: str = ""
    created: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Jobs:
    """The jobs of the workspace."""

    def __init__(self, clients: Clients, registry: Registry) -> None:
        self._clients = clients
        self._registry = registry
        self._where = f"workspace {clients.settings.workspace.name}"

    def submit(self, request: JobRequest) -> None:
        """Submits the pipeline under `request.name`. A job of that name and of its owner is adopted: it is the same.

        Azure ML refuses an existing name with 409 or with 400, depending on which of its parts notices. Raises
        Permanent where the name is taken by somebody else's.
        """
        if self._there(request):
            return
        job = self._pipeline(request)
        try:
            with translated(f"submitting job {request.name} in {self._where}", role=_ROLE):
                # The SDK's own check takes a second of processor time, and notices neither an input that is missing nor
                # one of another type. The service does.
                self._clients.ml.jobs.create_or_update(job, skip_validation=True)
        except (Conflict, Permanent, Transient):
            if not self._there(request):  # or else somebody was faster, or the answer was lost
                raise

    def _there(self, request: JobRequest) -> bool:
        there = self.get(request.name)
        if there:
            unless_foreign(f"job {request.name} in {self._where}", there.tags, request.tags)
        return there is not None

    def get(self, name: str) -> JobView | None:
        """The job, or None. For one that failed the reason is looked up, which costs more requests."""
        try:
            with translated(f"job {name} in {self._where}", role=_ROLE):
                found = self._clients.ml.jobs.get(asked(naming.JOB, name))
        except NotFound:
            return None
        view = _view(found)
        if view.status != "Failed":
            return view
        return replace(view, why=self._reason(name))

    def cancel(self, name: str) -> None:
        """Asks for the job's end. One that has ended, or does not exist, is fine."""
        try:
            with translated(f"cancelling job {name} in {self._where}", role=_ROLE):
                self._clients.ml.jobs.begin_cancel(asked(naming.JOB, name))
        except NotFound:
            return
        except Permanent:
            there = self.get(name)
            if there is None or there.status not in ENDED:
                raise

    def active(self, since: datetime | None = None) -> Iterator[JobView]:
        """All jobs from `since` on that have not ended, anybody's."""
        return (job for job in self.list_since(since) if job.status not in ENDED)

    def list_since(self, since: datetime | None) -> Iterator[JobView]:
        """All jobs from `since` on, anybody's; the service lists the newest first."""
        with translated(f"jobs of {self._where}", role=_ROLE):
            for found in self._clients.ml.jobs.list():
                if found is None:  # one that the SDK can't read, made by something newer
                    continue
                try:
                    view = _view(found)
                except Exception:  # somebody else's, of a shape that nobody thought of: the others are to be seen
                    log.exception("a job of %s can't be read, and is passed over", self._where)
                    continue
                if since and view.created and view.created < since:
                    return
                yield view

    def _pipeline(self, request: JobRequest) -> Any:
        """The pipeline. No identity stands in it: its steps run as the one of their cluster.

        One at the root reaches no step of a pipeline component, and Azure took one on a step for the caller's own
        (azure-sdk-for-python#34277).
        """
        from azure.ai.ml.dsl import pipeline

        component = self._registry.load(request.component, request.component_version)
        inputs = {name: _bound(component, name, value) for name, value in request.inputs.items()}
        first = self._own_component(request.step) if request.step else None

        @pipeline()  # type: ignore[untyped-decorator]
        def finetune() -> dict[str, Any]:
            if request.step and first:
                prepare = _node(first, request.step)
                inputs.update({taken: prepare.outputs[output] for output, taken in FEEDS.items()})
            step = component(**inputs)
            return {"trained_model": step.outputs.mlflow_model_folder}

        # The SDK collects a pipeline's steps in a stack that all threads share.
        with translated(f"job {request.name}"), self._clients.lock:
            job = finetune()
        job.name = request.name
        job.display_name = request.display_name
        job.experiment_name = request.experiment
        job.tags = self._clients.tagged(request.tags)
        job.settings.force_rerun = True
        job.settings.continue_on_step_failure = False
        return job

    def _own_component(self, step: Step) -> Any:
        """The component of our own step, of the version that its content makes; made when it isn't there."""
        from azure.ai.ml import Input, Output
        from azure.ai.ml.entities import CommandComponent, Environment

        def environment() -> Any:
            return self._clients.ml.environments.create_or_update(
                Environment(
                    name=ENVIRONMENT,
                    version=step.environment_version,
                    image=IMAGE,
                    conda_file=json.loads(step.conda),
                    tags=self._clients.tagged(),
                )
            )

        def component() -> Any:
            made = self._once(self._clients.ml.environments, ENVIRONMENT, step.environment_version, environment)
            return self._clients.ml.components.create_or_update(
                CommandComponent(
                    name=COMPONENT,
                    version=step.component_version,
                    display_name=NAME,
                    environment=made.id,
                    inputs={name: Input(type=kind) for name, kind in INPUTS.items()},
                    outputs={name: Output(type="uri_file") for name in step.outputs},
                    command=COMMAND,
                    tags=self._clients.tagged(),
                )
            )

        return self._once(self._clients.ml.components, COMPONENT, step.component_version, component)

    def _once(self, assets: Any, name: str, version: str, make: Callable[[], Any]) -> Any:
        """That version of an asset, made if it isn't there: versions are derived from the content, and never change."""
        what = f"{name}:{version} in {self._where}"

        def found() -> Any:
            with translated(what, role=_ROLE):
                return assets.get(name=name, version=version)

        try:
            return found()
        except NotFound:
            pass
        try:
            with translated(f"making {what}", role=_ROLE):
                return make()
        except (Conflict, Permanent, Transient) as error:
            try:
                return found()  # somebody was faster, or the answer was lost
            except NotFound:
                raise error from None

    def has_trained(self, name: str) -> bool:
        """Whether the fine-tune step of the job has ever run, which is paid for. So where that can't be read."""
        try:
            with translated(f"run history of {name} in {self._where}", role=_ROLE):
                steps = list(_steps(self._clients.ml.jobs._runs_operations, name))
        except (Conflict, NotFound, Permanent, Transient):
            return True
        # By its name; where none of that name was made yet, by where it would run.
        named = [step for step in steps if "finetune" in (step.display_name or "").lower()]
        cluster = self._clients.settings.training.gpu_compute.lower()
        there = named or [step for step in steps if str(step.target or cluster).lower() == cluster]
        return any(step.start_time_utc for step in there)

    def _reason(self, name: str) -> str:
        """Why a job failed, in the words of the step that did; empty when that can't be read.

        A job does not carry its error and a pipeline's own only counts the failed steps; the run history has them all.
        """
        try:
            with translated(f"run history of {name} in {self._where}", role=_ROLE):
                step, error = _innermost(self._clients.ml.jobs._runs_operations, name)
        except (Conflict, NotFound, Permanent, Transient):
            return ""
        return ": ".join(filter(None, (step, error)))


def _innermost(history: Any, run: str, step: str = "", depth: int = 4) -> tuple[str, str]:
    """The failed run below `run` that has no failed child, as the name of its step and the message of its error."""
    for child in history.get_run_children(run) if depth else ():
        if child is not None and state(child.status) == "Failed":
            return _innermost(history, child.name, child.display_name or child.name, depth - 1)
    error = history.get_run_details(run).error
    return step, (error.error.message or error.error.code or "") if error and error.error else ""


def _steps(history: Any, run: str, depth: int = 4) -> Iterator[Any]:
    """The runs below `run` that have none below them, as the service tells them: the SDK's own know no times."""
    where = (history._subscription_id, history._resource_group_name, history._workspace_name)
    for child in history._operation.get_child(*where, run) if depth else ():
        below = list(_steps(history, child.run_id, depth - 1))
        yield from below or [child]


def _node(component: Any, step: Step) -> Any:
    """Our own step in a pipeline that is being built.

    Its outputs are mounted and not uploaded: what a step that fails has written, its report, is there then as well.
    """
    from azure.ai.ml import Input, Output

    node = component(
        **{name: Input(type=INPUTS[name], path=path, mode="ro_mount") for name, path in step.inputs.items()}
    )
    node.name = NAME
    node.compute = step.compute
    for name, path in step.outputs.items():
        setattr(node.outputs, name, Output(type="uri_file", path=path, mode="rw_mount"))
    return node


def _bound(component: Any, name: str, value: Any) -> Any:
    """A literal as it is; a file, folder or model as the kind of input that the component wants."""
    from azure.ai.ml import Input

    spec = component.inputs.get(name)
    return Input(type=spec.type, path=value) if spec is not None and spec.type in _ASSETS else value


def _view(found: Any) -> JobView:
    created = found.creation_context.created_at if found.creation_context else None
    return JobView(
        name=found.name,
        status=state(found.status),
        created=created.replace(tzinfo=created.tzinfo or UTC).astimezone(UTC) if created else None,
        tags=dict(found.tags or {}),
    )
