"""Asking endpoints: keys, deployments and their shares, the model's errors, time limits, a restart of the cloud."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml.entities import OnlineRequestSettings
from azure.core.exceptions import HttpResponseError

from localcloud.azureml.scoring import pick
from localcloud.stack import Stack
from tests.kit.azureml.endpoints import BROKEN, DEPLOYED, MESSAGES, deployment, make_endpoint, payload
from tests.kit.waiting import eventually

NOTEBOOK = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200}


def test_it_answers(ask: Any) -> None:
    response = ask()
    assert response.status_code == 200
    assert isinstance(response.json()["output"], str)
    assert response.headers["azureml-model-deployment"] == DEPLOYED
    assert ask().json() == response.json(), "greedy answers are repeatable"


def test_the_notebooks_request_through_the_sdk(ml: Any, served: str, tmp_path: Path) -> None:
    request = tmp_path / "sample_score.json"
    request.write_text(json.dumps(payload(**NOTEBOOK)))
    answer = json.loads(ml.online_endpoints.invoke(served, request_file=str(request)))
    assert list(answer) == ["output"]


def test_messages_may_stand_without_the_list_around_them(ask: Any) -> None:
    body = payload()
    body["input_data"]["input_string"] = MESSAGES
    assert ask(body).json() == ask().json()


def test_both_keys_open_it_and_nothing_else(ml: Any, served: str, ask: Any) -> None:
    secondary = ml.online_endpoints.get_keys(served).secondary_key
    assert ask(Authorization=f"Bearer {secondary}").status_code == 200
    other = ml.online_endpoints.get_keys(make_endpoint(ml)).primary_key
    for header in ("", "Bearer", f"Bearer {other}", f"Basic {secondary}"):
        assert ask(Authorization=header).status_code == 401


def test_without_traffic_there_is_no_one_to_answer(ml: Any, ask: Any, http: httpx.Client) -> None:
    shell = make_endpoint(ml)
    key = {"Authorization": f"Bearer {ml.online_endpoints.get_keys(shell).primary_key}"}
    response = http.post(ml.online_endpoints.get(shell).scoring_uri, json=payload(), headers=key)
    assert (response.status_code, "no deployment with traffic" in response.text) == (404, True)
    assert ask(azureml_model_deployment="ghost").status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"x": 1}, "input_data"),
        (payload([]), "one conversation"),
        (payload([{"role": "user"}]), "Message 0"),
        (payload(max_new_tokens=0, temperature=0), "temperature=0, max_new_tokens=0"),
        (payload(beams=2), "Unknown parameters: beams"),
        (payload([{"role": "user", "content": "many words " * 50_000}]), "tokens long"),
    ],
)
def test_the_models_own_refusal_is_424_with_its_status(ask: Any, body: Any, said: str) -> None:
    response = ask(body)
    assert response.status_code == 424
    assert response.headers["ms-azureml-model-error-statuscode"] == "400"
    assert said in response.json()["error"]["message"]


def test_more_at_once_than_it_takes(ask: Any) -> None:
    long = payload(do_sample=False, max_new_tokens=150)
    with ThreadPoolExecutor(12) as pool:
        codes = Counter(response.status_code for response in pool.map(lambda _: ask(long), range(12)))
    assert codes[200] >= 4, "2 instances' worth of 2 requests each"
    assert codes[200] + codes[429] == 12


@pytest.mark.thorough
def test_a_second_deployment(ml: Any, served: str, ask: Any) -> None:
    limit = OnlineRequestSettings(request_timeout_ms=1)
    ml.online_deployments.begin_create_or_update(deployment(served, "green", request_settings=limit)).result()
    response = ask(azureml_model_deployment="green")
    assert (response.status_code, response.headers["azureml-model-deployment"]) == (408, "green")

    endpoint = ml.online_endpoints.get(served)
    endpoint.traffic = {DEPLOYED: 70, "green": 30}
    ml.online_endpoints.begin_create_or_update(endpoint).result()
    asked = Counter(ask().headers["azureml-model-deployment"] for _ in range(20))
    assert asked.keys() == {DEPLOYED, "green"}
    assert asked[DEPLOYED] == pytest.approx(14, abs=1)

    endpoint.traffic = {DEPLOYED: 100}
    ml.online_endpoints.begin_create_or_update(endpoint).result()
    ml.online_deployments.begin_delete("green", served).result()
    assert {ask().headers["azureml-model-deployment"] for _ in range(5)} == {DEPLOYED}


def test_shares_are_exact_over_a_hundred_requests() -> None:
    traffic = {"a": 70, "b": 0, "c": 30}
    assert Counter(pick("shares", traffic) for _ in range(100)) == {"a": 70, "c": 30}
    assert pick("shares", {"a": 0}) is None


def test_a_deployment_that_failed_does_not_serve(ml: Any, served: str, ask: Any) -> None:
    red = deployment(served, "red", environment_variables=BROKEN)
    with pytest.raises(HttpResponseError):
        ml.online_deployments.begin_create_or_update(red).result()
    response = ask(azureml_model_deployment="red")
    assert (response.status_code, response.headers["ms-azureml-model-error-statuscode"]) == (424, "503")
    ml.online_deployments.begin_delete("red", served).result()


@pytest.mark.thorough
def test_after_a_crash_of_the_cloud_it_serves_again(cloud: Stack, ask: Any) -> None:
    cloud.kill_server()
    cloud.start_server()
    eventually(lambda: ask().status_code == 200, 120)
