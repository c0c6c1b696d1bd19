"""Endpoints through the SDK: states, names, keys, traffic rules."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential

from localcloud.stack import Stack
from tests.kit.azureml.endpoints import DEPLOYED, make_endpoint


def test_made_looked_at_listed_deleted(ml: Any, cloud_env: Stack) -> None:
    name = make_endpoint(ml, description="faq", tags={"droptune": "yes"})
    found = ml.online_endpoints.get(name)
    assert (found.provisioning_state, found.auth_mode, found.description) == ("Succeeded", "key", "faq")
    assert (found.tags, found.traffic) == ({"droptune": "yes"}, {})
    assert found.scoring_uri == f"{cloud_env.urls['management']}/inference/{name}/score"
    assert found.identity.type == "system_assigned"
    assert "createdAt" in found.properties
    assert name in [each.name for each in ml.online_endpoints.list()]

    ml.online_endpoints.begin_delete(name).result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get(name)
    ml.online_endpoints.begin_delete(name).result()


def test_a_change_at_a_time(ml: Any) -> None:
    endpoint = ManagedOnlineEndpoint(name=f"e-{uuid4().hex[:12]}", auth_mode="key")
    poller = ml.online_endpoints.begin_create_or_update(endpoint)
    with pytest.raises(ResourceExistsError, match="is Creating"):
        ml.online_endpoints.begin_create_or_update(endpoint)
    with pytest.raises(ResourceExistsError, match="is Creating"):
        ml.online_endpoints.begin_delete(endpoint.name)
    assert poller.result().provisioning_state == "Succeeded"


def test_an_update_keeps_keys_and_creation_time(ml: Any) -> None:
    name = make_endpoint(ml)
    keys, before = ml.online_endpoints.get_keys(name), ml.online_endpoints.get(name)
    before.tags = {"a": "b"}
    after = ml.online_endpoints.begin_create_or_update(before).result()
    assert after.tags == {"a": "b"}
    assert after.properties["createdAt"] == before.properties["createdAt"]
    assert ml.online_endpoints.get_keys(name).primary_key == keys.primary_key


def test_keys_are_random_and_regenerated_one_by_one(ml: Any) -> None:
    name = make_endpoint(ml)
    first = ml.online_endpoints.get_keys(name)
    assert (
        len({first.primary_key, first.secondary_key, ml.online_endpoints.get_keys(make_endpoint(ml)).primary_key}) == 3
    )
    ml.online_endpoints.begin_regenerate_keys(name, key_type="secondary").result()
    second = ml.online_endpoints.get_keys(name)
    assert first.primary_key == second.primary_key
    assert first.secondary_key != second.secondary_key


def test_no_traffic_at_creation(ml: Any) -> None:
    endpoint = ManagedOnlineEndpoint(name=f"e-{uuid4().hex[:12]}", auth_mode="key", traffic={"blue": 100})
    with pytest.raises(HttpResponseError, match="traffic names deployment blue"):
        ml.online_endpoints.begin_create_or_update(endpoint)


@pytest.mark.parametrize(
    ("traffic", "said"),
    [({DEPLOYED: 99}, "total 0 or 100"), ({DEPLOYED: 50, "ghost": 50}, "ghost"), ({DEPLOYED: 150}, "total 0 or 100")],
)
def test_traffic_rules(ml: Any, served: str, traffic: dict[str, int], said: str) -> None:
    endpoint = ml.online_endpoints.get(served)
    assert endpoint.traffic == {DEPLOYED: 100}
    endpoint.traffic = traffic
    with pytest.raises(HttpResponseError, match=said):
        ml.online_endpoints.begin_create_or_update(endpoint)


@pytest.mark.parametrize("name", ["a", "1abc", "abc-", "a_b", "a" * 33])
def test_names_are_checked_by_the_service_too(ml: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "azure.ai.ml.entities._endpoint.online_endpoint.validate_endpoint_or_deployment_name", lambda name: None
    )
    with pytest.raises(HttpResponseError, match="is not valid"):
        ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name, auth_mode="key"))


def test_it_lets_in_by_its_auth_mode_which_may_change(ml: Any, http: httpx.Client) -> None:
    name = make_endpoint(ml)
    endpoint = ml.online_endpoints.get(name)
    key = ml.online_endpoints.get_keys(name).primary_key
    uri = endpoint.scoring_uri

    def lets_in(secret: str) -> bool:  # there is no deployment to answer
        answer = http.post(uri, json={}, headers={"Authorization": f"Bearer {secret}"})
        return answer.status_code == 404

    assert lets_in(key)
    given = {"key": key}
    for mode in ("aml_token", "aad_token"):
        endpoint.auth_mode = mode
        assert ml.online_endpoints.begin_create_or_update(endpoint).result().auth_mode == mode
        given[mode] = ml.online_endpoints.get_keys(name).access_token
        assert [each for each, secret in given.items() if lets_in(secret)] == [mode]
    with pytest.raises(HttpResponseError, match="in mode AADToken, not Key"):
        ml.online_endpoints._online_operation.list_keys("local", "local", name)
    for_others = ManagedIdentityCredential().get_token("https://storage.azure.com/.default").token
    assert not lets_in(for_others), "it is for somebody else"
    endpoint.auth_mode = "password"
    with pytest.raises(HttpResponseError, match="authMode 'password' is none of Key, AMLToken, AADToken"):
        ml.online_endpoints.begin_create_or_update(endpoint)


@pytest.mark.parametrize(
    ("mirrored", "said"),
    [({DEPLOYED: 10}, "has live traffic"), ({"ghost": 10}, "ghost"), ({DEPLOYED: 51}, "50 percent")],
)
def test_rules_for_mirrored_traffic(ml: Any, served: str, mirrored: dict[str, int], said: str) -> None:
    endpoint = ml.online_endpoints.get(served)
    endpoint.mirror_traffic = mirrored
    with pytest.raises(HttpResponseError, match=said):
        ml.online_endpoints.begin_create_or_update(endpoint)


def test_one_that_was_made_to_fail_is_healed_by_an_update(ml: Any, cloud_env: Stack) -> None:
    name = make_endpoint(ml)
    cloud_env.control("POST", f"/_local/endpoints/{name}", {"state": "Failed"})
    endpoint = ml.online_endpoints.get(name)
    assert endpoint.provisioning_state == "Failed"
    assert ml.online_endpoints.begin_create_or_update(endpoint).result().provisioning_state == "Succeeded"
