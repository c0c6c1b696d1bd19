"""Deployments through the SDK: one that serves, those that are refused, one that fails."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest
from azure.ai.ml.entities import OnlineRequestSettings
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from localcloud.stack import Stack
from tests.kit.azureml import MODEL
from tests.kit.azureml.endpoints import BROKEN, DEPLOYED, INSTANCE, deployment, make_endpoint
from tests.kit.waiting import eventually


def test_a_deployment_shows_what_it_was_made_of(ml: Any, served: str) -> None:
    found = ml.online_deployments.get(DEPLOYED, served)
    assert found.provisioning_state == "Succeeded"
    assert (found.model, found.instance_type, found.instance_count) == (MODEL, INSTANCE, 1)
    assert found.request_settings.request_timeout_ms == 20_000
    assert found.liveness_probe.initial_delay == 120
    assert found.liveness_probe.failure_threshold == 30
    assert found.scale_settings.type == "default"
    assert [each.name for each in ml.online_deployments.list(served)] == [DEPLOYED]


def test_logs_are_the_end_of_the_inference_servers_log(ml: Any, served: str) -> None:
    assert "Invoking user's init function" in ml.online_deployments.get_logs(DEPLOYED, served, lines=1000)
    assert len(ml.online_deployments.get_logs(DEPLOYED, served, lines=2).splitlines()) == 2


def test_it_listens_on_loopback_alone(served: str, cloud: Stack) -> None:
    addresses = {connection.laddr.ip for process in _inference(cloud) for connection in _listening(process)}
    assert addresses == {"127.0.0.1"}


def test_with_traffic_it_can_not_be_deleted(ml: Any, served: str) -> None:
    with pytest.raises(HttpResponseError, match="100 % of the traffic"):
        ml.online_deployments.begin_delete(DEPLOYED, served)


def test_a_process_that_dies_is_started_again(ml: Any, served: str, cloud: Stack) -> None:
    before = {process.pid for process in _inference(cloud)}
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: {process.pid for process in _inference(cloud)} - before, 60)
    assert ml.online_deployments.get(DEPLOYED, served).provisioning_state == "Succeeded"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"instance_type": "Standard_Nowhere"}, "not available"),
        ({"model": "azureml:nobody:1"}, "nobody:1 was not found"),
        ({"instance_type": "Standard_NC6"}, "quota"),
        ({"request_settings": OnlineRequestSettings(request_timeout_ms=181_000)}, "requestTimeout"),
    ],
)
def test_what_the_service_refuses(ml: Any, shell: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(HttpResponseError, match=said):
        ml.online_deployments.begin_create_or_update(deployment(shell, "green", **given))
    assert not list(ml.online_deployments.list(shell))


def test_there_is_none_without_an_endpoint(ml: Any) -> None:
    with pytest.raises(ResourceNotFoundError):
        ml.online_deployments.begin_create_or_update(deployment("no-such-endpoint", "green"))
    with pytest.raises(ResourceNotFoundError):
        list(ml.online_deployments.list("no-such-endpoint"))


def test_a_server_that_ends_makes_it_failed_with_a_reason(ml: Any, shell: str) -> None:
    poller = ml.online_deployments.begin_create_or_update(deployment(shell, "red", environment_variables=BROKEN))
    with pytest.raises(HttpResponseError, match="ended with code 2"):
        poller.result()
    assert ml.online_deployments.get("red", shell).provisioning_state == "Failed"
    assert "--no-such-option" in ml.online_deployments.get_logs("red", shell, lines=20)

    endpoint = ml.online_endpoints.get(shell)
    endpoint.traffic = {"red": 100}
    with pytest.raises(HttpResponseError, match="is Failed"):
        ml.online_endpoints.begin_create_or_update(endpoint)

    ml.online_deployments.begin_delete("red", shell).result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_deployments.get("red", shell)


def test_while_it_is_made_it_can_not_be_changed(ml: Any, shell: str) -> None:
    poller = ml.online_deployments.begin_create_or_update(deployment(shell, "slow"))
    assert ml.online_deployments.get("slow", shell).provisioning_state == "Creating"
    with pytest.raises(ResourceExistsError, match="is Creating"):
        ml.online_deployments.begin_create_or_update(deployment(shell, "slow"))
    with pytest.raises(ResourceExistsError, match="is Creating"):
        ml.online_deployments.begin_delete("slow", shell)
    ml.online_endpoints.begin_delete(shell).result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get(shell)
    with pytest.raises(HttpResponseError, match="was deleted while it was being made"):
        poller.result()


@pytest.fixture
def shell(ml: Any) -> str:
    """An endpoint of its own, without deployments."""
    return make_endpoint(ml)


def _inference(cloud: Stack) -> list[psutil.Process]:
    """The inference servers' own processes below the cloud server."""
    found = []
    for process in psutil.Process(cloud.description.processes["server"].pid).children(recursive=True):
        try:
            if "azureml_inference_server_http.server.entry:app" in process.cmdline() and _listening(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _listening(process: psutil.Process) -> list[Any]:
    return [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
