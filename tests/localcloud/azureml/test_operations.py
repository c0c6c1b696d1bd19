"""Long-running operations, and what a restart makes of what was in progress."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from localcloud import azureml
from localcloud.azureml import arm, fleet, operations, runs
from localcloud.azureml.cloud import Cloud
from tests.kit.waiting import eventually


def test_an_operation_goes_from_in_progress_to_its_end(service: Cloud, routes: TestClient) -> None:
    good, bad = operations.begin(service), operations.begin(service)
    status = routes.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{good}")
    assert (status.json()["status"], status.headers["retry-after"]) == ("InProgress", "1")
    assert routes.get(f"{arm.LOCATION_ID}/mfeOperationResults/{good}").status_code == 202
    operations.finish(service, good)
    operations.finish(service, bad, arm.ArmError(400, "TooBig", "It is too big."))
    assert routes.get(f"{arm.LOCATION_ID}/mfeOperationResults/{good}").status_code == 204
    failed = routes.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{bad}").json()
    assert (failed["status"], failed["error"]) == ("Failed", {"code": "TooBig", "message": "It is too big."})
    assert routes.get(f"{arm.LOCATION_ID}/mfeOperationResults/{bad}").json()["error"]["code"] == "TooBig"
    assert routes.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/none").status_code == 404


def test_a_restart_ends_what_was_in_progress(service: Cloud, routes: TestClient) -> None:
    operation = operations.begin(service)
    operations.interrupted(service)
    found = routes.get(f"{arm.LOCATION_ID}/mfeOperationsStatus/{operation}").json()
    assert found["error"]["code"] == "OperationInterrupted"


def test_a_restart_ends_the_jobs_that_ran(service: Cloud) -> None:
    for name, status in (("ran", "Running"), ("waited", "Queued"), ("done", "Completed")):
        runs.save(service, runs.new(service, name, status=status))
    runs.save(service, runs.new(service, "step", parent="ran", status="Running"))
    asyncio.run(azureml.start(service))
    statuses = {name: (run["status"], run["error"]) for name, run in service.store.items(runs.KIND)}
    stopped = ("Failed", "The local cloud was stopped while the job ran.")
    assert statuses == {"ran": stopped, "step": stopped, "waited": stopped, "done": ("Completed", None)}


def test_a_deployment_that_has_served_is_tried_until_it_serves_again(service: Cloud, tmp_path: Path) -> None:
    cloud = replace(service, state=tmp_path / "azureml")
    properties = {
        "provisioningState": "Succeeded",
        "model": "azureml:m:1",
        "requestSettings": {"maxConcurrentRequestsPerInstance": 1, "requestTimeout": "PT5S"},
        "livenessProbe": {"initialDelay": "PT10S", "period": "PT10S", "failureThreshold": 30},
    }
    path = "onlineEndpoints/e/deployments/d"
    document = arm.resource(cloud, path, "onlineEndpoints/deployments", properties, sku={"capacity": 1})
    cloud.store.put(fleet.KIND, "e/d", document)
    cloud.folder("deployments", "e/d", "azureml-models", "m", "1")  # its files; there is no Python to serve them

    async def scenario() -> str:
        await fleet.start(cloud)
        log = fleet.log_file(cloud, "e/d")
        await asyncio.to_thread(eventually, lambda: fleet.tail(log, 9).count("No such file") >= 2)
        state: str = (cloud.store.get(fleet.KIND, "e/d") or {})["properties"]["provisioningState"]
        await fleet.stop(cloud)
        return state

    assert asyncio.run(scenario()) == "Succeeded"
    assert (cloud.store.get(fleet.KIND, "e/d") or {})["properties"]["provisioningState"] == "Succeeded"
