"""The managed identity, asked by azure-identity itself, and by the services that recognise its tokens."""

from __future__ import annotations

import time

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from localcloud.environment import APP_IDENTITY
from localcloud.identity import CLIENT_ID, TENANT, Identity
from localcloud.stack import Stack

AUDIENCE = "https://ml.azure.com"


def identity(secret: str = "a secret of thirty-two characters") -> Identity:
    return Identity(secret=secret, header="header", resource_id=APP_IDENTITY)


def test_default_azure_credential_gets_a_token(cloud_env: Stack) -> None:
    with DefaultAzureCredential() as credential:
        token = credential.get_token(f"{AUDIENCE}/.default")
    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert (claims["aud"], claims["tid"], claims["appid"]) == (AUDIENCE, TENANT, CLIENT_ID)
    assert claims["xms_mirid"] == APP_IDENTITY
    assert claims["exp"] == token.expires_on > time.time() + 3600


def test_the_clients_id_may_be_named(cloud_env: Stack) -> None:
    with ManagedIdentityCredential(client_id=CLIENT_ID) as credential:
        assert credential.get_token("https://storage.azure.com/.default").token


def test_an_identity_that_is_not_assigned_gets_none(cloud_env: Stack) -> None:
    with (
        ManagedIdentityCredential(client_id="11111111-0000-0000-0000-000000000000") as credential,
        pytest.raises(ClientAuthenticationError, match="No managed identity"),
    ):
        credential.get_token("https://storage.azure.com/.default")


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        ("wrong", {"api-version": "2019-08-01", "resource": AUDIENCE}, 401),
        (None, {"api-version": "2017-09-01", "resource": AUDIENCE}, 400),
        (None, {"api-version": "2019-08-01"}, 400),
    ],
)
def test_refusals(cloud: Stack, header: str | None, query: dict[str, str], status: int) -> None:
    environment = cloud.environment
    headers = {"x-identity-header": header or environment["IDENTITY_HEADER"]}
    answer = httpx.get(environment["IDENTITY_ENDPOINT"], params=query, headers=headers, trust_env=False)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_only_its_own_tokens_are_recognised() -> None:
    token, _ = identity().token(AUDIENCE)
    assert identity().authorized(token)
    assert not identity("another secret of thirty-two chars").authorized(token)
    assert not identity().authorized("no token")
