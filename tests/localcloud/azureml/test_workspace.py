"""The way to the workspace, through the real SDK, built as the app builds it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import DefaultAzureCredential

from localcloud.azureml.arm import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID
from localcloud.stack import Stack


def test_the_environment_alone_leads_to_the_workspace(cloud_env: Stack) -> None:
    ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)
    workspace = ml.workspaces.get(WORKSPACE)
    management = cloud_env.description.management_url
    assert (workspace.id, workspace.location) == (WORKSPACE_ID, "westeurope")
    assert workspace.discovery_url == f"{management}/discovery"
    assert workspace.mlflow_tracking_uri == management.replace("https", "azureml") + f"/mlflow/v2.0{WORKSPACE_ID}"
    assert workspace.storage_account.endswith("/storageAccounts/droptune")
    assert workspace.key_vault
    assert workspace.application_insights


def test_the_cloud_s_metadata_is_cheap(cloud: Stack) -> None:
    started = time.perf_counter()
    for _ in range(5):
        (metadata,) = cloud.control("GET", "/metadata/endpoints")
    assert metadata["name"] == cloud.environment["AZUREML_CURRENT_CLOUD"]
    assert (time.perf_counter() - started) / 5 < 0.1


def test_datastores_name_the_account_and_container(ml: Any) -> None:
    prepared = ml.datastores.get("prepared", include_secrets=True)
    assert (prepared.account_name, prepared.container_name) == ("droptune", "prepared")
    assert len(prepared.credentials.account_key) == 88
    assert ml.datastores.get_default().name == "workspaceblobstore"
    assert {store.name for store in ml.datastores.list()} == {"datasets", "prepared", "workspaceblobstore"}
    with pytest.raises(ResourceNotFoundError, match="Datastore nope was not found"):
        ml.datastores.get("nope")
