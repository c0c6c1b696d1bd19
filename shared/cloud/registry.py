"""The registry of base models and of the fine-tune component.

Called when a run is planned, which pins the versions found here, and when people look for a base model. The objects
that come out are plain data: the rules on them are in shared/training/.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared import naming
from shared.cloud.clients import Clients
from shared.cloud.failures import asked, translated
from shared.errors import NotFound, Permanent
from shared.training.base_model import BaseModel
from shared.training.parameters import ComponentInput

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

FRESH = 600.0
"""Seconds for which a list of models is given again: the public registry's is long, and changes by the week."""
MOST_LISTED = 5000
"""Names that are read of a list."""
LIST_SECONDS = 12.0
"""Time after which no further page of a list is asked for."""
_ROLE = "AzureML Registry User on the registry, which the public one does without"


@dataclass(frozen=True, kw_only=True)
class Component:
    """A version of a pipeline component, with what it can be given."""

    name: str
    version: str
    id: str
    inputs: dict[str, ComponentInput]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A model as a list has it: the name, as others wrote it, and its newest version, "" where the list has none."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The models of a registry that are not archived, in its order. `whole`: whether the list was read to its end."""

    models: tuple[Listed, ...]
    whole: bool


class Registry:
    """The registry that AZUREML_REGISTRY names."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._where = f"registry {clients.settings.training.registry}"
        self._models: dict[tuple[str, str], BaseModel] = {}
        self._listing: tuple[float, Listing] | None = None
        self._lists = threading.Lock()

    def listing(self) -> Listing:
        """Names and newest versions; what else a model says of itself is in `model` alone. Read once in FRESH seconds.

        azure-ai-ml 1.35.2 makes of each entry of the list a name, an id and `latest_version`: tags and metadata belong
        to versions. So this costs a call a page, and to learn which models can be fine-tuned one more for each.
        """
        with self._lists:  # who comes while it is read waits for it
            if self._listing is None or time.monotonic() - self._listing[0] >= FRESH:
                self._listing = time.monotonic(), self._read_listing()
            return self._listing[1]

    def _read_listing(self) -> Listing:
        until, found = time.monotonic() + LIST_SECONDS, list[Listed]()
        with translated(f"the models in {self._where}", role=_ROLE):
            for each in self._client.models.list():
                if len(found) == MOST_LISTED or time.monotonic() > until:
                    return Listing(models=tuple(found), whole=False)
                found.append(Listed(name=str(each.name), version=str(each.latest_version or "")))
        return Listing(models=tuple(found), whole=True)

    def model(self, name: str, version: str | None = None) -> BaseModel:
        """A model of the registry, by default its newest version. Raises Permanent when there is none.

        A version stays what it is: who names one, as each look at a run does, gets it from what the process has read.
        """
        if version and (known := self._models.get((name, version))):
            return known
        what = f"model {name}{':' + version if version else ''} in {self._where}"
        try:
            with translated(what, role=_ROLE):
                asked(naming.BASE_MODEL, name)
                version = version and asked(naming.VERSION, version)
                version = version or str(self._client.models.get(name, label="latest").version)
                # The public `get` loses the system metadata, which holds what newer models allow.
                found = self._client.models._get(name, version)
        except NotFound as error:
            raise Permanent(f"{error}. Correct the base model, or AZUREML_REGISTRY.") from error
        properties = found.properties
        model = self._models[name, version] = BaseModel(
            name=name,
            version=version,
            id=found.id,
            tags={key: str(value) for key, value in (properties.tags or {}).items()},
            system_metadata=_plain(properties.get("systemMetadata") or {}),
        )
        return model

    def component(self, name: str, version: str | None = None) -> Component:
        """A component of the registry, by default its newest version. Raises Permanent when there is none."""
        found = self.load(name, version)
        return Component(
            name=found.name,
            version=str(found.version),
            id=found.id,
            inputs={key: _input(key, each) for key, each in found.inputs.items()},
        )

    def load(self, name: str, version: str | None = None) -> Any:
        """The SDK's own component, which a pipeline is built from."""
        what = f"component {name}{':' + version if version else ''} in {self._where}"
        chosen: dict[str, str] = {"version": version} if version else {"label": "latest"}
        try:
            with translated(what, role=_ROLE):
                asked(naming.COMPONENT, name)
                asked(naming.VERSION, version or "1")
                return self._client.components.get(name, **chosen)
        except NotFound as error:
            raise Permanent(f"{error}. Correct FINETUNE_COMPONENT, or AZUREML_REGISTRY.") from error

    @property
    def _client(self) -> MLClient:
        return self._clients.registry


def _input(name: str, spec: Any) -> ComponentInput:
    return ComponentInput(
        name=name,
        type=spec.type,
        default=spec.default,
        optional=bool(spec.optional),
        enum=tuple(spec.enum or ()),
        min=spec.min,
        max=spec.max,
    )


def _plain(value: Any) -> Any:
    """The SDK's mappings and lists as plain ones."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
