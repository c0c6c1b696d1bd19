"""Which step of a job is the one that fine-tunes, by what the run history answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.lifecycle.course import FineTune


def run(name: str, *, on: str | None = "cpu-cluster", kind: str = "azureml.StepRun", **more: Any) -> dict[str, Any]:
    """A run of the history, as the service answers it."""
    return {"runId": name, "displayName": name, "runType": kind, "status": "Running", "target": on} | more


@pytest.fixture
def below(cloud: Stack) -> Iterator[Any]:
    """Says which runs are below which."""

    def answer(**runs: list[dict[str, Any]]) -> None:
        for name, children in runs.items():
            body = {"value": children}
            fault = {"method": "GET", "path": f"/runs/{name}/children$", "status": 200, "body": body, "count": None}
            cloud.control("POST", "/_local/faults", fault)

    yield answer
    cloud.control("DELETE", "/_local/faults")


def shown(azure: Cloud, job: str) -> str:
    step = azure.jobs.fine_tune(job)
    return step.status if step else "none"


def test_it_is_found_by_its_name_below_the_component_s_own_pipeline(azure: Cloud, below: Any) -> None:
    began = {"startTimeUtc": "2026-11-01T10:00:00.1234567+00:00", "status": "queued"}
    below(
        job=[run("prepare"), run("component", on=None, kind="azureml.PipelineRun")],
        component=[run("chat_completion_model_import"), run("chat_completion_finetune", on=None, **began)],
        chat_completion_finetune=[],
    )
    step = azure.jobs.fine_tune("job")
    assert step
    assert step.status == "Queued"
    assert step.began
    assert step.began.isoformat().startswith("2026-11-01T10:00:00.123456")


def test_of_two_of_the_name_the_later_one_counts(azure: Cloud, below: Any) -> None:
    again = run("finetune-2", createdUtc="2026-11-02T10:00:00+00:00", status="Queued")
    below(job=[again, run("finetune-1", createdUtc="2026-11-01T10:00:00+00:00", status="Failed")])
    assert shown(azure, "job") == "Queued"


def test_without_such_a_name_it_is_the_first_one_on_the_gpu_cluster(azure: Cloud, below: Any) -> None:
    gpu = azure.settings.training.gpu_compute
    first = run("sft", on=None, compute={"target": gpu.upper()}, createdUtc="2026-11-01T10:00:00Z", status="Paused")
    below(job=[run("convert", on=gpu, createdUtc="2026-11-02T10:00:00Z"), first, run("load")], sft=[])
    assert shown(azure, "job") == "Paused"


def test_on_one_cluster_for_all_no_step_before_it_or_after_it_is_taken_for_it(azure: Cloud, below: Any) -> None:
    gpu = azure.settings.training.gpu_compute
    names = ("prepare", "chat_completion_model_import", "ft_nlp_data_preprocess", "data_validation", "model_converter")
    others = [run(name, on=gpu, createdUtc=f"2026-11-01T1{at}:00:00Z") for at, name in enumerate(names)]
    below(job=others, soon=[*others, run("trainer", on=gpu, createdUtc="2026-11-01T20:00:00Z", status="Queued")])
    assert azure.jobs.fine_tune("job") == FineTune(status="")
    assert shown(azure, "soon") == "Queued"


def test_it_may_not_be_there_yet_and_there_may_be_no_steps_at_all(azure: Cloud, below: Any) -> None:
    below(job=[run("prepare"), run("step", on=None, kind="azureml.PipelineRun")], step=[], other=[])
    assert azure.jobs.fine_tune("job") == FineTune(status="")
    assert azure.jobs.fine_tune("other") is None
