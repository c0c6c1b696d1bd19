"""What each kind of SDK error tells the app to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.cloud.failures import judged, translated
from shared.errors import Conflict, NotFound, Permanent, Refused, Transient

SOON = timedelta(seconds=30)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (404, "ResourceNotFound", "no such thing", NotFound),
        (404, "ContainerNotFound", "no container", Permanent),
        (412, "ConditionNotMet", "changed", Conflict),
        (412, "", "whatever it calls that", Conflict),
        (409, "BlobAlreadyExists", "there", Conflict),
        (409, "Conflict", "The endpoint is being updated", Transient),
        (400, "BadRequest", "Endpoint is in Updating state", Transient),
        (400, "OperationCanceled", "The operation was canceled", Transient),
        (400, "UserError", "learning_rate is not a number", Permanent),
        (400, "OutOfQuota", "Not enough quota available for Standard_NC24ads_A100_v4", Transient),
        (400, "OutOfCapacity", "The specified VM Size failed to provision: retry later", Transient),
        (400, "BadRequest", "due to a lack of Azure Machine Learning capacity in the region", Transient),
        (409, "AllocationFailed", "We do not have sufficient capacity for the requested VM size", Transient),
        (409, "BlobArchived", "This operation is not permitted on an archived blob.", Refused),
        (409, "BlobBeingRehydrated", "This operation is not permitted because it is being rehydrated.", Transient),
        (401, "InvalidAuthenticationToken", "expired", Transient),
        (403, "AuthorizationFailed", "no", Transient),
        (408, "", "", Transient),
        (429, "TooManyRequests", "", Transient),
        (500, "", "", Transient),
        (503, "ServerBusy", "", Transient),
        (501, "NotImplemented", "", Transient),
    ],
)
def test_an_answer_becomes_what_to_do_next(status: int, code: str, message: str, kind: type[Exception]) -> None:
    error = judged("blob state/a", status, code, message, {})
    assert type(error) is kind
    assert str(error).startswith("blob state/a: ")
    assert str(status) in str(error)


def test_a_refusal_names_the_role_and_its_scope() -> None:
    error = judged("queue run-steps", 403, "AuthorizationFailure", "no", {}, role="Queue Contributor on account a")
    assert "Queue Contributor on account a" in str(error)


def test_a_refusal_of_arm_names_its_own_action_and_scope() -> None:
    action, scope = "Microsoft.MachineLearningServices/workspaces/jobs/write", "/subscriptions/s/resourceGroups/g"
    said = f"The client 'c' with object id 'o' does not have authorization to perform action '{action}' over scope "
    error = judged("job j", 403, "AuthorizationFailed", f"{said}'{scope}' or the scope is invalid.", {}, role="a role")
    assert isinstance(error, Transient)
    assert f"Give the app's identity a role with {action} on {scope} (a role)" in str(error)


@pytest.mark.parametrize(
    ("header", "after"), [("7", 7), ("0", 30), ("86400", 3600), ("Wed, 21 Oct 2026 07:28:00 GMT", 30), ("", 30)]
)
def test_retry_after_is_honoured_within_reason(header: str, after: int) -> None:
    error = judged("x", 429, "", "", {"Retry-After": header})
    assert isinstance(error, Transient)
    assert error.after == timedelta(seconds=after)


def test_errors_of_ours_and_bugs_pass_unchanged() -> None:
    with pytest.raises(Conflict, match=r"^ours$"), translated("x"):
        raise Conflict("ours")
    with pytest.raises(ZeroDivisionError), translated("x"):
        _ = 1 / 0


def test_no_answer_is_transient() -> None:
    from azure.core.exceptions import IncompleteReadError, ServiceRequestError, ServiceResponseTimeoutError

    for error in (ServiceRequestError("refused"), ServiceResponseTimeoutError("slow"), IncompleteReadError("cut")):
        with pytest.raises(Transient, match=r"^job j: "), translated("job j"):
            raise error


def test_no_token_is_worth_waiting_for() -> None:
    from azure.identity import CredentialUnavailableError

    with pytest.raises(Transient, match="AZURE_CLIENT_ID") as caught, translated("job j"):
        raise CredentialUnavailableError("no identity endpoint")
    assert caught.value.after > SOON


def test_what_azure_ml_refuses_before_sending_is_permanent() -> None:
    from azure.ai.ml.exceptions import MlException, ValidationException

    with pytest.raises(Permanent, match=r"^job j: num_train_epochs"), translated("job j"):
        raise ValidationException(message="\x1b[31mnum_train_epochs is wrong\x1b[0m\nmore", no_personal_data_message="")
    with pytest.raises(Transient), translated("job j"):
        raise MlException("Unknown cloud environment supplied: x", "")


def test_as_a_decorator() -> None:
    from azure.core.exceptions import ServiceRequestError

    @translated("thing t")
    def fails() -> None:
        raise ServiceRequestError("refused")

    with pytest.raises(Transient, match=r"^thing t: "):
        fails()


def test_what_marshmallow_finds_wrong_in_an_entity_is_permanent() -> None:
    """azure-ai-ml checks its entities with it, and lets its errors through in places."""
    from marshmallow import ValidationError

    with pytest.raises(Permanent, match=r"^job j: "), translated("job j"):
        raise ValidationError({"inputs": ["Missing data for required field."]})


@pytest.mark.parametrize(("headers", "after"), [({"Retry-After": "40"}, 40), ({}, 900)])
def test_quota_is_waited_for_as_long_as_azure_says(headers: dict[str, str], after: int) -> None:
    error = judged("x", 429, "QuotaExceeded", "Not enough quota available", headers)
    assert isinstance(error, Transient)
    assert error.after == timedelta(seconds=after)


@pytest.mark.parametrize(("code", "scarce"), [("OutOfCapacity", True), ("OutOfQuota", True), ("Conflict", False)])
def test_what_azure_has_no_machines_for_is_marked(code: str, scarce: bool) -> None:
    """It has a limit of its own, see lifecycle/again.py."""
    error = judged("x", 409, code, "no", {})
    assert isinstance(error, Transient)
    assert error.scarce is scarce


def test_an_archived_blob_says_rehydrate_and_is_not_asked_for_every_minute() -> None:
    error = judged("blob prepared/r/1/test.jsonl", 409, "BlobArchived", "not permitted on an archived blob", {})
    assert isinstance(error, Refused), "people are told"
    assert "rehydrate it (az storage blob set-tier --tier Hot" in str(error)
    assert error.after == timedelta(hours=1)


def test_who_is_not_let_in_hears_which_credential_was_refused() -> None:
    """That says nothing of what was asked for, so that nobody takes it for its silence."""
    own = judged("queue run-steps", 401, "InvalidAuthenticationInfo", "no", {})
    assert "The token of the app's identity was refused: check AZURE_CLIENT_ID and the tenant" in str(own)
    other = judged("metric m", 401, "", "no", {}, credential="The token for audience a was refused.")
    assert str(other) == "metric m: no (401). The token for audience a was refused."
    for error in (own, other, judged("blob b", 403, "", "no", {})):
        assert isinstance(error, Transient)
        assert error.shut_out
    busy = judged("blob b", 503, "", "no", {})
    assert isinstance(busy, Transient)
    assert not busy.shut_out


def test_an_sdk_that_trips_over_an_answer_is_no_bug_of_ours() -> None:
    from azure.core.pipeline.policies import RetryPolicy

    with (
        pytest.raises(Transient, match=r"endpoint e: the SDK can't read the answer: AttributeError: "),
        translated("endpoint e"),
    ):
        RetryPolicy().get_retry_after(None)  # type: ignore[arg-type]  # it looks for the answer's headers
    with pytest.raises(AttributeError), translated("endpoint e"):
        _ = None.headers  # type: ignore[attr-defined]
