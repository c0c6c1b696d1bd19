"""Models in the workspace: what a job has trained becomes a version that can be deployed.

Called after a job has completed, and by a rollout that wants the model's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.cloud.clients import Clients
from shared.cloud.failures import translated
from shared.errors import Conflict, NotFound, Permanent, Transient

_ROLE = "AzureML Data Scientist on the workspace"


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model version; `id` is its ARM id."""

    name: str
    version: str
    id: str


class Models:
    """The models of the workspace."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._where = f"workspace {clients.settings.workspace.name}"

    def get(self, name: str, version: str) -> RegisteredModel | None:
        """That version, or None."""
        try:
            with translated(f"model {name}:{version} in {self._where}", role=_ROLE):
                found = self._clients.ml.models.get(name, version)
        except NotFound:
            return None
        return RegisteredModel(name=found.name, version=str(found.version), id=found.id)

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

        A version that exists already is adopted: names are derived from run and attempt, so it is this one.
        """
        there = self.get(name, version)
        if there:
            return there
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
            there = self.get(name, version)  # somebody was faster, or the answer was lost
            if there is None:
                raise
            return there
        return RegisteredModel(name=made.name, version=str(made.version), id=made.id)
