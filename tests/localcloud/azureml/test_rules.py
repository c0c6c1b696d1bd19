"""What people forbid, as Resource Manager says it: codes, bodies, and what each rule leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from localcloud.azureml.arm import WORKSPACE_ID
from localcloud.azureml.rules import GROUP_ID

ENDPOINT = f"{WORKSPACE_ID}/onlineEndpoints/faq-1"
MADE = {"location": "westeurope", "properties": {"authMode": "Key"}}


def rule(routes: TestClient, **fields: Any) -> None:
    answer = routes.post("/_local/rules", json={"name": "keep", **fields})
    assert answer.status_code == 200, answer.text


def made(routes: TestClient, **more: Any) -> Any:
    return routes.put(ENDPOINT, json=MADE | more)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"] if answer.content and answer.status_code >= 400 else ""


def test_a_lock_forbids_to_delete_what_is_below_it_and_nothing_else(routes: TestClient) -> None:
    rule(routes, kind="lock")
    assert made(routes).status_code == 201
    refused = routes.delete(ENDPOINT)
    assert code(refused) == (409, "ScopeLocked")
    assert refused.json()["error"]["message"] == (
        f"The scope '{ENDPOINT}' cannot perform delete operation because following scope(s) are locked: '{GROUP_ID}'. "
        "Please remove the lock and try again."
    )
    assert routes.post(f"{ENDPOINT}/listKeys").status_code == 200
    listed = routes.get(f"{ENDPOINT}/providers/Microsoft.Authorization/locks?api-version=2016-09-01").json()
    assert [(each["id"], each["properties"]["level"]) for each in listed["value"]] == [
        (f"{GROUP_ID}/providers/Microsoft.Authorization/locks/keep", "CanNotDelete")
    ]
    routes.delete("/_local/rules?name=keep")
    assert code(routes.delete(ENDPOINT))[1] != "ScopeLocked"


def test_a_lock_that_allows_nothing_allows_to_look(routes: TestClient) -> None:
    assert made(routes).status_code == 201
    rule(routes, kind="lock", level="ReadOnly", scope="onlineEndpoints/faq-1")
    assert routes.get(ENDPOINT).status_code == 200
    for answer in (made(routes), routes.delete(ENDPOINT), routes.post(f"{ENDPOINT}/listKeys")):
        assert code(answer) == (409, "ScopeLocked")
    assert routes.put(f"{ENDPOINT}0", json=MADE).status_code == 201, "another one"


def test_a_lock_below_keeps_what_is_around_it(routes: TestClient) -> None:
    rule(routes, kind="lock", scope="onlineEndpoints/faq-1/deployments/blue")
    assert code(routes.delete(ENDPOINT)) == (409, "ScopeLocked")
    at = f"{ENDPOINT}/providers/Microsoft.Authorization/locks"
    assert len(routes.get(at).json()["value"]) == 1
    assert routes.get(f"{at}?$filter=atScope()").json()["value"] == [], "as Azure's filter leaves out what is below"


def test_a_policy_names_itself_and_the_tags_that_it_misses(routes: TestClient) -> None:
    rule(routes, kind="policy", name="owners", types="onlineEndpoints", tags=["owner", "costCenter"])
    answer = made(routes, tags={"OWNER": "ada"})
    assert code(answer) == (403, "RequestDisallowedByPolicy")
    error = answer.json()["error"]
    assert "Resource 'faq-1' was disallowed by policy" in error["message"]
    (found,) = error["additionalInfo"]
    assert found["info"]["policyAssignmentName"] == "owners"
    details = found["info"]["evaluationDetails"]["evaluatedExpressions"]
    assert [each["path"] for each in details] == ["tags[costCenter]"]
    assert made(routes, tags={"owner": "ada", "costcenter": "42"}).status_code == 201
    rule(routes, kind="policy", name="owners", types="onlineEndpoints", tags=["owner"], exempt="/faq-2$")
    assert routes.put(f"{WORKSPACE_ID}/onlineEndpoints/faq-2", json=MADE).status_code == 201


def test_a_policy_may_forbid_deletions_and_a_deny_assignment_any_action(routes: TestClient) -> None:
    made(routes)
    rule(routes, kind="policy", effect="denyAction", types="onlineEndpoints")
    assert code(routes.delete(ENDPOINT)) == (403, "RequestDisallowedByPolicy")
    routes.delete("/_local/rules")
    rule(routes, kind="denyAssignment", actions="onlineEndpoints/(delete|listKeys/action)$")
    for answer in (routes.delete(ENDPOINT), routes.post(f"{ENDPOINT}/listKeys")):
        assert code(answer) == (403, "DenyAssignmentAuthorizationFailed")


def test_a_network_that_is_shut_leaves_the_workspace_itself_to_be_seen(routes: TestClient) -> None:
    rule(routes, kind="network")
    assert routes.get(WORKSPACE_ID).status_code == 200
    for path in ("jobs", "onlineEndpoints/faq-1", "computes"):
        assert code(routes.get(f"{WORKSPACE_ID}/{path}")) == (403, "Forbidden")


@pytest.mark.parametrize(
    "fields",
    [{}, {"kind": "lock", "level": "x"}, {"kind": "fence"}, {"kind": "policy", "types": "("}, {"kind": "lock", "n": 1}],
)
def test_a_rule_that_makes_no_sense_is_refused(routes: TestClient, fields: dict[str, Any]) -> None:
    assert code(routes.post("/_local/rules", json={"name": "keep", **fields})) == (400, "InvalidRule")
