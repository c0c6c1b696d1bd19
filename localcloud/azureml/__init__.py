"""The local Azure ML service: the ARM, registry and MLflow routes that azure-ai-ml 1.35.2 calls, over real work.

localcloud/server.py calls build() for the routes, start() once its event loop runs and stop() before that ends. A
module here gives `routes(cloud)` and, where it keeps processes, `async start(cloud)` and `async stop(cloud)`.
"""

import asyncio
import contextlib
from types import ModuleType

from starlette.routing import Route

from localcloud.azureml.arm import LOCATION_ID
from localcloud.azureml.cloud import Cloud, route
from localcloud.azureml.operations import interrupted, operation_result, operation_status


def modules() -> list[ModuleType]:
    """The parts of the service. Imported late: the command line needs none of them."""
    from localcloud.azureml import (
        assets,
        components,
        computes,
        deployments,
        endpoints,
        jobs,
        mlflow,
        monitor,
        pretend,
        registry,
        rules,
        run_history,
        scoring,
        workspace,
    )

    return [
        workspace,
        registry,
        computes,
        assets,
        components,
        jobs,
        run_history,
        mlflow,
        endpoints,
        deployments,
        scoring,
        monitor,
        pretend,
        rules,
    ]


def build(cloud: Cloud) -> list[Route]:
    """Every route of the service."""
    found = [
        route(cloud, "GET", f"{LOCATION_ID}/mfeOperationsStatus/{{operation}}", operation_status),
        route(cloud, "GET", f"{LOCATION_ID}/mfeOperationResults/{{operation}}", operation_result),
    ]
    for module in modules():
        found += module.routes(cloud)
    from localcloud.azureml import rules

    return [rules.applied(cloud, each) for each in found]


async def start(cloud: Cloud) -> None:
    """Take up what an earlier process of the server left behind."""
    interrupted(cloud)
    for module in modules():
        if hook := getattr(module, "start", None):
            await hook(cloud)


async def stop(cloud: Cloud) -> None:
    """End every process and task that the service started."""
    for module in modules():
        if hook := getattr(module, "stop", None):
            await hook(cloud)
    for task in list(cloud.tasks):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
