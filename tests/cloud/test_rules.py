"""What somebody forbids is said as that, in Azure's words, with what ends it; and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.cloud.failures import judged
from shared.cloud.rules import Violation, violations
from shared.errors import Refused

LOCKED = (
    "The scope '/subscriptions/s/resourceGroups/g/x' cannot perform delete operation because following scope(s) are "
    "locked: '/subscriptions/s/resourceGroups/g'. Please remove the lock and try again."
)
DENIED = (
    "The client 'c' with object id 'o' has permission to perform action 'a/delete' on scope 's'; however, the access is"
    " denied because of the deny assignment with name 'd' and Id 'i' at scope 's'."
)
POLICY = (
    'Resource \'e\' was disallowed by policy. Policy identifiers: \'[{"policyAssignment":{"name":"Require owners",'
    '"id":"/subscriptions/s/x"},"policyDefinition":{"name":"d","id":"/d"}}]\'.'
)
LOCK, ASSIGNMENT = "once the lock is deleted: az lock list, az lock delete", "once the deny assignment is gone"
EXEMPT, NETWORK = "changed or exempts it: az policy exemption create", "once public network access is enabled there"


@pytest.mark.parametrize(
    ("status", "code", "message", "ends"),
    [
        (409, "ScopeLocked", LOCKED, LOCK),
        (409, "Conflict", LOCKED, LOCK),
        (403, "RequestDisallowedByPolicy", POLICY, EXEMPT),
        (403, "RequestDisallowedByPolicy", "Resource 'e' was disallowed by policy.", EXEMPT),
        (403, "DenyAssignmentAuthorizationFailed", DENIED, ASSIGNMENT),
        (403, "Forbidden", "Public network access is disabled for workspace w. Use a private endpoint.", NETWORK),
        (403, "Forbidden", "publicNetworkAccess is set to Disabled.", NETWORK),
        (403, "PublicNetworkAccessDisabled", "no", NETWORK),
        (403, "ForbiddenByConnection", "no", NETWORK),
        (403, "", "Public access is not allowed. Current client IP: 1.2.3.4", NETWORK),
    ],
)
def test_a_rule_of_somebody_is_said_with_what_ends_it(status: int, code: str, message: str, ends: str) -> None:
    error = judged("endpoint e", status, code, message, {}, role="AzureML Data Scientist on the workspace")
    assert isinstance(error, Refused)
    assert str(error).startswith(f"endpoint e: {message}")
    assert ends in str(error)
    assert "It is tried again by itself" in str(error)
    assert "Data Scientist" not in str(error)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (409, "Conflict", "Another operation on the resource is already in progress."),
        (409, "Conflict", "The endpoint is locked by another operation, try again later."),
        (403, "AuthorizationFailed", "The client 'c' does not have authorization to perform action 'a' over scope 's'"),
        (403, "AuthorizationFailure", "This request is not authorized to perform this operation."),
        (400, "UserError", "public network access disabled"),
        (500, "", LOCKED),
    ],
)
def test_nothing_else_is_taken_for_one(status: int, code: str, message: str) -> None:
    assert not isinstance(judged("endpoint e", status, code, message, {}), Refused)


class Answer:
    """An HTTP answer."""

    def __init__(self, body: Any) -> None:
        self._text = body if isinstance(body, str) else json.dumps(body)

    def text(self) -> str:
        return self._text


def violation(*paths: str, **info: Any) -> Any:
    details = {"evaluatedExpressions": [{"result": "True", "path": path, "operator": "Exists"} for path in paths]}
    return {"type": "PolicyViolation", "info": {"evaluationDetails": details} | info}


def test_the_tags_that_a_policy_asks_for_are_named_with_its_assignment() -> None:
    info = {"policyAssignmentName": "a1b2", "policyAssignmentDisplayName": "Owners", "policyAssignmentId": "/p/a1b2"}
    found = violation("tags[costCenter]", "tags['cost center']", "tags.owner", "location", **info)
    inner = {"code": "x", "additionalInfo": [found]}
    broken = violations(Answer({"error": {"details": [inner]}}))
    assert broken == (Violation(assignment="Owners", id="/p/a1b2", tags=("costCenter", "cost center", "owner")),)
    said = str(judged("endpoint e", 403, "RequestDisallowedByPolicy", "no.", {}, violations=broken))
    assert "once the setting RESOURCE_TAGS gives costCenter, cost center, owner with a value" in said
    assert "or once policy assignment Owners (/p/a1b2) is changed or exempts it" in said


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "{}", {"error": None}, {"error": {"additionalInfo": [3]}}, {"error": []}]
)
def test_what_can_not_be_read_names_none(body: Any) -> None:
    assert violations(Answer(body)) == ()
    assert violations(None) == ()


def test_what_an_answer_says_is_bounded() -> None:
    many = [violation(*(f"tags[{'t' * 5000}{n}]" for n in range(20)), policyAssignmentName="n" * 9000)] * 20
    broken = violations(Answer({"error": {"additionalInfo": many}}))
    assert len(str(judged("x", 403, "RequestDisallowedByPolicy", "no", {}, violations=broken))) < 10_000
