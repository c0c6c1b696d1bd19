"""Jobs and deployments that pretend, through the real SDK: they look like real ones, and start no process."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from azure.ai.ml.entities import Model
from azure.core.exceptions import HttpResponseError, ResourceExistsError

from localcloud.stack import Stack, StackError
from shared.app import App
from tests.kit.azureml.endpoints import client, deployment, make_endpoint, payload
from tests.kit.azureml.submitting import Submit, ended, published, submitting
from tests.kit.azureml.training import STEPS
from tests.kit.metrics import cpu_points
from tests.kit.waiting import eventually

pytestmark = pytest.mark.thorough

HOURS = 3600
"""Seconds; a test lets them pass with the clock."""


@pytest.fixture(autouse=True)
def forget(cloud: Stack) -> Iterator[None]:
    """No rule outlives its test: the cloud is shared."""
    yield
    cloud.control("DELETE", "/_local/pretend")


def pretend(cloud: Stack, **rules: Any) -> None:
    cloud.control("POST", "/_local/pretend", rules)


def pass_time(cloud: Stack, seconds: float) -> None:
    cloud.control("POST", "/_local/clock", {"advance": seconds})


def processes(cloud: Stack) -> set[int]:
    return {child.pid for child in psutil.Process(cloud.description.processes["server"].pid).children(recursive=True)}


def statuses(cloud: Stack, run: str) -> list[str | None]:
    return [status for kind, of, status in published(cloud) if of == run and kind == "RunStatusChanged"]


def test_a_job_takes_the_time_asked_for_and_starts_no_process(
    cloud: Stack, ml: Any, app: App, submit: Submit, name: str
) -> None:
    pretend(cloud, jobs={"match": f"^{name}$", "seconds": HOURS, "metrics": {"eval_loss": [3.0, 1.5], "loss": 1}})
    before = processes(cloud)
    submit(name)
    eventually(lambda: ml.jobs.get(name).status == "Running")
    pass_time(cloud, HOURS - 60)
    assert ml.jobs.get(name).status == "Running"
    assert processes(cloud) <= before
    pass_time(cloud, 60)
    assert ended(ml, name).status == "Completed"
    assert statuses(cloud, name) == ["Preparing", "Running", "Finalizing", "Completed"]
    assert ("RunCompleted", name, None) in published(cloud)
    steps = list(ml.jobs.list(parent_job_name=name))
    assert [(step.display_name, step.status) for step in steps] == [(step, "Completed") for step in STEPS]
    assert app.cloud.metrics.job_metrics(name) == {"eval_loss": [(0, 3.0), (1, 1.5)], "loss": [(0, 1.0)]}


def test_its_model_can_be_registered_and_deployed(cloud: Stack, ml: Any, submit: Submit, name: str) -> None:
    pretend(cloud, jobs={"match": name}, deployments={"match": "/blue$", "answer": "You said: {question}"})
    submit(name)
    assert ended(ml, name).status == "Completed"
    path = f"azureml://jobs/{name}/outputs/trained_model"
    model = ml.models.create_or_update(Model(name=f"m-{name}", version="1", path=path, type="mlflow_model"))
    endpoint = make_endpoint(ml)
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue", model=model.id)).result()
    assert ml.online_deployments.get("blue", endpoint).provisioning_state == "Succeeded"


@pytest.mark.parametrize(
    ("outcome", "steps"), [("Failed", ["Completed", "Completed", "Failed"]), ("Canceled", ["Completed", "Completed"])]
)
def test_a_job_ends_as_it_was_asked_to(
    cloud: Stack, ml: Any, submit: Submit, name: str, outcome: str, steps: list[str]
) -> None:
    pretend(cloud, jobs={"match": name, "outcome": outcome, "why": "CUDA out of memory"})
    submit(name)
    assert ended(ml, name).status == outcome
    children = list(ml.jobs.list(parent_job_name=name))
    assert [step.status for step in children][: len(steps)] == steps
    told = ml.jobs._runs_operations.get_run_details(name).error.error.message
    assert "CUDA out of memory" in told


def test_a_job_that_is_starved_fails_before_its_fine_tune_step_has_run(
    cloud: Stack, ml: Any, submit: Submit, name: str
) -> None:
    pretend(cloud, jobs={"match": name, "outcome": "Failed", "why": "AllocationFailed", "starved": True})
    submit(name)
    assert ended(ml, name).status == "Failed"
    *before, finetune = ml.jobs.list(parent_job_name=name)
    started = [ml.jobs._runs_operations.get_run(each.name).start_time_utc for each in (*before, finetune)]
    assert [bool(each) for each in started] == [True] * len(before) + [False]


def test_the_first_rule_that_matches_wins_as_often_as_it_counts(
    cloud: Stack, ml: Any, submit: Submit, name: str
) -> None:
    pretend(cloud, jobs=[{"match": name, "outcome": "Failed", "count": 1}, {"match": name}])
    for end in ("a", "b"):
        submit(f"{name}-{end}")
    assert [ended(ml, f"{name}-{end}").status for end in "ab"] == ["Failed", "Completed"]
    assert [rule["count"] for rule in cloud.control("GET", "/_local/pretend")["jobs"]] == [0, None]


def test_jobs_that_pretend_wait_for_nodes_alone(cloud: Stack, ml: Any, submit: Submit, name: str) -> None:
    """jobs-gpu has two nodes; this machine would have a place for one process."""
    pretend(cloud, jobs={"match": name, "seconds": HOURS})
    names = [f"{name}-{number}" for number in range(3)]
    for each in names:
        submit(each)

    def tunes(job: str) -> str:
        steps = {each.display_name: each.status for each in ml.jobs.list(parent_job_name=job)}
        return str(steps.get(STEPS[2]))

    eventually(lambda: [tunes(each) for each in names] == ["Running", "Running", "Queued"])
    assert ml.jobs.get(names[2]).status == "Running", "as Azure shows a pipeline whose step waits for a node"
    cloud.control("POST", f"/_local/jobs/{names[0]}", {"status": "Canceled"})
    eventually(lambda: tunes(names[2]) == "Running")
    for each in names[1:]:
        cloud.control("POST", f"/_local/jobs/{each}", {"status": "Canceled"})


@pytest.mark.parametrize("status", ["Failed", "Canceled", "Completed"])
def test_a_job_can_be_ended_on_request(cloud: Stack, ml: Any, submit: Submit, name: str, status: str) -> None:
    pretend(cloud, jobs={"match": name, "seconds": HOURS})
    submit(name)
    eventually(lambda: ml.jobs.get(name).status == "Running")
    cloud.control("POST", f"/_local/jobs/{name}", {"status": status, "why": "node was preempted"})
    assert ml.jobs.get(name).status == status
    assert statuses(cloud, name)[-1] == status
    if status == "Completed":
        path = f"azureml://jobs/{name}/outputs/trained_model"
        assert ml.models.create_or_update(Model(name=name, version="1", path=path, type="mlflow_model"))
    else:
        assert "node was preempted" in ml.jobs._runs_operations.get_run_details(name).error.error.message
    with pytest.raises(StackError, match="409"):
        cloud.control("POST", f"/_local/jobs/{name}", {"status": status})


def test_a_job_can_still_be_cancelled(cloud: Stack, ml: Any, submit: Submit, name: str) -> None:
    pretend(cloud, jobs={"match": name, "seconds": HOURS})
    submit(name)
    ml.jobs.begin_cancel(name).result()
    assert ended(ml, name).status == "Canceled"


def test_a_deployment_takes_its_time_then_answers(cloud: Stack, ml: Any, http: httpx.Client) -> None:
    endpoint = make_endpoint(ml)
    pretend(cloud, deployments={"match": f"^{endpoint}/", "seconds": HOURS})
    before = processes(cloud)
    poller = ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue"))
    pass_time(cloud, HOURS - 60)
    assert ml.online_deployments.get("blue", endpoint).provisioning_state == "Creating"
    with pytest.raises(ResourceExistsError, match="is Creating"):
        ml.online_deployments.begin_delete("blue", endpoint)
    pass_time(cloud, 60)
    poller.result()
    assert ml.online_deployments.get("blue", endpoint).provisioning_state == "Succeeded"
    assert processes(cloud) <= before
    shown = ml.online_endpoints.get(endpoint)
    shown.traffic = {"blue": 100}
    ml.online_endpoints.begin_create_or_update(shown).result()
    key = {"Authorization": f"Bearer {ml.online_endpoints.get_keys(endpoint).primary_key}"}
    answer = http.post(shown.scoring_uri, json=payload(), headers=key)
    assert answer.json() == {"output": f"A pretended answer of {endpoint}/blue."}
    assert http.post(shown.scoring_uri, json={"nonsense": 1}, headers=key).status_code == 424
    assert "pretends to serve" in ml.online_deployments.get_logs("blue", endpoint, lines=5)


def test_an_updated_deployment_answers_anew_and_can_be_deleted(cloud: Stack, ml: Any, http: httpx.Client) -> None:
    endpoint = make_endpoint(ml)
    pretend(cloud, deployments={"match": endpoint, "answer": "one", "count": 1})
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue")).result()
    pretend(cloud, deployments={"match": endpoint, "answer": "{question}!", "count": 1})
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue")).result()
    assert _ask(ml, http, endpoint, "blue").json() == {"output": "How do I reset my password?!"}
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue", instance_count=2)).result()
    assert _ask(ml, http, endpoint, "blue").json() == {"output": "How do I reset my password?!"}  # without a rule
    ml.online_deployments.begin_delete("blue", endpoint).result()
    assert not list(ml.online_deployments.list(endpoint))


def test_a_deployment_fails_or_is_stuck_as_asked(cloud: Stack, ml: Any, http: httpx.Client) -> None:
    endpoint = make_endpoint(ml)
    failing = {"match": "/red$", "outcome": "Failed", "why": "the image could not be pulled"}
    pretend(cloud, deployments=[failing, {"match": "/grey$", "outcome": "Stuck"}])
    poller = ml.online_deployments.begin_create_or_update(deployment(endpoint, "red"))
    with pytest.raises(HttpResponseError, match="the image could not be pulled"):
        poller.result()
    assert ml.online_deployments.get("red", endpoint).provisioning_state == "Failed"
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "grey"))
    eventually(lambda: ml.online_deployments.get("grey", endpoint).provisioning_state == "Updating")
    assert _ask(ml, http, endpoint, "grey").status_code == 424
    pass_time(cloud, 24 * HOURS)
    assert ml.online_deployments.get("grey", endpoint).provisioning_state == "Updating"
    ml.online_endpoints.begin_delete(endpoint).result()


def test_a_deployment_has_processor_points(cloud: Stack, ml: Any, app: App) -> None:
    endpoint = make_endpoint(ml)
    pretend(cloud, deployments={"match": endpoint})
    ml.online_deployments.begin_create_or_update(deployment(endpoint, "blue")).result()
    id_ = ml.online_deployments.get("blue", endpoint).id

    def points() -> int:
        pass_time(cloud, 60)
        now = datetime.fromisoformat(cloud.control("GET", "/_local/clock")["now"])
        return cpu_points(app.cloud.metrics, [id_], now - timedelta(hours=1), now)[id_]

    assert eventually(points, every=0.5)


def test_what_pretends_goes_on_after_a_crash(tmp_path: Path, name: str) -> None:
    jobs = {"match": name, "seconds": HOURS}
    blue, slow = {"match": "/blue$", "answer": "still here"}, {"match": "/slow$", "seconds": HOURS}
    stack = Stack(tmp_path)
    try:
        stack.start(host=False)
        pretend(stack, jobs=jobs, deployments=[blue, slow, {"match": "/grey$", "outcome": "Stuck"}])
        with submitting(stack) as submit:
            ml = client()
            submit(name)
            endpoint = make_endpoint(ml)
            for each in ("slow", "grey", "blue"):
                poller = ml.online_deployments.begin_create_or_update(deployment(endpoint, each))
            poller.result()
            before = {"slow": "Creating", "grey": "Updating", "blue": "Succeeded"}
            eventually(lambda: _states(ml, endpoint) == before)
            eventually(lambda: ml.jobs.get(name).status == "Running")
            stack.kill_server()
            stack.start_server()
            assert _states(ml, endpoint) == before
            assert ml.jobs.get(name).status == "Running"
            submit(f"{name}-2")  # the rules are there still
            eventually(lambda: ml.jobs.get(f"{name}-2").status == "Running")
            with httpx.Client(verify=ssl.create_default_context(cafile=str(stack.description.ca))) as http:
                assert _ask(ml, http, endpoint, "blue").json() == {"output": "still here"}
            pass_time(stack, HOURS)
            eventually(lambda: _states(ml, endpoint) == before | {"slow": "Succeeded"})
            for each in (name, f"{name}-2"):
                assert ended(ml, each).status == "Completed"
        told = [entry for entry in stack.control("GET", "/_local/history") if entry["name"] == name]
        assert [entry["state"] for entry in told] == ["Finalizing", "Completed"]
    finally:
        stack.stop()


def _states(ml: Any, endpoint: str) -> dict[str, str]:
    return {each.name: each.provisioning_state for each in ml.online_deployments.list(endpoint)}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"endpoints": {}}, "one of jobs, deployments"),
        ({"jobs": {"match": "("}}, "unterminated"),
        ({"jobs": {"outcome": "Stuck"}}, "none of Completed"),
        ({"deployments": {"metrics": {}}}, "metrics"),
        ({"jobs": {"seconds": -1}}, "0 or more"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(cloud: Stack, rules: dict[str, Any], said: str) -> None:
    with pytest.raises(StackError, match=said):
        pretend(cloud, **rules)
    assert cloud.control("GET", "/_local/pretend") == {"jobs": [], "deployments": []}


def _ask(ml: Any, http: httpx.Client, endpoint: str, deployed: str) -> httpx.Response:
    key = ml.online_endpoints.get_keys(endpoint).primary_key
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployed}
    return http.post(ml.online_endpoints.get(endpoint).scoring_uri, json=payload(), headers=headers)
