"""Endpoints and deployments through the SDK."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from azure.ai.ml import MLClient
from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint
from azure.identity import ManagedIdentityCredential

from localcloud.azureml.arm import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE
from tests.kit.azureml import MODEL

SERVED, DEPLOYED = "really-serves", "blue"
"""The endpoint that tests share, and its deployment."""
MESSAGES = [{"role": "user", "content": "How do I reset my password?"}]
INSTANCE = "Standard_DS3_v2"
BROKEN = {"GUNICORN_CMD_ARGS": "--no-such-option"}
"""Ends the inference server at once, long before a model is loaded."""


def client() -> MLClient:
    """A client of the workspace, from the environment."""
    return MLClient(ManagedIdentityCredential(), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE)


def deployment(endpoint: str, name: str, **more: Any) -> Any:
    """A deployment of the small base model."""
    given = {"model": MODEL, "instance_type": INSTANCE, "instance_count": 1} | more
    return ManagedOnlineDeployment(name=name, endpoint_name=endpoint, **given)


def payload(messages: Any = MESSAGES, **parameters: Any) -> dict[str, Any]:
    """A request; by default short and greedy."""
    given = parameters or {"do_sample": False, "max_new_tokens": 8}
    return {"input_data": {"input_string": [messages], "parameters": given}, "params": {}}


def make_endpoint(ml: Any, **more: Any) -> str:
    """Make an endpoint with a name of its own."""
    name = f"e-{uuid4().hex[:12]}"
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key", **more)).result()
    return name
