"""Managed online endpoints and their deployments: made, looked at, given traffic, asked, taken down.

Nothing here waits: each long operation is only started, and the state that a later look shows says how it goes. Called
by the rollout, the gate, the cleanup and the dashboard.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared import naming
from shared.cloud.clients import Clients, state
from shared.cloud.failures import asked, judged, translated, unless_foreign
from shared.errors import NotFound, Permanent, Transient

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

_ROLE = "AzureML Data Scientist on the workspace"
LIVENESS_DELAY_SECONDS = 600
REQUEST_TIMEOUT_MS = 90_000
BUSY = ("Creating", "Updating", "Deleting")
_SCORE_SECONDS = REQUEST_TIMEOUT_MS / 1000 + 10


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """`state`: Creating, Updating, Succeeded, Failed, Deleting. `traffic`: percent by deployment, without zeros."""

    name: str
    id: str
    state: str
    scoring_uri: str
    traffic: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether Azure works on it, so that it takes no change."""
        return self.state in BUSY


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """`state` as for an endpoint, and Canceled; `why` is Azure's reason for a failure; `model` is the model's id."""

    name: str
    id: str
    endpoint: str
    state: str
    why: str = ""
    model: str = ""
    instance_type: str = ""
    tags: dict[str, str] = field(default_factory=dict)


class Endpoints:
    """The managed online endpoints of the workspace."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._where = f"workspace {clients.settings.workspace.name}"

    def get(self, name: str) -> Endpoint | None:
        """The endpoint, or None."""
        found = self._endpoint(name)
        return _endpoint(found) if found else None

    def list(self) -> list[Endpoint]:
        """The workspace's endpoints, anybody's."""
        with translated(f"endpoints of {self._where}", role=_ROLE):
            return [_endpoint(each) for each in self._clients.ml.online_endpoints.list()]

    def create(self, name: str, description: str = "", tags: Mapping[str, str] | None = None) -> None:
        """Asks for an endpoint with keys. One that is there stays as it is: another PUT would empty its traffic."""
        there = self.get(name)
        if there and there.state == "Deleting":
            raise Transient(f"endpoint {name} in {self._where} is still being deleted")
        if there:
            return
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        endpoint = ManagedOnlineEndpoint(
            name=name, description=description, auth_mode="key", tags=self._clients.tagged(tags)
        )
        with translated(f"creating endpoint {name} in {self._where}", role=_ROLE):
            self._clients.ml.online_endpoints.begin_create_or_update(endpoint)

    def set_traffic(self, name: str, traffic: Mapping[str, int]) -> None:
        """Gives the deployments these percentages, and all others none. Raises NotFound; Transient while it is updated.

        The service takes an endpoint only as a whole, so that it is read here, just before, and sent back with all else
        unchanged; callers serialise changes of one endpoint through its line's record.
        """
        endpoint = self._endpoint(name)
        if endpoint is None:
            raise NotFound(f"endpoint {name} in {self._where}")
        if state(endpoint.provisioning_state) in BUSY:
            raise Transient(f"endpoint {name} in {self._where} is {state(endpoint.provisioning_state)}")
        endpoint.tags = self._clients.tagged(endpoint.tags)  # one that was made before a policy wanted them
        endpoint.traffic = {deployment: percent for deployment, percent in traffic.items() if percent}
        with translated(f"setting the traffic of endpoint {name} in {self._where}", role=_ROLE):
            self._clients.ml.online_endpoints.begin_create_or_update(endpoint)

    def delete(self, name: str) -> None:
        """Asks for the endpoint's end, with all its deployments. One that is gone is fine."""
        try:
            with translated(f"deleting endpoint {name} in {self._where}", role=_ROLE):
                self._clients.ml.online_endpoints.begin_delete(asked(naming.ENDPOINT, name))
        except NotFound:
            return

    def deployment(self, endpoint: str, name: str) -> Deployment | None:
        """The deployment, or None. A failed one comes with Azure's reason, which costs another request."""
        try:
            with translated(f"deployment {endpoint}/{name} in {self._where}", role=_ROLE):
                found = self._clients.ml.online_deployments.get(*_place(endpoint, name))
        except NotFound:
            return None
        failed = state(found.provisioning_state) in ("Failed", "Canceled")
        return _deployment(found, endpoint, self._reason(found) if failed else "")

    def deployments(self, endpoint: str) -> builtins.list[Deployment]:
        """The endpoint's deployments, without reasons. Empty for an endpoint that does not exist."""
        try:
            with translated(f"deployments of endpoint {endpoint} in {self._where}", role=_ROLE):
                found = list(self._clients.ml.online_deployments.list(asked(naming.ENDPOINT, endpoint)))
        except NotFound:
            return []
        return [_deployment(each, endpoint) for each in found]

    def deploy(
        self,
        endpoint: str,
        name: str,
        model_id: str,
        instance_type: str,
        instances: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Asks for a deployment of an MLflow model, without traffic. One of that name and owner is adopted, as it is.

        Raises Permanent where it is somebody else's; Transient when there is no quota, and for an endpoint that is
        being changed or not to be seen yet.
        """
        there = self.deployment(endpoint, name)
        if there and there.state == "Deleting":
            raise Transient(f"deployment {endpoint}/{name} in {self._where} is still being deleted")
        if there:
            unless_foreign(f"deployment {endpoint}/{name} in {self._where}", there.tags, tags or {})
            return
        from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

        deployment = ManagedOnlineDeployment(
            name=name,
            endpoint_name=endpoint,
            model=model_id,
            instance_type=instance_type,
            instance_count=instances,
            tags=self._clients.tagged(tags),
            liveness_probe=ProbeSettings(initial_delay=LIVENESS_DELAY_SECONDS),
            request_settings=OnlineRequestSettings(request_timeout_ms=REQUEST_TIMEOUT_MS),
        )
        try:
            with translated(f"creating deployment {endpoint}/{name} in {self._where}", role=_ROLE):
                self._clients.ml.online_deployments.begin_create_or_update(deployment)
        except NotFound as error:
            # Just after its creation an endpoint is not found by all of the service.
            raise Transient(str(error)) from error

    def remove_deployment(self, endpoint: str, name: str) -> None:
        """Asks for the deployment's end. It must have no traffic left. One that is gone is fine."""
        try:
            with translated(f"deleting deployment {endpoint}/{name} in {self._where}", role=_ROLE):
                self._clients.ml.online_deployments.begin_delete(*_place(endpoint, name))
        except NotFound:
            return

    def logs(self, endpoint: str, name: str, lines: int = 500) -> str:
        """The last lines of the deployment's container log; empty when there is no deployment."""
        try:
            with translated(f"logs of deployment {endpoint}/{name} in {self._where}", role=_ROLE):
                return str(self._clients.ml.online_deployments.get_logs(*_place(endpoint, name), lines))
        except NotFound:
            return ""

    def score(self, endpoint: str, payload: Any, deployment: str | None = None) -> Any:
        """The endpoint's answer to `payload`, both JSON; by its traffic, or by `deployment`, which needs no traffic."""
        return next(self.score_each(endpoint, [payload], deployment))

    def score_each(self, endpoint: str, payloads: Iterable[Any], deployment: str | None = None) -> Iterator[Any]:
        """The answers to `payloads`, one after the other as they are asked for. The key is fetched once, and not kept.

        Raises NotFound; Transient for a busy or silent endpoint; Permanent with what the model answered.
        """
        what = f"scoring {endpoint}{'/' + deployment if deployment else ''} in {self._where}"
        found = self._endpoint(endpoint)
        if found is None:
            raise NotFound(f"endpoint {endpoint} in {self._where}")
        if not found.scoring_uri:
            raise Transient(f"{what}: the endpoint has no scoring URI yet")
        with translated(f"key of endpoint {endpoint} in {self._where}", role=_ROLE):
            key = self._clients.ml.online_endpoints.get_keys(endpoint).primary_key
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        for payload in payloads:
            yield self._ask(what, found.scoring_uri, payload, headers)

    def _ask(self, what: str, uri: str, payload: Any, headers: Mapping[str, str]) -> Any:
        # Not the SDK's `invoke`: it wants a file, and keeps the deployment's header for all later calls of the process.
        from azure.core.rest import HttpRequest

        request = HttpRequest("POST", uri, json=payload, headers=dict(headers))
        with translated(what):
            answer = self._clients.http.send_request(request, read_timeout=_SCORE_SECONDS)
            body = answer.text()
        if answer.status_code >= 400:
            raise judged(what, answer.status_code, *_refusal(body, answer.reason), answer.headers)
        try:
            return json.loads(body)
        except ValueError as error:
            raise Permanent(f"{what}: the answer is no JSON: {body[:200]!r}") from error

    def _endpoint(self, name: str) -> OnlineEndpoint | None:
        try:
            with translated(f"endpoint {name} in {self._where}", role=_ROLE):
                return self._clients.ml.online_endpoints.get(asked(naming.ENDPOINT, name))
        except NotFound:
            return None

    def _reason(self, deployment: OnlineDeployment) -> str:
        """Why it failed. The resource does not say; the operation that made it, whose address is in it, does."""
        uri = str((deployment.properties or {}).get("AzureAsyncOperationUri") or "")
        if urlsplit(uri).netloc != urlsplit(self._clients.arm_url).netloc:
            return ""  # none, or not a place that a token should be sent to
        from azure.core.rest import HttpRequest

        try:
            with translated(f"operation of deployment {deployment.name}", role=_ROLE):
                answer = self._clients.arm.send_request(HttpRequest("GET", uri))
                error = answer.json().get("error") or {} if answer.status_code == 200 else {}
        except (NotFound, Permanent, Transient):
            return ""  # operations are forgotten after a while
        return ": ".join(filter(None, (error.get("code"), error.get("message"))))


def _place(endpoint: str, deployment: str) -> tuple[str, str]:
    """The names of a deployment and of its endpoint, in the SDK's order."""
    return asked(naming.DEPLOYMENT, deployment), asked(naming.ENDPOINT, endpoint)


def _refusal(body: str, reason: str | None) -> tuple[str, str]:
    """Code and message of an answer that is an error; what a model's own code raised may be any text."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", body.strip()[:1000] or reason or ""


def _endpoint(found: Any) -> Endpoint:
    return Endpoint(
        name=found.name,
        id=found.id,
        state=state(found.provisioning_state),
        scoring_uri=found.scoring_uri or "",
        traffic={name: int(percent) for name, percent in (found.traffic or {}).items() if int(percent)},
        tags=dict(found.tags or {}),
    )


def _deployment(found: Any, endpoint: str, why: str = "") -> Deployment:
    return Deployment(
        name=found.name,
        id=found.id,
        endpoint=endpoint,
        state=state(found.provisioning_state),
        why=why,
        model=str(found.model or ""),
        instance_type=found.instance_type or "",
        tags=dict(found.tags or {}),
    )
