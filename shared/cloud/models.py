"""Models in the workspace: what a job has trained becomes a version that can be deployed.

Called after a job has completed, and by a rollout that wants the model's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import naming
from shared.cloud.clients import Clients
from shared.cloud.failures import asked, translated, unless_foreign
from shared.errors import Conflict, NotFound, Permanent, Transient

_ROLE = "AzureML Data Scientist on the workspace"


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model version; `id` is its ARM id."""

    name: str
    version: str
    id: str
    tags: dict[str, str] = field(default_factory=dict)


class Models:
    """The models of the workspace."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._where = f"workspace {clients.settings.workspace.name}"

    def get(self, name: str, version: str) -> RegisteredModel | None:
        """That version, or None."""
        try:
            with translated(f"model {name}:{version} in {self._where}", role=_ROLE):
                found = self._clients.ml.models.get(asked(naming.MODEL, name), asked(naming.VERSION, version))
        except NotFound:
            return None
        return _model(found)

    def register(
        self,
        name: str,
        version: str,
        job: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """Registers the job's output `trained_model` as an MLflow model, which links the version to the job.

        A version that exists already, and has the same owner, is adopted: names are derived from run and attempt, so it
        is this one. Raises Permanent where it is somebody else's.
        """
        tags = dict(tags or {})
        if there := self._there(name, version, tags):
            return there
        for kind, each in ((naming.MODEL, name), (naming.VERSION, version), (naming.JOB, job)):
            asked(kind, each)
        from azure.ai.ml.constants import AssetTypes
        from azure.ai.ml.entities import Model

        model = Model(
            name=name,
            version=version,
            path=f"azureml://jobs/{job}/outputs/trained_model",
            type=AssetTypes.MLFLOW_MODEL,
            description=description,
            tags=self._clients.tagged(tags),
            properties=dict(properties or {}),
        )
        try:
            with translated(f"registering model {name}:{version} of job {job} in {self._where}", role=_ROLE):
                made = self._clients.ml.models.create_or_update(model)
        except (Conflict, Permanent, Transient):
            if there := self._there(name, version, tags):  # somebody was faster, or the answer was lost
                return there
            raise
        return _model(made)

    def _there(self, name: str, version: str, tags: Mapping[str, str]) -> RegisteredModel | None:
        there = self.get(name, version)
        if there:
            unless_foreign(f"model {name}:{version} in {self._where}", there.tags, tags)
        return there


def _model(found: Any) -> RegisteredModel:
    return RegisteredModel(name=found.name, version=str(found.version), id=found.id, tags=dict(found.tags or {}))
