"""What somebody else has in the workspace: deployments on our endpoints, copies with our tags, another installation.

Whatever the app does, all of that is to stay as it is; `touched` says what does not. Called by the chaos machine.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

from shared.intake.arrivals import look_into
from shared.naming import INSTALLATION_TAG
from shared.records.layout import STATE
from shared.records.line import Line
from shared.records.run import Run
from shared.records.tags import tags_of, tags_of_line
from tests.kit.azureml import MODEL
from tests.kit.rows import chats
from tests.kit.worlds.world import World

type Whose = Literal["nobody's", "a copy", "another installation's", "a copy in capitals"]
WHOSE: tuple[Whose, ...] = ("nobody's", "a copy", "another installation's", "a copy in capitals")
SHARE = 30
"""Percent of the traffic that a person gives to a deployment of somebody else's."""
_UPDATED = ("Updating", "Creating")


@dataclass(kw_only=True)
class Strangers:
    """See the module. `world`: ours, whose person makes all of this by hand."""

    world: World
    deployments: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """Tags by endpoint and name."""
    shares: dict[tuple[str, str], int] = field(default_factory=dict)
    endpoints: dict[str, dict[str, str]] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    models: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _made: set[tuple[str, str]] = field(default_factory=set)
    _number: Iterator[int] = field(default_factory=count)

    @property
    def _ml(self) -> Any:
        return self.world.app.cloud.clients.ml

    def deploy(self, line: Line, run: Run, whose: Whose) -> None:
        """A deployment on the line's endpoint."""
        key = line.endpoint, f"theirs-{next(self._number)}"
        tags = {
            "nobody's": {},
            "a copy": tags_of(run),
            "another installation's": tags_of(run) | {INSTALLATION_TAG: "yet-another"},
            "a copy in capitals": {name.upper(): value for name, value in tags_of(run).items()},
        }[whose]
        made = ManagedOnlineDeployment(
            name=key[1],
            endpoint_name=key[0],
            model=MODEL,
            instance_type="Standard_DS3_v2",
            instance_count=1,
            tags=tags,
        )
        self._made.add(key)
        self._ml.online_deployments.begin_create_or_update(made)
        self.deployments[key] = tags

    def share(self, line: Line) -> None:
        """Some of the endpoint's traffic for one of these, beside what serves."""
        theirs = [name for endpoint, name in self.deployments if endpoint == line.endpoint]
        if theirs and line.serving:
            self.world.app.cloud.endpoints.set_traffic(
                line.endpoint, {line.serving.deployment: 100 - SHARE, theirs[0]: SHARE}
            )
            self.shares[line.endpoint, theirs[0]] = SHARE

    def take_over(self, run: Run) -> None:
        """The run's deployment without its tags: only Droptune's name is left."""
        key = run.deployed.endpoint, run.deployed.name
        found = self._ml.online_deployments.get(key[1], key[0])
        found.tags = {}
        self._ml.online_deployments.begin_create_or_update(found)
        self._made.add(key)
        self.deployments[key] = {}

    def copy_job(self, run: Run) -> None:
        """As the SDK makes it: loaded, given another name, and submitted."""
        theirs = copy.copy(self._ml.jobs.get(run.attempt.job))
        theirs.name = f"copy-{next(self._number)}-{run.id}"
        self._ml.jobs.create_or_update(theirs, skip_validation=True)
        self.jobs.add(theirs.name)

    def copy_endpoint(self, line: Line) -> None:
        """Its tags under another name."""
        name, tags = f"copy-{next(self._number)}-{line.id[:12]}", tags_of_line(line)
        made = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)
        self._ml.online_endpoints.begin_create_or_update(made)
        self.endpoints[name] = tags

    def copy_model(self, run: Run) -> None:
        """Another version of the run's model, with its tags."""
        key = run.attempt.model.rpartition(":")[0], f"theirs-{next(self._number)}"
        tags = tags_of(run)
        path = f"azureml://jobs/{run.attempt.job}/outputs/trained_model"
        self._ml.models.create_or_update(Model(name=key[0], version=key[1], path=path, type="mlflow_model", tags=tags))
        self.models[key] = tags

    def forget_shares(self, endpoint: str) -> None:
        """A person has changed the endpoint's traffic."""
        self.shares = {key: share for key, share in self.shares.items() if key[0] != endpoint}

    def forget_endpoint(self, endpoint: str) -> None:
        """A person has deleted it, with all that was on it."""
        self.forget_shares(endpoint)
        self.deployments = {key: tags for key, tags in self.deployments.items() if key[0] != endpoint}

    def on(self, endpoint: str) -> set[str]:
        """Deployments of somebody else's on it, those that a person may have deleted too."""
        return {name for at, name in self._made if at == endpoint}

    def places(self) -> list[str]:
        """Ends of the paths under which Azure has what is theirs."""
        paths = [f"/onlineEndpoints/{endpoint}/deployments/{name}" for endpoint, name in self.deployments]
        paths += [f"/onlineEndpoints/{name}" for name in self.endpoints]
        paths += [f"/jobs/{name}" for name in self.jobs]
        return paths + [f"/models/{name}/versions/{version}" for name, version in self.models]

    def touched(self) -> list[str]:
        """What is not as they made it."""
        cloud, wrong = self.world.app.cloud, list[str]()
        for (endpoint, name), tags in self.deployments.items():
            there = cloud.endpoints.deployment(endpoint, name)
            if there is None or there.tags != tags:
                wrong.append(f"deployment {endpoint}/{name} is {there}")
        for (endpoint, name), share in self.shares.items():
            seen = cloud.endpoints.get(endpoint)
            if seen and seen.traffic.get(name, 0) < share:
                wrong.append(f"deployment {endpoint}/{name} had {share} % and has {seen.traffic}")
        for name, tags in self.endpoints.items():
            found = cloud.endpoints.get(name)
            if found is None or found.tags != tags:
                wrong.append(f"endpoint {name} is {found}")
        for name in self.jobs:
            job = cloud.jobs.get(name)
            if job is None or job.status in ("Canceled", "CancelRequested"):
                wrong.append(f"job {name} is {job}")
        for key, tags in self.models.items():
            model = cloud.models.get(*key)
            if model is None or model.tags != tags:
                wrong.append(f"model {key} is {model}")
        return wrong


@dataclass(kw_only=True)
class Other:
    """Another installation in the workspace: `world` has storage of its own, and works only when it is told to."""

    world: World

    def upload(self, folder: str, salt: object) -> None:
        """A dataset to its folder, and its event."""
        self.world.app.cloud.blobs.write("datasets", f"{folder}/train.jsonl", chats(salt=salt))
        look_into(self.world.hosts[0].app, folder)

    def work(self) -> None:
        """Its hosts do what is due, and its timers fire."""
        self.world.see_the_time()
        for _ in range(20):
            if not (self.world.turn() or self.world.look(everything=True)):
                break
        self.world.sweep()
        self.world.cleanup()

    def lose_its_state(self) -> None:
        """Somebody empties its container `state`."""
        blobs = self.world.app.cloud.blobs
        for blob in list(blobs.list(STATE)):
            blobs.delete(STATE, blob.name)
        self.world.begin_anew(self.world.settings)
