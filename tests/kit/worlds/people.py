"""What people do to what is ours and theirs on a stage's endpoint, and what is told of it: for tests of rollouts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from azure.ai.ml.entities import ManagedOnlineDeployment

from shared.records.run import Run
from tests.kit.azureml import MODEL
from tests.kit.waiting import eventually
from tests.kit.worlds.stage import Stage

BY_HAND = "theirs"
DELETE: dict[str, Any] = {"CLEANUP_MODE": "delete", "IDLE_WINDOW": timedelta(hours=6), "IDLE_GRACE": timedelta(hours=1)}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def held(run: Run) -> bool:
    return run.hold == "endpoint"


def instances(stage: Stage, name: str) -> tuple[int, str]:
    found = stage.app.cloud.endpoints.deployment(stage.endpoint, name)
    assert found
    return found.instances, found.instance_type


def ready(stage: Stage) -> None:
    """Azure works on nothing there."""
    eventually(lambda: (found := stage.app.cloud.endpoints.get(stage.endpoint)) and not found.busy)
    eventually(lambda: not {"Creating", "Updating", "Deleting"} & set(stage.standing().values()))


def scale(stage: Stage, name: str, instances: int, size: str = "") -> None:
    """As in the portal."""
    deployments = stage.app.cloud.clients.ml.online_deployments
    found = deployments.get(name, stage.endpoint)
    found.instance_count, found.instance_type = instances, size or found.instance_type
    deployments.begin_create_or_update(found)
    stage.world.clock.jump(timedelta(minutes=1))
    ready(stage)


def told(run: Run) -> list[str]:
    return [each.what for each in run.history]


def deployed(stage: Stage, name: str, tags: dict[str, str] | None = None) -> None:
    """By a person, on the line's endpoint."""
    made = ManagedOnlineDeployment(
        name=name,
        endpoint_name=stage.endpoint,
        model=MODEL,
        instance_type="Standard_DS3_v2",
        instance_count=1,
        tags=tags or {},
    )
    stage.app.cloud.clients.ml.online_deployments.begin_create_or_update(made)
    stage.world.clock.jump(timedelta(minutes=1))
    eventually(lambda: stage.standing().get(name) == "Succeeded")


def given(stage: Stage, traffic: dict[str, int]) -> None:
    """The traffic, by a person."""
    stage.app.cloud.endpoints.set_traffic(stage.endpoint, traffic)
    eventually(lambda: (found := stage.app.cloud.endpoints.get(stage.endpoint)) and not found.busy)


def pass_by(stage: Stage, time: timedelta) -> None:
    """The same in long steps, which leave no points in the metrics: nothing is idle."""
    world, stage.world.sweeps = stage.world, False
    for _ in range(round(time / HOUR)):
        world.clock.jump(HOUR)
        world.sweep()
        world.cleanup()
        stage.quiet()


def said(stage: Stage, kind: str) -> list[str]:
    return [why for what, why in stage.events() if what == kind]
