"""Managed online endpoints and their deployments: made, looked at, given traffic, asked, taken down.

Nothing here waits: each long operation is only started, and the state that a later look shows says how it goes. Called
by the rollout, the gate, the cleanup and the dashboard.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared import naming
from shared.cloud.clients import Clients, plain, state
from shared.cloud.failures import asked, judged, translated, unless_foreign
from shared.errors import ModelFailed, NotFound, Permanent, Transient
from shared.serving.traffic import moved

if TYPE_CHECKING:
    from azure.ai.ml.entities import OnlineDeployment, OnlineEndpoint

_ROLE = "AzureML Data Scientist on the workspace"
_SCORE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"
LIVENESS_DELAY_SECONDS = 600
REQUEST_TIMEOUT_MS = 90_000
BUSY = ("Creating", "Updating", "Deleting")
_SHUT = (401, 403)
_SHUT_WAIT = timedelta(minutes=5)
_MODEL_FAILED = 424
"""The status for whatever the model's own code raised or answered, a lack of memory at that moment too."""
_NOBODY = "nobody"
"""A deployment that no endpoint of Droptune's has."""
_SCORE_SECONDS = REQUEST_TIMEOUT_MS / 1000 + 10


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """`state`: Creating, Updating, Succeeded, Failed, Deleting. `traffic`: percent by deployment, without zeros.

    `mirrored`: percent of it that is copied to a deployment. `auth_mode`: key, aml_token or aad_token.
    """

    name: str
    id: str
    state: str
    scoring_uri: str
    auth_mode: str = ""
    traffic: dict[str, int] = field(default_factory=dict)
    mirrored: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def uses(self, deployment: str) -> bool:
        """Whether the deployment has live or mirrored traffic, so that Azure does not delete it."""
        return bool(self.traffic.get(deployment) or self.mirrored.get(deployment))

    @property
    def busy(self) -> bool:
        """Whether Azure works on it, so that it takes no change."""
        return self.state in BUSY


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """`state` as for an endpoint, and Canceled; `why` is Azure's reason for a failure; `model` is the model's id.

    `instances`: how many it has, or is to have; 0 where Azure does not say. `made`: when it was asked for, in UTC; None
    where Azure does not say.
    """

    name: str
    id: str
    endpoint: str
    state: str
    why: str = ""
    model: str = ""
    instance_type: str = ""
    instances: int = 0
    made: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Door:
    """Where an endpoint is asked, and with what. `mode`: its auth mode. `secret` is in no message and no record."""

    endpoint: str
    uri: str
    mode: str
    secret: str = field(repr=False)

    @property
    def refused(self) -> str:
        """What to do where it lets nobody in with that."""
        again = "that was fetched just before. Each try fetches it anew"
        match self.mode:
            case "aad_token":
                return (
                    f"Endpoint {self.endpoint} takes tokens of Microsoft Entra (auth mode aad_token), and refused the "
                    f"app's: give the app's identity a role with {_SCORE} on the workspace, as AzureML Data Scientist "
                    "is; it takes up to a day to show."
                )
            case "aml_token":
                return (
                    f"Endpoint {self.endpoint} takes tokens of its own (auth mode aml_token), and refused one {again}."
                )
            case _:
                return (
                    f"Endpoint {self.endpoint} takes keys, and refused the primary one {again}; keys that somebody has "
                    "regenerated are known to all of the service after a while."
                )


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

    def move_traffic(self, name: str, sources: Collection[str], to: str = "") -> None:
        """Gives `to` the shares of `sources`; everybody else keeps theirs (`moved` has the rule). Raises as below.

        The mirrored traffic of the named ends too: Azure takes no deployment that has both, and deletes none with some.
        """

        def change(found: OnlineEndpoint) -> None:
            found.traffic = moved(_percent(found.traffic), sources, to)
            mirrored = _percent(found.mirror_traffic)
            found.mirror_traffic = {each: percent for each, percent in mirrored.items() if each not in (*sources, to)}

        self._change(name, change)

    def set_traffic(self, name: str, traffic: Mapping[str, int]) -> None:
        """Gives the deployments these percentages, and all others none. Raises as below."""

        def change(found: OnlineEndpoint) -> None:
            found.traffic = {deployment: percent for deployment, percent in traffic.items() if percent}

        self._change(name, change)

    def _change(self, name: str, change: Callable[[OnlineEndpoint], None]) -> None:
        """Changes the endpoint. Raises NotFound; Transient while it is updated.

        The service takes an endpoint only as a whole, so that it is read here, just before, and sent back with all else
        unchanged; callers serialise changes of one endpoint through its line's record.
        """
        endpoint = self._endpoint(name)
        if endpoint is None:
            raise NotFound(f"endpoint {name} in {self._where}")
        if state(endpoint.provisioning_state) in BUSY:
            raise Transient(f"endpoint {name} in {self._where} is {state(endpoint.provisioning_state)}")
        endpoint.tags = self._clients.tagged(endpoint.tags)  # one that was made before a policy wanted them
        change(endpoint)
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

    def resize(self, endpoint: str, name: str, instance_type: str, instances: int) -> None:
        """Asks for other instances of a deployment, which serves on. Raises NotFound; Transient as `deploy`."""
        what = f"changing the instances of deployment {endpoint}/{name} in {self._where}"
        with translated(what, role=_ROLE):
            found = self._clients.ml.online_deployments.get(name, endpoint)
        if (found.instance_count, str(found.instance_type).lower()) == (instances, instance_type.lower()):
            return
        found.instance_count, found.instance_type = instances, instance_type
        with translated(what, role=_ROLE):
            self._clients.ml.online_deployments.begin_create_or_update(found)

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
        """The answers to `payloads`, one after the other as they are asked for.

        The key, or the token where the endpoint wants one, is fetched once, again when it is refused, and not kept.
        Raises NotFound; Transient for a busy or silent endpoint, `shut_out` where that is of no use; ModelFailed with
        the model's own error; Permanent with any other answer that is none.
        """
        what = f"scoring {endpoint}{'/' + deployment if deployment else ''} in {self._where}"
        door = self._door(endpoint)
        for payload in payloads:
            answer = self._ask(what, door, payload, deployment)
            if answer.status_code in _SHUT:  # its keys may be others by now, the token over, or the mode another one
                door = self._door(endpoint)
                answer = self._ask(what, door, payload, deployment)
            yield _read(what, door, answer)

    def check_access(self, endpoint: Endpoint) -> None:
        """Raises Transient, in words, where the app may not ask the endpoint; no model is asked. Other errors as above.

        A key, or a token of the endpoint's own, says that by being given out. One of Entra is good for all, and says
        nothing: the endpoint is asked for a deployment that it does not have.
        """
        if not endpoint.scoring_uri:
            return
        door = self._opened(endpoint.name, endpoint.scoring_uri, endpoint.auth_mode)
        if door.mode != "aad_token":
            return
        what = f"access to endpoint {endpoint.name} in {self._where}"
        answer = self._ask(what, door, {}, _NOBODY)
        if answer.status_code in _SHUT:
            _read(what, door, answer)

    def _door(self, endpoint: str) -> _Door:
        """Where and with what the endpoint can be asked now."""
        found = self._endpoint(endpoint)
        if found is None:
            raise NotFound(f"endpoint {endpoint} in {self._where}")
        if not found.scoring_uri:
            raise Transient(f"scoring {endpoint} in {self._where}: the endpoint has no scoring URI yet")
        return self._opened(endpoint, found.scoring_uri, _mode(found.auth_mode))

    def _opened(self, endpoint: str, uri: str, mode: str) -> _Door:
        what = f"key or token of endpoint {endpoint} in {self._where}"
        with translated(what, role=_ROLE):
            given = self._clients.ml.online_endpoints.get_keys(endpoint)
        # Which class it is goes by the mode; what is asked for here any of them may lack.
        for name in ("primary_key", "access_token", "secondary_key"):
            if secret := getattr(given, name, None):
                return _Door(endpoint=endpoint, uri=uri, mode=mode, secret=str(secret))
        none = f"{what}: none was given out (auth mode {mode or 'unknown'}); it is asked for again"
        raise Transient(none, _SHUT_WAIT, shut_out=True)

    def _ask(self, what: str, door: _Door, payload: Any, deployment: str | None) -> Any:
        # Not the SDK's `invoke`: it wants a file, and keeps the deployment's header for all later calls of the process.
        from azure.core.rest import HttpRequest

        headers = {"Authorization": f"Bearer {door.secret}", "Accept": "application/json"}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        request = HttpRequest("POST", door.uri, json=payload, headers=headers)
        with translated(what):
            answer = self._clients.http.send_request(request, read_timeout=_SCORE_SECONDS)
            answer.read()
        return answer

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


def _read(what: str, door: _Door, answer: Any) -> Any:
    """What a model answered. Raises as `score_each`."""
    body = answer.text()
    if answer.status_code in _SHUT:
        code, message = _refusal(body, answer.reason)
        said = f"{what}: {message or 'no message'} ({' '.join(filter(None, (str(answer.status_code), code)))})"
        raise Transient(f"{said}. {door.refused}", _SHUT_WAIT, shut_out=True)
    if answer.status_code >= 400:
        error = judged(what, answer.status_code, *_refusal(body, answer.reason), answer.headers)
        raise ModelFailed(str(error)) if answer.status_code == _MODEL_FAILED else error
    try:
        return json.loads(body)
    except ValueError as error:
        raise Permanent(f"{what}: the answer is no JSON: {body[:200]!r}") from error


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
        auth_mode=_mode(found.auth_mode),
        traffic=_percent(found.traffic),
        mirrored=_percent(found.mirror_traffic),
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
        instances=int(found.instance_count or 0),
        made=getattr(found.creation_context, "created_at", None),
        tags=dict(found.tags or {}),
    )


def _mode(value: object) -> str:
    """The auth mode as the SDK spells it; the service's own spelling is another one, in any case."""
    mode = plain(value).lower()
    return {"aadtoken": "aad_token", "amltoken": "aml_token"}.get(mode, mode)


def _percent(shares: Mapping[str, Any] | None) -> dict[str, int]:
    """Percent by deployment, without zeros."""
    return {name: int(percent) for name, percent in (shares or {}).items() if percent and int(percent)}
